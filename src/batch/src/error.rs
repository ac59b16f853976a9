//! What is wrong with a batch, and what is wrong with a record in it.
//!
//! Two enums for two operations: [`BatchError`] comes from headers and checksums and is what a
//! server answers; [`RecordError`] comes from decoding records, which only a consumer does.

use crate::{Codec, Offset};
use core::{error, fmt};

/// Why bytes are not a batch that this log takes. Whoever sent or stored the bytes is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    TooShort {
        /// Bytes that the header, or the batch by its own length, takes.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The bytes go on after the batch, where exactly one batch was expected.
    Trailing {
        /// Bytes that the batch takes by its own length.
        length_bytes: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The length field is negative, or smaller than the rest of the header.
    Length {
        /// The field as it stands.
        length: i32,
    },
    /// Not format version 2.
    Magic {
        /// The field as it stands.
        magic: i8,
    },
    /// The checksum does not match: the bytes were changed.
    Crc {
        /// What the batch says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The record count is negative, or is not one more than the last offset delta.
    Count {
        /// The field as it stands.
        record_count: i32,
        /// The field as it stands.
        last_offset_delta: i32,
    },
    /// The batch is larger than the limit.
    TooLarge {
        /// The whole batch.
        length_bytes: usize,
        /// The limit that it passes.
        batch_bytes_max: usize,
    },
    /// A compression codec that the format does not define.
    Codec {
        /// The id in the attributes.
        id: u8,
    },
    /// A batch without records.
    Empty,
    /// A control batch, or one that belongs to a transaction: this log has no transactions.
    ControlOrTransactional,
    /// The base offset is negative, or the offset after the batch is beyond [`Offset::MAX`].
    Offset {
        /// The field as it stands.
        base_offset: i64,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            BatchError::TooShort { needed, available } => {
                write!(formatter, "batch needs {needed} bytes, only {available} are there")
            }
            BatchError::Trailing { length_bytes, available } => {
                write!(formatter, "batch takes {length_bytes} bytes of {available}: some are over")
            }
            BatchError::Length { length } => {
                write!(formatter, "batch length field {length} is not a possible length")
            }
            BatchError::Magic { magic } => {
                write!(formatter, "batch has format version {magic}, only 2 is supported")
            }
            BatchError::Crc { stored, computed } => {
                write!(
                    formatter,
                    "batch checksum is {stored:#010x}, its bytes give {computed:#010x}"
                )
            }
            BatchError::Count { record_count, last_offset_delta } => write!(
                formatter,
                "batch counts {record_count} records, its last offset delta is {last_offset_delta}"
            ),
            BatchError::TooLarge { length_bytes, batch_bytes_max } => {
                write!(
                    formatter,
                    "batch takes {length_bytes} bytes, the limit is {batch_bytes_max}"
                )
            }
            BatchError::Codec { id } => write!(formatter, "batch has unknown codec {id}"),
            BatchError::Empty => formatter.write_str("batch has no records"),
            BatchError::ControlOrTransactional => {
                formatter.write_str("batch is a control batch or belongs to a transaction")
            }
            BatchError::Offset { base_offset } => {
                let max = Offset::MAX;
                write!(formatter, "batch at base offset {base_offset} is not within 0 and {max}")
            }
        }
    }
}

impl error::Error for BatchError {}

/// Why the records of a batch do not decode. The producer is at fault: the checksum held.
///
/// `position` counts bytes from the start of the uncompressed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// The records are compressed: decompress them, then use
    /// [`Records::over`](crate::Records::over).
    Compressed {
        /// The codec to decompress with.
        codec: Codec,
    },
    /// A number, key, value or header goes on past the end of its record or of the batch.
    Truncated {
        /// Where the field starts.
        position: usize,
    },
    /// A variable-length number that does not fit its type.
    Varint {
        /// Where the number starts.
        position: usize,
    },
    /// A length or count that is negative where that has no meaning.
    Length {
        /// Just after the number.
        position: usize,
        /// The number.
        length: i32,
    },
    /// A record is longer than its fields.
    Trailing {
        /// Where the fields end.
        position: usize,
    },
    /// The offset deltas do not count up one by one.
    OffsetDelta {
        /// The delta that this record must have, or the least that it may have.
        expected: u32,
        /// The delta that it has.
        found: i32,
    },
    /// The timestamp is out of range.
    Timestamp {
        /// The difference to the base timestamp.
        delta_ms: i64,
    },
    /// There are fewer or more records than the header counts.
    Count {
        /// What the header says.
        record_count: u32,
        /// Records decoded before the mismatch showed. Equal to `record_count` if bytes were left.
        decoded: u32,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            RecordError::Compressed { codec } => {
                write!(formatter, "records are compressed with {codec}")
            }
            RecordError::Truncated { position } => {
                write!(formatter, "field at byte {position} of the records passes their end")
            }
            RecordError::Varint { position } => {
                write!(formatter, "number at byte {position} of the records is out of range")
            }
            RecordError::Length { position, length } => {
                write!(formatter, "length {length} before byte {position} of the records")
            }
            RecordError::Trailing { position } => {
                write!(formatter, "record has bytes left at byte {position} of the records")
            }
            RecordError::OffsetDelta { expected, found } => {
                write!(formatter, "record has offset delta {found}, expected {expected}")
            }
            RecordError::Timestamp { delta_ms } => {
                write!(formatter, "record's timestamp delta {delta_ms} ms is out of range")
            }
            RecordError::Count { record_count, decoded } if record_count == decoded => {
                write!(formatter, "bytes are left after the {record_count} records counted")
            }
            RecordError::Count { record_count, decoded } => {
                write!(formatter, "header counts {record_count} records, bytes hold {decoded}")
            }
        }
    }
}

impl error::Error for RecordError {}
