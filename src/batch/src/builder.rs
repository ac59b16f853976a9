//! Builds batches, record by record, in one buffer that is used again for every batch.
//!
//! Nothing is allocated per record once the buffer has grown to the size of a batch. The CRC is
//! computed once, over one contiguous slice, when the batch is finished.
//!
//! What a newcomer gets wrong: [`BuildError::Full`] is not a failure. Finish the batch, then append
//! the same record again.

use crate::header::LEADER_EPOCH_NONE;
use crate::{
    BATCH_BYTES_MAX, BatchHeader, Codec, HEADER_BYTES, Header, Offset, PREFIX_BYTES, ProducerStamp,
    varint,
};
use alloc::vec::Vec;
use core::{error, fmt};

/// Collects records and writes them as one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    payload: Vec<u8>,
    batch_bytes_max: usize,
    record_count: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    producer: ProducerStamp,
}

impl BatchBuilder {
    /// A builder of batches up to [`BATCH_BYTES_MAX`].
    #[must_use]
    pub const fn new() -> BatchBuilder {
        BatchBuilder::with_limit(BATCH_BYTES_MAX)
    }

    /// A builder of batches up to `batch_bytes_max`, header included and uncompressed. More than
    /// [`BATCH_BYTES_MAX`] has no effect.
    #[must_use]
    pub const fn with_limit(batch_bytes_max: usize) -> BatchBuilder {
        let within = batch_bytes_max < BATCH_BYTES_MAX;
        BatchBuilder {
            payload: Vec::new(),
            batch_bytes_max: if within { batch_bytes_max } else { BATCH_BYTES_MAX },
            record_count: 0,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            producer: ProducerStamp::NONE,
        }
    }

    /// Adds a record at the end. After an error the builder is as it was before.
    ///
    /// # Errors
    ///
    /// [`Full`](BuildError::Full): finish the batch and append again.
    /// [`RecordTooLarge`](BuildError::RecordTooLarge), [`Timestamp`](BuildError::Timestamp): see
    /// there.
    pub fn append(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<(), BuildError> {
        let base_timestamp_ms = if self.is_empty() { timestamp_ms } else { self.base_timestamp_ms };
        let Some(delta_ms) = timestamp_ms.checked_sub(base_timestamp_ms) else {
            return Err(BuildError::Timestamp { timestamp_ms, base_timestamp_ms });
        };
        let record = Unencoded { delta_ms, offset_delta: self.record_count, key, value, headers };
        let body_bytes = record.body_bytes();
        self.make_room(body_bytes.saturating_add(varint::length_bytes(body_bytes as i64)))?;
        record.encode_into(body_bytes, &mut self.payload);

        let is_first = self.is_empty();
        self.base_timestamp_ms = base_timestamp_ms;
        self.max_timestamp_ms =
            if is_first { timestamp_ms } else { self.max_timestamp_ms.max(timestamp_ms) };
        self.record_count += 1;
        Ok(())
    }

    /// Marks the batch under construction as an idempotent producer's. Finishing forgets it: a
    /// sequence belongs to one batch.
    pub fn set_producer(&mut self, stamp: ProducerStamp) {
        self.producer = stamp;
    }

    /// Whether no record was appended since the last batch.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Records in the batch under construction.
    #[must_use]
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The length of the batch, uncompressed, if it were finished now.
    #[must_use]
    pub const fn length_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// The records as they are encoded so far: what a codec compresses for
    /// [`finish_compressed_into`](BatchBuilder::finish_compressed_into).
    #[must_use]
    pub fn records_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Appends the whole batch, uncompressed and with base offset 0, to `out`, and starts anew.
    ///
    /// # Panics
    ///
    /// If the builder is empty: the format has no batch without records.
    pub fn finish_into(&mut self, out: &mut Vec<u8>) {
        seal(self.header(Codec::None), &self.payload, out);
        self.clear();
    }

    /// As [`finish_into`](BatchBuilder::finish_into), with the records as `codec` compressed them.
    /// Returns the codec of the batch written: [`Codec::None`] where compression gained nothing,
    /// so that no batch is larger than [`length_bytes`](BatchBuilder::length_bytes) said.
    ///
    /// `compressed_payload` must be [`records_payload`](BatchBuilder::records_payload), compressed;
    /// that it is, nobody checks before the consumer.
    ///
    /// # Panics
    ///
    /// If the builder is empty.
    pub fn finish_compressed_into(
        &mut self,
        codec: Codec,
        compressed_payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Codec {
        if codec == Codec::None || compressed_payload.len() >= self.payload.len() {
            self.finish_into(out);
            return Codec::None;
        }
        seal(self.header(codec), compressed_payload, out);
        self.clear();
        codec
    }

    /// Forgets the batch under construction; keeps the memory and the limit.
    pub fn clear(&mut self) {
        self.payload.clear();
        self.record_count = 0;
        self.producer = ProducerStamp::NONE;
    }

    fn make_room(&mut self, record_bytes: usize) -> Result<(), BuildError> {
        let batch_bytes_max = self.batch_bytes_max;
        let length_bytes = self.length_bytes().saturating_add(record_bytes);
        if length_bytes > batch_bytes_max {
            // A record is smallest as the first of a batch, so only there is it surely too large.
            return Err(if self.is_empty() {
                BuildError::RecordTooLarge { record_bytes, batch_bytes_max }
            } else {
                BuildError::Full { length_bytes, batch_bytes_max }
            });
        }
        self.payload.reserve(record_bytes);
        Ok(())
    }

    /// The header of the batch, but for its length and CRC.
    fn header(&self, codec: Codec) -> BatchHeader {
        assert!(!self.is_empty(), "a batch without records was finished");
        BatchHeader {
            base_offset: Offset::ZERO,
            length_bytes: 0,
            leader_epoch: LEADER_EPOCH_NONE,
            crc: 0,
            attributes: i16::from(codec.id()),
            last_offset_delta: self.record_count - 1,
            base_timestamp_ms: self.base_timestamp_ms,
            max_timestamp_ms: self.max_timestamp_ms,
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            base_sequence: self.producer.base_sequence,
            record_count: self.record_count,
        }
    }
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new()
    }
}

/// Why a record was not appended. The builder is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The batch would pass the limit. Finish it, then append the record to the next one.
    Full {
        /// The batch with this record.
        length_bytes: usize,
        /// The limit that it passes.
        batch_bytes_max: usize,
    },
    /// The record alone passes the limit: no batch of this builder can hold it. Only an empty
    /// builder says so.
    RecordTooLarge {
        /// The record, encoded.
        record_bytes: usize,
        /// The limit that it passes, together with the batch header.
        batch_bytes_max: usize,
    },
    /// The timestamp is too far from the batch's first one. It fits the next batch.
    Timestamp {
        /// The timestamp of this record.
        timestamp_ms: i64,
        /// The timestamp of the first one.
        base_timestamp_ms: i64,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            BuildError::Full { length_bytes, batch_bytes_max } => write!(
                formatter,
                "batch would take {length_bytes} bytes, the limit is {batch_bytes_max}"
            ),
            BuildError::RecordTooLarge { record_bytes, batch_bytes_max } => write!(
                formatter,
                "record takes {record_bytes} bytes, a whole batch may take {batch_bytes_max}"
            ),
            BuildError::Timestamp { timestamp_ms, base_timestamp_ms } => write!(
                formatter,
                "timestamp {timestamp_ms} is too far from the batch's first, {base_timestamp_ms}"
            ),
        }
    }
}

impl error::Error for BuildError {}

struct Unencoded<'a> {
    delta_ms: i64,
    offset_delta: u32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [Header<'a>],
}

impl Unencoded<'_> {
    /// Everything after the record's own length. Saturates: the caller compares it with a limit.
    fn body_bytes(&self) -> usize {
        let fixed = 1
            + varint::length_bytes(self.delta_ms)
            + varint::length_bytes(i64::from(self.offset_delta))
            + varint::length_bytes(self.headers.len() as i64);
        let pair = nullable_bytes(self.key).saturating_add(nullable_bytes(self.value));
        self.headers.iter().fold(pair.saturating_add(fixed), |sum, header| {
            let name_bytes = nullable_bytes(Some(header.name));
            sum.saturating_add(name_bytes).saturating_add(nullable_bytes(header.value))
        })
    }

    fn encode_into(&self, body_bytes: usize, out: &mut Vec<u8>) {
        varint::write(out, body_bytes as i64);
        out.push(0); // attributes: the format defines none for records
        varint::write(out, self.delta_ms);
        varint::write(out, i64::from(self.offset_delta));
        write_nullable(out, self.key);
        write_nullable(out, self.value);
        varint::write(out, self.headers.len() as i64);
        for header in self.headers {
            write_nullable(out, Some(header.name));
            write_nullable(out, header.value);
        }
    }
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    let length = bytes.map_or(0, <[u8]>::len);
    varint::length_bytes(length as i64).saturating_add(length)
}

fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => varint::write(out, -1),
    }
}

fn seal(header: BatchHeader, payload: &[u8], out: &mut Vec<u8>) {
    let length_bytes = HEADER_BYTES + payload.len();
    let start = out.len();
    out.reserve(length_bytes);
    out.extend_from_slice(&BatchHeader { length_bytes, ..header }.encode());
    out.extend_from_slice(payload);
    let batch = &mut out[start..];
    let crc = crc32c::crc32c(&batch[PREFIX_BYTES..]);
    batch[17..PREFIX_BYTES].copy_from_slice(&crc.to_be_bytes());
}
