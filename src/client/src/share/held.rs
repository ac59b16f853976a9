//! What a member holds: an entry for each offset, from its acquiring to the answer that settles it.
//!
//! What a newcomer gets wrong: the same offset may be acquired again after its lock was lost. The
//! [`LockId`] tells the two apart, so that what is said of the one never counts for the other.

use crate::Instant;
use alloc::vec::Vec;
use plimsoll_wire::{DeadReason, Offset, TopicPartition, Verdict};

/// Which record: in the order in which runs are made of them.
pub(super) type Key = (TopicPartition, Offset);

/// One acquiring of one record. No two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LockId(pub(super) u64);

/// The number of a verdict of the application, in the order in which they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SettleId(pub(super) u64);

/// A record that this member has to itself.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lock: LockId,
    pub(super) deliveries: u32,
    pub(super) dead: Option<DeadReason>,
    /// Surely not beyond this: counted from the sending of the request that renewed it.
    pub(super) lock_until: Instant,
    pub(super) since: Instant,
    pub(super) stage: Stage,
}

/// How far a record is on its way through the member.
#[derive(Debug)]
pub(super) enum Stage {
    /// Not fetched yet.
    Wanted,
    /// Fetched, and waits for the application.
    Ready,
    /// The application is at work on it.
    Out,
    /// Its copy is on the way to the dead-letter topic.
    Copying(Option<SettleId>),
    /// It is known what becomes of it, and the server is to be told.
    Settling(Given),
}

/// A verdict, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) verdict: Verdict,
    /// If the application gave it.
    pub(super) id: Option<SettleId>,
    pub(super) is_sent: bool,
    /// It was sent before, and nobody knows whether it was carried out.
    pub(super) may_be_done: bool,
    /// Its answer must be its own.
    pub(super) is_alone: bool,
}

impl Given {
    pub(super) fn new(verdict: Verdict, id: Option<SettleId>) -> Given {
        // The answer to a second sending does not say which of several were rejected.
        let is_alone = verdict == Verdict::Reject;
        Given { verdict, id, is_sent: false, may_be_done: false, is_alone }
    }
}

/// Neighbours of one partition, about which the same is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) place: TopicPartition,
    pub(super) first: Offset,
    pub(super) last: Offset,
    pub(super) verdict: Verdict,
}

impl Run {
    pub(super) fn is_single(&self) -> bool {
        self.first == self.last
    }

    /// From its first key to its last.
    pub(super) fn keys(&self) -> core::ops::RangeInclusive<Key> {
        (self.place, self.first)..=(self.place, self.last)
    }
}

/// Runs out of keys in their order, as few as possible, at most `runs_max`: how many keys they took
/// is the second part of the answer.
pub(super) fn runs(
    keys: impl Iterator<Item = (Key, Verdict, bool)>,
    runs_max: usize,
) -> (Vec<Run>, usize) {
    let (mut runs, mut taken): (Vec<Run>, usize) = (Vec::new(), 0);
    let mut was_alone = true;
    for ((place, offset), verdict, is_alone) in keys {
        let is_next = |run: &Run| {
            let follows = run.last.checked_add(1) == Some(offset);
            !was_alone && !is_alone && run.place == place && run.verdict == verdict && follows
        };
        if runs.last().is_some_and(is_next) {
            if let Some(run) = runs.last_mut() {
                run.last = offset;
            }
        } else if runs.len() == runs_max {
            break;
        } else {
            runs.push(Run { place, first: offset, last: offset, verdict });
        }
        (was_alone, taken) = (is_alone, taken + 1);
    }
    (runs, taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_wire::{PartitionIndex, TopicId};

    fn key(partition: u32, offset: u64) -> Key {
        let partition = PartitionIndex(partition);
        (TopicPartition { topic: TopicId(1), partition }, Offset::new(offset))
    }

    #[test]
    fn neighbours_of_one_verdict_make_one_run() {
        let accept = Verdict::Accept;
        let keys = [(0, 1), (0, 2), (0, 4), (1, 5), (1, 6)];
        let keys = keys.map(|(partition, offset)| (key(partition, offset), accept, false));
        let (found, taken) = runs(keys.into_iter(), 10);
        let bounds = found.iter().map(|run| (run.first.value(), run.last.value()));
        assert_eq!(bounds.collect::<Vec<_>>(), [(1, 2), (4, 4), (5, 6)]);
        assert_eq!(taken, 5);
    }

    #[test]
    fn what_stands_alone_and_what_is_said_otherwise_is_not_joined() {
        let keys = [
            (key(0, 1), Verdict::Accept, false),
            (key(0, 2), Verdict::Accept, true),
            (key(0, 3), Verdict::Accept, false),
            (key(0, 4), Verdict::Gone, false),
        ];
        assert_eq!(runs(keys.into_iter(), 10).0.len(), 4);
    }

    #[test]
    fn no_more_runs_than_a_frame_takes() {
        let keys = [1, 3, 5].map(|offset| (key(0, offset), Verdict::Accept, false));
        let (found, taken) = runs(keys.into_iter(), 2);
        assert_eq!((found.len(), taken), (2, 2));
    }
}
