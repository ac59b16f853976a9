//! What a shard tells its server: things to log, and things to act upon.
//!
//! A report asks for no answer, and the shard does not wait until it is read. What a newcomer gets
//! wrong: `Failed` does not end the shard. It goes on to serve reads, and refuses appends.

use alloc::string::String;

use plimsoll_device::SocketId;
use plimsoll_storage::{Damage, Failure};
use plimsoll_wire::ErrorCode;

/// News for the server; taken with [`Shard::poll_report`](crate::Shard::poll_report).
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// What recovery found is durable in this shard's own journal.
    Seeded,
    /// The topics are known and every shard has seeded: connections may come.
    Serving,
    /// A write or flush failed: nothing more is acked at `disk` here until a restart.
    Failed(Failure),
    /// Stored bytes do not match their check. They are not delivered.
    Damaged(Damage),
    /// A partition is not compacted any more, because what is in it cannot be read.
    CompactionStopped(String),
    /// The wall clock leapt: nothing goes by its age because of that before an hour has passed.
    ClockLeapt {
        /// Ahead, or back if it is negative.
        by_ms: i64,
    },
    /// The leap has lasted: what is old by the new time goes.
    ClockBelieved {
        /// As it is against what was believed before.
        by_ms: i64,
    },
    /// The disk is full: appends are refused until there is room.
    DiskFull,
    /// There is room on the disk again.
    DiskHasRoom,
    /// The metadata topic cannot be read: the server cannot start.
    MetadataUnreadable(String),
    /// A connection was turned away.
    ConnectionRefused {
        /// Why.
        reason: &'static str,
    },
    /// A connection was closed because of what the client sent.
    ProtocolError {
        /// Whose.
        socket: SocketId,
        /// What the client was told.
        code: ErrorCode,
        /// What happened, for people.
        text: String,
    },
    /// After `stop`: everything is durable and every connection closed.
    Stopped,
}
