//! A file as the journal is: allocated and written in full before the first measured write.
//!
//! A write into it is a pure overwrite: no metadata to commit, one flush. A file that was only
//! allocated costs several times as much, and would be a limit of the wrong thing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::aligned::Aligned;

/// The piece in which files are written and read: 1 MiB.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// A file that exists in full on the disk, opened with O_DIRECT. Removed when dropped.
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
        let piece = Aligned::new(PIECE_BYTES);
        let pieces = length_bytes.div_ceil(PIECE_BYTES as u64);
        for index in 0..pieces {
            file.write_all_at(&piece, index * PIECE_BYTES as u64)?;
        }
        file.sync_all()?;
        Ok(Self { file, length_bytes: pieces * PIECE_BYTES as u64, path })
    }
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        // What cannot be removed lies in the benches' own folder and is overwritten next time.
        drop(std::fs::remove_file(&self.path));
    }
}
