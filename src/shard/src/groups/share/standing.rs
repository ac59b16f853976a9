//! What a group has to look at, out of thousands of partitions of which most have nothing to say.
//!
//! Sets of partitions, and sums over them; what is in a partition says its window. They hold each
//! partition once at most. What a newcomer gets wrong: a partition without anything free is looked
//! at until its owner has been asked to tell when there is more, and again from when it has told.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Bound;

use plimsoll_device::{Instant, Now};
use plimsoll_wire::{PartitionIndex, TopicId, TopicPartition};

use super::window::Glance;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// How many offsets in all windows are not done.
    pub(super) under_way: u64,
    /// How many are held by members.
    pub(super) held: u64,
    /// Where to begin is to be looked up, and nobody has been asked.
    pub(super) sought: BTreeSet<TopicPartition>,
    /// Begun, and nobody will tell when there is more.
    pub(super) unwatched: BTreeSet<TopicPartition>,
    /// Something in the window is free.
    free: BTreeSet<TopicPartition>,
    /// When the first lock ends, and the first delay, where there is one.
    locks: BTreeSet<(Instant, TopicPartition)>,
    delays: BTreeSet<(i64, TopicPartition)>,
}

/// How far a round over the partitions has come. It begins behind the one whose turn it was last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    last: Option<TopicPartition>,
    at: Option<TopicPartition>,
    /// It has begun anew with the first of all.
    has_turned: bool,
}

impl Round {
    pub(super) fn behind(last: Option<TopicPartition>) -> Self {
        Self { last, at: last, has_turned: false }
    }
}

impl Standing {
    /// A window has changed.
    pub(super) fn note(&mut self, at: TopicPartition, before: Glance, after: Glance) {
        self.under_way = self.under_way - before.open + after.open;
        self.held = self.held - before.held + after.held;
        match after.has_free {
            true => self.free.insert(at),
            false => self.free.remove(&at),
        };
        if before.lock_end != after.lock_end {
            before.lock_end.map(|until| self.locks.remove(&(until, at)));
            self.locks.extend(after.lock_end.map(|until| (until, at)));
        }
        if before.delay_end_unix_ms != after.delay_end_unix_ms {
            before.delay_end_unix_ms.map(|until| self.delays.remove(&(until, at)));
            self.delays.extend(after.delay_end_unix_ms.map(|until| (until, at)));
        }
    }

    /// The partition is nothing to the group any more.
    pub(super) fn forget(&mut self, at: TopicPartition, before: Glance) {
        self.note(at, before, Glance::default());
        self.sought.remove(&at);
        self.unwatched.remove(&at);
    }

    /// The next partition that may have something for who asks, each once a round.
    pub(super) fn next(&self, round: &mut Round) -> Option<TopicPartition> {
        loop {
            match self.after(round.at) {
                Some(next) if round.has_turned && Some(next) > round.last => return None,
                Some(next) => {
                    round.at = Some(next);
                    return Some(next);
                }
                None if round.has_turned || round.last.is_none() => return None,
                None => (round.at, round.has_turned) = (None, true),
            }
        }
    }

    fn after(&self, at: Option<TopicPartition>) -> Option<TopicPartition> {
        let behind = (at.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let (free, unwatched) =
            (self.free.range(behind).next(), self.unwatched.range(behind).next());
        free.into_iter().chain(unwatched).min().copied()
    }

    /// Partitions of the topic that nobody will tell about.
    pub(super) fn unwatched_of(&self, topic: TopicId) -> impl Iterator<Item = TopicPartition> {
        let at = |index| TopicPartition { topic, partition: PartitionIndex(index) };
        self.unwatched.range(at(0)..=at(u32::MAX)).copied()
    }

    /// Those in which a lock or a delay has ended.
    pub(super) fn due(&self, now: Now) -> Vec<TopicPartition> {
        let locks = self.locks.iter().take_while(|(until, _)| *until <= now.monotonic);
        let delays = self.delays.iter().take_while(|(until, _)| *until <= now.unix_ms);
        let due = locks.map(|(_, at)| *at).chain(delays.map(|(_, at)| *at));
        // In the order of partitions, whatever the clocks say.
        due.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn next_lock_end(&self) -> Option<Instant> {
        self.locks.first().map(|(until, _)| *until)
    }

    pub(super) fn next_delay_end_unix_ms(&self) -> Option<i64> {
        self.delays.first().map(|(until, _)| *until)
    }
}
