//! Copies for the dead-letter topic.
//!
//! A record is copied at `disk` first and settled then, so that a crash between the two leaves two
//! copies, never none. What a newcomer gets wrong: a rejected record is copied by the member that
//! rejects it, because only that one knows the reason; the server hands it out again, as dead, only
//! where that member did not get so far.

use super::held::{Key, LockId, SettleId, Stage};
use super::{ShareConsumer, ShareNotice, ShareOptions, SharedRecord};
use crate::{
    AppendRejected, BatchId, BatchOutcome, Instant, NewRecord, Producer, ProducerOptions, Topic,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use plimsoll_batch::Header;
use plimsoll_wire::{AckLevel, DeadReason, DurabilityWanted, Verdict};

/// The headers that a copy in a dead-letter topic has beside its own. All values are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadLetterHeader {
    /// `rejected` or `too many deliveries`.
    Reason,
    /// What the application said when it rejected the record, or why the copy has no key and value.
    Detail,
    /// The topic of the record.
    Topic,
    /// Its partition there.
    Partition,
    /// Its offset there.
    Offset,
    /// The group that could do nothing with it.
    Group,
    /// How often it was handed out.
    Deliveries,
}

impl DeadLetterHeader {
    /// The header's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DeadLetterHeader::Reason => "plimsoll-dead-letter-reason",
            DeadLetterHeader::Detail => "plimsoll-dead-letter-detail",
            DeadLetterHeader::Topic => "plimsoll-dead-letter-topic",
            DeadLetterHeader::Partition => "plimsoll-dead-letter-partition",
            DeadLetterHeader::Offset => "plimsoll-dead-letter-offset",
            DeadLetterHeader::Group => "plimsoll-dead-letter-group",
            DeadLetterHeader::Deliveries => "plimsoll-dead-letter-deliveries",
        }
    }
}

/// Copies on their way.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) producer: Producer<()>,
    waiting: VecDeque<Copy>,
    waiting_bytes: usize,
    under_way: BTreeMap<BatchId, Vec<(Key, LockId)>>,
}

#[derive(Debug)]
struct Copy {
    record: SharedRecord,
    reason: DeadReason,
    detail: Option<String>,
}

impl Copies {
    pub(super) fn new(topic: Topic, options: &ShareOptions) -> Copies {
        let of_producer = ProducerOptions {
            durability: DurabilityWanted::Level(AckLevel::Disk.durability()),
            buffer_bytes_max: options.buffer_bytes_max,
            delivery_timeout: options.settle_timeout,
            link: options.link.clone(),
            ..ProducerOptions::default()
        };
        Copies {
            producer: Producer::new(topic, of_producer, 0),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            under_way: BTreeMap::new(),
        }
    }

    /// Bytes of records that wait for their copy.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes + self.producer.buffered_bytes()
    }
}

impl ShareConsumer {
    /// The application rejects a record.
    pub(super) fn reject(
        &mut self,
        record: &SharedRecord,
        detail: &str,
        id: SettleId,
        now: Instant,
    ) {
        let key = (record.place, record.offset);
        if self.copies.is_none() || self.is_dead_letter_missing {
            return self.settle_as(key, Verdict::Reject, Some(id));
        }
        if let Some(held) = self.held.get_mut(&key) {
            held.stage = Stage::Copying(Some(id));
        }
        let detail = (!detail.is_empty()).then(|| String::from(detail));
        self.copy(Copy { record: record.clone(), reason: DeadReason::Rejected, detail }, now);
    }

    /// The server handed out a record that is dead.
    pub(super) fn copy_dead(&mut self, record: SharedRecord, reason: DeadReason, now: Instant) {
        let key = (record.place, record.offset);
        if self.copies.is_none() {
            let delay_ms = COPY_DELAY_MS;
            return self.settle_as(key, Verdict::Release { delay_ms }, None);
        }
        if let Some(held) = self.held.get_mut(&key) {
            held.stage = Stage::Copying(None);
        }
        self.copy(Copy { record, reason, detail: None }, now);
    }

    fn copy(&mut self, copy: Copy, now: Instant) {
        if let Some(copies) = &mut self.copies {
            copies.waiting_bytes += copy.record.held_bytes();
            copies.waiting.push_back(copy);
        }
        self.work_copies(now);
    }

    /// Hands copies to the producer, and settles those that are there.
    pub(super) fn work_copies(&mut self, now: Instant) {
        let Some(copies) = &mut self.copies else { return };
        let mut refused = Vec::new();
        while let Some(copy) = copies.waiting.pop_front() {
            let key = ((copy.record.place, copy.record.offset), copy.record.lock);
            match append(&mut copies.producer, &self.group, &copy, now) {
                Ok(batch) => copies.under_way.entry(batch).or_default().push(key),
                Err(AppendRejected::Full) => {
                    copies.waiting.push_front(copy);
                    break;
                }
                Err(_) => refused.push(key),
            }
            copies.waiting_bytes -= copy.record.held_bytes();
        }
        let mut ended: Vec<(Key, LockId, bool)> =
            refused.into_iter().map(|(key, lock)| (key, lock, false)).collect();
        while let Some(event) = copies.producer.poll_event() {
            if event.is_final {
                let keys = copies.under_way.remove(&event.batch).unwrap_or_default();
                let is_there = matches!(event.outcome, BatchOutcome::Acked { .. });
                ended.extend(keys.into_iter().map(|(key, lock)| (key, lock, is_there)));
            }
        }
        for (key, lock, is_there) in ended {
            self.copied(key, lock, is_there);
        }
    }

    fn copied(&mut self, key: Key, lock: LockId, is_there: bool) {
        let Some(held) = self.held.get(&key).filter(|held| held.lock == lock) else { return };
        let Stage::Copying(id) = held.stage else { return };
        let verdict = match (is_there, held.dead) {
            (true, _) => Verdict::DeadLettered,
            // The server remembers that it is dead, and hands it out again as such.
            (false, None) => Verdict::Reject,
            (false, Some(_)) => Verdict::Release { delay_ms: COPY_DELAY_MS },
        };
        if !is_there {
            let (topic, partition, offset) = (self.name(key.0.topic), key.0.partition.0, key.1);
            self.notice(ShareNotice::NotDeadLettered { topic, partition, offset });
        }
        self.settle_as(key, verdict, id);
    }
}

/// Appends the copy: without key, value and headers of its own if it fits in no batch of the topic.
fn append(
    producer: &mut Producer<()>,
    group: &str,
    copy: &Copy,
    now: Instant,
) -> Result<BatchId, AppendRejected> {
    match append_as(producer, group, copy, true, now) {
        Err(AppendRejected::TooLarge { .. }) => append_as(producer, group, copy, false, now),
        appended => appended,
    }
}

fn append_as(
    producer: &mut Producer<()>,
    group: &str,
    copy: &Copy,
    is_whole: bool,
    now: Instant,
) -> Result<BatchId, AppendRejected> {
    let Copy { record, reason, detail } = copy;
    let partition = record.partition.to_string();
    let offset = record.offset.value().to_string();
    let deliveries = record.deliveries.to_string();
    let detail = match is_whole {
        true => detail.as_deref(),
        false => Some("the record fits in no batch of this topic"),
    };
    let mut headers: Vec<Header<'_>> = Vec::new();
    if is_whole {
        headers.extend(record.headers());
    }
    let origin = [
        (DeadLetterHeader::Reason, reason.name()),
        (DeadLetterHeader::Topic, record.topic()),
        (DeadLetterHeader::Partition, &partition),
        (DeadLetterHeader::Offset, &offset),
        (DeadLetterHeader::Group, group),
        (DeadLetterHeader::Deliveries, &deliveries),
    ];
    let detail = detail.map(|detail| (DeadLetterHeader::Detail, detail));
    let named = origin.into_iter().chain(detail);
    headers.extend(named.map(|(header, value)| Header::new(header.name(), value.as_bytes())));
    let new = NewRecord {
        key: record.key().filter(|_| is_whole),
        value: record.value().filter(|_| is_whole),
        headers: &headers,
        timestamp_ms: Some(record.timestamp_ms).filter(|_| is_whole),
        ..NewRecord::default()
    };
    let appended = producer.append(&new, now)?;
    Ok(appended.batch)
}

/// Before a copy that failed is tried again.
const COPY_DELAY_MS: u64 = 1_000;
