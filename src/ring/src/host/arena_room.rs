//! Whether the arenas fit where they are to lie, and whether that is memory at all.
//!
//! Compares only; making the arena is another file's business. What a newcomer gets wrong: room in
//! tmpfs is a limit, not a reservation. Whoever else fills it meanwhile still makes the arena's
//! allocation fail.

use std::fmt;
use std::path::{Path, PathBuf};

use super::file_system::{FileSystemKind, file_system};
use super::{Finding, Verdict};
use crate::arena::available_bytes;

/// The arena directory's file system, against what is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaRoom {
    /// The directory.
    pub dir: PathBuf,
    /// Whether it lies in tmpfs.
    pub is_tmpfs: bool,
    /// Room that is left.
    pub available_bytes: u64,
    /// What all arenas together need.
    pub needed_bytes: u64,
}

/// Looks at `dir`, which must exist.
pub fn arena_room(dir: &Path, needed_bytes: u64) -> std::io::Result<ArenaRoom> {
    let is_tmpfs = file_system(dir)?.kind == FileSystemKind::Tmpfs;
    let available_bytes = available_bytes(dir)?;
    Ok(ArenaRoom { dir: dir.to_owned(), is_tmpfs, available_bytes, needed_bytes })
}

impl fmt::Display for ArenaRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_tmpfs { "tmpfs" } else { "not tmpfs" };
        write!(
            f,
            "{}: {kind}, {} bytes available, the arenas need {}",
            self.dir.display(),
            self.available_bytes,
            self.needed_bytes
        )
    }
}

impl Finding for ArenaRoom {
    fn verdict(&self) -> Verdict {
        if self.available_bytes < self.needed_bytes {
            Verdict::Failure
        } else if self.is_tmpfs {
            Verdict::Fine
        } else {
            Verdict::Warning
        }
    }

    fn remedy(&self) -> Option<String> {
        let remedy = match self.verdict() {
            Verdict::Fine => return None,
            Verdict::Failure => {
                "Make the arenas smaller, or the tmpfs larger (`docker run --shm-size`, or \
                 `mount -o remount,size=...`), or give --arena-dir a larger one."
            }
            Verdict::Warning => {
                "Give --arena-dir a directory in tmpfs: a disk's file memory cannot be registered \
                 with the kernel, and stalls when it is written back."
            }
        };
        Some(remedy.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_fails_and_a_little_in_shared_memory_is_fine() {
        let dir = Path::new("/dev/shm");
        assert_eq!(arena_room(dir, 1 << 20).unwrap().verdict(), Verdict::Fine);
        assert_eq!(arena_room(dir, u64::MAX).unwrap().verdict(), Verdict::Failure);
    }
}
