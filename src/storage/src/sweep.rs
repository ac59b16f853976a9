//! Parting with the files of segments that no longer count.
//!
//! Those before the first segment, those in whose place a compacted one is, and new ones that never
//! came to count. One partition at a time, in the background, and never before the frame that says
//! so is durable. A removal that is cut off leaves files that nobody reads; the next start lists
//! the directories of partitions that may have some, and takes them up again. What a newcomer gets
//! wrong: the names in the directory decide, not what this process remembers of it.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::{DiskAction, DiskResult};

use crate::flight::Purpose;
use crate::identity::{PartitionId, Slot};
use crate::parting::Parting;
use crate::partition::{SegmentName, partition_directory};
use crate::storage::Storage;

/// Which partitions may have files before their first segment, and the one that is at it.
#[derive(Default)]
pub(crate) struct Sweeps {
    waiting: VecDeque<PartitionId>,
    current: Option<Sweep>,
}

/// Files of one partition that are going.
struct Sweep {
    id: PartitionId,
    /// None while its directory is being listed.
    parting: Option<Parting>,
}

impl Storage {
    /// Files of the partition may lie before its first segment.
    pub(crate) fn want_sweep(&mut self, id: PartitionId) {
        if !self.sweeps.waiting.contains(&id) {
            self.sweeps.waiting.push_back(id);
        }
        self.start_sweep();
    }

    /// Whether files of the partition may be about to go.
    pub(crate) fn sweeps_concern(&self, id: PartitionId) -> bool {
        let current = self.sweeps.current.as_ref().map(|sweep| sweep.id);
        current == Some(id) || self.sweeps.waiting.contains(&id)
    }

    /// After a start: what an earlier life had no time to remove.
    pub(crate) fn sweep_all(&mut self) {
        let moved = self.by_id.iter().filter(|(_, slot)| {
            let partition = self.partition(**slot);
            let is_compacted = partition.config.compaction.is_some()
                || partition.sealed.iter().any(|it| it.compacted.generation > 0);
            (partition.start > Offset::ZERO || is_compacted) && partition.damage.is_none()
        });
        self.sweeps.waiting = moved.map(|(id, _)| *id).collect();
        self.start_sweep();
    }

    fn start_sweep(&mut self) {
        let stands_still = self.failure.is_some() || self.journal_damage.is_some();
        if self.sweeps.current.is_some() || stands_still {
            return;
        }
        let Some(id) = self.sweeps.waiting.pop_front() else { return };
        self.sweeps.current = Some(Sweep { id, parting: None });
        self.submit(Purpose::Sweep, DiskAction::List { path: partition_directory(id) });
    }

    pub(crate) fn handle_sweep(&mut self, result: DiskResult) {
        let Some(mut sweep) = self.sweeps.current.take() else { return };
        let action = match (&mut sweep.parting, result) {
            (None, DiskResult::Listed(Ok(names))) => {
                let mut parting = self.files_that_go(sweep.id, names);
                let action = self.part(&mut parting, None);
                sweep.parting = Some(parting);
                action
            }
            (None, _) => None,
            (Some(parting), result) => self.part(parting, Some(&result)),
        };
        let Some(action) = action else {
            if let Some(slot) = self.by_id.get(&sweep.id).copied() {
                self.partition_mut(slot).compaction.is_swept = true;
            }
            return self.start_sweep();
        };
        self.sweeps.current = Some(sweep);
        self.submit(Purpose::Sweep, action);
    }

    /// Those of the names that belong to no segment that counts. Compaction begins no new file
    /// before they have gone.
    fn files_that_go(&self, id: PartitionId, mut names: Vec<String>) -> Parting {
        let slot = self.by_id.get(&id).copied();
        names.retain(|name| slot.is_some_and(|slot| !self.counts(slot, name)));
        // A repair that has no journal counts on it: the first of several goes first.
        names.sort_unstable();
        Parting::new(partition_directory(id), names.into())
    }

    /// Whether a file is of a segment that counts, or may come to; or of none at all.
    fn counts(&self, slot: Slot, name: &str) -> bool {
        let Some(SegmentName { segment, generation }) = SegmentName::of_file(name) else {
            return true;
        };
        let partition = self.partition(slot);
        if segment < partition.first_segment() {
            return false;
        }
        let is_new = segment >= partition.active;
        let is_known = partition.generation(segment) == Some(generation);
        is_new || is_known || self.is_being_compacted(slot, segment, generation)
    }
}
