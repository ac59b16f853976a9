//! A bounds-checked walk over the fields of records.
//!
//! The only place that slices bytes which a producer chose. Positions count from the start of the
//! records, also inside a [`Cursor::nested`] one, so that an error points at the right byte.

use crate::RecordError;
use crate::varint::{self, VarintError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, position: 0 }
    }

    pub(crate) const fn position(&self) -> usize {
        self.position
    }

    pub(crate) const fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    /// Splits off the next `length_bytes` as a walk of their own, and steps over them.
    pub(crate) fn nested(&mut self, length_bytes: usize) -> Result<Cursor<'a>, RecordError> {
        let position = self.position;
        self.take(length_bytes)?;
        Ok(Cursor { bytes: &self.bytes[..self.position], position })
    }

    pub(crate) fn take(&mut self, length_bytes: usize) -> Result<&'a [u8], RecordError> {
        let rest = self.rest();
        let Some(taken) = rest.get(..length_bytes) else {
            return Err(RecordError::Truncated { position: self.position });
        };
        self.position += length_bytes;
        Ok(taken)
    }

    pub(crate) fn varint_i32(&mut self) -> Result<i32, RecordError> {
        let read = varint::read_i32(self.rest());
        self.step(read)
    }

    pub(crate) fn varint_i64(&mut self) -> Result<i64, RecordError> {
        let read = varint::read_i64(self.rest());
        self.step(read)
    }

    /// A length or count, which must not be negative.
    pub(crate) fn length(&mut self) -> Result<usize, RecordError> {
        let length = self.varint_i32()?;
        usize::try_from(length).map_err(|_| RecordError::Length { position: self.position, length })
    }

    /// Bytes behind their length, where the length -1 stands for null.
    pub(crate) fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        match self.varint_i32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length_bytes) => self.take(length_bytes).map(Some),
                Err(_) => Err(RecordError::Length { position: self.position, length }),
            },
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    fn step<T>(&mut self, read: Result<(T, usize), VarintError>) -> Result<T, RecordError> {
        let position = self.position;
        match read {
            Ok((value, length_bytes)) => {
                self.position += length_bytes;
                Ok(value)
            }
            Err(VarintError::Truncated) => Err(RecordError::Truncated { position }),
            Err(VarintError::TooLong) => Err(RecordError::Varint { position }),
        }
    }
}
