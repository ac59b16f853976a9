//! The records of a batch, decoded one by one out of borrowed bytes.
//!
//! Only consumers and tools decode records; the write path never does. A checked CRC says that the
//! bytes are what the producer sent, not that the producer sent sense: every field is
//! bounds-checked and every mismatch is a [`RecordError`].
//!
//! A record is: length, attributes (one unused byte), timestamp delta, offset delta, key, value,
//! headers. All numbers are zig-zag variable-length; a key or value of length -1 is null.

use crate::cursor::Cursor;
use crate::{BatchHeader, Offset, RecordError};

/// One record, borrowed from its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it is in its partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch; -1 where the producer had none.
    pub timestamp_ms: i64,
    /// The key; null and empty are two things.
    pub key: Option<&'a [u8]>,
    /// The value; null is what compaction takes for a deletion.
    pub value: Option<&'a [u8]>,
    /// The headers, already checked.
    pub headers: Headers<'a>,
}

/// A name and a value that travel beside a record's own key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name. UTF-8 by the format, but nothing on the way enforces that.
    pub name: &'a [u8],
    /// The value, which may be null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// A header with a value.
    #[must_use]
    pub const fn new(name: &'a str, value: &'a [u8]) -> Header<'a> {
        Header { name: name.as_bytes(), value: Some(value) }
    }

    /// The name as text, or `None` if the producer did not keep to UTF-8.
    #[must_use]
    pub const fn name_str(&self) -> Option<&'a str> {
        match core::str::from_utf8(self.name) {
            Ok(name) => Some(name),
            Err(_) => None,
        }
    }
}

/// Walks over the records of one batch. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    cursor: Cursor<'a>,
    header: BatchHeader,
    decoded: u32,
    /// The least offset delta that the next record may have.
    delta_min: u32,
    ended: bool,
}

impl<'a> Records<'a> {
    /// A walk over `uncompressed`, the records of the batch that `header` is the header of. For an
    /// uncompressed batch, [`Batch::records`](crate::Batch::records) does this.
    #[must_use]
    pub const fn over(header: &BatchHeader, uncompressed: &'a [u8]) -> Records<'a> {
        let cursor = Cursor::new(uncompressed);
        Records { cursor, header: *header, decoded: 0, delta_min: 0, ended: false }
    }

    /// Bytes of the records given out so far.
    pub(crate) const fn position(&self) -> usize {
        self.cursor.position()
    }

    fn decode_next(&mut self) -> Result<Option<Record<'a>>, RecordError> {
        let &mut Self { decoded, header: BatchHeader { record_count, .. }, .. } = self;
        if (decoded == record_count) != self.cursor.is_at_end() {
            return Err(RecordError::Count { record_count, decoded });
        }
        if decoded == record_count {
            return Ok(None);
        }
        let length_bytes = self.cursor.length()?;
        let body = self.cursor.nested(length_bytes)?;
        let record = self.decode_body(body)?;
        self.decoded += 1;
        Ok(Some(record))
    }

    fn decode_body(&mut self, mut body: Cursor<'a>) -> Result<Record<'a>, RecordError> {
        let _attributes = body.take(1)?;
        let timestamp_ms = self.timestamp_ms(body.varint_i64()?)?;
        let offset = self.offset(body.varint_i32()?)?;
        let key = body.nullable()?;
        let value = body.nullable()?;
        let headers = Headers::decode(&mut body)?;
        if !body.is_at_end() {
            return Err(RecordError::Trailing { position: body.position() });
        }
        Ok(Record { offset, timestamp_ms, key, value, headers })
    }

    fn timestamp_ms(&self, delta_ms: i64) -> Result<i64, RecordError> {
        if self.header.is_log_append_time() {
            return Ok(self.header.max_timestamp_ms);
        }
        let timestamp_ms = self.header.base_timestamp_ms.checked_add(delta_ms);
        timestamp_ms.ok_or(RecordError::Timestamp { delta_ms })
    }

    /// The server counted offsets from the header alone, so the deltas must agree with that count:
    /// they go up, and leave room for the records that follow. Without gaps, each is the next.
    fn offset(&mut self, delta: i32) -> Result<Offset, RecordError> {
        let expected = self.delta_min;
        let follow = self.header.record_count - self.decoded - 1;
        let delta_max = self.header.last_offset_delta.saturating_sub(follow);
        let sound = u32::try_from(delta).ok().filter(|it| (expected..=delta_max).contains(it));
        let offset = sound.and_then(|delta| {
            self.delta_min = delta + 1;
            self.header.base_offset.checked_add(u64::from(delta))
        });
        offset.ok_or(RecordError::OffsetDelta { expected, found: delta })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.decode_next().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl core::iter::FusedIterator for Records<'_> {}

/// Walks over the headers of one record, in the producer's order. A name may occur twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    cursor: Cursor<'a>,
    remaining: usize,
}

impl<'a> Headers<'a> {
    /// Steps `body` over its headers and checks each, so that walking over them cannot fail later.
    fn decode(body: &mut Cursor<'a>) -> Result<Headers<'a>, RecordError> {
        let remaining = body.length()?;
        let headers = Headers { cursor: body.clone(), remaining };
        for _ in 0..remaining {
            decode_header(body)?;
        }
        Ok(headers)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        decode_header(&mut self.cursor).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Headers<'_> {}
impl core::iter::FusedIterator for Headers<'_> {}

fn decode_header<'a>(cursor: &mut Cursor<'a>) -> Result<Header<'a>, RecordError> {
    let name_bytes = cursor.length()?;
    let name = cursor.take(name_bytes)?;
    let value = cursor.nullable()?;
    Ok(Header { name, value })
}
