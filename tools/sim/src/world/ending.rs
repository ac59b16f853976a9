//! The last life, without faults: everything that is still wanted is acked, every consumer reaches
//! the end, and then the books are compared.

use core::time::Duration;

use plimsoll_device::Instant;
use plimsoll_sim::Random;
use plimsoll_wire::{Durability, Offset, Visible};

use super::World;
use crate::client::{ConsumerClient, ProducerClient, Task};
use crate::ledger::{Fate, Place, Violation};
use crate::process::Process;
use crate::scenario::{ConsumerPlan, End, ProducerPlan};
use crate::verdict;

/// How long each part of the last life may take, in simulated time.
const PART_MAX: Duration = Duration::from_secs(40);
/// How much may happen in it.
const PART_STEPS_MAX: u64 = 300_000;

impl World<'_> {
    pub(super) fn live_last(&mut self) -> Result<(), Violation> {
        self.note(|| "the last life".to_string());
        let shards = self.scenario.lives.last().map_or(1, |life| life.shards);
        let has_rotted = self.scenario.rots && self.rot();
        self.ledger.is_damaged |= has_rotted;
        self.start(shards);
        if self.ledger.is_damaged {
            return self.live_on_in_damage(has_rotted);
        }
        self.ledger.nothing_fails = true;
        self.wait_for("the server to serve", |world| {
            world.process.as_ref().is_some_and(Process::is_serving)
        })?;
        self.wait_for("the topics to be there", |world| world.admins.tasks.is_empty())?;
        self.wait_for("every record to have an outcome", |world| {
            world.producers.iter().all(ProducerClient::is_settled)
        })?;
        self.let_compaction_rest()?;
        self.set_clock_right();
        self.append_last()?;
        self.end_shares()?;
        self.admins.described.clear();
        self.wait_for("every watermark to come to the end", Self::is_all_on_disk)?;
        let last = self.ends();
        let first_reader = self.add_readers();
        let late_reader = self.consumers.len();
        self.add_late_readers(&last);
        self.wait_for("every consumer to come to the end", |world| {
            world.consumers.iter().all(|consumer| {
                let is_past = |(place, offset): &(Place, Offset)| {
                    place.topic != consumer.plan.topic
                        || consumer.position(place.partition) > *offset
                        || world.ledger.starts.known(*place) > *offset
                };
                last.iter().all(is_past)
            })
        })?;
        let asks = !self.ledger.groups.is_empty() && self.scenario.forgets();
        self.wait_for("every group to come to the end", |world| {
            if asks {
                world.asks_where_partitions_begin();
            }
            world.ledger.groups.iter().all(|group| {
                let is_done = |(place, offset): &(Place, Offset)| {
                    let end = Offset::new(offset.value() + 1);
                    place.topic != group.plan.topic
                        || group.has_committed(place.partition, end)
                        || group.has_missed(place.partition, end)
                        || world.ledger.starts.known(*place) >= end
                };
                last.iter().all(is_done)
            })
        })?;
        for group in 0..self.ledger.groups.len() {
            self.admins.tasks.push_back(Task::DescribeGroup(group));
        }
        self.admins.tasks.extend((0..self.scenario.topics.len()).map(Task::Describe));
        self.admins.tasks.push_back(Task::List);
        self.wait_for("the list of topics", |world| world.admins.tasks.is_empty())?;
        let mut deleted = self.admins.deleted.iter();
        if let Some(name) = deleted.find(|name| self.admins.listed.contains(name)) {
            return Err(Violation(format!("{name} was deleted and is there")));
        }
        let readers = self.consumers[first_reader..late_reader].iter();
        let walks: Vec<usize> = readers.flat_map(ConsumerClient::walks).collect();
        let met = verdict::judge(&self.ledger, &walks)?;
        met.into_iter().for_each(|it| self.ledger.meet(it));
        self.see_old_data_go()
    }

    /// Consumers that read everything anew; gives the number of the first.
    fn add_readers(&mut self) -> usize {
        let first = self.consumers.len();
        for topic in 0..self.scenario.topics.len() {
            for visible in [Visible::Disk, Visible::PageCache, Visible::Memory] {
                let plan = ConsumerPlan { topic, visible, credit_bytes: 1 << 20, hoards: false };
                self.consumers.push(ConsumerClient::new(plan));
            }
        }
        first
    }

    /// Consumers that begin anywhere, also within batches.
    fn add_late_readers(&mut self, ends: &[(Place, Offset)]) {
        let mut random = Random::new(self.scenario.seed).stream("late readers");
        for topic in 0..self.scenario.topics.len() {
            let credit_bytes = [1, 1 << 20][random.below(2) as usize];
            let visible = [Visible::Disk, Visible::Memory][random.below(2) as usize];
            let mut reader =
                ConsumerClient::new(ConsumerPlan { topic, visible, credit_bytes, hoards: true });
            for (place, last) in ends.iter().filter(|(place, _)| place.topic == topic) {
                // Most often near the end: behind a gap there are few.
                let back = random.below(last.value() + 1).min(random.below(40));
                reader.begin_at(place.partition, Offset::new(last.value() - back));
            }
            self.consumers.push(reader);
        }
    }

    /// With damaged files nothing is promised but that damage is told and not delivered.
    fn live_on_in_damage(&mut self, is_in_journal: bool) -> Result<(), Violation> {
        let until = self.now() + Duration::from_secs(3);
        let begun = self.steps;
        while self.now() < until && self.steps - begun < PART_STEPS_MAX && self.process.is_some() {
            self.step(Some(until))?;
        }
        if let Some(process) = &self.process {
            if is_in_journal && process.has_recovered() && process.damaged.is_none() {
                return Err(Violation("a journal has rotted, and nobody says so".to_string()));
            }
            self.crash(End::Kill, false);
        }
        Ok(())
    }

    pub(super) fn wait_for(
        &mut self,
        what: &str,
        mut is_there: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), Violation> {
        self.note(|| format!("waiting for {what}"));
        let deadline = self.now() + PART_MAX;
        let begun = self.steps;
        while !is_there(self) {
            self.step(Some(deadline))?;
            if self.now() >= deadline || self.steps - begun > PART_STEPS_MAX {
                let steps = self.steps - begun;
                let state = self.describe_waiting();
                return Err(Violation(format!("waiting for {what}: {steps} steps, {state}")));
            }
        }
        Ok(())
    }

    fn describe_waiting(&self) -> String {
        let producers: Vec<bool> = self.producers.iter().map(ProducerClient::is_settled).collect();
        let consumers: Vec<String> = self.consumers.iter().map(ToString::to_string).collect();
        let members: Vec<String> = self.members.iter().map(ToString::to_string).collect();
        let sharers: Vec<String> = self.sharers.iter().map(ToString::to_string).collect();
        let tasks = &self.admins.tasks;
        let failed = self.process.as_ref().map(|process| process.failed.len());
        let stats = self.process.as_ref().map(Process::stats);
        let pending = self.disk.pending();
        format!(
            "producers settled {producers:?}, consumers {consumers:?}, members {members:?}, \
             in share mode {sharers:?}, operator's tasks {tasks:?}, failed shards {failed:?}, \
             {pending} operations on the disk, shards {stats:?}"
        )
    }

    /// The last offset of every partition, as the server told. It may be behind that of the last
    /// record that was acked: nobody waits for what was sent without an ack.
    pub(super) fn ends(&self) -> Vec<(Place, Offset)> {
        let mut ends = Vec::new();
        for (topic, partitions) in &self.admins.described {
            for described in partitions {
                let place = Place { topic: *topic, partition: described.partition.0 };
                let end = described.watermarks.disk.value();
                ends.push((place, Offset::new(end.saturating_sub(1))));
            }
        }
        ends
    }

    /// Appends one more batch to every partition; all of them are acked.
    fn append_last(&mut self) -> Result<(), Violation> {
        let begun = self.ledger.entries.len();
        self.ledger.compactions.deletes_no_more();
        // Behind the producers of the scenario; those that take nothing are numbered by then.
        self.slow_until.fill(Instant::ORIGIN);
        for (topic, plan) in self.scenario.topics.iter().enumerate() {
            let plan_of = ProducerPlan {
                topic,
                durability: Durability::Disk,
                also: None,
                in_flight_batches_max: 1,
                linger_us: 0,
                idempotent: true,
                delay_ms: self.last_delay_ms(topic),
                compresses: false,
            };
            let number = self.producers.len();
            let mut producer = ProducerClient::new(number, plan_of);
            if let Some(known) = self.admins.topics.get(&topic) {
                producer.begin(known);
            }
            self.producers.push(producer);
            for partition in 0..plan.partitions {
                // Several records, so that somebody may begin within the batch.
                self.append(number, partition, (3, 100));
            }
        }
        self.wait_for("the last records to be acked", |world| {
            world.producers.iter().all(ProducerClient::is_settled)
        })?;
        for entry in &self.ledger.entries[begun..] {
            match (entry.fate, entry.offset) {
                (Fate::Acked, Some(_)) => {}
                _ => {
                    let state = self.describe_waiting();
                    return Err(Violation(format!("nothing fails, and yet: {entry:?}, {state}")));
                }
            }
        }
        Ok(())
    }

    /// Asks where the partitions stand, and whether all is on disk.
    pub(super) fn is_all_on_disk(&mut self) -> bool {
        if !self.admins.tasks.is_empty() {
            return false;
        }
        let described: Vec<_> = self.admins.described.values().flatten().collect();
        let is_there = !described.is_empty()
            && described.iter().all(|it| it.watermarks.memory == it.watermarks.disk);
        if !is_there {
            for topic in 0..self.scenario.topics.len() {
                self.admins.tasks.push_back(Task::Describe(topic));
            }
        }
        is_there
    }
}
