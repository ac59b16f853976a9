//! What the server says about a topic, owned.
//!
//! A snapshot: it is not followed by updates. What a newcomer gets wrong: the shard of a partition
//! is a hint for speed; a server forwards what comes to the wrong shard.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use plimsoll_wire::{AckLevel, ShardIndex, TopicCleanup, TopicRetention};

/// A topic, as `metadata` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its number. A topic that was deleted and created again has another one.
    pub id: u32,
    /// The level of an ack where a producer does not ask for one.
    pub durability: AckLevel,
    /// How soon what sits in the page cache is on disk.
    pub flush_interval: Duration,
    /// The size of its segments.
    pub segment_bytes: u64,
    /// The largest record batch that it takes.
    pub batch_bytes_max: u32,
    /// How long its records stay.
    pub retention: TopicRetention,
    /// How old records go.
    pub cleanup: TopicCleanup,
    /// The shard of each partition.
    pub shards: Vec<ShardIndex>,
}

impl Topic {
    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.shards.len() as u32
    }

    /// How many links a session for this topic needs room for: one above the highest shard.
    pub(crate) fn links(&self) -> u16 {
        self.shards.iter().map(|shard| shard.0.saturating_add(1)).max().unwrap_or(0)
    }
}
