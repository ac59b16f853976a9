//! The record batch: encode, decode, validate.
//!
//! One format from producer to disk to consumer: the public Kafka record batch v2 (magic 2),
//! big-endian, with a CRC-32C over everything after the CRC field. Base offset and leader epoch lie
//! outside the CRC, so the server writes them ([`assign`]) without touching the body.
//!
//! This crate does no I/O, reads no clock and compresses nothing. A [`Batch`] is proof that the
//! bytes were checked; no other crate checks them by hand. What a newcomer gets wrong: validating
//! never looks at the records, so a valid batch may still hold ones that do not decode
//! ([`RecordError`]).
//!
//! ```
//! use plimsoll_batch::{Batch, BatchBuilder, BatchLimits, Offset, assign};
//!
//! let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
//! builder.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &[])?;
//! builder.finish_into(&mut bytes);
//! assign(&mut bytes, Offset::new(42), 0);
//! let batch = Batch::validate(&bytes, &BatchLimits::default())?;
//! for record in batch.records()? {
//!     assert_eq!(record?.offset, Offset::new(42));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod batches;
mod builder;
mod codec;
mod compact;
mod cursor;
mod error;
mod header;
mod offset;
mod producer;
mod record;
mod validate;
mod varint;

pub use batches::Batches;
pub use builder::{BatchBuilder, BuildError};
pub use codec::Codec;
pub use compact::{compact, extend_to};
pub use error::{BatchError, RecordError};
pub use header::{BatchHeader, LEADER_EPOCH_NONE, MAGIC, assign, batch_length_bytes};
pub use offset::Offset;
pub use producer::{ProducerStamp, stamp};
pub use record::{Header, Headers, Record, Records};
pub use validate::{Batch, BatchLimits};

/// Bytes of the header of a batch: everything up to the record count, inclusive.
pub const HEADER_BYTES: usize = 61;

/// Bytes at the front that the CRC does not cover: base offset, length, leader epoch, magic and
/// the CRC itself.
pub const PREFIX_BYTES: usize = 21;

/// The largest batch, header included, that this crate builds or accepts, whatever the limits say.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
