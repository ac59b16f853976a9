//! Identities for idempotent producers.
//!
//! An id is unique by construction and costs no write: the epoch of this start is durable, and the
//! shard counts. What a newcomer gets wrong: the fields wrap. An id comes back after 16 million
//! starts, or 500 million producers of one start, when nothing is known of the first one any more.

use plimsoll_wire::{CorrelationId, InitProducerResponse};

use super::Shard;
use super::decoding::Flow;
use crate::connection::ConnectionId;
use crate::mail::Ended;

/// Bits of a producer id, from the top: one is 0, then the server's epoch.
const EPOCH_BITS: u32 = 24;
/// The shard.
const SHARD_BITS: u32 = 10;
/// How many the shard has given out in this start.
const COUNT_BITS: u32 = 29;

impl Shard {
    pub(super) fn init_producer(&mut self, id: ConnectionId, correlation: CorrelationId) -> Flow {
        let field = |value: u64, bits: u32| value & ((1 << bits) - 1);
        let epoch = field(self.config.epoch, EPOCH_BITS) << (SHARD_BITS + COUNT_BITS);
        let shard = field(u64::from(self.config.index.0), SHARD_BITS) << COUNT_BITS;
        let producer_id = epoch | shard | field(self.producers_begun, COUNT_BITS);
        self.producers_begun += 1;
        let batches_max = u16::try_from(plimsoll_storage::PRODUCER_BATCHES_MAX).unwrap_or(1);
        let response = InitProducerResponse { producer_id, epoch: 0, batches_max };
        let client = self.client(id);
        self.answer(client, Ended::NOTHING, |out| response.encode(correlation, out));
        Flow::Next
    }
}
