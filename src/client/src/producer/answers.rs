//! What comes back: bindings, acks, errors, and the end of a connection.
//!
//! Everything here may come from a server with a mistake: what was not asked for ends the
//! connection and never panics. What a newcomer gets wrong: without an identity only a fate
//! of *refused* allows sending again.

use super::batch::SealedBatch;
use super::in_flight::{Progress, SentBatch};
use super::lane::Binding;
use super::{Asked, BatchEvent, Producer};
use crate::link::closing;
use crate::{
    BatchOutcome, Chunk, ConnectionFault, Doubt, Incoming, Instant, LinkId, ServerError, Session,
};
use alloc::vec::Vec;
use core::mem;
use plimsoll_wire::{
    AckEntry, CorrelationId, ErrorCode, ErrorResponse, Fate, Handle, Offset, Opcode, Response,
};

impl<A: Clone + Default> Session for Producer<A> {
    fn links(&self) -> u16 {
        self.links.count()
    }

    fn poll_dial(&mut self, now: Instant) -> Option<LinkId> {
        self.links.poll_dial(now)
    }

    fn handle_connected(&mut self, link: LinkId, now: Instant) {
        self.links.handle_connected(link, now);
    }

    fn handle_lost(&mut self, link: LinkId, fault: ConnectionFault, now: Instant) {
        self.links.handle_lost(link, fault.clone(), now);
        let handles = mem::take(&mut self.windows[usize::from(link.0)].handles);
        for partition in handles {
            let lane = &mut self.lanes[partition as usize];
            lane.binding = Binding::Unbound;
            lane.handle = None;
            let sent: Vec<SentBatch<A>> = lane.in_flight.drain().collect();
            for SentBatch { batch, .. } in &sent {
                self.windows[usize::from(link.0)].leave(batch.frame.len());
            }
            self.lose(partition, sent, &Doubt::ConnectionLost(fault.clone()));
            self.window_moved(partition);
        }
    }

    fn handle_frame(
        &mut self,
        link: LinkId,
        frame: Incoming<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let Incoming::Response { correlation, response } = frame else {
            return Err(ConnectionFault::Unexpected("a delivery"));
        };
        match response {
            Response::Acks(acks) => acks.iter().try_for_each(|ack| self.handle_ack(link, &ack)),
            Response::Hello(hello) => self.links.handle_hello(link, &hello),
            Response::Bind(_) => {
                let Asked::Bind(partition) = self.links.answered(link, correlation, now)? else {
                    return Err(ConnectionFault::Unexpected("a binding"));
                };
                self.lanes[partition as usize].binding = Binding::Bound;
                self.list(partition);
                Ok(())
            }
            Response::InitProducer(given) => {
                let Asked::Identity(partition) = self.links.answered(link, correlation, now)?
                else {
                    return Err(ConnectionFault::Unexpected("an identity"));
                };
                self.take_identity(partition, &given);
                Ok(())
            }
            Response::Error(error) => self.handle_error(link, correlation, &error, now),
            _ => Err(ConnectionFault::Unexpected("a response of another kind")),
        }
    }

    fn poll_transmit(&mut self, link: LinkId, now: Instant) -> Option<Chunk> {
        self.transmit(link, now)
    }

    fn can_transmit(&self, link: LinkId, now: Instant) -> bool {
        self.has_work(link, now)
    }

    fn poll_hang_up(&mut self, link: LinkId) -> Option<ConnectionFault> {
        self.links.poll_hang_up(link)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.sweep(now);
    }
}

impl<A: Clone + Default> Producer<A> {
    fn handle_ack(&mut self, link: LinkId, ack: &AckEntry) -> Result<(), ConnectionFault> {
        let partition = self.partition_of(link, ack.handle)?;
        let mut base_offset = ack.base_offset;
        let mut done = Vec::new();
        let mut frame = None;
        let Producer { lanes, events, .. } = self;
        let lane = &mut lanes[partition as usize];
        let acked = lane.in_flight.ack(ack.first, ack.frames, ack.level, |progress| {
            let (level, sent) = match &progress {
                Progress::Reached(level, sent) => (*level, &**sent),
                Progress::Done(level, sent) => (*level, sent),
            };
            // A batch may be told of twice here, when one ack answers both of its levels.
            if let Some((last, records)) = frame.replace((sent.batch.id, sent.batch.records))
                && last != sent.batch.id
            {
                base_offset = Offset::new(base_offset.value().saturating_add(u64::from(records)));
            }
            let outcome = BatchOutcome::Acked { base_offset, level };
            match progress {
                // What was told before the connection was lost is not told again.
                Progress::Reached(level, sent) if sent.batch.told < Some(level) => {
                    sent.batch.told = Some(level);
                    events.push_back(BatchEvent {
                        batch: sent.batch.id,
                        partition,
                        records: sent.batch.records,
                        outcome,
                        is_final: false,
                        attachment: sent.batch.attachment.clone(),
                    });
                }
                Progress::Reached(..) => {}
                Progress::Done(_, sent) => done.push((sent.batch, outcome)),
            }
        });
        for (batch, outcome) in done {
            self.windows[usize::from(link.0)].leave(batch.frame.len());
            self.settle(partition, batch, outcome);
        }
        self.window_moved(partition);
        acked
    }

    fn handle_error(
        &mut self,
        link: LinkId,
        correlation: CorrelationId,
        error: &ErrorResponse<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let answer = ServerError::new(error);
        match (error.opcode, error.handle) {
            (Opcode::Produce, Some(handle)) if !error.code.closes_connection() => {
                self.handle_append_error(link, handle, correlation, answer, now)
            }
            (Opcode::Bind, _) if !error.code.closes_connection() => {
                let Asked::Bind(partition) = self.links.answered(link, correlation, now)? else {
                    return Err(ConnectionFault::Unexpected("a binding"));
                };
                self.handle_bind_error(partition, &answer, now);
                Ok(())
            }
            _ => Err(closing(&answer)),
        }
    }

    fn handle_append_error(
        &mut self,
        link: LinkId,
        handle: Handle,
        correlation: CorrelationId,
        error: ServerError,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let partition = self.partition_of(link, handle)?;
        let lane = &mut self.lanes[partition as usize];
        let Some(SentBatch { batch, .. }) = lane.in_flight.take(correlation) else {
            // With durability none nobody waits for the batch.
            return Ok(());
        };
        self.windows[usize::from(link.0)].leave(batch.frame.len());
        self.handle_refused_batch(partition, batch, error, now);
        self.window_moved(partition);
        Ok(())
    }

    fn handle_refused_batch(
        &mut self,
        partition: u32,
        mut batch: SealedBatch<A>,
        error: ServerError,
        now: Instant,
    ) {
        let is_misfit = matches!(
            error.code,
            ErrorCode::OutOfSequence | ErrorCode::ProducerFenced | ErrorCode::ProducerUnknown
        );
        let is_early = now < batch.opened_at + self.options.delivery_timeout;
        match error.fate {
            Fate::Refused if is_misfit => self.handle_misfit(partition, batch, error),
            Fate::Refused if error.is_retriable() && is_early => {
                self.pause(partition, &mut batch.refusals, now);
                self.put_back(partition, batch);
            }
            Fate::Refused => self.give_up(partition, batch, error),
            Fate::Unknown | Fate::NotAppend if self.is_idempotent && is_early => {
                self.pause(partition, &mut batch.refusals, now);
                self.doubt(partition, batch, Doubt::Server(error));
            }
            Fate::Unknown | Fate::NotAppend => {
                batch.doubt = Some(Doubt::Server(error.clone()));
                self.give_up(partition, batch, error);
            }
        }
    }

    /// Nothing more is sent to the partition for a while, which doubles with each refusal.
    fn pause(&mut self, partition: u32, refusals: &mut u32, now: Instant) {
        let delay = self.options.retry_delay.saturating_mul(1 << (*refusals).min(5));
        *refusals = refusals.saturating_add(1);
        let until = now + delay;
        self.lanes[partition as usize].paused_until = Some(until);
        self.next_sweep = self.next_sweep.min(until);
    }

    /// Without a handle nothing of the partition can be sent: it waits, or it is refused.
    fn handle_bind_error(&mut self, partition: u32, error: &ServerError, now: Instant) {
        self.lanes[partition as usize].binding = Binding::Unbound;
        if error.is_retriable() {
            return self.pause(partition, &mut 0, now);
        }
        self.seal(partition);
        while let Some(batch) = self.lanes[partition as usize].ready.pop_front() {
            self.give_up(partition, batch, error.clone());
        }
    }

    fn partition_of(&self, link: LinkId, handle: Handle) -> Result<u32, ConnectionFault> {
        let handles = &self.windows[usize::from(link.0)].handles;
        let partition = handles.get(handle.0 as usize).copied();
        partition.ok_or(ConnectionFault::Unexpected("a handle"))
    }
}
