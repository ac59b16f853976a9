//! A producer to a topic that is about to be deleted: nobody asks what became of its records.
//!
//! What a newcomer gets wrong: it is no witness. It is here for what its records leave behind:
//! frames that name files which are gone.

use core::time::Duration;

use plimsoll_client::{
    DurabilityWanted, Instant, NewRecord, Producer, ProducerOptions, Session, Topic,
};
use plimsoll_sim::Network;
use plimsoll_wire::Durability;

use super::links::{Links, Surroundings};

/// How many records go to each partition.
const RECORDS: usize = 3;

/// A producer to a passing topic.
pub(crate) struct PassingClient {
    session: Producer<()>,
    links: Links,
}

impl PassingClient {
    pub(crate) fn new(topic: Topic, bytes: u32, now: Instant) -> Self {
        let mut options = ProducerOptions::default();
        options.durability = DurabilityWanted::Level(Durability::Disk);
        options.linger = Duration::ZERO;
        // Each record is a batch of its own.
        options.batch_bytes = 64;
        options.delivery_timeout = Duration::from_secs(1);
        options.link = super::link_options();
        let partitions = topic.partitions();
        let mut session = Producer::new(topic, options, 0);
        let value = vec![7; bytes as usize];
        for partition in (0..RECORDS).flat_map(|_| 0..partitions) {
            // One that has no room is as good as one that is lost.
            let _ = session.append(&NewRecord::of_value(&value).to_partition(partition), now);
        }
        Self { session, links: Links::default() }
    }

    pub(crate) fn is_ready(&self, network: &Network, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|at| at <= now) || self.links.have_news(network)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    pub(crate) fn turn(&mut self, around: &mut Surroundings<'_>) {
        self.links.turn(&mut self.session, around);
        while self.session.poll_event().is_some() {}
    }

    /// Its process dies.
    pub(crate) fn die(&mut self, network: &mut Network) {
        self.links.abandon(network);
    }
}
