//! The consumer's session: subscriptions, credit, and where each partition stands.
//!
//! Each partition is bound, located and subscribed; then deliveries come until the credit is used
//! up. The driver gives credit back with [`Consumer::release`] when records were consumed, so what
//! waits here is bounded. After a lost connection each subscription goes on where its last
//! delivery ended: nothing twice, nothing left out.
//!
//! What a newcomer gets wrong: this position is what was *delivered*. What was processed, only the
//! application knows.

mod delivery;
mod options;
mod subscription;

pub use delivery::{DeliveredBatch, DeliveredBatches, Delivery, DeliveryError, Record};
pub use options::{ConsumerOptions, StartAt};

pub(crate) use self::subscription::{IfGone, Place, Purpose, RETRY_DELAY, SlotId};

use self::delivery::Located;
use self::subscription::{CREDIT_BYTES_MIN, Step, Subscription};
use crate::link::{Links, closing};
use crate::{Chunk, ConnectionFault, Incoming, Instant, LinkId, ServerError, Session, Topic};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::{error, fmt};
use plimsoll_wire::{
    Bind, BindResponse, CorrelationId, Credit, ErrorCode, ErrorResponse, Handle, Offset, Offsets,
    OffsetsWhat, Opcode, PartitionIndex, Response, Subscribe, Unbind, Unsubscribe,
};

/// The session of a consumer of one topic; the consumer in a member of a group may have several.
#[derive(Debug)]
pub struct Consumer {
    pub(crate) topics: Vec<Topic>,
    /// Their names.
    pub(crate) names: Vec<Arc<str>>,
    options: ConsumerOptions,
    pub(crate) links: Links<Purpose>,
    subscriptions: Vec<Subscription>,
    /// For each link the subscriptions in the order of their handles.
    handles: Vec<Vec<usize>>,
    events: VecDeque<ConsumerEvent>,
    /// A partition's share of the credit.
    credit_bytes: usize,
}

/// What a consumer hears.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// Records. Give the credit back when they are consumed.
    Delivered(DeliveredBatches),
    /// The partition delivers nothing more.
    Failed {
        /// Of which topic.
        topic: Arc<str>,
        /// Which one.
        partition: u32,
        /// Why.
        error: ServerError,
    },
    /// The start lies outside the partition, which goes on elsewhere.
    Missed {
        /// Of which topic.
        topic: Arc<str>,
        /// Which one.
        partition: u32,
        /// Where it was to start.
        wanted: Offset,
        /// Where it starts.
        next: Offset,
    },
}

impl Consumer {
    /// A consumer of `topic`, whose links are dialled from `now` on.
    ///
    /// # Errors
    ///
    /// The options name a partition that the topic does not have.
    pub fn new(
        topic: Topic,
        options: ConsumerOptions,
        now: Instant,
    ) -> Result<Consumer, NoSuchPartition> {
        let partitions = match &options.partitions {
            Some(partitions) => partitions.clone(),
            None => (0..topic.partitions()).collect(),
        };
        let mut consumer = Consumer::idle(vec![topic], options);
        for partition in partitions {
            let partitions = consumer.topic().partitions();
            if partition >= partitions {
                return Err(NoSuchPartition { partition, partitions });
            }
            let position = consumer.options.positions.get(&partition).copied();
            let start = position.map_or(consumer.options.from, StartAt::Offset);
            consumer.add(Place { topic: 0, partition }, start, IfGone::Fail, now);
        }
        consumer.share_credit();
        Ok(consumer)
    }

    /// A consumer of no partition yet.
    pub(crate) fn idle(topics: Vec<Topic>, options: ConsumerOptions) -> Consumer {
        let count = topics.iter().map(Topic::links).max().unwrap_or(1).max(1);
        Consumer {
            links: Links::new(count, options.link.clone()),
            handles: (0..count).map(|_| Vec::new()).collect(),
            subscriptions: Vec::new(),
            events: VecDeque::new(),
            credit_bytes: options.credit_bytes as usize,
            names: topics.iter().map(|topic| Arc::from(&*topic.name)).collect(),
            topics,
            options,
        }
    }

    /// One more partition. Call [`share_credit`](Consumer::share_credit) after the last.
    pub(crate) fn add(&mut self, place: Place, start: StartAt, if_gone: IfGone, now: Instant) {
        let shards = &self.topics[place.topic].shards;
        let shard = shards.get(place.partition as usize).map_or(0, |shard| shard.0);
        let link = LinkId(shard);
        let is_free = |sub: &Subscription| sub.step == Step::Free && sub.link == link;
        let index = self.subscriptions.iter().position(is_free).unwrap_or_else(|| {
            let of_link = &mut self.handles[usize::from(shard)];
            of_link.push(self.subscriptions.len());
            let handle = Handle(of_link.len() as u32 - 1);
            self.subscriptions.push(Subscription::new(link, handle));
            self.subscriptions.len() - 1
        });
        self.subscriptions[index].occupy(place, start, if_gone);
        self.links.want(link, now);
        if self.links.is_ready(link) {
            self.advance(index, now);
        }
    }

    /// Nothing of a partition that was just added is delivered before [`begin`](Consumer::begin),
    /// but where it starts is found out.
    pub(crate) fn hold(&mut self, place: Place) {
        if let Some(index) = self.index_of(place) {
            self.subscriptions[index].is_held = true;
        }
    }

    /// A partition that was held goes on from `offset`.
    pub(crate) fn begin(&mut self, place: Place, offset: Offset, now: Instant) {
        let Some(index) = self.index_of(place) else { return };
        let subscription = &mut self.subscriptions[index];
        (subscription.is_held, subscription.next) = (false, Some(offset));
        if subscription.step == Step::Start {
            self.advance(index, now);
        }
    }

    fn index_of(&self, place: Place) -> Option<usize> {
        let is_it = |sub: &Subscription| sub.is_occupied() && sub.place == place;
        self.subscriptions.iter().position(is_it)
    }

    /// The partition is given up: nothing of it is handed out any more, whatever still comes.
    pub(crate) fn remove(&mut self, place: Place, now: Instant) {
        let Some(index) = self.index_of(place) else { return };
        let given_up = self.slot(index);
        self.events.retain(
            |event| !matches!(event, ConsumerEvent::Delivered(batches) if batches.slot == given_up),
        );
        let subscription = &mut self.subscriptions[index];
        subscription.occupant = subscription.occupant.wrapping_add(1);
        subscription.retry_at = None;
        let (link, handle) = (subscription.link, subscription.handle);
        if !self.links.is_ready(link) {
            // What was bound went with its connection.
            subscription.step = Step::Free;
            return;
        }
        subscription.step = Step::Leaving { unanswered: 2 };
        let farewell = Purpose::Farewell(self.slot(index));
        let links = &mut self.links;
        links.request(link, farewell, now, |id, out| Unsubscribe { handle }.encode(id, out));
        links.request(link, farewell, now, |id, out| Unbind { handle }.encode(id, out));
    }

    /// Shares the credit out among the partitions that there are now.
    pub(crate) fn share_credit(&mut self) {
        let partitions = self.subscriptions.iter().filter(|sub| sub.is_occupied()).count();
        let share = self.options.credit_bytes as usize / partitions.max(1);
        self.credit_bytes = share.max(CREDIT_BYTES_MIN);
        for index in 0..self.subscriptions.len() {
            self.raise_credit(index);
        }
    }

    /// Whether what was delivered to this place is still wanted.
    pub(crate) fn is_current(&self, slot: SlotId) -> bool {
        self.slot(slot.index) == slot && self.subscriptions[slot.index].is_occupied()
    }

    fn slot(&self, index: usize) -> SlotId {
        SlotId { index, occupant: self.subscriptions[index].occupant }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topics[0]
    }

    /// Records, or the failure of a partition.
    pub fn poll_event(&mut self) -> Option<ConsumerEvent> {
        self.events.pop_front()
    }

    /// The records of a delivery were consumed: the server may send as much again. Poll afterwards.
    pub fn release(&mut self, consumed: &DeliveredBatches) {
        if !self.is_current(consumed.slot) {
            return;
        }
        let (index, released) = (consumed.slot.index, consumed.credit_bytes());
        let subscription = &mut self.subscriptions[index];
        subscription.unreleased_bytes = subscription.unreleased_bytes.saturating_sub(released);
        // A share that has become smaller is reached by giving less back.
        let surplus = subscription.granted_bytes.saturating_sub(self.credit_bytes).min(released);
        subscription.granted_bytes -= surplus;
        subscription.owed_bytes += released - surplus;
        self.pay(index);
    }

    /// A share that has become larger is given at once.
    fn raise_credit(&mut self, index: usize) {
        let subscription = &mut self.subscriptions[index];
        if subscription.step == Step::Deliver {
            let missing = self.credit_bytes.saturating_sub(subscription.granted_bytes);
            subscription.granted_bytes += missing;
            subscription.owed_bytes += missing;
            self.pay(index);
        }
    }

    /// Tells the server of the credit that it is owed, in pieces worth a frame.
    fn pay(&mut self, index: usize) {
        let subscription = &mut self.subscriptions[index];
        if subscription.owed_bytes < self.credit_bytes / 2 || subscription.step != Step::Deliver {
            return;
        }
        let bytes = u32::try_from(subscription.owed_bytes).unwrap_or(u32::MAX);
        subscription.owed_bytes -= bytes as usize;
        let credit = Credit { handle: subscription.handle, bytes };
        let link = subscription.link;
        self.links.notify(link, |correlation, out| credit.encode(correlation, out));
    }

    /// The offset that follows everything delivered of a partition; `None` before its start is
    /// known.
    #[must_use]
    pub fn delivered_up_to(&self, partition: u32) -> Option<Offset> {
        self.delivered(Place { topic: 0, partition })
    }

    pub(crate) fn delivered(&self, place: Place) -> Option<Offset> {
        self.subscriptions[self.index_of(place)?].next
    }

    /// Why the connection to a partition's shard was lost last, if it is not connected now.
    #[must_use]
    pub fn last_fault(&self) -> Option<&ConnectionFault> {
        (0..self.links.count()).find_map(|link| self.links.last_fault(LinkId(link)))
    }

    /// Sends the request of the subscription's step.
    fn advance(&mut self, index: usize, now: Instant) {
        let purpose = Purpose::Step(self.slot(index));
        let unreleased = self.subscriptions[index].unreleased_bytes;
        let subscription = &mut self.subscriptions[index];
        subscription.retry_at = None;
        let &mut Subscription { link, handle, place, start, next, step, is_held, .. } =
            subscription;
        let visible = self.options.visible;
        let links = &mut self.links;
        match (step, next) {
            (Step::Bind, _) => {
                let topic = &self.topics[place.topic].name;
                let bind = Bind { handle, partition: PartitionIndex(place.partition), topic };
                links.request(link, purpose, now, |correlation, out| bind.encode(correlation, out));
            }
            (Step::Start, Some(_)) if is_held => {}
            (Step::Start, Some(offset)) => {
                let credit_bytes = self.credit_bytes.saturating_sub(unreleased);
                subscription.owed_bytes = 0;
                subscription.granted_bytes = self.credit_bytes;
                let credit_bytes = u32::try_from(credit_bytes).unwrap_or(u32::MAX);
                let subscribe = Subscribe { handle, visible, offset, credit_bytes };
                links.request(link, purpose, now, |correlation, out| {
                    subscribe.encode(correlation, out);
                });
            }
            (Step::Start, None) => {
                let what = match start {
                    StartAt::Timestamp { unix_ms } => OffsetsWhat::Timestamp { unix_ms },
                    StartAt::End => OffsetsWhat::End,
                    StartAt::Beginning | StartAt::Offset(_) => OffsetsWhat::Beginning,
                };
                let offsets = Offsets { handle, what, visible };
                links.request(link, purpose, now, |correlation, out| {
                    offsets.encode(correlation, out);
                });
            }
            (Step::Deliver | Step::Failed | Step::Leaving { .. } | Step::Free, _) => {}
        }
    }

    fn handle_bound(&mut self, index: usize, bound: &BindResponse, now: Instant) {
        let level = self.options.visible.level();
        let subscription = &mut self.subscriptions[index];
        subscription.step = Step::Start;
        if subscription.next.is_none() {
            subscription.next = match subscription.start {
                StartAt::Beginning => Some(bound.watermarks.start),
                StartAt::End => Some(bound.watermarks.at(level)),
                StartAt::Offset(offset) => Some(offset),
                StartAt::Timestamp { .. } => None,
            };
        }
        self.tell_missed(index);
        self.advance(index, now);
    }

    fn handle_offset(&mut self, index: usize, offset: Offset, now: Instant) {
        let subscription = &mut self.subscriptions[index];
        subscription.next = Some(offset);
        if let StartAt::Timestamp { unix_ms } = subscription.start {
            subscription.located = Some(Located { offset, unix_ms });
        }
        self.tell_missed(index);
        self.advance(index, now);
    }

    fn handle_delivery(&mut self, link: LinkId, delivery: Delivery) -> Result<(), ConnectionFault> {
        const FAULT: ConnectionFault = ConnectionFault::Unexpected("a delivery");
        let of_link = &self.handles[usize::from(link.0)];
        let index = of_link.get(delivery.handle.0 as usize).copied().ok_or(FAULT)?;
        let slot = self.slot(index);
        let subscription = &mut self.subscriptions[index];
        if let Step::Leaving { .. } = subscription.step {
            return Ok(());
        }
        // The first deliveries may overtake the response to the subscribe.
        let (Step::Deliver | Step::Start, Some(next)) = (subscription.step, subscription.next)
        else {
            return Err(FAULT);
        };
        subscription.unreleased_bytes += delivery.frame_bytes;
        subscription.next = Some(next.max(delivery.next_offset));
        let delivered = DeliveredBatches::new(
            subscription.place,
            Arc::clone(&self.names[subscription.place.topic]),
            slot,
            delivery,
            next,
            subscription.located,
        );
        self.events.push_back(ConsumerEvent::Delivered(delivered));
        Ok(())
    }

    fn handle_error(
        &mut self,
        link: LinkId,
        correlation: CorrelationId,
        error: &ErrorResponse<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let answer = ServerError::new(error);
        if error.code.closes_connection() {
            return Err(closing(&answer));
        }
        let index = match (error.opcode, error.handle) {
            (Opcode::Bind | Opcode::Offsets | Opcode::Subscribe, _) => {
                self.answered(link, correlation, now)?
            }
            // That it was not bound or not subscribed is as good.
            (Opcode::Unbind | Opcode::Unsubscribe, _) => {
                return self.handle_farewell(link, correlation, now);
            }
            (Opcode::Delivery, Some(handle)) => {
                let of_link = &self.handles[usize::from(link.0)];
                let index = of_link.get(handle.0 as usize).copied();
                Some(index.ok_or(ConnectionFault::Unexpected("a handle"))?)
            }
            _ => return Err(closing(&answer)),
        };
        let Some(index) = index.filter(|index| self.subscriptions[*index].is_occupied()) else {
            return Ok(());
        };
        let (beginning, wanted) = (Offset::new(error.detail_a), self.subscriptions[index].next);
        // What lies before the beginning was removed. What lies behind the end was never there, or
        // is lost: to go on elsewhere would pass that over.
        if error.code == ErrorCode::OffsetOutOfRange
            && wanted.is_some_and(|wanted| wanted < beginning)
            && self.subscriptions[index].if_gone != IfGone::Fail
        {
            self.go_on_elsewhere(index, beginning, now);
            return Ok(());
        }
        let subscription = &mut self.subscriptions[index];
        if answer.is_retriable() && error.opcode != Opcode::Delivery {
            subscription.retry_at = Some(now + RETRY_DELAY);
            return Ok(());
        }
        subscription.step = Step::Failed;
        let Place { topic, partition } = subscription.place;
        let topic = Arc::clone(&self.names[topic]);
        self.events.push_back(ConsumerEvent::Failed { topic, partition, error: answer });
        Ok(())
    }

    /// The partition does not have the wanted start.
    fn go_on_elsewhere(&mut self, index: usize, beginning: Offset, now: Instant) {
        let subscription = &mut self.subscriptions[index];
        subscription.missed = subscription.next.take();
        subscription.start = match subscription.if_gone {
            IfGone::End => StartAt::End,
            IfGone::Beginning | IfGone::Fail => {
                subscription.next = Some(beginning);
                StartAt::Offset(beginning)
            }
        };
        // A subscription that stood is over at the server, and one that was refused never was.
        subscription.step = Step::Start;
        self.tell_missed(index);
        self.advance(index, now);
    }

    /// Once it is known where a partition goes on.
    fn tell_missed(&mut self, index: usize) {
        let subscription = &mut self.subscriptions[index];
        if let Some(next) = subscription.next
            && let Some(wanted) = subscription.missed.take()
        {
            let Place { topic, partition } = subscription.place;
            let topic = Arc::clone(&self.names[topic]);
            self.events.push_back(ConsumerEvent::Missed { topic, partition, wanted, next });
        }
    }

    /// The subscription whose step was answered, unless it was given up meanwhile.
    fn answered(
        &mut self,
        link: LinkId,
        correlation: CorrelationId,
        now: Instant,
    ) -> Result<Option<usize>, ConnectionFault> {
        match self.links.answered(link, correlation, now)? {
            Purpose::Step(slot) => Ok(self.is_current(slot).then_some(slot.index)),
            _ => Err(ConnectionFault::Unexpected("a response of another kind")),
        }
    }

    fn handle_farewell(
        &mut self,
        link: LinkId,
        correlation: CorrelationId,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let Purpose::Farewell(slot) = self.links.answered(link, correlation, now)? else {
            return Err(ConnectionFault::Unexpected("a response of another kind"));
        };
        let subscription = &mut self.subscriptions[slot.index];
        subscription.step = match subscription.step {
            Step::Leaving { unanswered: 2.. } => Step::Leaving { unanswered: 1 },
            _ => Step::Free,
        };
        Ok(())
    }
}

impl Session for Consumer {
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
        self.links.handle_lost(link, fault, now);
        for subscription in self.subscriptions.iter_mut().filter(|sub| sub.link == link) {
            subscription.retry_at = None;
            subscription.step = match subscription.step {
                Step::Failed => Step::Failed,
                Step::Leaving { .. } | Step::Free => Step::Free,
                Step::Bind | Step::Start | Step::Deliver => Step::Bind,
            };
        }
    }

    fn handle_frame(
        &mut self,
        link: LinkId,
        frame: Incoming<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let (correlation, response) = match frame {
            Incoming::Delivery(delivery) => return self.handle_delivery(link, delivery),
            Incoming::Response { correlation, response } => (correlation, response),
        };
        match response {
            Response::Hello(hello) => {
                self.links.handle_hello(link, &hello)?;
                for index in self.handles[usize::from(link.0)].clone() {
                    self.advance(index, now);
                }
            }
            Response::Bind(bound) => {
                if let Some(index) = self.answered(link, correlation, now)? {
                    self.handle_bound(index, &bound, now);
                }
            }
            Response::Offsets(offsets) => {
                if let Some(index) = self.answered(link, correlation, now)? {
                    self.handle_offset(index, offsets.offset, now);
                }
            }
            Response::Subscribed(_) => {
                if let Some(index) = self.answered(link, correlation, now)? {
                    self.subscriptions[index].step = Step::Deliver;
                    self.raise_credit(index);
                    self.pay(index);
                }
            }
            Response::Unsubscribe | Response::Unbind => {
                return self.handle_farewell(link, correlation, now);
            }
            Response::Error(error) => {
                return self.handle_error(link, correlation, &error, now);
            }
            _ => return Err(ConnectionFault::Unexpected("a response of another kind")),
        }
        Ok(())
    }

    fn poll_transmit(&mut self, link: LinkId, _now: Instant) -> Option<Chunk> {
        self.links.poll_control(link)
    }

    fn can_transmit(&self, link: LinkId, _now: Instant) -> bool {
        self.links.has_control(link)
    }

    fn poll_hang_up(&mut self, link: LinkId) -> Option<ConnectionFault> {
        self.links.poll_hang_up(link)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let retries = self.subscriptions.iter().filter_map(|sub| sub.retry_at);
        retries.chain(self.links.poll_timeout()).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.links.handle_timeout(now);
        for index in 0..self.subscriptions.len() {
            if self.subscriptions[index].retry_at.is_some_and(|at| at <= now) {
                self.advance(index, now);
            }
        }
    }
}

/// The topic has no such partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchPartition {
    /// The one that was asked for.
    pub partition: u32,
    /// How many there are.
    pub partitions: u32,
}

impl fmt::Display for NoSuchPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoSuchPartition { partition, partitions } = self;
        write!(formatter, "no partition {partition}: the topic has {partitions}")
    }
}

impl error::Error for NoSuchPartition {}
