//! Going on as a producer that is gone: its identity, and its sequence in one partition.
//!
//! A server takes a batch of an identity only where its sequence is the next one. So who numbers
//! the records of a source by its place in the source (a line's number, say), and keeps the
//! identity beside it, is told by the first refusal what the log has of the source; and whatever
//! the process before it still had on its way, each record is in the log once.
//!
//! What a newcomer gets wrong: such a producer never gets another identity. Where others would go
//! on under a new one, this one has ended, and refuses all that is appended.

use super::Producer;
use super::batch::SealedBatch;
use super::identity::Identity;
use crate::{BatchOutcome, Refusal};
use core::mem;
use plimsoll_batch::ProducerStamp;

/// Whom a server knows a producer by. It outlives the producer, if it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The id: no other producer gets the same one.
    pub id: u64,
    /// Its epoch.
    pub epoch: u16,
}

/// Where a producer goes on that has an identity from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Which one.
    pub identity: ProducerIdentity,
    /// The partition. In others the producer is a new one.
    pub partition: u32,
    /// The number of the next record there, modulo 2^31: how many the identity has appended. If it
    /// is another one for the server, the first batch is refused with `OUT_OF_SEQUENCE`, whose
    /// detail a is the right one.
    pub sequence: u32,
}

impl Resume {
    fn stamp(self) -> ProducerStamp {
        ProducerStamp {
            id: i64::try_from(self.identity.id).unwrap_or(i64::MAX),
            epoch: self.identity.epoch.cast_signed(),
            base_sequence: (self.sequence & i32::MAX.cast_unsigned()).cast_signed(),
        }
    }
}

impl<A: Clone + Default> Producer<A> {
    pub(super) fn resume(&mut self) {
        let Some(resume) = self.options.resume.filter(|_| self.is_idempotent) else { return };
        if let Some(lane) = self.lanes.get_mut(resume.partition as usize) {
            lane.identity = Identity::Known(resume.stamp());
            lane.is_resumed = true;
        }
    }

    /// A batch is given up, and nothing behind it may take its place.
    pub(super) fn end_lane(&mut self, partition: u32, batch: SealedBatch<A>, refusal: Refusal) {
        let lane = &mut self.lanes[partition as usize];
        lane.put_back(batch);
        lane.over.get_or_insert(refusal);
        self.refuse_if_over(partition);
    }

    /// Refuses what waits in a lane that has ended.
    pub(super) fn refuse_if_over(&mut self, partition: u32) {
        let lane = &mut self.lanes[partition as usize];
        let Some(refusal) = lane.over.clone() else { return };
        for mut batch in mem::take(&mut lane.ready) {
            let outcome = match batch.doubt.take() {
                Some(doubt) => BatchOutcome::Unknown(doubt),
                None => BatchOutcome::Refused(refusal.clone()),
            };
            self.settle(partition, batch, outcome);
        }
    }
}
