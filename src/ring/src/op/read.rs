//! Reads blocks past every cache of the kernel.
//!
//! The memory is the kernel's until the completion, which gives it back. What a newcomer gets
//! wrong: fewer bytes than asked are no error, and nothing here asks for the rest; the end of the
//! file looks the same.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::{DiskCompletion, DiskResult, FileId, IoError, Memory, Token};

use super::{Disk, DiskInFlight, Step};
use crate::errno::Errno;
use crate::span::Span;

pub(crate) struct Read {
    token: Token,
    file: Rc<File>,
    position_bytes: u64,
    target: Memory,
    span: Span,
}

impl Read {
    pub(super) fn start(
        token: Token,
        file: FileId,
        position_bytes: u64,
        mut target: Memory,
        disk: &Disk,
    ) -> Step {
        let ready = disk.files.file(file).and_then(|file| {
            Span::of_blocks(&mut target, disk.arena.as_ref()).map(|span| (file, span))
        });
        match ready {
            Ok((file, span)) => {
                let read = Self { token, file, position_bytes, target, span };
                Step::Submit(DiskInFlight::Read(read))
            }
            Err(errno) => was_read(token, target, Err(errno)),
        }
    }

    pub(super) fn entry(&self) -> Entry {
        let fd = Fd(self.file.as_raw_fd());
        let (start, length) = (self.span.start, self.span.length_bytes);
        match self.span.fixed_index {
            Some(index) => {
                opcode::ReadFixed::new(fd, start, length, index).offset(self.position_bytes).build()
            }
            None => opcode::Read::new(fd, start, length).offset(self.position_bytes).build(),
        }
    }

    pub(super) fn advance(self, result: Result<usize, Errno>) -> Step {
        was_read(self.token, self.target, result)
    }
}

fn was_read(token: Token, target: Memory, result: Result<usize, Errno>) -> Step {
    let result = DiskResult::Read(target, result.map_err(IoError::from));
    Step::Done(DiskCompletion { token, result })
}
