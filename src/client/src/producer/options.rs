//! The choices of a producer.
//!
//! Sizes are in bytes, limits end in `_max`. What a newcomer gets wrong: `batch_bytes` is where a
//! batch is sealed, not what it may hold; a larger record still gets a batch of its own.

use super::Resume;
use crate::{Compression, LinkOptions};
use core::time::Duration;
use plimsoll_wire::{AckLevel, DurabilityWanted};

/// The choices of a producer. The default suits a pipeline: acks at the topic's level, 1 MiB
/// batches, 1 ms of linger.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProducerOptions {
    /// When a record counts as acked.
    pub durability: DurabilityWanted,
    /// A second level to hear about for the same records, shallower or deeper. After a failure
    /// that the shallower one does not survive, an idempotent producer writes them again: then the
    /// deeper ack names another offset.
    pub also: Option<AckLevel>,
    /// A batch is closed when it has reached this size. Cut to what the topic takes. If the
    /// producer is idempotent, a batch grows on, up to that, while five are in flight.
    pub batch_bytes: usize,
    /// A batch is closed when it has this many records.
    pub batch_records_max: u32,
    /// How long a batch waits for more records. Zero: it goes as soon as the connection takes it.
    pub linger: Duration,
    /// Whether batches are numbered, so that the producer may send one again that was perhaps
    /// written, until `delivery_timeout`: each record is in the log once, and in order. At most
    /// five batches of a partition are in flight then. Without effect with durability `none`.
    pub idempotent: bool,
    /// Whom to go on as, and where. Needs `idempotent`, and a durability that is acked. The first
    /// batch that is refused, or not sent in time, ends such a producer in its partition.
    pub resume: Option<Resume>,
    /// Batches sent and not yet acked, for each connection. Without `idempotent`, 1 keeps the order
    /// of records even when the server refuses one and takes the next.
    pub in_flight_batches_max: u32,
    /// Bytes sent and not yet acked, for each connection.
    pub in_flight_bytes_max: usize,
    /// Bytes of all records that are not yet acked. Beyond it, appending waits.
    pub buffer_bytes_max: usize,
    /// A record that could not be sent for this long is refused; the fate of one that was sent and
    /// not acked is unknown then, and not before if the producer is idempotent.
    pub delivery_timeout: Duration,
    /// The wait before a batch is sent again that the server refused for a reason that passes; it
    /// doubles each time, up to 32 times as long.
    pub retry_delay: Duration,
    /// How batches are compressed.
    pub compression: Compression,
    /// How connections are treated.
    pub link: LinkOptions,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            durability: DurabilityWanted::TopicDefault,
            also: None,
            batch_bytes: 1 << 20,
            batch_records_max: 1 << 20,
            linger: Duration::from_millis(1),
            idempotent: true,
            resume: None,
            in_flight_batches_max: 64,
            in_flight_bytes_max: 32 << 20,
            buffer_bytes_max: 64 << 20,
            delivery_timeout: Duration::from_secs(120),
            retry_delay: Duration::from_millis(50),
            compression: Compression::None,
            link: LinkOptions::default(),
        }
    }
}
