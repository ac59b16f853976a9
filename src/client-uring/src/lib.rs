//! The Plimsoll client on tokio-uring: io_uring, one thread.
//!
//! Two tasks for each connection, one connection for each shard in use, all decisions in
//! `plimsoll-client`. Nothing here is `Send`: everything lives on the thread that runs
//! `tokio_uring::start`. Produce frames are written out of the memory that they were built in.
//!
//! What a newcomer gets wrong: this needs a kernel and a container that allow io_uring;
//! `plimsoll-client-blocking` runs anywhere.
//!
//! ```no_run
//! use plimsoll_client_uring::{Client, ConsumerOptions, NewRecord, ProducerOptions};
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
//! # fn main() { tokio_uring::start(example()).unwrap() }
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
