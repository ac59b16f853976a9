//! Makes a directory's names durable: opens it, flushes it, closes it.
//!
//! What a newcomer gets wrong: this covers the names in the directory, not the bytes of the files.
//! As in `sync_data.rs`, a failed flush is never repeated; only the opening is.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::Token;

use super::{Disk, DiskInFlight, Step, done};
use crate::errno::Errno;
use crate::path::DataPath;

pub(crate) struct SyncDirectory {
    token: Token,
    state: State,
}

enum State {
    Opening(DataPath),
    /// Closing a directory has nothing to wait for: the drop does it.
    Flushing(File),
}

impl SyncDirectory {
    pub(super) fn start(token: Token, path: &str) -> Step {
        match DataPath::of_directory(path) {
            Ok(path) => {
                let sync = Self { token, state: State::Opening(path) };
                Step::Submit(DiskInFlight::SyncDirectory(sync))
            }
            Err(errno) => done::<()>(token, Err(errno)),
        }
    }

    pub(super) fn entry(&self, disk: &Disk) -> Entry {
        match &self.state {
            State::Opening(path) => {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
                let dir = Fd(disk.dir.as_raw_fd());
                opcode::OpenAt::new(dir, path.as_ptr()).flags(flags).build()
            }
            State::Flushing(directory) => opcode::Fsync::new(Fd(directory.as_raw_fd())).build(),
        }
    }

    pub(super) fn advance(self, result: Result<usize, Errno>) -> Step {
        let token = self.token;
        match (self.state, result) {
            (State::Opening(path), Err(errno)) if errno.is_transient() => {
                let sync = Self { token, state: State::Opening(path) };
                Step::Submit(DiskInFlight::SyncDirectory(sync))
            }
            (State::Opening(_), Ok(fd)) => {
                // SAFETY: the kernel has just opened this descriptor for us; nothing else owns it.
                let directory = unsafe { File::from_raw_fd(fd as RawFd) };
                let sync = Self { token, state: State::Flushing(directory) };
                Step::Submit(DiskInFlight::SyncDirectory(sync))
            }
            (_, result) => done(token, result),
        }
    }
}
