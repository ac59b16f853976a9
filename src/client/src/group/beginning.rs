//! Where a group begins that wants only what comes from now on: said by its first member, for all.
//!
//! The end of a partition is another one at each look. If it counted only in this client, one that
//! died before its first commit would have the next one begin behind records that the group has
//! never seen. So it is committed, and nothing is handed out before that is durable. What a
//! newcomer gets wrong: a beginning or a time needs none of this, because whoever asks again finds
//! the same.

use super::{GroupConsumer, Held, LINK, PartitionName};
use crate::consumer::Place;
use crate::{Instant, StartAt};
use alloc::string::String;
use alloc::vec::Vec;
use plimsoll_wire::{COMMIT_OFFSETS_MAX, Offset};

/// Whether records of a partition may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Begin {
    #[default]
    Begun,
    /// Its end is looked up, and then committed.
    Wanted,
    Committing,
    /// The commit was not taken: it is tried again with the next sign of life.
    Refused,
}

impl Begin {
    pub(super) fn of(start: StartAt) -> Begin {
        match start {
            StartAt::End => Begin::Wanted,
            StartAt::Beginning | StartAt::Offset(_) | StartAt::Timestamp { .. } => Begin::Begun,
        }
    }
}

impl GroupConsumer {
    /// Commits where partitions begin, as far as that is known; one commit at a time.
    pub(super) fn commit_beginnings(&mut self, now: Instant) {
        if self.beginning.is_some() || !self.consumer.links.is_ready(LINK) {
            return;
        }
        let of_one = |(place, held): (&Place, &Held)| {
            let offset = self.consumer.delivered(*place)?;
            (held.begin == Begin::Wanted).then(|| (*place, offset, String::new()))
        };
        let located = self.partitions.iter().filter_map(of_one).take(COMMIT_OFFSETS_MAX as usize);
        let located: Vec<(Place, Offset, String)> = located.collect();
        if located.is_empty() {
            return;
        }
        for (place, ..) in &located {
            self.partitions.entry(*place).and_modify(|held| held.begin = Begin::Committing);
        }
        self.beginning = Some(self.begin_commit(located, true, now));
    }

    /// Records may come of those partitions whose beginning is committed.
    pub(super) fn begin_committed(&mut self, now: Instant) {
        let Some(report) = self.beginning.and_then(|id| self.reports.remove(&id)) else { return };
        self.beginning = None;
        for of in &report.partitions {
            let name = PartitionName { topic: Some(&of.topic), partition: of.partition };
            let Some(place) = self.place(name) else { continue };
            // One that went and came back meanwhile asks for itself.
            let held = self.partitions.get_mut(&place);
            let Some(held) = held.filter(|held| held.begin == Begin::Committing) else { continue };
            match of.result {
                Ok(committed) => {
                    (held.begin, held.assigned) = (Begin::Begun, Some(committed));
                    self.consumer.begin(place, committed, now);
                }
                Err(_) => held.begin = Begin::Refused,
            }
        }
    }

    /// What was refused may be taken now.
    pub(super) fn begin_again(&mut self) {
        for held in self.partitions.values_mut().filter(|held| held.begin == Begin::Refused) {
            held.begin = Begin::Wanted;
        }
    }
}
