//! One shard's brain: connections, produce, fetch, subscriptions, acks, topics, mail between
//! shards.
//!
//! [`Shard`] owns the storage of one shard and every connection that is served there. It takes in
//! completions, mail and the passing of time, and gives out operations, mail and reports; it never
//! waits and reads no clock. `PROTOCOL.md` of `plimsoll-wire` is the behaviour towards clients.
//!
//! What a newcomer gets wrong: nothing is answered while a frame is being decoded. Answers gather,
//! and leave when the turn is settled, which the next poll does: so the server hands in all that it
//! has and then polls until there is nothing more.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod ack_fifo;
mod catalog;
mod config;
mod connection;
mod counters;
mod groups;
mod handles;
mod inbound;
mod level;
mod mail;
mod metadata_record;
mod outbound;
mod partition;
mod peers;
mod readers;
mod receive_memory;
mod report;
mod shard;
mod slab;
mod timers;

pub use config::{ShardConfig, ShardLimits, TopicSettings};
pub use mail::Mail;
pub use report::Report;
pub use shard::Shard;
