//! Makes a file's completed writes durable. A failure is final: it is reported, never repeated.
//!
//! What a newcomer gets wrong: after a failed flush the kernel may hold the lost pages for clean,
//! and the next flush succeeds without them. Also a flush that was interrupted counts as failed.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags};
use plimsoll_device::{FileId, Token};

use super::{Disk, DiskInFlight, Step, done};

pub(crate) struct SyncData {
    pub(super) token: Token,
    file: Rc<File>,
}

impl SyncData {
    pub(super) fn start(token: Token, file: FileId, disk: &Disk) -> Step {
        match disk.files.file(file) {
            Ok(file) => Step::Submit(DiskInFlight::SyncData(Self { token, file })),
            Err(errno) => done::<()>(token, Err(errno)),
        }
    }

    pub(super) fn entry(&self) -> Entry {
        opcode::Fsync::new(Fd(self.file.as_raw_fd())).flags(FsyncFlags::DATASYNC).build()
    }
}
