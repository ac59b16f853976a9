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
    /// How old records have to be, unless somebody alters that.
    pub ages: CompactionAges,
    /// How many keys there are.
    pub keys: u32,
    /// Of 1,000 records, those that delete their key.
    pub deletions_permille: u32,
    /// Of 1,000 records, those without a key.
    pub keyless_permille: u32,
}

/// How old records have to be before compaction takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionAges {
    /// Nothing goes that is younger.
    pub lag_ms: u64,
    /// How long the deletion of a key stays when there is nothing left to delete.
    pub tombstone_retention_ms: u64,
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
    /// What it is created with.
    pub(crate) fn at_first(self) -> TopicCleanup {
        self.cleanup(!self.begins_plain, self.ages)
    }

    /// How it is cleaned up if it is compacted, or if it is not.
    pub(crate) fn cleanup(self, compacts: bool, ages: CompactionAges) -> TopicCleanup {
        TopicCleanup {
            policy: match (compacts, self.deletes_old) {
                (false, _) => CleanupPolicy::Delete,
                (true, true) => CleanupPolicy::CompactDelete,
                (true, false) => CleanupPolicy::Compact,
            },
            compaction_lag_ms: ages.lag_ms,
            tombstone_retention_ms: ages.tombstone_retention_ms,
        }
    }
}

impl Scenario {
    /// Whether a topic is compacted.
    pub(crate) fn compacts(&self) -> bool {
        self.topics.iter().any(|topic| topic.compaction.is_some())
    }
}
