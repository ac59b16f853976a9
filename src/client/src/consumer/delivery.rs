//! What a consumer gets: batches that were proven whole, and their records.
//!
//! A delivery keeps the memory that the frame was read into; records point into it. What a
//! newcomer gets wrong: a record that is kept keeps its whole batch in memory.

use super::subscription::{Place, SlotId};
use crate::compression::decompress;
use crate::{ConnectionFault, DecompressError};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::{error, fmt};
use plimsoll_batch::{self as batch, BatchError, BatchHeader, Codec, HEADER_BYTES, RecordError};
use plimsoll_wire::{self as wire, Handle, Offset, Watermarks};

/// One `delivery` frame. Every batch in it matches its checksum.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub(crate) handle: Handle,
    pub(crate) watermarks: Watermarks,
    pub(crate) frame_bytes: usize,
    /// After the last record.
    pub(crate) next_offset: Offset,
    bytes: Arc<Vec<u8>>,
    batches_at: usize,
}

impl Delivery {
    /// Checks the batches, which lie in `bytes` from `batches_at` to the end.
    pub(crate) fn checked(
        delivery: &wire::Delivery<'_>,
        frame_bytes: usize,
        bytes: Arc<Vec<u8>>,
        batches_at: usize,
    ) -> Result<Delivery, ConnectionFault> {
        let mut next_offset = None;
        for batch in batch::Batches::new(&bytes[batches_at..]) {
            next_offset = Some(batch.map_err(ConnectionFault::Batch)?.header().next_offset());
        }
        let &wire::Delivery { handle, watermarks, .. } = delivery;
        match next_offset {
            Some(next_offset) => {
                Ok(Delivery { handle, watermarks, frame_bytes, next_offset, bytes, batches_at })
            }
            None => Err(ConnectionFault::Unexpected("a delivery without batches")),
        }
    }
}

/// The batches of one delivery, each decompressed as it is taken.
#[derive(Debug)]
pub struct DeliveredBatches {
    /// The partition of all of them.
    pub partition: u32,
    pub(crate) place: Place,
    topic: Arc<str>,
    /// Its place among the consumer's subscriptions.
    pub(crate) slot: SlotId,
    delivery: Delivery,
    position: usize,
    skip_before: Offset,
    located: Option<Located>,
}

/// Where the server says that a time begins: the base of the first batch that reaches into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    pub(super) offset: Offset,
    pub(super) unix_ms: i64,
}

impl DeliveredBatches {
    pub(super) fn new(
        place: Place,
        topic: Arc<str>,
        slot: SlotId,
        delivery: Delivery,
        skip_before: Offset,
        located: Option<Located>,
    ) -> DeliveredBatches {
        let position = delivery.batches_at;
        let partition = place.partition;
        DeliveredBatches { partition, place, topic, slot, delivery, position, skip_before, located }
    }

    /// The topic of all of them.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The bytes of credit that the delivery used up.
    #[must_use]
    pub fn credit_bytes(&self) -> usize {
        self.delivery.frame_bytes
    }
}

impl Iterator for DeliveredBatches {
    type Item = Result<DeliveredBatch, DeliveryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = &self.delivery.bytes[self.position..];
            if rest.is_empty() {
                return None;
            }
            let header = match BatchHeader::decode(rest) {
                Ok(header) => header,
                Err(error) => {
                    self.position = self.delivery.bytes.len();
                    return Some(Err(DeliveryError::Batch(error)));
                }
            };
            let start = self.position;
            self.position += header.length_bytes;
            if header.next_offset() > self.skip_before {
                return Some(self.batch(header, start));
            }
        }
    }
}

impl DeliveredBatches {
    fn batch(&self, header: BatchHeader, start: usize) -> Result<DeliveredBatch, DeliveryError> {
        let stored = start + HEADER_BYTES..start + header.length_bytes;
        let (bytes, records) = match header.codec().unwrap_or(Codec::None) {
            Codec::None => (Arc::clone(&self.delivery.bytes), stored),
            codec => {
                let records = decompress(codec, &self.delivery.bytes[stored])?;
                let length = records.len();
                (Arc::new(records), 0..length)
            }
        };
        // Behind the batch in which the time begins, every record is wanted, whatever its time. At
        // the partition's end no batch reaches into it.
        let begins_here = |located: &Located| {
            located.offset == header.base_offset && located.unix_ms <= header.max_timestamp_ms
        };
        let begin_ms = self.located.filter(begins_here).map(|located| located.unix_ms);
        Ok(DeliveredBatch {
            partition: self.partition,
            topic: Arc::clone(&self.topic),
            watermarks: self.delivery.watermarks,
            header,
            bytes,
            records,
            skip_before: self.skip_before,
            begin_ms,
        })
    }
}

/// One record batch: proven whole and, if it was compressed, decompressed.
#[derive(Clone, Debug)]
pub struct DeliveredBatch {
    partition: u32,
    topic: Arc<str>,
    watermarks: Watermarks,
    header: BatchHeader,
    bytes: Arc<Vec<u8>>,
    records: Range<usize>,
    skip_before: Offset,
    /// Records are wanted from the first one on that is not before this time.
    begin_ms: Option<i64>,
}

impl DeliveredBatch {
    /// The partition that it comes from.
    #[must_use]
    pub const fn partition(&self) -> u32 {
        self.partition
    }

    /// The topic that it comes from.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its header: offsets, timestamps, number of records.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Where the partition stood when the batch was sent.
    #[must_use]
    pub const fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    /// Its records, decoded one by one, borrowed: the fast way. Records before the offset or the
    /// time that was asked for are left out.
    pub fn records(&self) -> impl Iterator<Item = Result<batch::Record<'_>, RecordError>> {
        let (skip_before, begin_ms) = (self.skip_before, self.begin_ms.unwrap_or(i64::MIN));
        batch::Records::over(&self.header, &self.bytes[self.records.clone()])
            .filter(move |record| !matches!(record, Ok(record) if record.offset < skip_before))
            .skip_while(
                move |record| matches!(record, Ok(record) if record.timestamp_ms < begin_ms),
            )
    }

    /// The same, each owned.
    pub fn owned_records(&self) -> impl Iterator<Item = Result<Record, RecordError>> {
        self.records().map(|record| record.map(|record| self.own(&record)))
    }

    fn own(&self, record: &batch::Record<'_>) -> Record {
        let place = |slice: &[u8]| {
            let start = slice.as_ptr().addr() - self.bytes.as_ptr().addr();
            start..start + slice.len()
        };
        Record {
            partition: self.partition,
            topic: Arc::clone(&self.topic),
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(place),
            value: record.value.map(place),
            headers: record
                .headers
                .clone()
                .map(|header| (place(header.name), header.value.map(place)))
                .collect(),
            bytes: Arc::clone(&self.bytes),
        }
    }
}

/// One record, owned. It shares the memory of its batch.
#[derive(Clone)]
pub struct Record {
    /// Its partition.
    pub partition: u32,
    /// Its place there.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch, as its producer said.
    pub timestamp_ms: i64,
    topic: Arc<str>,
    bytes: Arc<Vec<u8>>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

impl Record {
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
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Record")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("offset", &self.offset.value())
            .field("timestamp_ms", &self.timestamp_ms)
            .field("key", &self.key())
            .field("value", &self.value())
            .field("headers", &self.headers.len())
            .finish()
    }
}

/// Why a delivered batch cannot be read. Its checksum holds: what the producer wrote is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryError {
    /// It cannot be decompressed.
    Decompress(DecompressError),
    /// Its header makes no sense.
    Batch(BatchError),
    /// Its records do not decode.
    Record(RecordError),
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeliveryError::Decompress(error) => error.fmt(formatter),
            DeliveryError::Batch(error) => error.fmt(formatter),
            DeliveryError::Record(error) => error.fmt(formatter),
        }
    }
}

impl error::Error for DeliveryError {}

impl From<DecompressError> for DeliveryError {
    fn from(error: DecompressError) -> DeliveryError {
        DeliveryError::Decompress(error)
    }
}

impl From<RecordError> for DeliveryError {
    fn from(error: RecordError) -> DeliveryError {
        DeliveryError::Record(error)
    }
}
