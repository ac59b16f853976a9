//! Parting with files of one partition: each is removed, or kept for a segment to come.
//!
//! What is kept gets another name first; when that is durable, in the directory that it left and in
//! the one that it came to, it may be used. What a newcomer gets wrong: between the two flushes a
//! power loss may leave the file under either name or, on some file systems, under both; so that
//! whoever finds one after a start may remove it, and must not use it.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_device::{DiskAction, DiskResult};

use crate::flight::Purpose;
use crate::partition::RECYCLED_DIRECTORY;
use crate::recycled::RecycledFile;
use crate::storage::Storage;

/// Files of one directory that go, one after the other.
pub(crate) struct Parting {
    directory: String,
    step: Step,
    names: VecDeque<String>,
    /// Gets its new name just now.
    renaming: Option<RecycledFile>,
    /// Those that have it.
    kept: Vec<RecycledFile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Files,
    SyncPartition,
    SyncRecycled,
}

impl Parting {
    pub(crate) fn new(directory: String, names: VecDeque<String>) -> Self {
        Self { directory, step: Step::Files, names, renaming: None, kept: Vec::new() }
    }
}

impl Storage {
    /// The next operation, given how the last one ended; none when all files have gone.
    pub(crate) fn part(
        &mut self,
        parting: &mut Parting,
        ended: Option<&DiskResult>,
    ) -> Option<DiskAction> {
        let is_done = matches!(ended, Some(DiskResult::Done(Ok(()))));
        match parting.step {
            Step::Files => {
                if let Some(file) = parting.renaming.take() {
                    match is_done {
                        true => parting.kept.push(file),
                        false => self.files_recycled([file].into(), false),
                    }
                }
            }
            Step::SyncPartition if is_done => parting.step = Step::SyncRecycled,
            Step::SyncPartition | Step::SyncRecycled => {
                let kept = core::mem::take(&mut parting.kept);
                self.files_recycled(kept, is_done);
                return None;
            }
        }
        if parting.step == Step::SyncRecycled {
            return Some(DiskAction::SyncDirectory { path: String::from(RECYCLED_DIRECTORY) });
        }
        if let Some(name) = parting.names.pop_front() {
            let (action, kept) = self.part_with(format!("{}/{name}", parting.directory));
            parting.renaming = kept;
            return Some(action);
        }
        if parting.kept.is_empty() {
            return None;
        }
        parting.step = Step::SyncPartition;
        Some(DiskAction::SyncDirectory { path: parting.directory.clone() })
    }

    /// How the file at `path` goes, and what it is then, if it stays. One that somebody still reads
    /// does not stay: he would read what others write.
    fn part_with(&mut self, path: String) -> (DiskAction, Option<RecycledFile>) {
        let mut is_in_use = false;
        match self.files.doom(&path) {
            Some((file, close)) => self.submit(Purpose::Close(file), close),
            None => is_in_use = self.files.is_doomed(&path),
        }
        match self.admit_recycled(&path, is_in_use) {
            Some(file) => {
                let to = file.path.clone();
                (DiskAction::Rename { from: path, to }, Some(file))
            }
            None => (DiskAction::Remove { path }, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_batch::Offset;
    use plimsoll_device::OpenMode;
    use plimsoll_sim::heap_arena;

    use super::*;
    use crate::entry::Sealed;
    use crate::identity::{PartitionConfig, PartitionId, Retention};
    use crate::journal::Journal;
    use crate::limits::ARENA_BYTES_MIN;
    use crate::storage::StorageConfig;
    use crate::written::Written;
    use crate::{DataDirId, partition_directory, segment_path};

    const ID: PartitionId = PartitionId { topic: 1, partition: 0 };

    /// A shard whose partition has parted with its first segment, a full one, in its state.
    fn with_a_promise() -> Storage {
        let config = StorageConfig {
            data_dir: DataDirId([1; 16]),
            epoch: 1,
            boot_id: [1; 16],
            durable_writes: false,
            journal: Journal::empty(0, 32 << 20),
            journal_damage: None,
            other_damage: None,
            recycled_segments_max: 4,
            recovered: Default::default(),
        };
        let mut storage = Storage::new(config, heap_arena(ARENA_BYTES_MIN));
        let settings = PartitionConfig {
            segment_bytes: 1 << 20,
            batch_bytes_max: 1 << 20,
            flush_interval: core::time::Duration::from_millis(100),
            retention: Retention::UNLIMITED,
            compaction: None,
        };
        let slot = storage.open_partition(ID, settings);
        let base = Offset::ZERO;
        let (written, compacted) = (Written::UNKNOWN, crate::Compacted::default());
        let gone = Sealed { base, length_bytes: 1 << 20, written, compacted };
        storage.promise_files(slot, &[gone], Offset::new(9));
        storage
    }

    fn parting() -> Parting {
        let name = "00000000000000000000.segment";
        Parting::new(partition_directory(ID), [String::from(name)].into())
    }

    #[test]
    fn a_file_may_be_used_again_when_both_directories_are_flushed_and_not_before() {
        let (mut storage, mut parting) = (with_a_promise(), parting());
        let done = DiskResult::Done(Ok(()));
        let next = Offset::new(9);
        let slot = storage.slot(ID).unwrap();
        let Some(DiskAction::Rename { from, .. }) = storage.part(&mut parting, None) else {
            panic!("it is renamed")
        };
        assert_eq!(from, segment_path(ID, Offset::ZERO));
        for wanted in [partition_directory(ID), String::from(RECYCLED_DIRECTORY)] {
            let action = storage.part(&mut parting, Some(&done));
            let flushed =
                matches!(&action, Some(DiskAction::SyncDirectory { path }) if *path == wanted);
            assert!(flushed, "{action:?}");
            assert!(storage.take_recycled(slot, next).is_none());
        }
        assert!(storage.part(&mut parting, Some(&done)).is_none());
        assert!(storage.take_recycled(slot, next).is_some());
    }

    #[test]
    fn a_file_whose_directories_could_not_be_flushed_is_never_used() {
        let (mut storage, mut parting) = (with_a_promise(), parting());
        let slot = storage.slot(ID).unwrap();
        let failed = plimsoll_device::IoError::new(plimsoll_device::IoErrorKind::Other, 5);
        assert!(storage.part(&mut parting, None).is_some());
        assert!(storage.part(&mut parting, Some(&DiskResult::Done(Ok(())))).is_some());
        assert!(storage.part(&mut parting, Some(&DiskResult::Done(Err(failed)))).is_none());
        assert!(storage.take_recycled(slot, Offset::new(9)).is_none());
        let mut ops = core::iter::from_fn(|| storage.poll_op());
        assert!(ops.any(|op| matches!(op.action, DiskAction::Remove { .. })));
    }

    /// He would read what is written for another partition, and it would check.
    #[test]
    fn a_file_that_somebody_still_reads_is_removed() {
        let mut storage = with_a_promise();
        let file = storage.hold_file(&segment_path(ID, Offset::ZERO), OpenMode::Existing);
        let action = storage.part(&mut parting(), None);
        assert!(matches!(action, Some(DiskAction::Remove { .. })), "{action:?}");
        storage.files.release(file);
    }
}
