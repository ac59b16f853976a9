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

pub use delivery::{DeliveredBatch, DeliveredBatches, Delivery, DeliveryError, Record};
pub use options::{ConsumerOptions, StartAt};

use self::delivery::Located;
use crate::link::{Links, closing};
use crate::{Chunk, ConnectionFault, Incoming, Instant, LinkId, ServerError, Session, Topic};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use core::{error, fmt};
use plimsoll_wire::{
    Bind, BindResponse, CorrelationId, Credit, ErrorResponse, Handle, Offset, Offsets, OffsetsWhat,
    Opcode, PartitionIndex, Response, Subscribe,
};

/// The session of a consumer of one topic.
#[derive(Debug)]
pub struct Consumer {
    topic: Topic,
    options: ConsumerOptions,
    links: Links<usize>,
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
        /// Which one.
        partition: u32,
        /// Why.
        error: ServerError,
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
        let count = topic.links();
        let mut links = Links::new(count, options.link.clone());
        let mut handles: Vec<Vec<usize>> = (0..count).map(|_| Vec::new()).collect();
        let mut subscriptions = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let Some(shard) = topic.shards.get(partition as usize) else {
                return Err(NoSuchPartition { partition, partitions: topic.partitions() });
            };
            let of_link = &mut handles[usize::from(shard.0)];
            let start = options.positions.get(&partition).copied().map(StartAt::Offset);
            subscriptions.push(Subscription {
                partition,
                link: LinkId(shard.0),
                handle: Handle(of_link.len() as u32),
                start: start.unwrap_or(options.from),
                next: None,
                located: None,
                step: Step::Bind,
                retry_at: None,
                unreleased_bytes: 0,
                owed_bytes: 0,
            });
            of_link.push(subscriptions.len() - 1);
            links.want(LinkId(shard.0), now);
        }
        let share = options.credit_bytes as usize / subscriptions.len().max(1);
        let credit_bytes = share.max(CREDIT_BYTES_MIN);
        let events = VecDeque::new();
        Ok(Consumer { topic, options, links, subscriptions, handles, events, credit_bytes })
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Records, or the failure of a partition.
    pub fn poll_event(&mut self) -> Option<ConsumerEvent> {
        self.events.pop_front()
    }

    /// The records of a delivery were consumed: the server may send as much again. Poll afterwards.
    pub fn release(&mut self, consumed: &DeliveredBatches) {
        let credit_bytes = consumed.credit_bytes();
        let subscription = &mut self.subscriptions[consumed.subscription];
        subscription.unreleased_bytes = subscription.unreleased_bytes.saturating_sub(credit_bytes);
        subscription.owed_bytes += credit_bytes;
        self.pay(consumed.subscription);
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
        self.subscriptions.iter().find(|sub| sub.partition == partition)?.next
    }

    /// Why the connection to a partition's shard was lost last, if it is not connected now.
    #[must_use]
    pub fn last_fault(&self) -> Option<&ConnectionFault> {
        (0..self.links.count()).find_map(|link| self.links.last_fault(LinkId(link)))
    }

    /// Sends the request of the subscription's step.
    fn advance(&mut self, index: usize, now: Instant) {
        let unreleased = self.subscriptions[index].unreleased_bytes;
        let subscription = &mut self.subscriptions[index];
        subscription.retry_at = None;
        let &mut Subscription { link, handle, partition, start, next, step, .. } = subscription;
        let visible = self.options.visible;
        let links = &mut self.links;
        match (step, next) {
            (Step::Bind, _) => {
                let topic = &self.topic.name;
                let bind = Bind { handle, partition: PartitionIndex(partition), topic };
                links.request(link, index, now, |correlation, out| bind.encode(correlation, out));
            }
            (Step::Start, Some(offset)) => {
                let credit_bytes = self.credit_bytes.saturating_sub(unreleased);
                subscription.owed_bytes = 0;
                let credit_bytes = u32::try_from(credit_bytes).unwrap_or(u32::MAX);
                let subscribe = Subscribe { handle, visible, offset, credit_bytes };
                links.request(link, index, now, |correlation, out| {
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
                links.request(link, index, now, |correlation, out| {
                    offsets.encode(correlation, out);
                });
            }
            (Step::Deliver | Step::Failed, _) => {}
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
        self.advance(index, now);
    }

    fn handle_delivery(&mut self, link: LinkId, delivery: Delivery) -> Result<(), ConnectionFault> {
        const FAULT: ConnectionFault = ConnectionFault::Unexpected("a delivery");
        let of_link = &self.handles[usize::from(link.0)];
        let index = of_link.get(delivery.handle.0 as usize).copied().ok_or(FAULT)?;
        let subscription = &mut self.subscriptions[index];
        // The first deliveries may overtake the response to the subscribe.
        let (Step::Deliver | Step::Start, Some(next)) = (subscription.step, subscription.next)
        else {
            return Err(FAULT);
        };
        subscription.unreleased_bytes += delivery.frame_bytes;
        subscription.next = Some(next.max(delivery.next_offset));
        let delivered = DeliveredBatches::new(
            subscription.partition,
            index,
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
                self.links.answered(link, correlation, now)?
            }
            (Opcode::Delivery, Some(handle)) => {
                let of_link = &self.handles[usize::from(link.0)];
                let index = of_link.get(handle.0 as usize).copied();
                index.ok_or(ConnectionFault::Unexpected("a handle"))?
            }
            _ => return Err(closing(&answer)),
        };
        let subscription = &mut self.subscriptions[index];
        if answer.is_retriable() && error.opcode != Opcode::Delivery {
            subscription.retry_at = Some(now + RETRY_DELAY);
            return Ok(());
        }
        subscription.step = Step::Failed;
        let partition = subscription.partition;
        self.events.push_back(ConsumerEvent::Failed { partition, error: answer });
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
            if subscription.step != Step::Failed {
                subscription.step = Step::Bind;
            }
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
                let index = self.links.answered(link, correlation, now)?;
                self.handle_bound(index, &bound, now);
            }
            Response::Offsets(offsets) => {
                let index = self.links.answered(link, correlation, now)?;
                let subscription = &mut self.subscriptions[index];
                let offset = offsets.offset;
                subscription.next = Some(offset);
                if let StartAt::Timestamp { unix_ms } = subscription.start {
                    subscription.located = Some(Located { offset, unix_ms });
                }
                self.advance(index, now);
            }
            Response::Subscribed(_) => {
                let index = self.links.answered(link, correlation, now)?;
                self.subscriptions[index].step = Step::Deliver;
                self.pay(index);
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

/// The smallest share of the credit: a partition with less would wait for every record.
const CREDIT_BYTES_MIN: usize = 4 << 10;

/// The wait before a request is made again that the server was too busy for.
const RETRY_DELAY: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct Subscription {
    partition: u32,
    link: LinkId,
    handle: Handle,
    start: StartAt,
    /// The offset that follows what was delivered.
    next: Option<Offset>,
    /// Where the time lies that was asked for.
    located: Option<Located>,
    step: Step,
    retry_at: Option<Instant>,
    /// Delivered and not yet given back by the driver.
    unreleased_bytes: usize,
    /// Given back by the driver and not yet told to the server.
    owed_bytes: usize,
}

/// What the subscription waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Bind,
    /// Bound: find the offset if it is not known, then subscribe.
    Start,
    Deliver,
    Failed,
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
