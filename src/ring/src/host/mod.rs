//! Whether this machine is fit for the server, and what to do where it is not.
//!
//! Each probe is a file of its own and answers with a finding: what was found (its `Display`), how
//! grave that is, and one sentence that says what to do. A probe never changes anything that
//! outlives it.

mod arena_room;
mod container;
mod direct_io;
mod file_system;
mod flush;
mod io_uring;
mod kernel;
mod memory_lock;
mod scratch;
mod write_cache;

use std::fmt::Display;

pub use arena_room::{ArenaRoom, arena_room};
pub use container::{Container, container};
pub use direct_io::{DirectIo, DirectIoOutcome, direct_io};
pub use file_system::{FileSystem, FileSystemKind, file_system};
pub use flush::{FlushMethod, FlushProbe, choose_flush_method, probe_flush};
pub use io_uring::{IoUring, io_uring};
pub use kernel::{KernelRelease, kernel_release};
pub use memory_lock::{MemoryLock, memory_lock};
pub use write_cache::{CacheMode, WriteCache, write_cache};

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// The server runs, but slower or with a promise that depends on this.
    Warning,
    /// The server cannot run, or not keep its promises.
    Failure,
}

/// What a probe found.
pub trait Finding: Display {
    /// How grave it is.
    fn verdict(&self) -> Verdict;

    /// What to do about it, in one sentence; `None` when there is nothing to do.
    fn remedy(&self) -> Option<String>;
}
