//! A batch while it is open, and once it is sealed into a produce frame.
//!
//! A sealed batch is never changed again but for the head of its frame, and its producer's stamp
//! for as long as it was not sent. What a newcomer gets wrong:
//! sealing compresses and sums the batch, so it is the expensive step.

use crate::{Chunk, Compression, Doubt, Instant, compression};
use alloc::vec::Vec;
use plimsoll_batch::{BatchBuilder, ProducerStamp};
use plimsoll_wire::{AckLevel, PRODUCE_HEAD_BYTES};

/// The number of a batch at its producer: grows in the order in which batches are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub(super) u64);

/// A batch that still takes records.
#[derive(Debug)]
pub(super) struct OpenBatch<A> {
    pub(super) id: BatchId,
    pub(super) builder: BatchBuilder,
    pub(super) opened_at: Instant,
    pub(super) attachment: A,
}

/// A whole produce frame, but for the head: handle and correlation id are known when it is sent.
#[derive(Debug)]
pub(super) struct SealedBatch<A> {
    pub(super) id: BatchId,
    pub(super) frame: Chunk,
    pub(super) records: u32,
    pub(super) opened_at: Instant,
    pub(super) attachment: A,
    pub(super) refusals: u32,
    /// The producer's stamp in its bytes.
    pub(super) stamp: Option<ProducerStamp>,
    /// It was sent with that stamp, and is sent again with no other.
    pub(super) is_pinned: bool,
    /// Why it may be there although it was not acked: then it is never told refused.
    pub(super) doubt: Option<Doubt>,
    /// It still may: it is not sent with another stamp.
    pub(super) may_be_there: bool,
    /// A level of two that was told already.
    pub(super) told: Option<AckLevel>,
}

impl<A> SealedBatch<A> {
    pub(super) fn restamp(&mut self, stamp: ProducerStamp) {
        plimsoll_batch::stamp(&mut self.frame.make_mut()[PRODUCE_HEAD_BYTES..], stamp);
        self.stamp = Some(stamp);
    }
}

impl<A> OpenBatch<A> {
    /// Builds the frame in `memory` and gives the builder back, empty.
    pub(super) fn seal(
        mut self,
        compression: Compression,
        stamp: Option<ProducerStamp>,
        mut memory: Vec<u8>,
    ) -> (SealedBatch<A>, BatchBuilder) {
        let records = self.builder.record_count();
        memory.resize(PRODUCE_HEAD_BYTES, 0);
        if let Some(stamp) = stamp {
            self.builder.set_producer(stamp);
        }
        match compression::compress(compression, self.builder.records_payload()) {
            Some((codec, compressed)) => {
                self.builder.finish_compressed_into(codec, &compressed, &mut memory);
            }
            None => self.builder.finish_into(&mut memory),
        }
        let sealed = SealedBatch {
            id: self.id,
            frame: Chunk::new(memory),
            records,
            opened_at: self.opened_at,
            attachment: self.attachment,
            refusals: 0,
            stamp,
            is_pinned: false,
            doubt: None,
            may_be_there: false,
            told: None,
        };
        (sealed, self.builder)
    }
}
