//! Topics that are compacted by key, and ends that come while that is done.
//!
//! What a newcomer gets wrong: acts say nothing of keys. Which key a record has, and whether it
//! deletes it, follows from its number (`keyed.rs`).

use plimsoll_wire::{CleanupPolicy, TopicCleanup};

use super::Scenario;

/// How a topic is compacted, and the keys that its records have.
#[derive(Clone, Copy, Debug)]
pub struct CompactionPlan {
    /// It is created as a topic that is not compacted; whoever is to have it compacted alters it.
    pub begins_plain: bool,
    /// What is old goes, too.
    pub deletes_old: bool,
    /// Nothing goes that is younger.
    pub lag_ms: u64,
    /// How long the deletion of a key stays when there is nothing left to delete.
    pub tombstone_retention_ms: u64,
    /// How many keys there are.
    pub keys: u32,
    /// Of 1,000 records, those that delete their key.
    pub deletions_permille: u32,
    /// Of 1,000 records, those without a key.
    pub keyless_permille: u32,
}

/// When a life ends for what compaction does.
#[derive(Clone, Copy, Debug)]
pub struct CompactionCut {
    /// So many compacted files have been begun; or are alone, since what they replace has gone.
    pub files: usize,
    /// Which of these.
    pub alone: bool,
    /// And since then so many operations of the disk.
    pub operations: u64,
}

impl CompactionPlan {
    /// With which policy it is compacted, or is not.
    pub(crate) fn policy(self, compacts: bool) -> CleanupPolicy {
        match (compacts, self.deletes_old) {
            (false, _) => CleanupPolicy::Delete,
            (true, true) => CleanupPolicy::CompactDelete,
            (true, false) => CleanupPolicy::Compact,
        }
    }

    /// What it is created with.
    pub(crate) fn cleanup(self) -> TopicCleanup {
        TopicCleanup {
            policy: self.policy(!self.begins_plain),
            compaction_lag_ms: self.lag_ms,
            tombstone_retention_ms: self.tombstone_retention_ms,
        }
    }
}

impl Scenario {
    /// Whether a topic is compacted.
    pub(crate) fn compacts(&self) -> bool {
        self.topics.iter().any(|topic| topic.compaction.is_some())
    }
}
