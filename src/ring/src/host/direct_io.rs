//! Whether files of a directory can be written past the page cache, in blocks of 4 KiB.
//!
//! Tries it instead of asking: a file system may accept O_DIRECT at open and refuse the write. What
//! a newcomer gets wrong: tmpfs takes direct I/O only since Linux 6.6, so that a data directory in
//! /tmp may work on one machine and fail on the next.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use plimsoll_device::{BLOCK_BYTES, Buffer};

use super::scratch::scratch_file;
use super::{Finding, Verdict};

/// What became of a direct write.
#[derive(Debug)]
pub struct DirectIo {
    /// Where it was tried.
    pub dir: PathBuf,
    /// How it went.
    pub outcome: DirectIoOutcome,
}

/// How a direct write went.
#[derive(Debug)]
pub enum DirectIoOutcome {
    /// 4 KiB were written.
    Works {
        /// The alignment of positions that the file system asks for, in bytes, where the kernel
        /// says (since Linux 6.1).
        position_alignment_bytes: Option<u32>,
    },
    /// Opening or writing failed.
    Fails(std::io::Error),
}

/// Writes one block to a nameless file in `dir`.
pub fn direct_io(dir: &Path) -> DirectIo {
    let outcome = match try_it(dir) {
        Ok(position_alignment_bytes) => DirectIoOutcome::Works { position_alignment_bytes },
        Err(error) => DirectIoOutcome::Fails(error),
    };
    DirectIo { dir: dir.to_owned(), outcome }
}

fn try_it(dir: &Path) -> std::io::Result<Option<u32>> {
    let file = scratch_file(dir, libc::O_DIRECT)?;
    file.write_all_at(&Buffer::zeroed(BLOCK_BYTES), 0)?;
    Ok(position_alignment_bytes(&file))
}

fn position_alignment_bytes(file: &File) -> Option<u32> {
    // SAFETY: integers only; zero is valid.
    let mut answer = unsafe { std::mem::zeroed::<libc::statx>() };
    let empty: &CStr = c"";
    // SAFETY: an empty terminated path with AT_EMPTY_PATH means the descriptor itself, which is
    // open; `answer` is valid to write to.
    let failed = unsafe {
        libc::statx(
            file.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &raw mut answer,
        )
    } != 0;
    let known = !failed && answer.stx_mask & libc::STATX_DIOALIGN != 0;
    (known && answer.stx_dio_offset_align > 0).then_some(answer.stx_dio_offset_align)
}

impl fmt::Display for DirectIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.dir.display();
        match &self.outcome {
            DirectIoOutcome::Works { position_alignment_bytes: Some(alignment) } => {
                write!(f, "{dir}: direct I/O works (aligned to {alignment} bytes)")
            }
            DirectIoOutcome::Works { position_alignment_bytes: None } => {
                write!(f, "{dir}: direct I/O works")
            }
            DirectIoOutcome::Fails(error) => write!(f, "{dir}: direct I/O fails: {error}"),
        }
    }
}

impl Finding for DirectIo {
    fn verdict(&self) -> Verdict {
        match self.outcome {
            DirectIoOutcome::Works { .. } => Verdict::Fine,
            DirectIoOutcome::Fails(_) => Verdict::Failure,
        }
    }

    fn remedy(&self) -> Option<String> {
        let DirectIoOutcome::Fails(error) = &self.outcome else { return None };
        let remedy = match error.raw_os_error() {
            Some(libc::EINVAL | libc::EOPNOTSUPP) => {
                "Put the data directory on ext4 or XFS, on a device with blocks of 4 KiB or less."
            }
            Some(libc::ENOSPC | libc::EDQUOT) => "Make room in the data directory's file system.",
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
                "Give the server's user the right to write to the data directory."
            }
            Some(libc::ENOENT) => "Create the data directory.",
            _ => "Look at the kernel's log for what the device reports.",
        };
        Some(remedy.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_does_not_exist_fails_with_its_remedy() {
        let found = direct_io(Path::new("/nonexistent-directory"));
        assert_eq!(found.verdict(), Verdict::Failure);
        assert_eq!(found.remedy().unwrap(), "Create the data directory.");
    }
}
