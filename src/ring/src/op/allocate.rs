//! Gives a file its blocks ahead of need.
//!
//! Not durable by itself, as no change of a file is. What a newcomer gets wrong: the file's length
//! changes at once, so that a length says nothing about how much was written.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::{FileId, Token};

use super::{Disk, DiskInFlight, Step, done};

pub(crate) struct Allocate {
    pub(super) token: Token,
    file: Rc<File>,
    length_bytes: u64,
}

impl Allocate {
    pub(super) fn start(token: Token, file: FileId, length_bytes: u64, disk: &Disk) -> Step {
        match disk.files.file(file) {
            Ok(file) => Step::Submit(DiskInFlight::Allocate(Self { token, file, length_bytes })),
            Err(errno) => done::<()>(token, Err(errno)),
        }
    }

    pub(super) fn entry(&self) -> Entry {
        // Mode 0 also sets the length: the blocks read as zeros without having been written.
        opcode::Fallocate::new(Fd(self.file.as_raw_fd()), self.length_bytes).build()
    }
}
