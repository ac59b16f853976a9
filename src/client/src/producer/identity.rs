//! Who the producer is to a partition, and what becomes of batches whose place nobody knows.
//!
//! Each partition has an identity of its own from the server, and each batch a sequence, so that a
//! batch can be sent again: with the very stamp that it had. What a newcomer gets wrong: a batch
//! that is given up leaves a gap that the server does not step over. What follows gets a new
//! identity then; but what follows and is itself in doubt may be there, and is not sent again.

use super::batch::SealedBatch;
use super::{Producer, SentBatch};
use crate::{BatchOutcome, Doubt, Instant, LinkId, Refusal, ServerError};
use alloc::vec::Vec;
use plimsoll_batch::ProducerStamp;
use plimsoll_wire::{ErrorCode, InitProducer, InitProducerResponse};

/// Batches of a partition in flight at once, so that a server knows each of them again.
pub(super) const PARTITION_WINDOW: usize = 5;

/// What a partition knows this producer by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// To be asked for.
    Wanted,
    Asked,
    /// What the next batch is stamped with.
    Known(ProducerStamp),
}

impl Identity {
    fn is_of(self, stamp: ProducerStamp) -> bool {
        matches!(self, Identity::Known(next) if (next.id, next.epoch) == (stamp.id, stamp.epoch))
    }
}

impl<A: Clone + Default> Producer<A> {
    /// Asks for an identity for the partition, if it has none.
    pub(super) fn ask_identity(&mut self, link: LinkId, partition: u32, now: Instant) {
        let lane = &mut self.lanes[partition as usize];
        if self.is_idempotent && lane.identity == Identity::Wanted {
            lane.identity = Identity::Asked;
            let purpose = super::Asked::Identity(partition);
            self.links.request(link, purpose, now, |correlation, out| {
                InitProducer.encode(correlation, out);
            });
        }
    }

    pub(super) fn take_identity(&mut self, partition: u32, given: &InitProducerResponse) {
        let id = i64::try_from(given.producer_id).unwrap_or(i64::MAX);
        let epoch = given.epoch.cast_signed();
        self.lanes[partition as usize].identity =
            Identity::Known(ProducerStamp { id, epoch, base_sequence: 0 });
        self.partition_window = self.partition_window.min(usize::from(given.batches_max).max(1));
        self.list(partition);
    }

    /// The stamp that a batch gets that is sealed now, as far as that can be foreseen.
    pub(super) fn foreseen_stamp(&self, partition: u32) -> Option<ProducerStamp> {
        let lane = &self.lanes[partition as usize];
        match (lane.ready.back(), lane.identity) {
            (Some(last), _) => last.stamp.map(|stamp| stamp.after(last.records)),
            (None, Identity::Known(next)) if self.is_idempotent => Some(next),
            _ => None,
        }
    }

    /// Gives a batch that is about to be sent its stamp. One that was sent before keeps its own.
    pub(super) fn stamp(identity: &mut Identity, batch: &mut SealedBatch<A>) {
        let Identity::Known(next) = identity else { return };
        let stamp = batch.stamp.filter(|_| batch.is_pinned).unwrap_or(*next);
        if batch.stamp != Some(stamp) {
            batch.restamp(stamp);
        }
        batch.is_pinned = true;
        if (next.id, next.epoch) == (stamp.id, stamp.epoch) {
            *next = stamp.after(batch.records);
        }
    }

    /// The batch may be there: it is sent again as it is.
    pub(super) fn doubt(&mut self, partition: u32, mut batch: SealedBatch<A>, doubt: Doubt) {
        batch.doubt = Some(doubt);
        batch.may_be_there = true;
        self.put_back(partition, batch);
    }

    /// The batch is sent again, in its place: after all that is on its way was answered.
    pub(super) fn put_back(&mut self, partition: u32, batch: SealedBatch<A>) {
        let lane = &mut self.lanes[partition as usize];
        lane.is_draining |= self.is_idempotent && lane.in_flight.waiting() > 0;
        lane.put_back(batch);
    }

    /// The server says that the batch is not the one that comes next; or that it does not know who
    /// sent it. It was not written now.
    pub(super) fn handle_misfit(
        &mut self,
        partition: u32,
        mut batch: SealedBatch<A>,
        error: ServerError,
    ) {
        let lane = &self.lanes[partition as usize];
        let Some(stamp) = batch.stamp else { return self.give_up(partition, batch, error) };
        let is_current = lane.identity.is_of(stamp);
        let is_oldest = lane.ready.front().is_none_or(|other| other.id > batch.id)
            && lane.in_flight.oldest().is_none_or(|other| other > batch.id);
        let is_gap = error.code == ErrorCode::OutOfSequence;
        if is_current && is_gap && !is_oldest {
            // One before it was refused, and goes first.
            return self.put_back(partition, batch);
        }
        if lane.is_resumed {
            return self.give_up(partition, batch, error);
        }
        if is_current && is_gap && is_before(error.detail_a, error.detail_b) {
            // The server has lost what it had acked before this batch: it restarted. Neither this
            // batch nor any behind it is there.
            let lane = &mut self.lanes[partition as usize];
            for behind in lane.ready.iter_mut().chain(lane.in_flight.batches_mut()) {
                behind.may_be_there = false;
            }
            batch.may_be_there = false;
        }
        // One that is there, and too old to be known again, leaves no gap.
        if is_current && !(is_gap && batch.may_be_there) {
            self.begin_anew(partition, batch.id);
        }
        self.send_anew(partition, batch);
    }

    /// The batch gets another stamp, unless it may be there with the one that it has.
    fn send_anew(&mut self, partition: u32, mut batch: SealedBatch<A>) {
        match batch.doubt.take_if(|_| batch.may_be_there) {
            Some(doubt) => self.settle(partition, batch, BatchOutcome::Unknown(doubt)),
            None => {
                batch.is_pinned = false;
                self.put_back(partition, batch);
            }
        }
    }

    /// The last word on a batch that the server refused: what it may have taken before, on a
    /// connection that was lost, nobody knows.
    pub(super) fn give_up(&mut self, partition: u32, batch: SealedBatch<A>, error: ServerError) {
        let refusal = Refusal::Server(error);
        self.refuse(partition, batch, refusal);
    }

    /// As `give_up`, for any reason.
    pub(super) fn refuse(&mut self, partition: u32, mut batch: SealedBatch<A>, refusal: Refusal) {
        if self.lanes[partition as usize].is_resumed {
            return self.end_lane(partition, batch, refusal);
        }
        let stamp = batch.stamp.filter(|_| batch.is_pinned);
        if stamp.is_some_and(|stamp| self.lanes[partition as usize].identity.is_of(stamp)) {
            self.begin_anew(partition, batch.id);
        }
        let outcome = match batch.doubt.take() {
            Some(doubt) => BatchOutcome::Unknown(doubt),
            None => BatchOutcome::Refused(refusal),
        };
        self.settle(partition, batch, outcome);
    }

    /// What stands behind a batch that is given up goes on under a new identity, unless it may be
    /// there.
    fn begin_anew(&mut self, partition: u32, given_up: super::BatchId) {
        let lane = &mut self.lanes[partition as usize];
        lane.identity = Identity::Wanted;
        let (behind, before): (Vec<_>, Vec<_>) =
            lane.ready.drain(..).partition(|batch| batch.id > given_up);
        lane.ready.extend(before);
        for batch in behind {
            self.send_anew(partition, batch);
        }
        self.list(partition);
    }

    /// Seals the open batch if the lane's window has room for it. If not, it may grow until there
    /// is room: a window of a few batches then costs no throughput, however small they may be.
    pub(super) fn seal_for_window(&mut self, partition: u32) -> bool {
        let lane = &mut self.lanes[partition as usize];
        let ahead = lane.ready.len() + lane.in_flight.waiting();
        let has_place = ahead < self.partition_window && !lane.is_draining;
        if has_place || !self.is_idempotent {
            self.seal(partition);
            return true;
        }
        lane.overdue = lane.open.as_ref().map(|open| open.id);
        // Records without a key go where there may be room.
        self.partitioner.batch_closed(partition);
        false
    }

    /// Batches left the lane's window: more may be sent, and what waited for that is sealed.
    pub(super) fn window_moved(&mut self, partition: u32) {
        self.refuse_if_over(partition);
        let lane = &mut self.lanes[partition as usize];
        lane.is_draining &= lane.in_flight.waiting() > 0;
        if lane.ready.is_empty()
            && lane.in_flight.waiting() < self.partition_window
            && let Some(due) = lane.overdue.take()
        {
            self.seal_if_open(partition, due);
        }
        self.list(partition);
    }

    /// A connection was lost with these on their way.
    pub(super) fn lose(&mut self, partition: u32, sent: Vec<SentBatch<A>>, doubt: &Doubt) {
        let lane = &mut self.lanes[partition as usize];
        lane.is_draining = false;
        if lane.identity == Identity::Asked {
            lane.identity = Identity::Wanted;
        }
        for SentBatch { batch, .. } in sent {
            if self.is_idempotent {
                self.doubt(partition, batch, doubt.clone());
            } else {
                self.settle(partition, batch, BatchOutcome::Unknown(doubt.clone()));
            }
        }
    }
}

/// Whether one sequence comes before the other; they wrap.
fn is_before(one: u64, other: u64) -> bool {
    let distance = other.wrapping_sub(one) & 0x7fff_ffff;
    distance > 0 && distance < 1 << 30
}
