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

mod transport;

pub use plimsoll_client_async::vocabulary::*;
pub use transport::Tokio;

/// A server, known by its address. See [`plimsoll_client_async::Client`].
pub type Client = plimsoll_client_async::Client<Tokio>;

/// The choices of a client. See [`plimsoll_client_async::ClientBuilder`].
pub type ClientBuilder = plimsoll_client_async::ClientBuilder<Tokio>;

/// Reads one topic. See [`plimsoll_client_async::Consumer`].
pub type Consumer = plimsoll_client_async::Consumer<Tokio>;

/// A member of a group that consumes one topic, or several. See
/// [`plimsoll_client_async::GroupConsumer`].
pub type GroupConsumer = plimsoll_client_async::GroupConsumer<Tokio>;

/// A member of a group that hands each record to one member. See
/// [`plimsoll_client_async::ShareConsumer`].
pub type ShareConsumer = plimsoll_client_async::ShareConsumer<Tokio>;

/// Sends records to one topic. See [`plimsoll_client_async::Producer`].
pub type Producer = plimsoll_client_async::Producer<Tokio>;

/// A record that was taken; awaiting it gives the ack. See [`plimsoll_client_async::Receipt`].
pub type Receipt = plimsoll_client_async::Receipt<Tokio>;
