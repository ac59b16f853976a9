//! The names by which storage knows its partitions.
//!
//! A `PartitionId` is for ever, a `Slot` for as long as the partition is open: slots are used
//! again, so they never reach the disk.

use core::fmt;
use core::time::Duration;

/// A partition of a topic, for ever: topic ids are never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic's id.
    pub topic: u32,
    /// The partition within the topic, from 0.
    pub partition: u32,
}

impl PartitionId {
    /// The partition of the internal metadata topic.
    pub const METADATA: Self = Self { topic: 0, partition: 0 };

    /// The internal topic of committed offsets, `__offsets`; it has [`OFFSETS_PARTITIONS`].
    pub const OFFSETS_TOPIC: u32 = u32::MAX;

    /// Whether it belongs to the server itself: such partitions take appends while there is no room
    /// for others, because what makes room, and what consumers have done, is written there.
    pub const fn is_internal(self) -> bool {
        self.topic == Self::METADATA.topic || self.topic == Self::OFFSETS_TOPIC
    }

    /// The shard, of `shards`, that owns this partition. Neighbouring partitions of a topic lie on
    /// different shards, and small topics do not all begin on the first.
    pub fn owner(self, shards: u16) -> u16 {
        assert!(shards > 0, "there is at least one shard");
        let place = (u64::from(self.topic) + u64::from(self.partition)) % u64::from(shards);
        u16::try_from(place).unwrap_or(0)
    }
}

/// Partitions of the internal topic of committed offsets. The group's name says which one it is in,
/// so that the number never changes.
pub const OFFSETS_PARTITIONS: u32 = 16;

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A partition that is open on this shard; an index, valid until the partition is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What may differ from partition to partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionConfig {
    /// A segment holds at most this many bytes (a single larger batch excepted).
    pub segment_bytes: u64,
    /// The largest batch that is taken, in bytes.
    pub batch_bytes_max: usize,
    /// How long a record of a weaker level than `disk` may wait for its flush.
    pub flush_interval: Duration,
    /// How long data stays.
    pub retention: Retention,
    /// Whether of each key only the latest record stays, and when the others go.
    pub compaction: Option<Compaction>,
}

/// How a partition is compacted by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Data that was written later than so long ago is not touched.
    pub lag: Duration,
    /// A record without a value deletes its key. It stays for so long after everything that the
    /// key had before is gone: who reads from the front meanwhile sees the deletion.
    pub tombstone_retention: Duration,
}

/// What may go by itself, in whole segments and from the front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Data that was written longer ago than this; `None`: data of any age stays.
    pub age: Option<Duration>,
    /// What is beyond this many bytes of a partition; `None`: any size stays.
    pub bytes: Option<u64>,
}

impl Retention {
    /// Nothing goes by itself.
    pub const UNLIMITED: Self = Self { age: None, bytes: None };
}
