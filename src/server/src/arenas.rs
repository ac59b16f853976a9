//! The directory of arenas: which a dead process left, what of them counts, where the new ones go.
//!
//! It decides which files count; what of their bytes counts is storage's business
//! (`arena_image.rs`). What a newcomer gets wrong: after a kill these files hold records that are
//! nowhere else. They go only when every shard has seeded.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use plimsoll_ring::host::{self, Finding as _};
use plimsoll_ring::{
    ArenaError, ArenaImage as MappedArena, create_arena_directory, read_arena, remove_arena,
};
use plimsoll_storage::{ArenaHeader, ArenaImage, ArenaVerdict, DataDirId, judge_arena};

use crate::error::ServeError;

/// Arenas of a data directory.
pub(crate) struct Arenas {
    directory: PathBuf,
    /// Left by a dead process of this boot.
    left: Vec<(PathBuf, MappedArena, ArenaHeader)>,
}

impl Arenas {
    /// Looks at what is there. Arenas of another boot are removed: that was a power loss, and
    /// memory does not outlive it.
    pub(crate) fn find(
        arena_dir: &Path,
        data_dir: DataDirId,
        boot_id: [u8; 16],
    ) -> Result<Self, ServeError> {
        // Half of the id names the directory; the whole of it stays secret.
        let name: String = data_dir.0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let directory = arena_dir.join(format!("plimsoll-{name}"));
        create_arena_directory(&directory).map_err(ServeError::Arena)?;
        let list = |source| ServeError::System { what: "listing the arena directory", source };
        let mut left = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(list)? {
            let path = entry.map_err(list)?.path();
            if let Some(found) = look_at(&path, data_dir, boot_id)? {
                left.push(found);
            } else {
                remove_arena(&path).map_err(ServeError::Arena)?;
            }
        }
        left.sort_by_key(|(_, _, header)| (header.epoch, header.shard));
        Ok(Self { directory, left })
    }

    /// How many a dead process of this boot left.
    pub(crate) fn count(&self) -> usize {
        self.left.len()
    }

    /// What recovery may take from.
    pub(crate) fn images(&self) -> Vec<ArenaImage<'_>> {
        let images = self.left.iter();
        images.map(|(_, arena, header)| ArenaImage { header: *header, bytes: arena }).collect()
    }

    /// Whether new arenas of these lengths fit beside what the dead process left. Asked before the
    /// first is made: a start that fails half-way says less.
    pub(crate) fn check_room(&self, lengths_bytes: &[usize]) -> Result<(), ServeError> {
        let needed_bytes: u64 = lengths_bytes.iter().map(|length| *length as u64).sum();
        let held_bytes: u64 = self.left.iter().map(|(_, arena, _)| arena.len() as u64).sum();
        let Ok(room) = host::arena_room(&self.directory, needed_bytes) else { return Ok(()) };
        let available_bytes = room.available_bytes;
        if available_bytes < needed_bytes {
            return Err(ServeError::ArenaRoom {
                directory: self.directory.clone(),
                shards: lengths_bytes.len(),
                needed_bytes,
                available_bytes,
                held_bytes,
            });
        }
        if (available_bytes + held_bytes) / 2 < needed_bytes {
            tracing::warn!("{room}: {}", room.remedy().unwrap_or_default());
        }
        Ok(())
    }

    /// Where a shard's new arena goes.
    pub(crate) fn path(&self, shard: u16, epoch: u64) -> PathBuf {
        self.directory.join(format!("{shard:05}-{epoch:010}.arena"))
    }

    /// Removes what the dead process left; everything in it is durable by now.
    pub(crate) fn remove_left(&mut self) -> Result<(), ServeError> {
        for (path, arena, _) in self.left.drain(..) {
            drop(arena);
            remove_arena(&path).map_err(ServeError::Arena)?;
        }
        Ok(())
    }

    /// After a clean stop: removes this server's arenas and their directory.
    pub(crate) fn remove_all(&self, shards: u16, epoch: u64) -> Result<(), ServeError> {
        for shard in 0..shards {
            remove_arena(&self.path(shard, epoch)).map_err(ServeError::Arena)?;
        }
        // Not empty when something was kept on purpose: then it stays.
        let _kept = std::fs::remove_dir(&self.directory);
        Ok(())
    }
}

/// A process died between the making of the file and the giving of its blocks.
fn is_unfinished(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|file| {
        let has_holes = file.blocks().saturating_mul(512) < file.len();
        file.is_file() && (file.len() == 0 || has_holes)
    })
}

type Found = (PathBuf, MappedArena, ArenaHeader);

/// An arena that counts, or `None` for one that can go.
fn look_at(
    path: &Path,
    data_dir: DataDirId,
    boot_id: [u8; 16],
) -> Result<Option<Found>, ServeError> {
    let arena = match read_arena(path) {
        Ok(arena) => arena,
        // It was never finished: nothing was ever published in it.
        Err(error @ ArenaError::Strange { .. }) if is_unfinished(path) => {
            tracing::warn!("{error}: it is no arena; removed");
            return Ok(None);
        }
        // What it holds may be all that there is of what was acked: it stays.
        Err(error) => return Err(ServeError::Arena(error)),
    };
    match judge_arena(&arena, data_dir, boot_id) {
        ArenaVerdict::Counts(header) => Ok(Some((path.to_owned(), arena, header))),
        ArenaVerdict::Unused => Ok(None),
        ArenaVerdict::OfAnotherBoot => {
            tracing::info!("{} is from before the last boot; removed", path.display());
            Ok(None)
        }
        ArenaVerdict::OfAnotherDirectory => Err(ServeError::ForeignArena(format!(
            "{} belongs to another data directory: move it away, or name another --arena-dir",
            path.display()
        ))),
        ArenaVerdict::OfAnotherVersion(version) => Err(ServeError::ForeignArena(format!(
            "{} has layout {version}: start the version of plimsoll that wrote it, stop it cleanly \
             (SIGTERM), then start this one",
            path.display()
        ))),
    }
}
