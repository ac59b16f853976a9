//! The batches of one partition that were sent and are not yet at every level that was asked for.
//!
//! Produce frames of a handle are numbered without gaps, so an ack of a range of frames is a range
//! of this deque: no search. What a newcomer gets wrong: an entry can be done before those in
//! front of it (refused, say), and leaves a hole until they are done as well.

use super::batch::{BatchId, SealedBatch};
use crate::{ConnectionFault, Instant};
use alloc::collections::VecDeque;
use plimsoll_wire::{AckLevel, CorrelationId};

/// A batch on its way, and the levels that are still awaited.
#[derive(Debug)]
pub(super) struct SentBatch<A> {
    pub(super) batch: SealedBatch<A>,
    pub(super) sent_at: Instant,
    pub(super) awaited: Awaited,
}

/// At most two levels, the shallower first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    first: Option<AckLevel>,
    second: Option<AckLevel>,
}

impl Awaited {
    pub(super) fn new(durability: AckLevel, also: Option<AckLevel>) -> Awaited {
        match also {
            Some(also) if also < durability => {
                Awaited { first: Some(also), second: Some(durability) }
            }
            Some(also) if also > durability => {
                Awaited { first: Some(durability), second: Some(also) }
            }
            _ => Awaited { first: Some(durability), second: None },
        }
    }

    /// The shallowest level that `reached` answers, taken out.
    fn take(&mut self, reached: AckLevel) -> Option<AckLevel> {
        let level = self.first.filter(|level| *level <= reached)?;
        self.first = self.second.take();
        Some(level)
    }

    fn is_over(self) -> bool {
        self.first.is_none()
    }
}

/// What an ack did to one batch.
pub(super) enum Progress<'a, A> {
    /// It has reached this level, and a deeper one is awaited.
    Reached(AckLevel, &'a mut SentBatch<A>),
    /// It has reached the last level that was awaited.
    Done(AckLevel, SentBatch<A>),
}

/// The window of one handle on one connection.
#[derive(Debug)]
pub(super) struct InFlight<A> {
    first: CorrelationId,
    entries: VecDeque<Option<SentBatch<A>>>,
    waiting: usize,
}

impl<A> InFlight<A> {
    pub(super) const fn new() -> InFlight<A> {
        InFlight { first: CorrelationId(1), entries: VecDeque::new(), waiting: 0 }
    }

    /// The correlation id that the next frame must carry.
    pub(super) fn next_correlation(&self) -> CorrelationId {
        self.first.advance(self.entries.len() as u32)
    }

    pub(super) fn push(&mut self, sent: SentBatch<A>) {
        self.entries.push_back(Some(sent));
        self.waiting += 1;
    }

    /// A frame was sent that nobody will answer: only its number is used up.
    pub(super) fn skip(&mut self) {
        self.entries.push_back(None);
        self.trim();
    }

    /// Batches without their last ack.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The oldest of them.
    pub(super) fn oldest(&self) -> Option<BatchId> {
        self.entries.iter().flatten().next().map(|sent| sent.batch.id)
    }

    pub(super) fn batches_mut(&mut self) -> impl Iterator<Item = &mut SealedBatch<A>> {
        self.entries.iter_mut().flatten().map(|sent| &mut sent.batch)
    }

    pub(super) fn oldest_sent_at(&self) -> Option<Instant> {
        self.entries.front()?.as_ref().map(|sent| sent.sent_at)
    }

    /// The frames `first ..` have reached `level`; `each` hears of every batch and level in order.
    pub(super) fn ack(
        &mut self,
        first: CorrelationId,
        frames: u32,
        level: AckLevel,
        mut each: impl FnMut(Progress<'_, A>),
    ) -> Result<(), ConnectionFault> {
        const FAULT: ConnectionFault = ConnectionFault::Unexpected("an ack");
        let start = first.distance_from(self.first) as usize;
        let end = start.checked_add(frames as usize).ok_or(FAULT)?;
        if end > self.entries.len() {
            return Err(FAULT);
        }
        for entry in self.entries.range_mut(start..end) {
            let Some(sent) = entry else { return Err(FAULT) };
            let Some(mut reached) = sent.awaited.take(level) else { return Err(FAULT) };
            while !sent.awaited.is_over() {
                each(Progress::Reached(reached, sent));
                match sent.awaited.take(level) {
                    Some(deeper) => reached = deeper,
                    None => break,
                }
            }
            if sent.awaited.is_over()
                && let Some(sent) = entry.take()
            {
                self.waiting -= 1;
                each(Progress::Done(reached, sent));
            }
        }
        self.trim();
        Ok(())
    }

    /// Takes out the batch of a frame that the server answered with an error.
    pub(super) fn take(&mut self, correlation: CorrelationId) -> Option<SentBatch<A>> {
        let index = correlation.distance_from(self.first) as usize;
        let sent = self.entries.get_mut(index)?.take();
        self.waiting -= usize::from(sent.is_some());
        self.trim();
        sent
    }

    /// The connection is gone: all batches, in order, and numbering starts anew.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = SentBatch<A>> + use<A> {
        let entries = core::mem::take(&mut self.entries);
        self.first = CorrelationId(1);
        self.waiting = 0;
        entries.into_iter().flatten()
    }

    fn trim(&mut self) {
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first = self.first.advance(1);
        }
    }
}
