//! One process per data directory, and no late writes of a dead one.
//!
//! A killed process's direct writes can reach the disk almost half a second after it was reaped,
//! and a plain lock is free before that. Every ring therefore puts the lock's descriptor in its
//! table of registered files: the kernel lets go of that table, and so of the lock, only when the
//! ring's last operation has ended. What a newcomer gets wrong: the file's existence means nothing,
//! only its `flock` does; it is never removed.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::errno::Errno;

const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Exclusive use of a data directory, until the last ring that registered it is gone.
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    /// Locks `<data_dir>/lock`, waiting up to `wait` for another process, or for the last writes of
    /// a dead one. Leaves this process's id in the file, for people who ask who holds it.
    pub fn acquire(data_dir: &Path, wait: Duration) -> Result<Self, LockError> {
        let path = data_dir.join("lock");
        let failed = |source| LockError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed)?;
        let started = Instant::now();
        while let Err(errno) = try_lock(&file) {
            match errno.0 {
                libc::EINTR => {}
                libc::EWOULDBLOCK if started.elapsed() < wait => std::thread::sleep(RETRY_EVERY),
                libc::EWOULDBLOCK => {
                    let pid = holder(&mut file);
                    return Err(LockError::Held { path, pid });
                }
                _ => return Err(failed(errno.into())),
            }
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { file })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

fn try_lock(file: &File) -> Result<(), Errno> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Why a data directory could not be locked.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Another process uses the directory, or a dead one's last write has not ended.
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it: its process id.
        pid: Option<u32>,
    },
    /// The lock file could not be opened, written or locked.
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { path, pid: Some(pid) } => {
                write!(f, "{} is held by process {pid}", path.display())
            }
            Self::Held { path, pid: None } => {
                write!(f, "{} is held by another process", path.display())
            }
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Held { .. } => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}
