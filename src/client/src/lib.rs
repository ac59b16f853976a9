//! The client's session, without I/O.
//!
//! Producer, consumer and administration as plain state: bytes and time go in (`handle_*`), bytes
//! and outcomes come out (`poll_*`), in the manner of quinn-proto. `plimsoll-client-blocking`,
//! `-tokio` and `-uring` are thin drivers over the [`Session`] trait; all decisions are made here:
//! batching, the in-flight window, what may be sent again, credit, reconnecting. No clock, no
//! socket, no thread, no async.
//!
//! What a newcomer gets wrong: an append has three ends, not two. *Unknown* means that the record
//! may be there, and this client never sends such a record again by itself.
//!
//! ```no_run
//! use plimsoll_client::{Instant, LinkId, NewRecord, Producer, ProducerOptions, Session, Topic};
//!
//! # fn example(topic: Topic) -> Result<(), Box<dyn std::error::Error>> {
//! let mut producer: Producer<()> = Producer::new(topic, ProducerOptions::default(), 0);
//! let now = Instant::ORIGIN;
//! producer.append(&NewRecord::of_value(b"one"), now)?;
//! let link = producer.poll_dial(now).unwrap(); // connect it, and say so
//! producer.handle_connected(link, now);
//! while let Some(chunk) = producer.poll_transmit(link, now) {
//!     println!("write {} bytes to link {}", chunk.len(), link.0);
//! }
//! # Ok(())
//! # }
//! ```

#![cfg_attr(not(any(feature = "lz4", feature = "zstd")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod admin;
mod chunk;
mod compression;
mod consumer;
mod deliver_after;
mod driver_error;
mod error;
mod fate;
mod group;
mod incoming;
mod link;
mod outcome;
mod partitioner;
mod producer;
mod session;
mod share;
mod sought_time;
mod time;
mod topic;

pub use admin::{
    Admin, AdminReply, AdminRequest, GroupInfo, GroupMember, GroupOffset, GroupSummary, NewTopic,
    RequestError,
};
pub use chunk::Chunk;
pub use compression::{Compression, DecompressError, UNCOMPRESSED_BYTES_MAX};
pub use consumer::{
    Consumer, ConsumerEvent, ConsumerOptions, DeliveredBatch, DeliveredBatches, Delivery,
    DeliveryError, NoSuchPartition, Record, StartAt,
};
pub use deliver_after::{DELIVER_AFTER_HEADER, DeliverAfter};
pub use driver_error::{AdminError, ConnectError, ConsumeError, SendError};
pub use error::{ConnectionFault, ServerError};
pub use fate::{Ack, BatchFate};
pub use group::{
    CommitFault, CommitId, CommitPolicy, CommitReport, GroupConsumer, GroupError, GroupEvent,
    GroupOptions, Handed, Handout, LossReason, OnRemoved, PartitionCommit, PartitionName,
};
pub use incoming::{Incoming, IncomingFrames};
pub use link::LinkOptions;
pub use outcome::{AppendError, AppendOutcome, BatchOutcome, Doubt, Refusal};
pub use partitioner::{murmur2, partition_of_key};
pub use plimsoll_batch::{Header, Record as BorrowedRecord, RecordError};
pub use plimsoll_wire::AlterTopic as TopicChanges;
pub use plimsoll_wire::{
    AckLevel, Assignor, CleanupPolicy, CommittedOffset, Durability, DurabilityWanted, ErrorCode,
    Fate, GroupMode, GroupState, Offset, OffsetsWhat, PartitionDescription, PartitionIndex,
    PartitionState, ShardIndex, ShareBegin, ShareDescription, TopicCleanup, TopicId,
    TopicPartition, TopicRetention, Visible, Watermarks,
};
pub use producer::{
    AppendRejected, Appended, BatchEvent, BatchId, NewRecord, Producer, ProducerIdentity,
    ProducerOptions, Resume, Totals,
};
pub use session::{LinkId, Session};
pub use share::{
    DeadLetterHeader, Decision, SettleFault, SettleId, ShareConsumer, ShareError, ShareNotice,
    ShareOptions, SharedRecord, Unsettled,
};
pub use time::Instant;
pub use topic::Topic;
