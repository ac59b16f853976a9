//! Reading a file past the page cache, without a ring.
//!
//! For commands that look at a running server's files: the page cache may show what the disk does
//! not have, and must not be filled with a whole log. What a newcomer gets wrong: where the file
//! system has no direct I/O it reads through the cache after all.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use plimsoll_device::{BLOCK_BYTES, Buffer};

const BUFFER_BYTES: usize = 1 << 20;

/// A file that is only read.
pub struct DirectFile {
    file: File,
    buffer: Buffer,
}

impl DirectFile {
    /// Opens a file that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true);
        let direct = options.clone().custom_flags(libc::O_DIRECT | libc::O_CLOEXEC).open(path);
        let file = match direct {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => options.open(path)?,
            opened => opened?,
        };
        Ok(Self { file, buffer: Buffer::zeroed(BUFFER_BYTES) })
    }

    /// How long it is now, in bytes.
    pub fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether the file that `path` names now is this one.
    pub fn is_named(&self, path: &Path) -> io::Result<bool> {
        let (ours, named) = (self.file.metadata()?, path.metadata()?);
        Ok((ours.dev(), ours.ino()) == (named.dev(), named.ino()))
    }

    /// Fills `out` from `position_bytes` on; gives less than its length only at the file's end.
    pub fn read_at(&mut self, position_bytes: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < out.len() {
            let at = position_bytes.saturating_add(done as u64);
            let skip = usize::try_from(at % BLOCK_BYTES as u64).unwrap_or(0);
            let wanted = (skip + out.len() - done).next_multiple_of(BLOCK_BYTES).min(BUFFER_BYTES);
            let read = match self.file.read_at(&mut self.buffer[..wanted], at - skip as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let fresh = read.saturating_sub(skip).min(out.len() - done);
            out[done..done + fresh].copy_from_slice(&self.buffer[skip..skip + fresh]);
            done += fresh;
            if read < wanted {
                break;
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_is_read_as_it_is_and_the_end_is_short() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let bytes: Vec<u8> = (0..3_000_001_usize).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut file = DirectFile::open(&path).unwrap();
        assert_eq!(file.length_bytes().unwrap(), bytes.len() as u64);
        for (position, length) in [(0, 10), (4095, 2), (5, 2_000_000), (2_999_990, 50), (9, 0)] {
            let mut out = vec![0; length];
            let read = file.read_at(position as u64, &mut out).unwrap();
            let expected = &bytes[position..(position + length).min(bytes.len())];
            assert_eq!(&out[..read], expected, "{position}+{length}");
        }
    }

    #[test]
    fn a_file_that_was_renamed_is_not_named_any_more_nor_is_one_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("file"), directory.path().join("other"));
        std::fs::write(&path, "old").unwrap();
        let file = DirectFile::open(&path).unwrap();
        assert!(file.is_named(&path).unwrap());
        std::fs::rename(&path, &other).unwrap();
        assert_eq!(file.is_named(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "new").unwrap();
        assert!(!file.is_named(&path).unwrap());
    }
}
