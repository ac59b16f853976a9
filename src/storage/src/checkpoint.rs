//! Making room in the journal: what is still needed is logged anew, then the head moves on.
//!
//! A checkpoint is not a moment but a walk over the partitions, oldest first, a few with each
//! commit. What a newcomer gets wrong: the head may move only when the snapshots are durable
//! **and** an anchor that names the new head is; until then the old frames are all there is.

use plimsoll_device::{ArenaRange, BLOCK_BYTES, DiskAction, IoError};

use crate::flight::{Purpose, WritePart};
use crate::frame::Sequence;
use crate::frame_draft::FrameDraft;
use crate::identity::{PartitionId, Slot};
use crate::journal::Mark;
use crate::limits::{COMMITS_MAX, FRAME_BYTES_MAX, SPILLS_MAX};
use crate::storage::{AnchorState, Seeding, StopState, Storage};

/// Snapshots that one commit takes along, in bytes.
const SNAPSHOT_BYTES_A_COMMIT: usize = 128 << 10;

/// Data of one partition that a snapshot carries along; with more, it is moved to its segment
/// first.
const TAIL_BYTES_MAX: u64 = 64 << 10;

/// The same of a partition whose file is gone: all that waits to be stored, in a frame of its own.
const DAMAGED_TAIL_BYTES_MAX: u64 = FRAME_BYTES_MAX as u64 / 2;

/// Partitions that are told to move their data before one commit looks no further.
const WAITING_MAX: usize = 2 * SPILLS_MAX;

impl Storage {
    /// Whether commits are to be made for the checkpoint's sake alone.
    pub(crate) fn checkpoint_has_work(&self) -> bool {
        let Some(to) = self.checkpoint_to else { return false };
        self.commits.is_empty()
            && self
                .by_oldest
                .first()
                .is_some_and(|(oldest, slot)| *oldest < to && !self.partition(*slot).spilling)
    }

    /// Takes snapshots of the partitions that need the oldest frames.
    pub(crate) fn plan_checkpoint(&mut self, draft: &mut FrameDraft) {
        let Some(to) = self.checkpoint_to else { return };
        let start = draft.body_bytes;
        let mut waiting = 0;
        let mut after = (Sequence(0), Slot(0));
        while draft.body_bytes - start < SNAPSHOT_BYTES_A_COMMIT
            && waiting < WAITING_MAX
            && self.journal.fits(FRAME_BYTES_MAX as u64, 0)
        {
            let range = (core::ops::Bound::Excluded(after), core::ops::Bound::Unbounded);
            let Some(&(oldest, slot)) = self.by_oldest.range(range).next() else { return };
            if oldest >= to {
                return;
            }
            after = (oldest, slot);
            if !self.ready_for_snapshot(slot) {
                waiting += 1;
                self.want_spill(slot);
            } else if !self.put_snapshot(slot, draft) {
                return;
            }
        }
    }

    /// Whether a snapshot of the partition is possible, and small enough.
    pub(crate) fn ready_for_snapshot(&self, slot: Slot) -> bool {
        let partition = self.partition(slot);
        let is_moving = partition.spilling || partition.compaction.is_switching;
        if is_moving || partition.snapshot_planned || partition.closing {
            return false;
        }
        let logged = self.logged_part(slot);
        let before_stored = partition.spans.iter().all(|id| {
            let span = self.memory.span(*id);
            span.segment >= logged.end.segment || span.closed == Some(span.stored)
        });
        // What snapshots carry along stays in the journal: only last blocks while it is full.
        let tail_bytes_max = match self.waits_for_journal() {
            // Nothing of it can be stored any more, and others need the journal, and the start.
            _ if partition.damage.is_some() => DAMAGED_TAIL_BYTES_MAX,
            true => BLOCK_BYTES as u64,
            false => TAIL_BYTES_MAX,
        };
        before_stored && logged.end.position.saturating_sub(logged.stored) <= tail_bytes_max
    }

    /// After commits: begins a checkpoint, ends it, moves the head.
    pub(crate) fn advance_checkpoint(&mut self) {
        if self.seeding != Seeding::Done || self.failure.is_some() {
            return;
        }
        let oldest = self.by_oldest.first().map(|(oldest, _)| *oldest);
        if let Some(to) = self.checkpoint_to
            && oldest.is_none_or(|oldest| oldest >= to)
        {
            self.checkpoint_to = None;
            self.checkpoint_ended_at = self.journal.next.position;
            self.counters.checkpoints += 1;
        }
        // Only what the anchor leaves behind is room. While it is slow, checkpoint upon checkpoint
        // would fill the journal, and the next start needs some of it.
        let is_idle = self.anchor == AnchorState::Idle;
        if self.checkpoint_to.is_none() && is_idle && self.is_checkpoint_due() {
            self.checkpoint_to = Some(self.journal.next.sequence);
        }
        // Frames in flight are not yet what recovery can begin with.
        let needed = oldest.unwrap_or(self.durable_frame.next()).min(self.durable_frame.next());
        let Some(head) = self.journal.mark_before(needed) else { return };
        let step = head.position - self.journal.head.position;
        let far = step >= self.step_bytes() || (step > 0 && self.waits_for_journal());
        if self.anchor == AnchorState::Idle && far && head.sequence <= needed {
            self.write_anchor(head);
        }
    }

    /// A quarter is in use, and another checkpoint would find something to leave behind, or appends
    /// wait for it. Without that it would log the same partitions again and again.
    fn is_checkpoint_due(&self) -> bool {
        let grown = self.journal.next.position - self.checkpoint_ended_at >= self.step_bytes();
        self.journal.used_bytes() > self.journal.area_bytes / 4
            && (grown || self.waits_for_journal())
            && self.stop <= StopState::Flushing
    }

    /// What makes moving the head worth a write.
    fn step_bytes(&self) -> u64 {
        self.journal.area_bytes / 16
    }

    /// Data waits that the journal has no room for. Only a checkpoint brings it.
    pub(crate) fn waits_for_journal(&self) -> bool {
        let has_data = !self.urgent.is_empty() || !self.leases_wanted.is_empty();
        has_data && self.is_journal_short()
    }

    /// Whether the journal takes data of this partition now. The internal topics have a little of
    /// the reserve to themselves, so that on a full disk topics can be deleted and offsets be
    /// committed: as much as the part of the arena in which frames are put together, which a
    /// checkpoint never has to log.
    pub(crate) fn journal_admits(&self, id: PartitionId) -> bool {
        let reserve = self.journal_reserve_bytes();
        let spare = ((COMMITS_MAX * FRAME_BYTES_MAX) as u64).min(reserve / 2);
        let share = if id.is_internal() { spare } else { 0 };
        self.journal.fits(FRAME_BYTES_MAX as u64, reserve - share)
    }

    /// The journal takes no data: what is left of it is for what makes room in it.
    pub(crate) fn is_journal_short(&self) -> bool {
        !self.journal.fits(FRAME_BYTES_MAX as u64, self.journal_reserve_bytes())
    }

    fn write_anchor(&mut self, head: Mark) {
        let anchor = self.journal.anchor(self.data_dir, head);
        let range: ArenaRange = self.memory.range(self.anchor_run, 0, BLOCK_BYTES as u32);
        anchor.encode(self.memory.arena_mut().bytes_mut(range));
        self.anchor = AnchorState::Writing(head);
        let part = WritePart {
            file: self.journal_file,
            position: anchor.file_position(),
            range,
            durable: false,
        };
        self.submit_on(part.file, Purpose::AnchorWrite(part), Self::write_action(&part));
    }

    pub(crate) fn handle_anchor_write(&mut self, part: WritePart, result: Result<usize, IoError>) {
        match Self::rest_of_write(part, result) {
            Ok(Some(rest)) => {
                let purpose = Purpose::AnchorWrite(rest);
                self.submit_on(rest.file, purpose, Self::write_action(&rest));
            }
            Ok(None) => {
                let action = DiskAction::SyncData { file: part.file };
                self.submit_on(part.file, Purpose::AnchorSync, action);
            }
            Err(error) => {
                let place = (part.position, part.range.length_bytes as u64);
                self.fail_on("write", part.file, place, error);
            }
        }
    }

    pub(crate) fn handle_anchor_sync(&mut self, result: Result<(), IoError>) {
        let AnchorState::Writing(head) = self.anchor else { return };
        self.anchor = AnchorState::Idle;
        match result {
            Ok(()) => {
                self.journal.set_head(head);
                self.advance_checkpoint();
            }
            Err(error) => self.fail_on("flush", self.journal_file, (0, 0), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use core::time::Duration;

    use plimsoll_batch::{Batch, BatchBuilder, BatchLimits, Offset};
    use plimsoll_device::{DiskCompletion, DiskOp, DiskResult, Instant, Now};
    use plimsoll_sim::heap_arena;

    use crate::identity::{Retention, Slot};
    use crate::journal::Journal;
    use crate::limits::ARENA_BYTES_MIN;
    use crate::partition::SegmentFile;
    use crate::{
        AppendError, Appended, DataDirId, Level, PartitionConfig, PartitionId, Sequence, Storage,
        StorageConfig,
    };

    const NOW: Now = Now { monotonic: Instant::ORIGIN, unix_ms: 0 };
    const JOURNAL_BYTES: u64 = 32 << 20;
    const SETTINGS: PartitionConfig = PartitionConfig {
        segment_bytes: 1 << 20,
        batch_bytes_max: 1 << 20,
        flush_interval: Duration::from_millis(100),
        retention: Retention::UNLIMITED,
        compaction: None,
    };

    /// A machine that does everything at once, until nothing more is asked for.
    fn run(storage: &mut Storage) {
        while let Some(DiskOp { token, action }) = storage.poll_op() {
            let result = match action {
                super::DiskAction::Open { .. } => DiskResult::Opened(Ok(JOURNAL_BYTES)),
                super::DiskAction::Write { source, .. } => {
                    let length_bytes = source.length_bytes();
                    DiskResult::Written(source, Ok(length_bytes))
                }
                _ => DiskResult::Done(Ok(())),
            };
            storage.handle(DiskCompletion { token, result }, NOW);
        }
    }

    /// A shard that has just started, with more than half of its journal in use, and a partition.
    fn with_a_full_journal() -> (Storage, Slot) {
        let config = StorageConfig {
            data_dir: DataDirId([1; 16]),
            epoch: 1,
            boot_id: [1; 16],
            durable_writes: false,
            journal: Journal::empty(0, JOURNAL_BYTES),
            journal_damage: None,
            other_damage: None,
            recycled_segments_max: 0,
            recovered: BTreeMap::new(),
        };
        let mut storage = Storage::new(config, heap_arena(ARENA_BYTES_MIN));
        let slot = storage.open_partition(PartitionId { topic: 1, partition: 0 }, SETTINGS);
        storage.finish_opening(NOW);
        run(&mut storage);
        storage.all_seeded();
        while storage.journal.used_bytes() < storage.journal.area_bytes / 2 {
            let position = storage.journal.place(1 << 20);
            storage.journal.advance(position, 1 << 20, 0);
        }
        storage.durable_frame = Sequence(storage.journal.next.sequence.0 - 1);
        (storage, slot)
    }

    fn append(storage: &mut Storage, slot: Slot) -> Result<Appended, AppendError> {
        let mut builder = BatchBuilder::new();
        builder.append(0, None, Some(b"one"), &[]).unwrap();
        let mut bytes = Vec::new();
        builder.finish_into(&mut bytes);
        let batch = Batch::validate(&bytes, &BatchLimits::default()).unwrap();
        storage.append(slot, &batch, Level::Disk, NOW)
    }

    /// A partition that had blocks took appends on a full disk although the journal had no room for
    /// them: their producers heard nothing until somebody made room on the disk.
    #[test]
    fn a_full_disk_refuses_appends_at_once_when_the_journal_has_no_room_either() {
        let (mut storage, slot) = with_a_full_journal();
        let blocks = SegmentFile { segment: Offset::ZERO, exists: true, allocated: 1 << 20 };
        storage.partition_mut(slot).files.push(blocks);
        storage.disk_full = Some(Instant::ORIGIN);
        assert!(matches!(append(&mut storage, slot), Err(AppendError::DiskFull)));
        storage.disk_full = None;
        append(&mut storage, slot).unwrap();
    }

    /// To delete a topic is how room comes back: the record of it must find a place.
    #[test]
    fn the_metadata_topic_is_written_when_disk_and_journal_are_full_for_others() {
        let (mut storage, other) = with_a_full_journal();
        let metadata = storage.open_partition(PartitionId::METADATA, SETTINGS);
        let blocks = SegmentFile { segment: Offset::ZERO, exists: true, allocated: 1 << 20 };
        storage.partition_mut(metadata).files.push(blocks);
        storage.disk_full = Some(Instant::ORIGIN);
        // No checkpoint ends as long as there is no room on the disk.
        storage.checkpoint_to = Some(Sequence(1));
        storage.set_oldest_frame(other, Sequence(0));
        storage.partition_mut(other).spilling = true;
        append(&mut storage, metadata).unwrap();
        run(&mut storage);
        assert_eq!(storage.watermarks(metadata).disk, Offset::new(1));
        assert!(matches!(append(&mut storage, other), Err(AppendError::DiskFull)));
    }

    /// A checkpoint had ended, with more than half of the journal still in use and too little left
    /// behind for the head to be moved. The next one was begun by the next commit only, and no
    /// commit could begin in so full a journal: producers waited for ever.
    #[test]
    fn data_that_waits_for_a_full_journal_begins_the_checkpoint_that_makes_room() {
        let (mut storage, slot) = with_a_full_journal();
        append(&mut storage, slot).unwrap();
        run(&mut storage);
        assert_eq!(storage.watermarks(slot).disk, Offset::new(1));
    }
}
