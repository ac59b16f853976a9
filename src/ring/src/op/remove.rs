//! Removes a file or an empty directory.
//!
//! Not durable before the directory has been flushed. What a newcomer gets wrong: a file that is
//! still open keeps its blocks until the last descriptor is closed; removing it makes no room
//! before.

use std::os::fd::AsRawFd;

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::Token;

use super::{Disk, DiskInFlight, Step, done};
use crate::path::DataPath;

pub(crate) struct Remove {
    pub(super) token: Token,
    path: DataPath,
    flags: i32,
}

impl Remove {
    pub(super) fn file(token: Token, path: &str) -> Step {
        Self::start(token, path, 0)
    }

    pub(super) fn directory(token: Token, path: &str) -> Step {
        Self::start(token, path, libc::AT_REMOVEDIR)
    }

    fn start(token: Token, path: &str, flags: i32) -> Step {
        match DataPath::of_entry(path) {
            Ok(path) => Step::Submit(DiskInFlight::Remove(Self { token, path, flags })),
            Err(errno) => done::<()>(token, Err(errno)),
        }
    }

    pub(super) fn entry(&self, disk: &Disk) -> Entry {
        let dir = Fd(disk.dir.as_raw_fd());
        opcode::UnlinkAt::new(dir, self.path.as_ptr()).flags(self.flags).build()
    }
}
