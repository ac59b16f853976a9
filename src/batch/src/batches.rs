//! Batches laid end to end, as they lie in a segment and in the answer to a fetch.
//!
//! Copies nothing and allocates nothing: a batch is a view of the bytes. What a newcomer gets
//! wrong: an iterator that has ended is not proof that all bytes were good; it ends after an error
//! too.

use crate::{Batch, BatchError, BatchLimits};

/// Walks over batches laid end to end and validates each one, CRC included.
///
/// Ends after the last byte, or after the first error: what follows a damaged batch has no known
/// start. [`position`](Batches::position) then says where the damaged one begins.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// A walk over `bytes`, which start with a batch. The only limit is
    /// [`BATCH_BYTES_MAX`](crate::BATCH_BYTES_MAX): a smaller one held when they were appended.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Batches<'a> {
        Batches { bytes, position: 0, failed: false }
    }

    /// Bytes of the batches given out so far: where the next one begins, or the one that failed.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.position..];
        if self.failed || rest.is_empty() {
            return None;
        }
        let batch = Batch::validate_first(rest, &BatchLimits::default());
        match &batch {
            Ok(batch) => self.position += batch.bytes().len(),
            Err(_) => self.failed = true,
        }
        Some(batch)
    }
}

impl core::iter::FusedIterator for Batches<'_> {}
