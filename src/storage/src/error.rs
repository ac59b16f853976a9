//! How storage fails: one enum an operation.
//!
//! None of them is logged here: whoever handles one says it once. What a newcomer gets wrong: every
//! `AppendError` means surely not written; what may have been written is never an error of
//! `append`.

use alloc::string::String;
use core::fmt;

use plimsoll_batch::{BatchError, Codec, Offset};
use plimsoll_device::IoError;

use crate::identity::PartitionId;

/// Stored bytes that do not match their check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, relative to the data directory.
    pub path: String,
    /// Where in the file, in bytes.
    pub position_bytes: u64,
    /// The partition, if the damage lies within one.
    pub partition: Option<PartitionId>,
    /// What does not match.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.path, self.position_bytes, self.what)?;
        match self.partition {
            Some(partition) => write!(f, " (partition {partition})"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Damage {}

/// A write, flush or other operation that failed, after which the shard acks nothing more at
/// `disk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was tried: `write`, `flush`, `sync of a directory`, ...
    pub operation: &'static str,
    /// On which file, relative to the data directory.
    pub path: String,
    /// Where in the file, in bytes.
    pub position_bytes: u64,
    /// How many bytes.
    pub length_bytes: u64,
    /// How it failed.
    pub error: IoError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, path, position_bytes, length_bytes, error } = self;
        write!(f, "{operation} of {length_bytes} bytes at {position_bytes} of {path}: {error}")
    }
}

impl core::error::Error for Failure {}

/// Why a batch was not appended. In every case it surely was not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// The batch is not one that this partition takes.
    Batch(BatchError),
    /// All append memory is in use. Not for the client: the caller waits for
    /// [`Notice::Room`](crate::Notice::Room) and tries again.
    NoRoom,
    /// The disk is full. Appends are taken again by themselves when there is room.
    DiskFull,
    /// A write or a flush failed on this shard; a restart recovers what was acked.
    Failed(Failure),
    /// The shard's journal or this partition is damaged: it can be read, not written.
    Damaged(Damage),
    /// The shard is stopping.
    Stopping,
    /// It is not the batch that comes next of its producer, nor one of the last that are here.
    OutOfSequence {
        /// The sequence that comes next.
        expected: i32,
        /// The batch's.
        got: i32,
    },
    /// A later epoch of its producer has written here.
    ProducerFenced {
        /// That epoch.
        epoch: i16,
    },
    /// Nothing is known, or nothing any more, of its producer, and it is not its first batch.
    ProducerUnknown,
    /// The partition is compacted by key, and keys cannot be seen in a compressed batch.
    Compressed {
        /// Its codec.
        codec: Codec,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => error.fmt(f),
            Self::NoRoom => f.write_str("all append memory is in use"),
            Self::DiskFull => f.write_str("the disk is full; appends resume when there is room"),
            Self::Failed(failure) => write!(f, "the shard's disk failed ({failure}); restart it"),
            Self::Damaged(damage) => write!(f, "damaged, reads only: {damage}"),
            Self::Stopping => f.write_str("the server is stopping"),
            Self::OutOfSequence { expected, got } => {
                write!(f, "the producer's next sequence here is {expected}, and not {got}")
            }
            Self::ProducerFenced { epoch } => {
                write!(f, "epoch {epoch} of the producer has written here: this one is over")
            }
            Self::ProducerUnknown => {
                f.write_str("the producer is not known here, or was forgotten; begin anew")
            }
            Self::Compressed { codec } => write!(
                f,
                "the topic is compacted by key and takes no compressed batches, and this one is \
                 {}: send without compression",
                codec.name()
            ),
        }
    }
}

impl core::error::Error for AppendError {}

/// Why nothing was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The offset is below the start or beyond the memory watermark.
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// First offset that can be read.
        start: Offset,
        /// The memory watermark.
        end: Offset,
    },
    /// The stored bytes do not match their check, and are not delivered; or the reader has come to
    /// an end behind which damage may have taken records.
    Damaged(Damage),
    /// The disk could not be read.
    Failed(Failure),
    /// Too many reads are in flight; the caller tries again after
    /// [`Notice::Room`](crate::Notice::Room).
    NoRoom,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { asked, start, end } => write!(
                f,
                "offset {asked} is out of range: offsets from {start} to {end} can be asked for, \
                 and {end} is the next to be written"
            ),
            Self::Damaged(damage) => write!(f, "damaged: {damage}"),
            Self::Failed(failure) => failure.fmt(f),
            Self::NoRoom => f.write_str("all read memory is in use"),
        }
    }
}

impl core::error::Error for ReadError {}
