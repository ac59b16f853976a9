//! The Plimsoll client on tokio-uring: io_uring, one thread.
//!
//! One task for each connection, one connection for each shard in use, all decisions in
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

mod transport;

pub use plimsoll_client_async::vocabulary::*;
pub use transport::Uring;

/// A server, known by its address. See [`plimsoll_client_async::Client`].
pub type Client = plimsoll_client_async::Client<Uring>;

/// The choices of a client. See [`plimsoll_client_async::ClientBuilder`].
pub type ClientBuilder = plimsoll_client_async::ClientBuilder<Uring>;

/// Reads one topic. See [`plimsoll_client_async::Consumer`].
pub type Consumer = plimsoll_client_async::Consumer<Uring>;

/// A member of a group that consumes one topic, or several. See
/// [`plimsoll_client_async::GroupConsumer`].
pub type GroupConsumer = plimsoll_client_async::GroupConsumer<Uring>;

/// A member of a group that hands each record to one member. See
/// [`plimsoll_client_async::ShareConsumer`].
pub type ShareConsumer = plimsoll_client_async::ShareConsumer<Uring>;

/// Sends records to one topic. See [`plimsoll_client_async::Producer`].
pub type Producer = plimsoll_client_async::Producer<Uring>;

/// A record that was taken; awaiting it gives the ack. See [`plimsoll_client_async::Receipt`].
pub type Receipt = plimsoll_client_async::Receipt<Uring>;
