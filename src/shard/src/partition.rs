//! What the shard keeps of a partition that it owns, beside what storage keeps.
//!
//! It holds no offsets and no records: watermarks are asked of storage each time. What a newcomer
//! gets wrong: the readers here are only those that wait. `readers.rs` has them all.

use alloc::vec::Vec;

use plimsoll_batch::BatchLimits;
use plimsoll_storage::PartitionId;
use plimsoll_wire::AckLevel;

use crate::ack_fifo::AckFifo;
use crate::readers::ReaderId;

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) limits: BatchLimits,
    pub(crate) default_durability: AckLevel,
    pub(crate) acks: AckFifo,
    /// Readers that have seen everything.
    pub(crate) waiting: Vec<ReaderId>,
    /// It is in the list of partitions to look at in this turn.
    pub(crate) is_touched: bool,
}

impl Partition {
    pub(crate) fn new(id: PartitionId, batch_bytes_max: usize, default: AckLevel) -> Self {
        Self {
            id,
            limits: BatchLimits { batch_bytes_max },
            default_durability: default,
            acks: AckFifo::default(),
            waiting: Vec::new(),
            is_touched: false,
        }
    }
}
