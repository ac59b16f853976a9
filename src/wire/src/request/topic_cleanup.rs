//! How old records of a topic go: from the front, by key, or both.
//!
//! Sent and told only where it matters: peers of before do not know it. What a newcomer gets wrong:
//! `compact` alone keeps the latest record of each key for ever, whatever the retention says.

use alloc::vec::Vec;

use crate::body::{Body, put_u64};
use crate::frame_error::FrameError;

/// How old records of a topic go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicCleanup {
    /// Which ones.
    pub policy: CleanupPolicy,
    /// Records that were written less than this long ago are not touched by compaction.
    pub compaction_lag_ms: u64,
    /// A record without a value deletes its key; it stays for so long after the last value of the
    /// key is gone.
    pub tombstone_retention_ms: u64,
}

/// Which records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CleanupPolicy {
    /// What the retention does not keep.
    Delete = 1,
    /// Those after which another one of their key came.
    Compact = 2,
    /// Both.
    CompactDelete = 3,
}

impl CleanupPolicy {
    /// Every policy.
    pub const ALL: [CleanupPolicy; 3] =
        [CleanupPolicy::Delete, CleanupPolicy::Compact, CleanupPolicy::CompactDelete];

    /// The name, as the command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            CleanupPolicy::Delete => "delete",
            CleanupPolicy::Compact => "compact",
            CleanupPolicy::CompactDelete => "compact,delete",
        }
    }

    /// Whether what the retention does not keep goes.
    #[must_use]
    pub const fn deletes(self) -> bool {
        self as u8 & CleanupPolicy::Delete as u8 != 0
    }

    /// Whether of each key only the latest record stays.
    #[must_use]
    pub const fn compacts(self) -> bool {
        self as u8 & CleanupPolicy::Compact as u8 != 0
    }

    /// The policy with this number.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<CleanupPolicy> {
        CleanupPolicy::ALL.into_iter().find(|policy| *policy as u8 == byte)
    }
}

impl TopicCleanup {
    /// Of a topic of which nobody said anything.
    pub const DEFAULT: TopicCleanup = TopicCleanup {
        policy: CleanupPolicy::Delete,
        compaction_lag_ms: 0,
        tombstone_retention_ms: 24 * 3600 * 1000,
    };

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.policy as u8, 0, 0, 0]);
        put_u64(self.compaction_lag_ms, out);
        put_u64(self.tombstone_retention_ms, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<TopicCleanup, FrameError> {
        let policy = body.choice("cleanup", CleanupPolicy::from_byte)?;
        body.reserved::<3>()?;
        let compaction_lag_ms = body.u64("compaction_lag_ms")?;
        let tombstone_retention_ms = body.u64("tombstone_retention_ms")?;
        Ok(TopicCleanup { policy, compaction_lag_ms, tombstone_retention_ms })
    }
}

impl Default for TopicCleanup {
    fn default() -> TopicCleanup {
        TopicCleanup::DEFAULT
    }
}
