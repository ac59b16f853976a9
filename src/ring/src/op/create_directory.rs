//! Creates a directory.
//!
//! One level: the parent must exist. What a newcomer gets wrong: the new name is not durable before
//! the parent has been flushed (`sync_directory.rs`).

use std::os::fd::AsRawFd;

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::Token;

use super::{Disk, DiskInFlight, Step, done};
use crate::path::DataPath;

const MODE: libc::mode_t = 0o750;

pub(crate) struct CreateDirectory {
    pub(super) token: Token,
    path: DataPath,
}

impl CreateDirectory {
    pub(super) fn start(token: Token, path: &str) -> Step {
        match DataPath::of_entry(path) {
            Ok(path) => Step::Submit(DiskInFlight::CreateDirectory(Self { token, path })),
            Err(errno) => done::<()>(token, Err(errno)),
        }
    }

    pub(super) fn entry(&self, disk: &Disk) -> Entry {
        opcode::MkDirAt::new(Fd(disk.dir.as_raw_fd()), self.path.as_ptr()).mode(MODE).build()
    }
}
