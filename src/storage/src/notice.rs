//! What storage tells its shard.
//!
//! Notices come in the order of what happened, and only when they are polled for. What a newcomer
//! gets wrong: `Advanced` does not say to where; ask for the watermarks.

use crate::error::{Failure, ReadError};
use crate::identity::{PartitionId, Slot};
use crate::read::{Lent, ReadId};

/// News from the storage; taken with [`Storage::poll_notice`](crate::Storage::poll_notice).
#[derive(Debug)]
pub enum Notice {
    /// At least one watermark of the partition moved. Told once however often it moved since.
    Advanced(Slot),
    /// A read that was `Pending` has ended.
    Read(ReadId, Result<Lent, ReadError>),
    /// A search for a timestamp has ended: the offset from which to read.
    Located(ReadId, Result<plimsoll_batch::Offset, ReadError>),
    /// The partition's start moved, durably: see [`Storage::delete_records`].
    ///
    /// [`Storage::delete_records`]: crate::Storage::delete_records
    StartMoved(Slot),
    /// The wall clock leapt by so much; data does not age by it until that has lasted. Told only if
    /// the data of a partition ages.
    ClockLeapt {
        /// Ahead, or back if it is negative.
        by_ms: i64,
    },
    /// The leap has lasted for so long that data ages by it from now on.
    ClockBelieved {
        /// As it is against what was believed before.
        by_ms: i64,
    },
    /// A segment that was to be compacted is damaged or cannot be read. The partition is not
    /// compacted any more, until its settings change or the server starts again.
    CompactionStopped(Slot, ReadError),
    /// Memory became free: whoever got `NoRoom` may try again.
    Room,
    /// There is room on the disk again, after `DiskFull`.
    DiskHasRoom,
    /// The shard has failed: nothing more is acked at `disk`, every append that has not reached
    /// its level is `unknown`, every further one is refused. Told once.
    Failed(Failure),
    /// Everything that recovery found is durable in this shard's journal. Told once.
    Seeded,
    /// The partition's files are gone, durably.
    Removed(PartitionId),
    /// After `stop`: everything is durable. Told once.
    Stopped,
}
