//! Parting with the files of segments that no longer count.
//!
//! One partition at a time, in the background, and never before the frame that says so is durable.
//! A removal that is cut off leaves files that nobody reads; the next start lists the directories
//! of partitions whose start has moved, and takes them up again. What a newcomer gets wrong: the
//! names in the directory decide, not what this process remembers of it.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::{DiskAction, DiskResult};

use crate::flight::Purpose;
use crate::identity::PartitionId;
use crate::parting::Parting;
use crate::partition::partition_directory;
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

    /// After a start: what an earlier life had no time to remove.
    pub(crate) fn sweep_all(&mut self) {
        let moved = self.by_id.iter().filter(|(_, slot)| {
            self.partition(**slot).start > Offset::ZERO && self.partition(**slot).damage.is_none()
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
                let mut parting = self.files_before(sweep.id, names);
                let action = self.part(&mut parting, None);
                sweep.parting = Some(parting);
                action
            }
            (None, _) => None,
            (Some(parting), result) => self.part(parting, Some(&result)),
        };
        let Some(action) = action else { return self.start_sweep() };
        self.sweeps.current = Some(sweep);
        self.submit(Purpose::Sweep, action);
    }

    /// Those of the names that belong to segments before the partition's first one.
    fn files_before(&self, id: PartitionId, names: Vec<String>) -> Parting {
        let slot = self.by_id.get(&id).copied();
        let first = slot.map_or(Offset::ZERO, |slot| self.partition(slot).first_segment());
        let is_before = |name: &String| segment_of(name).is_some_and(|base| base < first);
        Parting::new(partition_directory(id), names.into_iter().filter(is_before).collect())
    }
}

/// The segment that a file of a partition belongs to, by its name.
pub(crate) fn segment_of(name: &str) -> Option<Offset> {
    let base = name.strip_suffix(".segment").or_else(|| name.strip_suffix(".index"))?;
    let base: u64 = (base.len() == 20).then(|| base.parse().ok()).flatten()?;
    (base <= Offset::MAX.value()).then(|| Offset::new(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_segments_are_ever_swept() {
        assert_eq!(segment_of("00000000000000000042.segment"), Some(Offset::new(42)));
        assert_eq!(segment_of("00000000000000000042.index"), Some(Offset::new(42)));
        for other in ["42.segment", "notes.txt", "00000000000000000042.segment.old", ".segment"] {
            assert_eq!(segment_of(other), None, "{other}");
        }
    }
}
