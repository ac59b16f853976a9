//! Renames a file, replacing the one that has the name.
//!
//! At each moment the name means the old file or the new one. What a newcomer gets wrong: the new
//! file's content is not made durable by it. Flush the file first, rename, then flush the
//! directory.

use std::os::fd::AsRawFd;

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::Token;

use super::{Disk, DiskInFlight, Step, done};
use crate::path::DataPath;

pub(crate) struct Rename {
    pub(super) token: Token,
    from: DataPath,
    to: DataPath,
}

impl Rename {
    pub(super) fn start(token: Token, from: &str, to: &str) -> Step {
        match DataPath::of_entry(from).and_then(|from| Ok((from, DataPath::of_entry(to)?))) {
            Ok((from, to)) => Step::Submit(DiskInFlight::Rename(Self { token, from, to })),
            Err(errno) => done::<()>(token, Err(errno)),
        }
    }

    pub(super) fn entry(&self, disk: &Disk) -> Entry {
        let dir = Fd(disk.dir.as_raw_fd());
        opcode::RenameAt::new(dir, self.from.as_ptr(), dir, self.to.as_ptr()).build()
    }
}
