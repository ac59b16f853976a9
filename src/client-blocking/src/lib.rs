//! The Plimsoll client on `std::net`: threads, no runtime.
//!
//! A pipeline that embeds this gets the session of `plimsoll-client` and nothing else: no async
//! runtime, no io_uring, no server code. Two threads for each connection, one connection for each
//! shard in use. Memory is bounded: a producer waits when `buffer_bytes_max` is used up, a
//! consumer gives the server credit.
//!
//! What a newcomer gets wrong: an append has three ends. *Unknown* is not *failed*: see
//! [`AppendOutcome`].
//!
//! ```no_run
//! use plimsoll_client_blocking::{Client, ConsumerOptions, NewRecord, ProducerOptions};
//! use std::time::Duration;
//!
//! let client = Client::connect("127.0.0.1:7420")?;
//! let producer = client.producer("orders", ProducerOptions::default())?;
//! let ack = producer.send(&NewRecord::of_value(b"one").with_key(b"k"))?.wait()?;
//! println!("at offset {} of partition {}, {}", ack.offset, ack.partition, ack.level);
//! let mut consumer = client.consumer("orders", ConsumerOptions::default())?;
//! while let Some(record) = consumer.next(Duration::from_secs(1))? {
//!     println!("{record:?}");
//! }
//! assert_eq!(producer.close().acked, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod admin_connection;
mod client;
mod clock;
mod consumer;
mod dial;
mod engine;
mod group_admin;
mod group_consumer;
mod producer;
mod receipt;
mod share_consumer;

pub use client::{Client, ClientBuilder};
pub use consumer::Consumer;
pub use group_consumer::GroupConsumer;
pub use plimsoll_client::{
    Ack, AckLevel, AdminError, AppendError, AppendOutcome, AppendRejected, Assignor,
    BorrowedRecord, CleanupPolicy, CommitFault, CommitPolicy, CommitReport, CommittedOffset,
    Compression, ConnectError, ConnectionFault, ConsumeError, ConsumerOptions,
    DELIVER_AFTER_HEADER, DeadLetterHeader, DeliverAfter, DeliveredBatch, DeliveryError, Doubt,
    Durability, DurabilityWanted, ErrorCode, Fate, GroupError, GroupEvent, GroupInfo, GroupMember,
    GroupMode, GroupOffset, GroupOptions, GroupState, GroupSummary, Header, LinkOptions,
    LossReason, NewRecord, NewTopic, Offset, OffsetsWhat, OnRemoved, PartitionCommit,
    PartitionDescription, PartitionIndex, PartitionName, PartitionState, ProducerIdentity,
    ProducerOptions, Record, RecordError, Refusal, RequestError, Resume, SendError, ServerError,
    SettleFault, ShardIndex, ShareBegin, ShareDescription, ShareError, ShareNotice, ShareOptions,
    SharedRecord, StartAt, Topic, TopicChanges, TopicCleanup, TopicId, TopicPartition,
    TopicRetention, Totals as Summary, Unsettled, Visible, Watermarks, partition_of_key,
};
pub use producer::Producer;
pub use receipt::Receipt;
pub use share_consumer::ShareConsumer;
