//! What the server tells a shard at its start. Every limit of a shard is here.
//!
//! Nothing here changes while the shard runs. What a newcomer gets wrong: limits are of one shard,
//! except where they say otherwise (`partitions_max`). A topic has settings of its own: here are
//! those of a new one that does not say.

use alloc::string::String;
use core::time::Duration;

use plimsoll_wire::{
    AckLevel, FRAME_BYTES_MAX, HANDLES_MAX, IN_FLIGHT_MAX, ShardIndex, TopicCleanup, TopicRetention,
};

/// Who a shard is, and what it may use.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// This shard.
    pub index: ShardIndex,
    /// How many shards the server has.
    pub shards: u16,
    /// One more at each start of the server.
    pub epoch: u64,
    /// Name and version of the server, for clients that ask.
    pub server_name: String,
    /// What the shard may use.
    pub limits: ShardLimits,
    /// Settings of a topic whose creator did not give them.
    pub topic_defaults: TopicSettings,
}

/// What a shard may use. When a limit is reached, the one who reached it waits or is refused;
/// nobody else is.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Connections of this shard.
    pub connections_max: usize,
    /// A handle of a connection is below this.
    pub handles_per_connection_max: u32,
    /// Produce frames of a connection that are not acked, and other requests that are not
    /// answered; beyond either the shard stops reading from the connection.
    pub in_flight_frames_max: u32,
    /// The largest frame that is taken, in bytes.
    pub frame_bytes_max: usize,
    /// All receive buffers that connections own, in bytes. At least one largest frame.
    pub receive_bytes_max: usize,
    /// What waits to be sent on a connection, in bytes, before the shard stops reading from it.
    pub send_backlog_bytes_max: usize,
    /// Append and read memory that sends in flight may hold, in bytes; beyond it deliveries are
    /// copied, so that consumers that never read cannot hold up producers.
    pub lent_bytes_max: usize,
    /// Batches on their way to other shards, in bytes.
    pub forward_bytes_max: usize,
    /// Mail that the server has not yet taken, before the shard stops reading from the connections
    /// that cause more.
    pub outbox_max: usize,
    /// Partitions of all topics together.
    pub partitions_max: u64,
    /// An idempotent producer that writes nothing to a partition for this long is forgotten there.
    pub producer_expiry: Duration,
    /// Consumer groups that this shard keeps.
    pub groups_max: usize,
    /// Members of all groups of this shard.
    pub group_members_max: usize,
    /// Committed offsets of all groups of this shard.
    pub committed_offsets_max: usize,
    /// Offsets of a partition that a group in share mode may have handed out and not yet done with.
    /// Beyond it nothing is handed out that was not before.
    pub share_window_max: u64,
    /// As `share_window_max`, for all groups and partitions of this shard together.
    pub share_records_max: u64,
    /// By how much a log of committed offsets grows, at least, before what still counts in it is
    /// written again and the rest goes.
    pub offset_log_fresh_bytes_min: u64,
    /// By how much the log of topics grows, at least, before those that there are are written again
    /// and the rest goes.
    pub metadata_fresh_bytes_min: u64,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            handles_per_connection_max: HANDLES_MAX,
            in_flight_frames_max: IN_FLIGHT_MAX,
            frame_bytes_max: FRAME_BYTES_MAX,
            receive_bytes_max: 128 << 20,
            send_backlog_bytes_max: 1 << 20,
            lent_bytes_max: 32 << 20,
            forward_bytes_max: 64 << 20,
            outbox_max: 1024,
            partitions_max: 100_000,
            producer_expiry: Duration::from_secs(7 * 24 * 3600),
            groups_max: 10_000,
            group_members_max: 50_000,
            committed_offsets_max: 1_000_000,
            share_window_max: 100_000,
            share_records_max: 1_000_000,
            offset_log_fresh_bytes_min: 4 << 20,
            metadata_fresh_bytes_min: 1 << 20,
        }
    }
}

/// Settings of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// What a producer gets that does not say.
    pub default_durability: AckLevel,
    /// How long a record of a weaker level than `disk` may wait for its flush.
    pub flush_interval_ms: u32,
    /// How large a segment grows.
    pub segment_bytes: u64,
    /// The largest batch that is taken, in bytes.
    pub batch_bytes_max: u32,
    /// How long its records stay.
    pub retention: TopicRetention,
    /// How old records go.
    pub cleanup: TopicCleanup,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            default_durability: AckLevel::Disk,
            flush_interval_ms: 100,
            segment_bytes: 256 << 20,
            batch_bytes_max: 1 << 20,
            retention: TopicRetention::UNLIMITED,
            cleanup: TopicCleanup::DEFAULT,
        }
    }
}
