//! Opens a file for direct reading and writing.
//!
//! Never through a symbolic link in the last place, never into the page cache. What a newcomer gets
//! wrong: a file that was created is durable only when its directory has been flushed, whatever is
//! flushed in the file.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::{DiskCompletion, DiskResult, FileId, IoError, OpenMode, Token};

use super::{Disk, DiskInFlight, Step};
use crate::errno::Errno;
use crate::path::DataPath;

const MODE: libc::mode_t = 0o640;

pub(crate) struct Open {
    token: Token,
    file: FileId,
    path: DataPath,
    mode: OpenMode,
}

impl Open {
    pub(super) fn start(
        token: Token,
        file: FileId,
        path: &str,
        mode: OpenMode,
        disk: &Disk,
    ) -> Step {
        match disk.files.check_free(file).and_then(|()| DataPath::of_entry(path)) {
            Ok(path) => Step::Submit(DiskInFlight::Open(Self { token, file, path, mode })),
            Err(errno) => opened(token, Err(errno)),
        }
    }

    pub(super) fn entry(&self, disk: &Disk) -> Entry {
        let create = match self.mode {
            OpenMode::Existing => 0,
            OpenMode::CreateNew => libc::O_CREAT | libc::O_EXCL,
            OpenMode::CreateEmpty => libc::O_CREAT | libc::O_TRUNC,
        };
        let flags = libc::O_RDWR | libc::O_DIRECT | libc::O_CLOEXEC | libc::O_NOFOLLOW | create;
        opcode::OpenAt::new(Fd(disk.dir.as_raw_fd()), self.path.as_ptr())
            .flags(flags)
            .mode(MODE)
            .build()
    }

    pub(super) fn advance(self, result: Result<usize, Errno>, disk: &mut Disk) -> Step {
        let length = result.and_then(|fd| {
            // SAFETY: the kernel has just opened this descriptor for us; nothing else owns it.
            let file = unsafe { File::from_raw_fd(fd as RawFd) };
            let length = file.metadata().map_err(|error| Errno::of(&error))?.len();
            disk.files.insert(self.file, file)?;
            Ok(length)
        });
        opened(self.token, length)
    }
}

fn opened(token: Token, length: Result<u64, Errno>) -> Step {
    let result = DiskResult::Opened(length.map_err(IoError::from));
    Step::Done(DiskCompletion { token, result })
}
