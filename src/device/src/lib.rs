//! The vocabulary between Plimsoll's logic and the machine that carries it out.
//!
//! Logic crates emit [`Op`]s and take in [`Completion`]s; `plimsoll-ring` (the kernel) and
//! `plimsoll-sim` (a simulated machine) both carry them out. Nothing in here does I/O or reads a
//! clock. What a newcomer gets wrong: an operation has no effect that may be relied upon before
//! its completion has been handled, and two operations in flight are never ordered.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod arena;
mod buffer;
mod completion;
mod error;
mod limits;
mod op;
mod time;

pub use arena::{Arena, ArenaRange, Overwritten};
pub use buffer::Buffer;
pub use completion::{Completion, DiskCompletion, DiskResult, Received, SocketCompletion};
pub use error::{IoError, IoErrorKind};
pub use limits::{BLOCK_BYTES, RECEIVE_POOLED_BYTES};
pub use op::{DiskAction, DiskOp, FileId, Memory, Op, OpenMode, SocketId, SocketOp, Token};
pub use time::{Instant, Now};
