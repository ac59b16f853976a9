//! A record as a member of a group in share mode gets it.
//!
//! What a newcomer gets wrong: it has memory of its own, unlike a consumer's record, because of a
//! batch of a thousand this member may have one.

use super::held::LockId;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use plimsoll_batch as batch;
use plimsoll_wire::{Offset, TopicPartition};

/// One record, which its member has to itself until it says what became of it.
#[derive(Clone)]
pub struct SharedRecord {
    /// Its partition.
    pub partition: u32,
    /// Its place there.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch, as its producer said.
    pub timestamp_ms: i64,
    /// How often it was handed out, to whomever, this time included. More than once: somebody may
    /// have worked on it before.
    pub deliveries: u32,
    pub(super) place: TopicPartition,
    pub(super) lock: LockId,
    topic: Arc<str>,
    bytes: Arc<Vec<u8>>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

/// Whose record it is, and by which lock.
#[derive(Clone, Debug)]
pub(super) struct Lent {
    pub(super) topic: Arc<str>,
    pub(super) place: TopicPartition,
    pub(super) lock: LockId,
    pub(super) deliveries: u32,
}

impl SharedRecord {
    pub(super) fn new(lent: Lent, record: &batch::Record<'_>) -> SharedRecord {
        let mut bytes = Vec::with_capacity(
            record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len),
        );
        let mut keep = |slice: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(slice);
            start..bytes.len()
        };
        let (key, value) = (record.key.map(&mut keep), record.value.map(&mut keep));
        let headers = record.headers.clone();
        let headers =
            headers.map(|of| (keep(of.name), of.value.map(&mut keep))).collect::<Vec<_>>();
        let Lent { topic, place, lock, deliveries } = lent;
        SharedRecord {
            partition: place.partition.0,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            deliveries,
            place,
            lock,
            topic,
            bytes: Arc::new(bytes),
            key,
            value,
            headers,
        }
    }

    /// In place of one that cannot be read: it has a place, and nothing else.
    pub(super) fn unread(lent: Lent, offset: Offset) -> SharedRecord {
        let Lent { topic, place, lock, deliveries } = lent;
        SharedRecord {
            partition: place.partition.0,
            offset,
            timestamp_ms: -1,
            deliveries,
            place,
            lock,
            topic,
            bytes: Arc::new(Vec::new()),
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The key; null and empty are two things.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.clone().map(|place| &self.bytes[place])
    }

    /// The value; null and empty are two things.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value.clone().map(|place| &self.bytes[place])
    }

    /// The headers, in the producer's order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = batch::Header<'_>> {
        self.headers.iter().map(|(name, value)| batch::Header {
            name: &self.bytes[name.clone()],
            value: value.clone().map(|place| &self.bytes[place]),
        })
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.len() + size_of::<SharedRecord>()
    }
}

impl fmt::Debug for SharedRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SharedRecord")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("offset", &self.offset.value())
            .field("deliveries", &self.deliveries)
            .field("key", &self.key())
            .field("value", &self.value())
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}
