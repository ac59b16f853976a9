//! Closes a file.
//!
//! It does not flush: who wants the bytes to last has flushed before. What a newcomer gets wrong:
//! with operations in flight the completion comes at once, and the descriptor goes with the last of
//! them.

use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types::Fd};
use plimsoll_device::{FileId, Token};

use super::{Disk, DiskInFlight, Step, done};

pub(crate) struct Close {
    pub(super) token: Token,
    /// The kernel's to close once submitted: not an `OwnedFd`, which would close it twice.
    fd: RawFd,
}

impl Close {
    pub(super) fn start(token: Token, file: FileId, disk: &mut Disk) -> Step {
        match disk.files.remove(file).map(Rc::try_unwrap) {
            Ok(Ok(file)) => {
                let fd = OwnedFd::from(file).into_raw_fd();
                Step::Submit(DiskInFlight::Close(Self { token, fd }))
            }
            // Operations are in flight on it: the last of them closes the descriptor.
            Ok(Err(_shared)) => done(token, Ok(())),
            Err(errno) => done::<()>(token, Err(errno)),
        }
    }

    pub(super) fn entry(&self) -> Entry {
        // To a worker: the last close of a removed file frees its blocks, which takes its time.
        opcode::Close::new(Fd(self.fd)).build().flags(Flags::ASYNC)
    }
}
