//! A member of a group: what it was told, and what it has not let go of yet.
//!
//! What a newcomer gets wrong: a partition that was taken away is not free. The member may be at
//! work on it until it has named a generation that does not hold it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::time::Duration;

use plimsoll_device::Instant;
use plimsoll_wire::{Generation, MemberId, TopicPartition};

use crate::mail::Client;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// Its static name, or empty.
    pub(crate) instance: String,
    /// What it calls itself.
    pub(crate) name: String,
    /// The names of the topics that it wants.
    pub(crate) topics: BTreeSet<String>,
    /// Where it was heard last; changes are told there.
    pub(crate) client: Client,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(crate) heard_at: Instant,
    /// The newest assignment that it was told.
    pub(crate) told: Generation,
    /// Since when it owes an answer to a withdrawal.
    pub(super) owes_since: Option<Instant>,
    /// What it may consume, and since which generation.
    pub(crate) assigned: BTreeMap<TopicPartition, Generation>,
    /// What was taken away and not let go of yet.
    pub(super) leaving: BTreeMap<TopicPartition, Leaving>,
}

/// A partition that was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Since when the member had it.
    pub(super) since: Generation,
    /// The first assignment without it.
    pub(super) until: Generation,
}

impl Member {
    /// When it is dead if nothing is heard of it.
    pub(crate) fn deadline(&self) -> Instant {
        let session = self.heard_at + self.session_timeout;
        match self.owes_since {
            Some(since) => session.min(since + self.rebalance_timeout),
            None => session,
        }
    }

    /// How often the server wants to hear from it.
    pub(crate) fn heartbeat_interval_ms(&self) -> u32 {
        u32::try_from(self.session_timeout.as_millis() / 3).unwrap_or(u32::MAX).max(1)
    }

    /// Whether work that it did by the assignment of `generation` counts.
    pub(crate) fn may_commit(&self, partition: TopicPartition, generation: Generation) -> bool {
        let since = self.assigned.get(&partition).copied();
        let since = since.or_else(|| self.leaving.get(&partition).map(|leaving| leaving.since));
        since.is_some_and(|since| generation >= since)
    }

    /// Takes away; the member holds on to it until it says otherwise.
    pub(super) fn withdraw(&mut self, partition: TopicPartition, until: Generation, now: Instant) {
        if let Some(since) = self.assigned.remove(&partition) {
            self.leaving.insert(partition, Leaving { since, until });
            self.owes_since.get_or_insert(now);
        }
    }

    /// The member goes by the assignment of `generation`: what it has let go of.
    pub(super) fn follow(&mut self, generation: Generation) -> BTreeSet<TopicPartition> {
        let is_gone = |leaving: &Leaving| leaving.until <= generation;
        let gone = self.leaving.iter().filter(|(_, leaving)| is_gone(leaving));
        let gone: BTreeSet<TopicPartition> = gone.map(|(partition, _)| *partition).collect();
        self.leaving.retain(|_, leaving| !is_gone(leaving));
        if self.leaving.is_empty() {
            self.owes_since = None;
        }
        gone
    }
}
