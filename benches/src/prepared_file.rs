//! A file as the journal is, written in full before the first measured write; or as a new segment
//! is, allocated only.
//!
//! A write into the first is a pure overwrite: no metadata to commit, one flush. A write into
//! the second also turns its blocks into written ones, which costs a good part of the speed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::aligned::Aligned;

/// The piece in which files are written and read: 1 MiB.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// A file that has all its blocks on the disk, opened with O_DIRECT. Removed when dropped.
#[derive(Debug)]
pub struct PreparedFile {
    pub(crate) file: File,
    pub(crate) length_bytes: u64,
    path: PathBuf,
}

impl PreparedFile {
    /// Writes `length_bytes`, rounded up to whole MiB, into a new file in `folder`, and flushes.
    ///
    /// # Errors
    ///
    /// When the folder's file system has no O_DIRECT or no room, among others.
    pub fn create(folder: &Path, name: &str, length_bytes: u64) -> io::Result<Self> {
        let prepared = Self::open(folder, name, length_bytes)?;
        let piece = Aligned::new(PIECE_BYTES);
        for at in (0..prepared.length_bytes).step_by(PIECE_BYTES) {
            prepared.file.write_all_at(&piece, at)?;
        }
        prepared.file.sync_all()?;
        Ok(prepared)
    }

    /// A file that has its blocks, none of which was ever written: what a log that grows writes to.
    ///
    /// # Errors
    ///
    /// As `create`.
    pub fn allocate(folder: &Path, name: &str, length_bytes: u64) -> io::Result<Self> {
        let prepared = Self::open(folder, name, length_bytes)?;
        let length = i64::try_from(prepared.length_bytes).map_err(io::Error::other)?;
        nix::fcntl::fallocate(&prepared.file, nix::fcntl::FallocateFlags::empty(), 0, length)?;
        prepared.file.sync_all()?;
        Ok(prepared)
    }

    fn open(folder: &Path, name: &str, length_bytes: u64) -> io::Result<Self> {
        let path = folder.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        let length_bytes = length_bytes.next_multiple_of(PIECE_BYTES as u64);
        Ok(Self { file, length_bytes, path })
    }
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        // What cannot be removed lies in the benches' own folder and is overwritten next time.
        drop(std::fs::remove_file(&self.path));
    }
}
