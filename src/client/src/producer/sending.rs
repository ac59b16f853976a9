//! What goes out: whose turn it is, and what the window allows.
//!
//! Nothing is queued for a link beyond what its driver can take now: a batch that was not polled
//! was surely not sent.

use super::Asked;
use super::Producer;
use super::identity::Identity;
use super::in_flight::{Awaited, SentBatch};
use super::lane::Binding;
use crate::{BatchOutcome, Chunk, ConnectionFault, Instant, LinkId, Refusal};
use plimsoll_wire::{Bind, Handle, PRODUCE_HEAD_BYTES, PartitionIndex};

impl<A: Clone + Default> Producer<A> {
    pub(super) fn transmit(&mut self, link: LinkId, now: Instant) -> Option<Chunk> {
        if let Some(control) = self.links.poll_control(link) {
            return Some(control);
        }
        if !self.links.is_ready(link) {
            return None;
        }
        while self.has_window(link) {
            let window = &mut self.windows[usize::from(link.0)];
            let Some(partition) = window.sendable.pop_front() else {
                if self.seal_due(link, now) {
                    continue;
                }
                break;
            };
            let lane = &mut self.lanes[partition as usize];
            lane.is_listed = false;
            match (lane.binding, lane.handle, lane.paused_until) {
                (_, _, Some(_)) | (Binding::Asked, ..) => {}
                (Binding::Bound, Some(_), None) if !self.may_send(partition) => {
                    self.ask_identity(link, partition, now);
                }
                (Binding::Bound, Some(handle), None) => {
                    if let Some(chunk) = self.send(link, partition, handle, now) {
                        return Some(chunk);
                    }
                }
                (Binding::Bound | Binding::Unbound, ..) => self.bind(link, partition, now),
            }
        }
        self.links.poll_control(link)
    }

    pub(super) fn has_work(&self, link: LinkId, now: Instant) -> bool {
        let window = &self.windows[usize::from(link.0)];
        let is_due = window.lingering.front().is_some_and(|(due, ..)| *due <= now);
        let can_send = self.links.is_ready(link) && self.has_window(link);
        self.links.has_control(link) || (can_send && (is_due || !window.sendable.is_empty()))
    }

    /// Whether the partition is known by an identity, and may have another batch in flight.
    fn may_send(&self, partition: u32) -> bool {
        let lane = &self.lanes[partition as usize];
        !self.is_idempotent
            || (matches!(lane.identity, Identity::Known(_)) && self.lane_has_window(partition))
    }

    pub(super) fn lane_has_window(&self, partition: u32) -> bool {
        let lane = &self.lanes[partition as usize];
        !self.is_idempotent
            || (!lane.is_draining && lane.in_flight.waiting() < self.partition_window)
    }

    /// One batch may always be in flight, however large.
    fn has_window(&self, link: LinkId) -> bool {
        let window = &self.windows[usize::from(link.0)];
        let server_max = self.links.limits(link).in_flight_max.max(1);
        window.in_flight_batches == 0
            || (window.in_flight_batches < self.options.in_flight_batches_max.min(server_max)
                && window.in_flight_bytes < self.options.in_flight_bytes_max)
    }

    /// Seals the next open batch of the link that has lingered. False: none has.
    fn seal_due(&mut self, link: LinkId, now: Instant) -> bool {
        let lingering = &mut self.windows[usize::from(link.0)].lingering;
        match lingering.front() {
            Some(&(due, partition, id)) if due <= now => {
                lingering.pop_front();
                let open = self.lanes[partition as usize].open.as_ref();
                if open.is_some_and(|open| open.id == id) {
                    self.seal_for_window(partition);
                }
                true
            }
            _ => false,
        }
    }

    fn bind(&mut self, link: LinkId, partition: u32, now: Instant) {
        let handles = &mut self.windows[usize::from(link.0)].handles;
        let lane = &mut self.lanes[partition as usize];
        let handle = *lane.handle.get_or_insert_with(|| {
            handles.push(partition);
            Handle(handles.len() as u32 - 1)
        });
        lane.binding = Binding::Asked;
        let partition_index = PartitionIndex(partition);
        let bind = Bind { handle, partition: partition_index, topic: &self.topic.name };
        let purpose = Asked::Bind(partition);
        self.links.request(link, purpose, now, |correlation, out| bind.encode(correlation, out));
        self.ask_identity(link, partition, now);
    }

    fn send(
        &mut self,
        link: LinkId,
        partition: u32,
        handle: Handle,
        now: Instant,
    ) -> Option<Chunk> {
        let also = self.durability.ack_level().and(self.options.also);
        let lane = &mut self.lanes[partition as usize];
        let mut batch = lane.ready.pop_front()?;
        if self.is_idempotent {
            Self::stamp(&mut lane.identity, &mut batch);
        }
        let frame = batch.frame.make_mut();
        let (head, body) = frame.split_at_mut(PRODUCE_HEAD_BYTES);
        self.head.clear();
        let encoded = plimsoll_wire::encode_produce_head(
            handle,
            self.durability.into(),
            also,
            lane.in_flight.next_correlation(),
            body,
            &mut self.head,
        );
        assert!(encoded.is_ok(), "a batch that was built here has a header");
        head.copy_from_slice(&self.head);
        let chunk = batch.frame.clone();
        match self.durability.ack_level() {
            Some(level) => {
                self.windows[usize::from(link.0)].enter(chunk.len());
                let awaited = Awaited::new(level, also);
                lane.in_flight.push(SentBatch { batch, sent_at: now, awaited });
            }
            None => {
                lane.in_flight.skip();
                self.settle(partition, batch, BatchOutcome::Sent);
            }
        }
        self.list(partition);
        Some(chunk)
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let lingering = self.windows.iter().enumerate().filter_map(|(index, window)| {
            let link = LinkId(index as u16);
            let can_send = self.links.is_ready(link) && self.has_window(link);
            window.lingering.front().filter(|_| can_send).map(|(due, ..)| *due)
        });
        let sweep = (!self.outstanding.is_empty()).then_some(self.next_sweep);
        lingering.chain(self.links.poll_timeout()).chain(sweep).min()
    }

    /// Looks at every deadline: pauses that are over, batches that waited too long, acks that do
    /// not come.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.links.handle_timeout(now);
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + self.sweep_interval();
        let timeout = self.options.delivery_timeout;
        let silence = if self.is_idempotent {
            self.options.link.request_timeout.min(timeout)
        } else {
            timeout
        };
        for partition in 0..self.lanes.len() {
            let lane = &mut self.lanes[partition];
            match lane.paused_until {
                Some(until) if until <= now => {
                    lane.paused_until = None;
                    self.list(partition as u32);
                }
                Some(until) => self.next_sweep = self.next_sweep.min(until),
                None => {}
            }
            let lane = &self.lanes[partition];
            if lane.open.as_ref().is_some_and(|open| open.opened_at + timeout <= now) {
                self.seal(partition as u32);
            }
            self.expire(partition as u32, now);
            let oldest = self.lanes[partition].in_flight.oldest_sent_at();
            if oldest.is_some_and(|sent_at| sent_at + silence <= now) {
                let link = LinkId(self.topic.shards[partition].0);
                self.links.hang_up(link, ConnectionFault::Silent(silence));
            }
        }
    }

    /// Gives up what has waited too long to be sent, or to be sent again.
    fn expire(&mut self, partition: u32, now: Instant) {
        let timeout = self.options.delivery_timeout;
        let link = LinkId(self.topic.shards[partition as usize].0);
        let ready = |producer: &Self| {
            let front = producer.lanes[partition as usize].ready.front();
            front.is_some_and(|batch| batch.opened_at + timeout <= now)
        };
        while ready(self) {
            let Some(batch) = self.lanes[partition as usize].ready.pop_front() else { return };
            let fault = self.links.last_fault(link).cloned();
            let refusal = Refusal::Expired { after: timeout, fault };
            self.refuse(partition, batch, refusal);
        }
    }
}
