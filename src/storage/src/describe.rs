//! What the log says of itself: watermarks, states, counters.
//!
//! Questions only; nothing here changes anything. What a newcomer gets wrong: damage of the journal
//! is every partition's damage, because what it named may have been of any of them.

use crate::error::{Damage, Failure};
use crate::identity::{PartitionConfig, PartitionId, Slot};
use crate::level::Watermarks;
use crate::storage::Storage;

/// Whether a partition takes appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// Reads and appends.
    Healthy,
    /// Stored bytes are damaged: reads only.
    Damaged(Damage),
    /// A write or flush of the shard failed: reads only, until a restart.
    Failed,
}

/// What `describe` shows of a partition.
#[derive(Clone, Debug)]
pub struct PartitionDescription {
    /// Its marks.
    pub watermarks: Watermarks,
    /// Bytes of all its batches.
    pub bytes: u64,
    /// Number of segments.
    pub segments: u32,
    /// Whether it takes appends.
    pub state: PartitionState,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageCounters {
    /// Batches appended.
    pub appended_batches: u64,
    /// Records appended.
    pub appended_records: u64,
    /// Bytes appended.
    pub appended_bytes: u64,
    /// Group commits that became durable.
    pub commits: u64,
    /// Bytes that they made durable: journal frames and segment extents.
    pub commit_bytes: u64,
    /// Bytes of batches written straight to segments.
    pub extent_bytes: u64,
    /// Bytes moved from the arena to segments in the background.
    pub spilled_bytes: u64,
    /// Bytes read from segments.
    pub read_bytes: u64,
    /// Reads answered from the arena.
    pub tail_reads: u64,
    /// Segments that went because the partition's start had moved beyond them.
    pub removed_segments: u64,
    /// Bytes of batches in them.
    pub removed_bytes: u64,
    /// Passes of compaction that came to their end.
    pub compactions: u64,
    /// Bytes that they wrote.
    pub compacted_bytes: u64,
    /// Bytes of batches that went with them.
    pub compacted_away_bytes: u64,
    /// Records that went with them.
    pub compacted_away_records: u64,
    /// Milliseconds that all passes took, with their pauses; also those that did not come to their
    /// end.
    pub compaction_ms: u64,
    /// Files of such segments that were kept for new ones.
    pub recycled_segments: u64,
    /// New segments that took such a file.
    pub reused_segments: u64,
    /// Checkpoints of the journal that were completed.
    pub checkpoints: u64,
}

impl Storage {
    /// The open partition's slot.
    pub fn slot(&self, id: PartitionId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// The partition's watermarks.
    pub fn watermarks(&self, slot: Slot) -> Watermarks {
        self.partition(slot).watermarks()
    }

    /// The partition's settings.
    pub fn config(&self, slot: Slot) -> PartitionConfig {
        self.partition(slot).config
    }

    /// Whether the partition takes appends.
    pub fn state(&self, slot: Slot) -> PartitionState {
        let damage = self.partition(slot).why_fenced().or(self.journal_damage.as_ref());
        match (damage, &self.failure) {
            (Some(damage), _) => PartitionState::Damaged(damage.clone()),
            (None, Some(_)) => PartitionState::Failed,
            (None, None) => PartitionState::Healthy,
        }
    }

    /// Damage that was found at the start and may have taken what was behind the partition's end.
    /// A journal that is only kept from being written to has lost nothing.
    pub fn lost_end(&self, slot: Slot) -> Option<&Damage> {
        self.partition(slot).lost_end.as_ref()
    }

    /// What `describe` shows.
    pub fn describe(&self, slot: Slot) -> PartitionDescription {
        let partition = self.partition(slot);
        let segments = partition.sealed.len() + usize::from(partition.published.position > 0);
        PartitionDescription {
            watermarks: partition.watermarks(),
            bytes: partition.sealed_bytes + partition.published.position,
            segments: u32::try_from(segments).unwrap_or(u32::MAX),
            state: self.state(slot),
        }
    }

    /// Counters since the start.
    pub fn counters(&self) -> StorageCounters {
        self.counters
    }

    /// Partitions of which a pass of compaction is under way, or waits for its turn.
    pub fn compaction_backlog(&self) -> usize {
        self.compaction.backlog()
    }

    /// Why the shard acks nothing more at `disk`, if it does not.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whether the disk has no room for files to grow, as far as was seen.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full.is_some()
    }

    /// Damage in the shard's journal, if recovery found any.
    pub fn journal_damage(&self) -> Option<&Damage> {
        self.journal_damage.as_ref()
    }
}
