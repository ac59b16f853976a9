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
    /// What all arenas together need. A start after a kill needs it twice: the dead process's
    /// arenas go only when the new ones hold what was in them.
    pub needed_bytes: u64,
}

impl ArenaRoom {
    fn needed_after_kill_bytes(&self) -> u64 {
        self.needed_bytes.saturating_mul(2)
    }
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
            "{}: {kind}, {} bytes available; the arenas need {}, a start after a kill {} (the old \
             arenas and the new ones at once)",
            self.dir.display(),
            self.available_bytes,
            self.needed_bytes,
            self.needed_after_kill_bytes()
        )
    }
}

impl Finding for ArenaRoom {
    fn verdict(&self) -> Verdict {
        if self.available_bytes < self.needed_bytes {
            Verdict::Failure
        } else if self.is_tmpfs && self.available_bytes >= self.needed_after_kill_bytes() {
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
            Verdict::Warning if self.is_tmpfs => {
                "The server starts, but not again after a kill. Make the tmpfs larger (`docker run \
                 --shm-size`, or `mount -o remount,size=...`), or the arenas smaller \
                 (--arena-bytes), unless a server's arenas are in it already."
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

    /// After a kill the old arenas and the new ones are there at once, and the server that had
    /// started once did not start again.
    #[test]
    fn room_for_one_set_of_arenas_only_is_a_warning_that_names_both_needs() {
        let room = |available_bytes| {
            let dir = PathBuf::from("/dev/shm");
            ArenaRoom { dir, is_tmpfs: true, available_bytes, needed_bytes: 1000 }
        };
        assert_eq!(room(999).verdict(), Verdict::Failure);
        assert_eq!(room(1999).verdict(), Verdict::Warning);
        assert_eq!(room(2000).verdict(), Verdict::Fine);
        let said = room(1999).to_string();
        assert!(said.contains("need 1000") && said.contains("after a kill 2000"), "{said}");
        assert!(room(1999).remedy().unwrap().contains("after a kill"));
    }
}
