//! The real machine: io_uring, files, sockets, memory, clock. All system calls are in here.
//!
//! A [`Ring`] carries out the operations of one shard; the rest of the crate is what a process
//! needs around it (the directory's lock, arenas, cores, signals), and [`host`] finds out whether
//! this machine is fit for it. Nothing here knows what a log is. What a newcomer gets wrong: a ring
//! belongs to the thread that made it, and nothing happens but in its turns.

#![cfg(target_os = "linux")]

mod arena;
mod clock;
mod cores;
mod direct_file;
mod doorbell;
mod errands;
mod errno;
mod files;
pub mod host;
mod huge_pages;
mod kernel;
mod lock;
mod op;
mod path;
mod pool;
mod process;
mod random;
mod registration;
mod ring;
mod signals;
mod slab;
mod sockets;
mod span;

pub use arena::{
    ArenaError, ArenaImage, create_arena, create_arena_directory, read_arena, remove_arena,
};
pub use clock::clock;
pub use cores::{Cores, available_cores, pin_to_core};
pub use direct_file::DirectFile;
pub use doorbell::Doorbell;
pub use huge_pages::gather_huge_pages;
pub use kernel::SetupError;
pub use lock::{DirectoryLock, LockError};
pub use process::{ignore_sigpipe_and_sigxfsz, raise_open_files_limit};
pub use random::{BootIdError, boot_id, random_bytes};
pub use registration::{ArenaRegistration, RegistrationFailure};
pub use ring::{Ring, RingConfig, TurnError};
pub use signals::{Signal, Signals};
