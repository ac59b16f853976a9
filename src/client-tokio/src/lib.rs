//! The Plimsoll client on tokio.
//!
//! One task for each connection, one connection for each shard in use, all decisions in
//! `plimsoll-client`. Memory is bounded: a producer waits when `buffer_bytes_max` is used up, a
//! consumer gives the server credit.
//!
//! What a newcomer gets wrong: an append has three ends. *Unknown* is not *failed*: see
//! [`AppendOutcome`].
//!
//! ```no_run
//! use plimsoll_client_tokio::{Client, ConsumerOptions, NewRecord, ProducerOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("127.0.0.1:7420").await?;
//! let producer = client.producer("orders", ProducerOptions::default()).await?;
//! let receipt = producer.send(&NewRecord::of_value(b"one").with_key(b"k")).await?;
//! let ack = receipt.await?;
//! println!("at offset {} of partition {}, {}", ack.offset, ack.partition, ack.level);
//! let mut consumer = client.consumer("orders", ConsumerOptions::default()).await?;
//! println!("{:?}", consumer.next().await?);
//! assert_eq!(producer.close().await.acked, 1);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod admin_connection;
mod client;
mod clock;
mod consumer;
mod engine;
mod group_admin;
mod group_consumer;
mod producer;
mod receipt;

pub use client::{Client, ClientBuilder};
pub use consumer::Consumer;
pub use group_consumer::GroupConsumer;
pub use plimsoll_client::{
    Ack, AckLevel, AdminError, AppendError, AppendOutcome, AppendRejected, Assignor,
    BorrowedRecord, CommitFault, CommitPolicy, CommitReport, CommittedOffset, Compression,
    ConnectError, ConnectionFault, ConsumeError, ConsumerOptions, DeliveredBatch, DeliveryError,
    Doubt, Durability, DurabilityWanted, ErrorCode, Fate, GroupError, GroupEvent, GroupInfo,
    GroupMember, GroupOffset, GroupOptions, GroupState, GroupSummary, Header, LinkOptions,
    LossReason, NewRecord, NewTopic, Offset, OffsetsWhat, OnRemoved, PartitionCommit,
    PartitionDescription, PartitionIndex, PartitionName, PartitionState, ProducerOptions, Record,
    RecordError, Refusal, RequestError, SendError, ServerError, ShardIndex, StartAt, Topic,
    TopicChanges, TopicId, TopicPartition, TopicRetention, Totals as Summary, Visible, Watermarks,
    partition_of_key,
};
pub use producer::Producer;
pub use receipt::Receipt;
