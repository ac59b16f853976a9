//! Writes blocks past every cache of the kernel.
//!
//! The memory is the kernel's until the completion, which gives it back. What a newcomer gets
//! wrong: past the cache is not durable. The device's own cache may hold it, unless the write was
//! `durable` or a flush followed.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::{DiskCompletion, DiskResult, FileId, IoError, Memory, Token};

use super::{Disk, DiskInFlight, Step};
use crate::errno::Errno;
use crate::span::Span;

pub(crate) struct Write {
    token: Token,
    file: Rc<File>,
    position_bytes: u64,
    source: Memory,
    span: Span,
    durable: bool,
}

impl Write {
    pub(super) fn start(
        token: Token,
        (file, position_bytes, mut source, durable): (FileId, u64, Memory, bool),
        disk: &Disk,
    ) -> Step {
        let ready = disk.files.file(file).and_then(|file| {
            Span::of_blocks(&mut source, disk.arena.as_ref()).map(|span| (file, span))
        });
        match ready {
            Ok((file, span)) => Step::Submit(DiskInFlight::Write(Self {
                token,
                file,
                position_bytes,
                source,
                span,
                durable,
            })),
            Err(errno) => written(token, source, Err(errno)),
        }
    }

    pub(super) fn entry(&self) -> Entry {
        let fd = Fd(self.file.as_raw_fd());
        let flags = if self.durable { libc::RWF_DSYNC } else { 0 };
        let (start, length) = (self.span.start.cast_const(), self.span.length_bytes);
        match self.span.fixed_index {
            Some(index) => opcode::WriteFixed::new(fd, start, length, index)
                .offset(self.position_bytes)
                .rw_flags(flags)
                .build(),
            None => opcode::Write::new(fd, start, length)
                .offset(self.position_bytes)
                .rw_flags(flags)
                .build(),
        }
    }

    pub(super) fn advance(self, result: Result<usize, Errno>) -> Step {
        written(self.token, self.source, result)
    }
}

fn written(token: Token, source: Memory, result: Result<usize, Errno>) -> Step {
    let result = DiskResult::Written(source, result.map_err(IoError::from));
    Step::Done(DiskCompletion { token, result })
}
