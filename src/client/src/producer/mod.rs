//! The producer's session: records in, batches out, acks back.
//!
//! Records are gathered into one open batch for each partition. A batch is sealed when it is full,
//! when it has lingered, or when somebody waits for it; it is sent when the link's window has
//! room. Every batch ends in exactly one final [`BatchEvent`].
//!
//! It sends a batch again that may have been written only if the server would know it again: if the
//! producer is idempotent. What a newcomer gets wrong: a batch is only taken from the window by its
//! *last* ack, so a producer that also asks for `disk` has disk-sized latencies in its window.

mod answers;
mod batch;
mod identity;
mod in_flight;
mod lane;
mod options;
mod resume;
mod sending;

pub use batch::BatchId;
pub use options::ProducerOptions;
pub use resume::{ProducerIdentity, Resume};

use crate::deliver_after::{DELIVER_AFTER_HEADER, DeliverAfter, Digits};
use crate::link::Links;
use crate::partitioner::Partitioner;
use crate::{BatchOutcome, Instant, LinkId, Refusal, Session, Topic};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use batch::{OpenBatch, SealedBatch};
use core::time::Duration;
use core::{error, fmt};
use identity::Identity;
use in_flight::SentBatch;
use lane::{Lane, Window};
use plimsoll_batch::{BATCH_BYTES_MAX, BatchBuilder, BuildError, HEADER_BYTES, Header};
use plimsoll_wire::{Durability, PRODUCE_HEAD_BYTES};

/// The session of a producer for one topic. `A` is what the driver attaches to each batch to tell
/// those who wait.
#[derive(Debug)]
pub struct Producer<A> {
    topic: Topic,
    options: ProducerOptions,
    durability: Durability,
    is_idempotent: bool,
    /// Batches of one partition in flight, if the producer is idempotent.
    partition_window: usize,
    partitioner: Partitioner,
    links: Links<Asked>,
    windows: Vec<Window>,
    lanes: Vec<Lane<A>>,
    /// Batches without a final outcome.
    outstanding: BTreeSet<BatchId>,
    last_id: BatchId,
    buffered_bytes: usize,
    events: VecDeque<BatchEvent<A>>,
    builders: Vec<BatchBuilder>,
    memory: Vec<Vec<u8>>,
    head: Vec<u8>,
    next_sweep: Instant,
    totals: Totals,
}

/// What a request was for; with its partition.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Bind(u32),
    Identity(u32),
}

/// A record to append.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// The partition; without one the key decides, and without a key the producer.
    pub partition: Option<u32>,
    /// Null and empty are two things.
    pub key: Option<&'a [u8]>,
    /// Null and empty are two things.
    pub value: Option<&'a [u8]>,
    /// Names and values beside the record's own.
    pub headers: &'a [Header<'a>],
    /// Milliseconds since the Unix epoch. Drivers fill it in; the session itself has no clock, and
    /// writes -1, "none".
    pub timestamp_ms: Option<i64>,
    /// Groups in share mode are not handed the record before this, kept durably in a header of it;
    /// everybody else sees it at once.
    pub deliver_after: Option<DeliverAfter>,
}

impl<'a> NewRecord<'a> {
    /// A record without a key.
    #[must_use]
    pub fn of_value(value: &'a [u8]) -> NewRecord<'a> {
        NewRecord { value: Some(value), ..NewRecord::default() }
    }

    /// The same with a key, which decides about the partition if none is given.
    #[must_use]
    pub fn with_key(self, key: &'a [u8]) -> NewRecord<'a> {
        NewRecord { key: Some(key), ..self }
    }

    /// The same, for delivery to groups in share mode so long after its timestamp.
    #[must_use]
    pub fn delayed(self, delay: Duration) -> NewRecord<'a> {
        NewRecord { deliver_after: Some(DeliverAfter::Delay(delay)), ..self }
    }

    /// The same for this partition.
    #[must_use]
    pub fn to_partition(self, partition: u32) -> NewRecord<'a> {
        NewRecord { partition: Some(partition), ..self }
    }
}

/// Where a record went.
#[derive(Debug)]
pub struct Appended<'a, A> {
    /// Its partition.
    pub partition: u32,
    /// Its batch.
    pub batch: BatchId,
    /// Its place in the batch.
    pub index: u32,
    /// What is attached to the batch.
    pub attachment: &'a A,
    /// The link that the batch will go over.
    pub link: LinkId,
    /// Whether the driver should poll: a batch was opened or sealed.
    pub poll: bool,
}

/// What became of a batch, or the first half of it where two levels were asked for.
#[derive(Clone, Debug)]
pub struct BatchEvent<A> {
    /// The batch.
    pub batch: BatchId,
    /// Its partition.
    pub partition: u32,
    /// How many records it has.
    pub records: u32,
    /// What became of it.
    pub outcome: BatchOutcome,
    /// Whether this is the last that is heard of the batch.
    pub is_final: bool,
    /// What the driver attached.
    pub attachment: A,
}

/// How many records ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// At every level that was asked for.
    pub acked: u64,
    /// Handed to a connection without asking for an ack.
    pub sent: u64,
    /// Surely not written.
    pub refused: u64,
    /// May or may not be there.
    pub unknown: u64,
}

impl<A: Clone + Default> Producer<A> {
    /// A producer for `topic`. Nothing is connected before the first record.
    ///
    /// `first_partition` is where keyless records begin, modulo the number of partitions.
    ///
    /// # Panics
    ///
    /// If the topic has no partitions.
    #[must_use]
    pub fn new(topic: Topic, options: ProducerOptions, first_partition: u32) -> Producer<A> {
        let links = topic.links();
        let durability = options.durability.resolve(topic.durability);
        let mut producer = Producer {
            is_idempotent: options.idempotent && durability.ack_level().is_some(),
            partition_window: identity::PARTITION_WINDOW,
            durability,
            partitioner: Partitioner::new(topic.partitions(), first_partition),
            links: Links::new(links, options.link.clone()),
            windows: (0..links).map(|_| Window::new()).collect(),
            lanes: (0..topic.partitions()).map(|_| Lane::new()).collect(),
            outstanding: BTreeSet::new(),
            last_id: BatchId(0),
            buffered_bytes: 0,
            events: VecDeque::new(),
            builders: Vec::new(),
            memory: Vec::new(),
            head: Vec::new(),
            next_sweep: Instant::ORIGIN,
            totals: Totals::default(),
            topic,
            options,
        };
        producer.resume();
        producer
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The durability that was asked for, the topic's default resolved.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Puts a record into the open batch of its partition. After an error nothing has changed,
    /// except that [`Full`](AppendRejected::Full) makes open batches due.
    ///
    /// # Errors
    ///
    /// See [`AppendRejected`].
    pub fn append(
        &mut self,
        record: &NewRecord<'_>,
        now: Instant,
    ) -> Result<Appended<'_, A>, AppendRejected> {
        let partition = match record.partition {
            Some(partition) => partition,
            None => self.partitioner.partition(record.key),
        };
        let partitions = self.topic.partitions();
        if partition >= partitions {
            return Err(AppendRejected::NoSuchPartition { partition, partitions });
        }
        if !self.has_room() {
            self.flush();
            return Err(AppendRejected::Full);
        }
        let last_id = self.last_id;
        let index = self.build(partition, record, now)?;
        let is_sealed = self.is_full(partition) && self.seal_for_window(partition);
        let poll = is_sealed || last_id != self.last_id;
        let link = LinkId(self.topic.shards[partition as usize].0);
        let lane = &self.lanes[partition as usize];
        let (batch, attachment) = match (&lane.open, lane.ready.back()) {
            (Some(open), _) => (open.id, &open.attachment),
            (None, Some(sealed)) => (sealed.id, &sealed.attachment),
            (None, None) => unreachable!("the batch of the record is open, or waits to be sent"),
        };
        Ok(Appended { partition, batch, index, attachment, link, poll })
    }

    /// Makes every open batch due now, whatever its linger.
    pub fn flush(&mut self) {
        for window in 0..self.windows.len() {
            while let Some((_, partition, id)) = self.windows[window].lingering.pop_front() {
                self.seal_if_open(partition, id);
            }
        }
    }

    /// Makes one batch due, because somebody waits for it. Says whether it was still open.
    pub fn flush_batch(&mut self, partition: u32, batch: BatchId) -> bool {
        self.seal_if_open(partition, batch)
    }

    /// The oldest batch without a final outcome.
    #[must_use]
    pub fn oldest_outstanding(&self) -> Option<BatchId> {
        self.outstanding.first().copied()
    }

    /// The batch that was opened last.
    #[must_use]
    pub fn last_batch(&self) -> BatchId {
        self.last_id
    }

    /// Bytes of all records without a final outcome.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    /// Whether the next append will be taken, as far as memory is concerned.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.buffered_bytes < self.options.buffer_bytes_max
    }

    /// How many records ended how, so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What became of a batch.
    pub fn poll_event(&mut self) -> Option<BatchEvent<A>> {
        self.events.pop_front()
    }

    /// Gives up on everything that has no outcome yet: what was not sent is refused, the rest
    /// unknown.
    pub fn abort(&mut self, now: Instant) {
        for link in 0..self.links.count() {
            self.handle_lost(LinkId(link), crate::ConnectionFault::ClosedByClient, now);
        }
        for partition in 0..self.lanes.len() {
            self.seal(partition as u32);
            while let Some(batch) = self.lanes[partition].ready.pop_front() {
                self.refuse(partition as u32, batch, Refusal::Closed);
            }
        }
    }

    /// Appends to the open batch, opening one as needed; may seal the one before. Returns the
    /// record's place in its batch.
    fn build(
        &mut self,
        partition: u32,
        record: &NewRecord<'_>,
        now: Instant,
    ) -> Result<u32, AppendRejected> {
        let timestamp_ms = record.timestamp_ms.unwrap_or(-1);
        if let Some(deliver_after) = record.deliver_after {
            let digits = Digits::of(deliver_after.unix_ms(timestamp_ms));
            let mut headers = record.headers.to_vec();
            headers.push(Header::new(DELIVER_AFTER_HEADER, digits.as_bytes()));
            let with_header = NewRecord { headers: &headers, deliver_after: None, ..*record };
            return self.build(partition, &with_header, now);
        }
        let mut sealed_one = false;
        loop {
            self.open(partition, now);
            let Some(open) = &mut self.lanes[partition as usize].open else { continue };
            let before = open.builder.length_bytes();
            let &NewRecord { key, value, headers, .. } = record;
            match open.builder.append(timestamp_ms, key, value, headers) {
                Ok(()) => {
                    self.buffered_bytes += open.builder.length_bytes() - before;
                    return Ok(open.builder.record_count() - 1);
                }
                Err(BuildError::RecordTooLarge { record_bytes, batch_bytes_max }) => {
                    self.close_if_empty(partition);
                    return Err(AppendRejected::TooLarge { record_bytes, batch_bytes_max });
                }
                Err(_) if sealed_one => {
                    self.close_if_empty(partition);
                    let batch_bytes_max = self.batch_bytes_max();
                    return Err(AppendRejected::TooLarge { record_bytes: 0, batch_bytes_max });
                }
                Err(_) => {
                    self.seal(partition);
                    sealed_one = true;
                }
            }
        }
    }

    /// The batch may grow to what the topic takes: `batch_bytes` is where it is sealed, so that a
    /// record larger than that still finds a batch of its own.
    fn batch_bytes_max(&self) -> usize {
        (self.topic.batch_bytes_max as usize).min(BATCH_BYTES_MAX)
    }

    fn open(&mut self, partition: u32, now: Instant) {
        if self.lanes[partition as usize].open.is_some() {
            return;
        }
        self.last_id = BatchId(self.last_id.0 + 1);
        let id = self.last_id;
        let limit = self.batch_bytes_max();
        let builder = self.builders.pop().unwrap_or_else(|| BatchBuilder::with_limit(limit));
        self.buffered_bytes += builder.length_bytes() + PRODUCE_HEAD_BYTES;
        let attachment = A::default();
        self.lanes[partition as usize].open =
            Some(OpenBatch { id, builder, opened_at: now, attachment });
        self.outstanding.insert(id);
        let link = LinkId(self.topic.shards[partition as usize].0);
        self.links.want(link, now);
        let lanes = &self.lanes;
        let lingering = &mut self.windows[usize::from(link.0)].lingering;
        lingering.push_back((now + self.options.linger, partition, id));
        if lingering.len() > 2 * lanes.len() + 64 {
            lingering.retain(|(_, partition, id)| {
                lanes[*partition as usize].open.as_ref().is_some_and(|open| open.id == *id)
            });
        }
    }

    fn is_full(&self, partition: u32) -> bool {
        let ProducerOptions { batch_bytes, batch_records_max, .. } = self.options;
        self.lanes[partition as usize].open.as_ref().is_some_and(|open| {
            open.builder.length_bytes() >= batch_bytes.min(self.batch_bytes_max())
                || open.builder.record_count() >= batch_records_max
        })
    }

    /// Drops an open batch that took no record after all.
    fn close_if_empty(&mut self, partition: u32) {
        let lane = &mut self.lanes[partition as usize];
        if lane.open.as_ref().is_some_and(|open| open.builder.is_empty())
            && let Some(open) = lane.open.take()
        {
            self.outstanding.remove(&open.id);
            self.buffered_bytes -= HEADER_BYTES + PRODUCE_HEAD_BYTES;
            self.builders.push(open.builder);
        }
    }

    fn seal_if_open(&mut self, partition: u32, id: BatchId) -> bool {
        let open = self.lanes[partition as usize].open.as_ref();
        let is_open = open.is_some_and(|open| open.id == id);
        if is_open {
            self.seal(partition);
        }
        is_open
    }

    fn seal(&mut self, partition: u32) {
        let Some(open) = self.lanes[partition as usize].open.take() else { return };
        self.partitioner.batch_closed(partition);
        let buffered = open.builder.length_bytes() + PRODUCE_HEAD_BYTES;
        let memory = self.memory.pop().unwrap_or_default();
        let stamp = self.foreseen_stamp(partition);
        let (sealed, builder) = open.seal(self.options.compression, stamp, memory);
        self.buffered_bytes = self.buffered_bytes - buffered + sealed.frame.len();
        if self.builders.len() < SPARE_MAX {
            self.builders.push(builder);
        }
        self.lanes[partition as usize].ready.push_back(sealed);
        self.refuse_if_over(partition);
        self.list(partition);
    }

    /// Puts the lane into its window's list of those that have something to send.
    fn list(&mut self, partition: u32) {
        let has_window = self.lane_has_window(partition);
        let lane = &mut self.lanes[partition as usize];
        let has_work = !lane.ready.is_empty() && lane.paused_until.is_none();
        if !lane.is_listed && has_work && has_window && lane.identity != Identity::Asked {
            lane.is_listed = true;
            let shard = self.topic.shards[partition as usize].0;
            self.windows[usize::from(shard)].sendable.push_back(partition);
        }
    }

    /// The final outcome of a batch.
    fn settle(&mut self, partition: u32, batch: SealedBatch<A>, outcome: BatchOutcome) {
        let records = u64::from(batch.records);
        match outcome {
            BatchOutcome::Acked { .. } => self.totals.acked += records,
            BatchOutcome::Sent => self.totals.sent += records,
            BatchOutcome::Refused(_) => self.totals.refused += records,
            BatchOutcome::Unknown(_) => self.totals.unknown += records,
        }
        self.outstanding.remove(&batch.id);
        self.buffered_bytes -= batch.frame.len();
        self.events.push_back(BatchEvent {
            batch: batch.id,
            partition,
            records: batch.records,
            outcome,
            is_final: true,
            attachment: batch.attachment,
        });
        if self.memory.len() < SPARE_MAX
            && let Some(memory) = batch.frame.into_memory()
        {
            self.memory.push(memory);
        }
    }

    /// How often deadlines are looked at: an eighth of the timeout, within reason.
    fn sweep_interval(&self) -> Duration {
        (self.options.delivery_timeout / 8)
            .clamp(Duration::from_millis(1), Duration::from_millis(250))
    }
}

/// Buffers kept for later batches, of each kind.
const SPARE_MAX: usize = 16;

/// Why a record was not taken. It is surely not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendRejected {
    /// `buffer_bytes_max` is used up: append again when events have been polled.
    Full,
    /// No batch of the topic can hold the record.
    TooLarge {
        /// The record, encoded; 0 if its timestamp is what does not fit.
        record_bytes: usize,
        /// The largest batch that the topic takes.
        batch_bytes_max: usize,
    },
    /// The topic has no such partition.
    NoSuchPartition {
        /// The one that was asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
}

impl fmt::Display for AppendRejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendRejected::Full => formatter.write_str("the producer's buffer is full"),
            AppendRejected::TooLarge { record_bytes, batch_bytes_max } => write!(
                formatter,
                "record takes {record_bytes} bytes, the topic's batches at most {batch_bytes_max}; \
                 create the topic with a larger --max-batch-bytes"
            ),
            AppendRejected::NoSuchPartition { partition, partitions } => {
                write!(formatter, "no partition {partition}: the topic has {partitions}")
            }
        }
    }
}

impl error::Error for AppendRejected {}
