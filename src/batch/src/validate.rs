//! A batch that was checked, and the checks.
//!
//! Validation reads the header and sums the bytes once. It never decodes records and allocates
//! nothing, so it is what the server does with every batch from the network and from the disk.
//!
//! What a newcomer gets wrong: [`Batch::validate`] takes *exactly* one batch. Bytes after it are an
//! error, because a caller that dropped them in silence would acknowledge records that it did not
//! keep. For batches laid end to end there is [`Batches`](crate::Batches).

use crate::{BATCH_BYTES_MAX, BatchError, BatchHeader, Codec, HEADER_BYTES, PREFIX_BYTES};
use crate::{RecordError, Records};

/// A batch proven whole: length, magic, CRC, count, codec and offsets hold, and it is neither a
/// control batch nor part of a transaction. Whether its records decode is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    header: BatchHeader,
    codec: Codec,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Checks that `bytes` are one batch as a producer sends it, all of it, and nothing else: it
    /// has a record for each of its offsets.
    ///
    /// # Errors
    ///
    /// Every [`BatchError`]. The CRC is checked last: an error of another kind may well come from
    /// damaged bytes.
    pub fn validate(bytes: &'a [u8], limits: &BatchLimits) -> Result<Batch<'a>, BatchError> {
        let header = BatchHeader::decode(bytes)?;
        if header.record_count == 0 {
            return Err(BatchError::Empty);
        }
        if header.is_compacted() {
            let record_count = header.record_count.cast_signed();
            let last_offset_delta = header.last_offset_delta.cast_signed();
            return Err(BatchError::Count { record_count, last_offset_delta });
        }
        let batch = Batch::validate_first(bytes, limits)?;
        let length_bytes = batch.bytes.len();
        if length_bytes < bytes.len() {
            return Err(BatchError::Trailing { length_bytes, available: bytes.len() });
        }
        Ok(batch)
    }

    /// Checks the batch at the front of `bytes` as it lies in a log, and leaves what follows it
    /// alone. Compaction may have taken records out of it, or all.
    ///
    /// # Errors
    ///
    /// As [`validate`](Batch::validate), except [`Trailing`](BatchError::Trailing).
    pub fn validate_first(bytes: &'a [u8], limits: &BatchLimits) -> Result<Batch<'a>, BatchError> {
        let header = BatchHeader::decode(bytes)?;
        let codec = acceptable_codec(&header, limits)?;
        let Some(bytes) = bytes.get(..header.length_bytes) else {
            let (needed, available) = (header.length_bytes, bytes.len());
            return Err(BatchError::TooShort { needed, available });
        };
        let computed = crc32c::crc32c(&bytes[PREFIX_BYTES..]);
        if computed != header.crc {
            return Err(BatchError::Crc { stored: header.crc, computed });
        }
        Ok(Batch { header, codec, bytes })
    }

    /// The decoded header.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The compression codec.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// The whole batch as it came.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of the records, compressed if [`codec`](Batch::codec) says so.
    #[must_use]
    pub fn records_payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Decodes the records one by one.
    ///
    /// # Errors
    ///
    /// [`RecordError::Compressed`]: decompress [`records_payload`](Batch::records_payload), then
    /// use [`Records::over`].
    pub fn records(&self) -> Result<Records<'a>, RecordError> {
        match self.codec {
            Codec::None => Ok(Records::over(&self.header, self.records_payload())),
            codec => Err(RecordError::Compressed { codec }),
        }
    }
}

/// What a place that takes batches allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The largest batch, header included. More than [`BATCH_BYTES_MAX`] has no effect.
    pub batch_bytes_max: usize,
}

impl Default for BatchLimits {
    fn default() -> BatchLimits {
        BatchLimits { batch_bytes_max: BATCH_BYTES_MAX }
    }
}

fn acceptable_codec(header: &BatchHeader, limits: &BatchLimits) -> Result<Codec, BatchError> {
    let &BatchLimits { batch_bytes_max } = limits;
    let &BatchHeader { length_bytes, attributes, .. } = header;
    if length_bytes > batch_bytes_max {
        return Err(BatchError::TooLarge { length_bytes, batch_bytes_max });
    }
    if header.is_control_or_transactional() {
        return Err(BatchError::ControlOrTransactional);
    }
    header.codec().ok_or(BatchError::Codec { id: (attributes & Codec::MASK) as u8 })
}
