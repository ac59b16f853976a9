//! The fixed header of a batch: what the bytes say, before anyone decides whether to take them.
//!
//! All fields are big-endian. `length` counts the bytes after itself.
//!
//! | byte | field | type || byte | field | type |
//! |---|---|---|---|---|---|---|
//! | 0 | base offset | i64 || 27 | base timestamp | i64 |
//! | 8 | length | i32 || 35 | max timestamp | i64 |
//! | 12 | leader epoch | i32 || 43 | producer id | i64 |
//! | 16 | magic | i8 || 51 | producer epoch | i16 |
//! | 17 | CRC-32C of all from byte 21 | u32 || 53 | base sequence | i32 |
//! | 21 | attributes | i16 || 57 | record count | i32 |
//! | 23 | last offset delta | i32 || 61 | records | |
//!
//! What a newcomer gets wrong: a decoded header proves nothing about the body, and the CRC was not
//! looked at. [`Batch::validate`](crate::Batch::validate) is the proof.

use crate::{BATCH_BYTES_MAX, BatchError, Codec, HEADER_BYTES, Offset};

/// The format version of every batch here.
pub const MAGIC: i8 = 2;

/// What a producer writes as leader epoch (-1 in the format): not yet assigned.
pub const LEADER_EPOCH_NONE: u32 = u32::MAX;

/// Bytes that the length field does not count: base offset and the length itself.
const LENGTH_END: usize = 12;

const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;

/// The header of a batch, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record. A producer leaves it 0; the server assigns it.
    pub base_offset: Offset,
    /// The whole batch: the 12 bytes of offset and length are included, unlike in the field.
    pub length_bytes: usize,
    /// Epoch of the server that assigned the offset; [`LEADER_EPOCH_NONE`] before that.
    pub leader_epoch: u32,
    /// CRC-32C of everything from the attributes to the end.
    pub crc: u32,
    /// Codec, timestamp type and flags.
    pub attributes: i16,
    /// Last offset of the batch less the base offset. In a batch that was compacted the record of
    /// that offset, and any other, may be gone.
    pub last_offset_delta: u32,
    /// Timestamp to which the records' timestamps are relative.
    pub base_timestamp_ms: i64,
    /// The largest timestamp of a record.
    pub max_timestamp_ms: i64,
    /// Identity of an idempotent producer, or -1.
    pub producer_id: i64,
    /// Epoch of that producer, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record at that producer, or -1.
    pub base_sequence: i32,
    /// Number of records; less than there are offsets in a batch that was compacted.
    pub record_count: u32,
}

impl BatchHeader {
    /// Decodes the first [`HEADER_BYTES`] of a batch; what follows them may be missing.
    ///
    /// # Errors
    ///
    /// [`TooShort`](BatchError::TooShort), [`Magic`](BatchError::Magic),
    /// [`Length`](BatchError::Length), [`TooLarge`](BatchError::TooLarge) (beyond
    /// [`BATCH_BYTES_MAX`]), [`Empty`](BatchError::Empty) (a record count of 0 although bytes
    /// follow), [`Count`](BatchError::Count), [`Offset`](BatchError::Offset).
    pub fn decode(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::TooShort { needed: HEADER_BYTES, available: bytes.len() });
        };
        // Older versions lay out everything else differently: their length would mislead.
        let magic = i8::from_be_bytes(field(bytes, 16));
        if magic != MAGIC {
            return Err(BatchError::Magic { magic });
        }
        let length_bytes = whole_length_bytes(i32::from_be_bytes(field(bytes, 8)))?;
        let last_offset_delta = i32::from_be_bytes(field(bytes, 23));
        let record_count = i32::from_be_bytes(field(bytes, 57));
        let is_bare = length_bytes == HEADER_BYTES;
        let last_offset_delta = matching_delta(record_count, last_offset_delta, is_bare)?;
        let base_offset = i64::from_be_bytes(field(bytes, 0));
        Ok(BatchHeader {
            base_offset: assignable(base_offset, last_offset_delta)?,
            length_bytes,
            leader_epoch: u32::from_be_bytes(field(bytes, 12)),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta,
            base_timestamp_ms: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp_ms: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: record_count.unsigned_abs(),
        })
    }

    /// The compression codec, or `None` for an id that the format does not define (a validated
    /// [`Batch`](crate::Batch) has one: [`Batch::codec`](crate::Batch::codec)).
    #[must_use]
    pub const fn codec(&self) -> Option<Codec> {
        Codec::from_attributes(self.attributes)
    }

    /// Number of records.
    #[must_use]
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Last offset of the batch.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.advance(self.last_offset_delta as u64)
    }

    /// Offset after the last one of the batch: where the next batch starts.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.last_offset().advance(1)
    }

    /// Whether records have been compacted away: there are fewer than offsets.
    #[must_use]
    pub const fn is_compacted(&self) -> bool {
        self.record_count <= self.last_offset_delta
    }

    /// Whether every record has `max_timestamp_ms`, set by a server, in place of its own.
    #[must_use]
    pub const fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    /// Whether the batch is a control batch or belongs to a transaction.
    #[must_use]
    pub const fn is_control_or_transactional(&self) -> bool {
        self.attributes & (ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_CONTROL) != 0
    }

    /// The header as bytes, its CRC as it stands in the field.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        assert!((HEADER_BYTES..=BATCH_BYTES_MAX).contains(&self.length_bytes));
        let length = (self.length_bytes - LENGTH_END) as u32;
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&self.base_offset.value().to_be_bytes());
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        bytes[16..17].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp_ms.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp_ms.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }
}

/// The length of the whole batch that starts here, as soon as 12 bytes of it have arrived; `None`
/// before that.
///
/// # Errors
///
/// [`Length`](BatchError::Length), [`TooLarge`](BatchError::TooLarge) (beyond
/// [`BATCH_BYTES_MAX`]): no reader has to make room for more than that.
#[must_use]
pub fn batch_length_bytes(prefix: &[u8]) -> Option<Result<usize, BatchError>> {
    let (_base_offset, rest) = prefix.split_first_chunk::<8>()?;
    let length = rest.first_chunk::<4>()?;
    Some(whole_length_bytes(i32::from_be_bytes(*length)))
}

/// Writes into a batch what the server decides: base offset and leader epoch. Neither is covered
/// by the CRC, which stays as it is.
///
/// # Panics
///
/// If `bytes` are shorter than a header, or `base_offset` is beyond [`Offset::MAX`]: both are
/// mistakes of the caller, who has validated the batch and owns the offsets.
pub fn assign(bytes: &mut [u8], base_offset: Offset, leader_epoch: u32) {
    assert!(bytes.len() >= HEADER_BYTES, "a batch to assign to is shorter than its header");
    assert!(base_offset <= Offset::MAX, "a base offset is beyond Offset::MAX");
    bytes[0..8].copy_from_slice(&base_offset.value().to_be_bytes());
    bytes[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

fn whole_length_bytes(length: i32) -> Result<usize, BatchError> {
    let length_bytes = usize::try_from(length).map_or(0, |after| after.saturating_add(LENGTH_END));
    if length_bytes < HEADER_BYTES {
        return Err(BatchError::Length { length });
    }
    if length_bytes > BATCH_BYTES_MAX {
        return Err(BatchError::TooLarge { length_bytes, batch_bytes_max: BATCH_BYTES_MAX });
    }
    Ok(length_bytes)
}

/// The last offset delta, once it is shown that so many records have room up to it. There are fewer
/// in a batch that was compacted, down to none in one that is nothing but its header.
fn matching_delta(
    record_count: i32,
    last_offset_delta: i32,
    is_bare: bool,
) -> Result<u32, BatchError> {
    if record_count == 0 && !is_bare {
        return Err(BatchError::Empty);
    }
    let has_room = |delta: &u32| (0..=i64::from(*delta) + 1).contains(&i64::from(record_count));
    let delta = u32::try_from(last_offset_delta).ok().filter(has_room);
    delta.ok_or(BatchError::Count { record_count, last_offset_delta })
}

/// The base offset, once it is shown that the offset after the batch exists as well.
fn assignable(base_offset: i64, last_offset_delta: u32) -> Result<Offset, BatchError> {
    u64::try_from(base_offset)
        .ok()
        .map(Offset::new)
        .filter(|base| base.checked_add(u64::from(last_offset_delta) + 1).is_some())
        .ok_or(BatchError::Offset { base_offset })
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], start: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[start..start + N]);
    field
}
