//! What is old or too much goes by itself, also where nobody writes, reads or asks.
//!
//! The end of a run in which something may go: everybody leaves, time passes, and what is left is
//! looked at. What a newcomer gets wrong: nothing may be asked of the server meanwhile, or it would
//! be no wonder that it looks.

use core::time::Duration;
use std::collections::BTreeMap;

use plimsoll_storage::{PartitionId, SegmentName, partition_directory};
use plimsoll_wire::{Offset, TopicRetention};

use super::World;
use crate::client::Task;
use crate::ledger::{Place, Violation};
use crate::scenario::What;

/// How often it is asked whether something has gone.
const ASKS: Duration = Duration::from_millis(300);

impl World<'_> {
    pub(super) fn see_old_data_go(&mut self) -> Result<(), Violation> {
        let topics = 0..self.scenario.topics.len();
        let settings: BTreeMap<usize, TopicRetention> =
            topics.map(|topic| (topic, self.ledger.starts.settings(topic))).collect();
        if settings.values().all(|it| *it == TopicRetention::UNLIMITED) {
            return Ok(());
        }
        self.everybody_leaves();
        // What was asked for and never answered is settled by one more question.
        let alter = |(topic, it): (&usize, &TopicRetention)| Task::Alter(*topic, *it, 1 << 20);
        self.admins.tasks.extend(settings.iter().map(alter));
        self.wait_for("the last settings", |world| world.admins.tasks.is_empty())?;
        let age_ms = settings.values().map(|it| it.age_ms).max().unwrap_or(0);
        let clock = &self.ledger.starts.clock;
        let wait = clock.until_all_is_old(age_ms, self.clock.now);
        self.pass(wait)?;
        self.admins.described.clear();
        self.wait_for("what is old or too much to go", |world| {
            world.asks_where_partitions_begin() && world.has_shrunk(&settings)
        })
    }

    fn everybody_leaves(&mut self) {
        for producer in &mut self.producers {
            producer.die(&mut self.ledger, &mut self.network);
        }
        self.consumers.iter_mut().for_each(|consumer| consumer.die(&mut self.network));
        self.members.iter_mut().for_each(|member| member.die(&mut self.network));
        self.producers.clear();
        self.consumers.clear();
        for sharer in &mut self.sharers {
            sharer.die(&mut self.ledger, &mut self.network);
        }
        self.members.clear();
        self.sharers.clear();
    }

    pub(super) fn pass(&mut self, time: Duration) -> Result<(), Violation> {
        self.note(|| format!("{time:?} pass"));
        let until = self.now() + time;
        while self.now() < until {
            self.step(Some(until))?;
        }
        Ok(())
    }

    /// False until there is an answer to what is asked here.
    pub(super) fn asks_where_partitions_begin(&mut self) -> bool {
        let is_answered = self.admins.tasks.is_empty() && !self.admins.described.is_empty();
        if self.admins.tasks.is_empty() {
            let now = self.client_now();
            self.admins.rest_until(now + ASKS);
            self.admins.tasks.extend((0..self.scenario.topics.len()).map(Task::Describe));
        }
        is_answered
    }

    fn has_shrunk(&self, settings: &BTreeMap<usize, TopicRetention>) -> bool {
        let described = self.admins.described.iter();
        let mut partitions = described.flat_map(|(topic, all)| all.iter().map(|it| (*topic, it)));
        partitions.all(|(topic, described)| {
            let TopicRetention { age_ms, bytes } = settings[&topic];
            let (start, end) = (described.watermarks.start, described.watermarks.memory);
            let place = Place { topic, partition: described.partition.0 };
            let is_small = bytes == 0 || self.bytes_from(place, start) < bytes + self.slack(topic);
            (age_ms == 0 || start == end) && is_small && !self.has_old_files(place, start)
        })
    }

    /// What is known to be there.
    fn bytes_from(&self, place: Place, start: Offset) -> u64 {
        let of_place = self.ledger.entries.iter().filter(|it| it.place == place && it.required);
        let left = of_place.filter(|it| it.offset.is_some_and(|offset| offset >= start));
        left.map(|it| it.length as u64).sum()
    }

    /// A segment more than the size may stay: of the largest that any was ever begun with.
    pub(super) fn slack(&self, topic: usize) -> u64 {
        let acts = self.scenario.lives.iter().flat_map(|life| &life.acts);
        let altered = acts.filter_map(|act| match act.what {
            What::AlterTopic { topic: of, segment_bytes, .. } if of == topic => Some(segment_bytes),
            _ => None,
        });
        altered.fold(self.scenario.topics[topic].segment_bytes, u64::max)
    }

    /// Whether a file is there of which all is before the start.
    fn has_old_files(&self, place: Place, start: Offset) -> bool {
        let Some(topic) = self.admins.topics.get(&place.topic) else { return false };
        let id = PartitionId { topic: topic.id, partition: place.partition };
        let directory = partition_directory(id);
        let bases = self.disk.files().into_iter().filter_map(|path| {
            let name = path.strip_prefix(&directory)?.strip_prefix('/')?;
            let name = SegmentName::of_file(name).filter(|_| name.ends_with(".segment"))?;
            Some(name.segment.value())
        });
        let mut bases: Vec<u64> = bases.collect();
        bases.sort_unstable();
        // Of one that was compacted there may be two for a moment.
        bases.dedup();
        bases.get(1).is_some_and(|second| *second <= start.value())
    }
}
