//! What a scenario has done, and to whom.

use core::time::Duration;

use plimsoll_sim::{ClientId, Random};
use plimsoll_wire::{Offset, OffsetsWhat};

use super::World;
use crate::client::{Aim, Links, MemberClient, SharerClient, Task, Whose};
use crate::ledger::{Place, Violation};
use crate::process::Process;
use crate::scenario::{DiskFault, ResetTo, What};

/// Where the anchors of a journal are.
const FRONT_BYTES: u64 = 2 * plimsoll_device::BLOCK_BYTES as u64;

impl World<'_> {
    pub(super) fn perform(&mut self, what: What) -> Result<(), Violation> {
        self.note(|| format!("{what:?}"));
        let now = self.now();
        match what {
            What::Nothing => {}
            What::Append { producer, partition, records, bytes } => {
                self.append(producer, partition, (records, bytes));
            }
            What::Cut { client } => {
                for end in self.ends_of(client) {
                    self.network.cut(end);
                }
            }
            What::Silence { client, ms } => {
                let until = now + Duration::from_millis(u64::from(ms));
                for end in self.ends_of(client) {
                    self.network.silence(end, true);
                    self.silent.push((until, end));
                }
            }
            What::Leave { client } => self.close_connections(client),
            What::Slow { client, ms } => {
                if let Some(until) = self.slow_until.get_mut(client) {
                    *until = now + Duration::from_millis(u64::from(ms));
                }
            }
            What::Restart { client } => self.restart_client(client),
            What::Stray { bytes } => self.stray(bytes),
            What::DiskPause { ms } => {
                self.disk_rests_until = now + Duration::from_millis(u64::from(ms));
            }
            What::HoldFronts { ms } => self.hold_writes(ms, FRONT_BYTES, None),
            What::HoldJournals { ms } => self.hold_writes(ms, 0, Some(".journal")),
            What::FillDisk { producer } => self.fill_disk(producer)?,
            What::DiskFull { full } => {
                self.disk.faults.no_space = full && self.is_serving();
            }
            What::Fault { kind, nth } => self.place_fault(kind, nth),
            What::AlterTopic { topic, retention, segment_bytes } => {
                self.admins.tasks.push_back(Task::Alter(topic, retention, segment_bytes));
            }
            What::AlterCleanup { topic, compacts, ages } => {
                if let Some(plan) = self.scenario.topics[topic].compaction {
                    let cleanup = plan.cleanup(compacts, ages);
                    self.admins.tasks.push_back(Task::AlterCleanup(topic, cleanup));
                }
            }
            What::DeleteRecords { topic, partition, permille } => {
                let place = Place { topic, partition };
                let to = self.ledger.told_end(place).value() * u64::from(permille) / 1_000;
                self.admins.tasks.push_back(Task::DeleteRecords(place, Offset::new(to)));
            }
            What::DescribeTopic { topic } => self.admins.tasks.push_back(Task::Describe(topic)),
            What::SetClock { by_ms } => self.set_clock(by_ms),
            What::Dismiss { .. }
            | What::ResetGroup { .. }
            | What::DeleteGroup { .. }
            | What::DescribeGroup { .. } => self.perform_on_groups(what),
            What::DismissShare { .. }
            | What::ResetShare { .. }
            | What::DeleteShare { .. }
            | What::DescribeShare { .. }
            | What::DropDeadLetters { .. } => self.perform_on_shares(what),
            What::Passing { bytes, lasts_ms } => self.pass_a_topic(bytes, lasts_ms),
        }
        Ok(())
    }

    fn perform_on_groups(&mut self, what: What) {
        match what {
            What::Dismiss { group, ms } => self.dismiss(group, ms),
            What::ResetGroup { group, to, is_dry } => self.reset_group(group, to, is_dry),
            What::DeleteGroup { group } => {
                self.admins.tasks.push_back(Task::DeleteGroup(Whose::Group(group)));
            }
            What::DescribeGroup { group } => {
                self.admins.tasks.push_back(Task::DescribeGroup(group));
            }
            _ => {}
        }
    }

    fn pass_a_topic(&mut self, bytes: u32, lasts_ms: u32) {
        self.passing += 1;
        let name = format!("passing-{}", self.passing);
        self.admins.tasks.push_back(Task::CreatePassing(name.clone()));
        self.admins.tasks.push_back(Task::FindPassing(name.clone(), bytes, lasts_ms));
        self.admins.tasks.push_back(Task::DeletePassing(name));
    }

    /// Writes so near to the front of a file stay in flight, or those to files that are named so.
    fn hold_writes(&mut self, ms: u32, below: u64, to: Option<&'static str>) {
        (self.disk.faults.hold_writes_below, self.disk.faults.hold_writes_to) = (below, to);
        self.held_until = Some(self.now() + Duration::from_millis(u64::from(ms)));
    }

    fn dismiss(&mut self, group: usize, ms: u32) {
        let now = self.client_now();
        let back_at = now + Duration::from_millis(u64::from(ms));
        for member in self.members.iter_mut().filter(|member| member.group() == group) {
            member.stay_away(back_at, &mut self.ledger, &mut self.network, now);
        }
    }

    /// The operator looks where each partition's position would be, and then sets it.
    fn reset_group(&mut self, group: usize, to: ResetTo, is_dry: bool) {
        let aims = self.aims(self.scenario.groups[group].topic, to);
        let whose = Whose::Group(group);
        self.admins.tasks.push_back(Task::Locate(whose, aims, Vec::new(), is_dry));
    }

    /// Where in each partition of a topic a group is to go on.
    pub(super) fn aims(&self, topic: usize, to: ResetTo) -> Vec<Aim> {
        let partitions = 0..self.scenario.topics[topic].partitions;
        let ends = partitions.map(|partition| self.ledger.told_end(Place { topic, partition }));
        let at = |end: Offset| match to {
            ResetTo::Beginning => Aim::At(OffsetsWhat::Beginning),
            ResetTo::End => Aim::At(OffsetsWhat::End),
            ResetTo::MsAgo(ms) => {
                Aim::At(OffsetsWhat::Timestamp { unix_ms: self.clock.now.unix_ms - ms })
            }
            ResetTo::Permille(permille) => {
                Aim::Offset(Offset::new(end.value() * u64::from(permille) / 1_000))
            }
        };
        ends.map(at).collect()
    }

    /// The wall clock is set; whoever does, looks before and after.
    pub(super) fn set_clock(&mut self, by_ms: i64) {
        self.look_at_clock();
        self.clock.now.unix_ms += by_ms;
        self.ledger.clock_was_set(self.clock.now.unix_ms);
        if self.is_serving() {
            self.look_at_clock();
        } else {
            // Some shards have looked at it for the first time, and some have not.
            self.ledger.starts.clock.begin(self.clock.now);
        }
    }

    /// What the server may have made of the clock by now.
    pub(super) fn look_at_clock(&mut self) {
        self.ledger.now_ms = self.clock.now.unix_ms;
        if self.process.is_some() {
            self.ledger.starts.clock.look(self.clock.now);
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_serving)
    }

    /// Has a producer append, and lets it go on at once.
    pub(super) fn append(&mut self, producer: usize, partition: u32, what: (u32, u32)) {
        let now = self.client_now();
        self.ledger.now = self.now();
        self.look_at_clock();
        let Some(client) = self.producers.get_mut(producer) else { return };
        let (records, bytes) = what;
        client.append(partition, (records, bytes as usize), &mut self.ledger, now);
        self.turn_client(producer);
    }

    fn links_of(&mut self, client: usize) -> Option<&mut Links> {
        let producers = self.producers.len();
        match self.producers.get_mut(client) {
            Some(producer) => Some(&mut producer.links),
            None => Some(&mut self.consumers.get_mut(client - producers)?.links),
        }
    }

    /// The member of this number, if it is one.
    fn member_mut(&mut self, client: usize) -> Option<&mut MemberClient> {
        let first = self.producers.len() + self.consumers.len();
        self.members.get_mut(client.checked_sub(first)?)
    }

    /// The member in share mode of this number, if it is one.
    fn sharer_mut(&mut self, client: usize) -> Option<&mut SharerClient> {
        let first = self.producers.len() + self.consumers.len() + self.members.len();
        self.sharers.get_mut(client.checked_sub(first)?)
    }

    fn ends_of(&mut self, client: usize) -> Vec<ClientId> {
        if let Some(sharer) = self.sharer_mut(client) {
            return sharer.ends();
        }
        if let Some(member) = self.member_mut(client) {
            return member.ends();
        }
        self.links_of(client).map(|links| links.ends().collect()).unwrap_or_default()
    }

    /// What was sent still arrives; the session learns that its connections are lost.
    fn close_connections(&mut self, client: usize) {
        for end in self.ends_of(client) {
            self.network.leave(end);
            if let Some(sharer) = self.sharer_mut(client) {
                sharer.close(end);
            } else if let Some(member) = self.member_mut(client) {
                member.close(end);
            } else if let Some(links) = self.links_of(client) {
                links.close(end);
            }
        }
        self.turn_client(client);
    }

    fn restart_client(&mut self, client: usize) {
        if let Some(producer) = self.producers.get_mut(client) {
            producer.die(&mut self.ledger, &mut self.network);
        } else if let Some(consumer) = self.consumers.get_mut(client - self.producers.len()) {
            consumer.die(&mut self.network);
        } else {
            let now = self.client_now();
            let seat = client - self.producers.len() - self.consumers.len();
            if let Some(member) = self.members.get_mut(seat) {
                member.make_room(&mut self.ledger, &mut self.network, now);
            } else if let Some(sharer) = self.sharers.get_mut(seat - self.members.len()) {
                sharer.make_room(&mut self.ledger, &mut self.network, now);
            }
        }
    }

    /// Connects, sends bytes that mean nothing, and stays.
    fn stray(&mut self, bytes: u32) {
        if self.process.is_none() {
            return;
        }
        let (_, end) = self.network.connect();
        let mut random = Random::new(self.order.next_u64());
        let sent: Vec<u8> = (0..bytes).map(|_| random.below(256) as u8).collect();
        self.network.send(end, &sent);
    }

    fn place_fault(&mut self, kind: DiskFault, nth: u64) {
        // A read that lies while journals are replayed may cut off what was durable: SAFETY.md says
        // so under what is not tested.
        let lies = matches!(kind, DiskFault::FlipRead | DiskFault::Misdirect);
        if lies && !self.is_serving() {
            return;
        }
        self.has_faults = true;
        let counts = self.disk.counts();
        let faults = &mut self.disk.faults;
        match kind {
            DiskFault::Write => faults.fail_write_nth = Some(counts.writes + nth),
            DiskFault::ShortWrite => faults.short_write_nth = Some(counts.writes + nth),
            DiskFault::Read => faults.fail_read_nth = Some(counts.reads + nth),
            DiskFault::FlipRead => faults.flip_read_nth = Some(counts.reads + nth),
            DiskFault::Sync | DiskFault::SyncDrops => {
                faults.fail_sync_nth = Some(counts.syncs + nth);
                faults.flush_drops_on_failure = kind == DiskFault::SyncDrops;
            }
            DiskFault::Open => faults.fail_open_nth = Some(counts.opens + nth),
            DiskFault::Allocate => faults.fail_allocate_nth = Some(counts.allocates + nth),
            DiskFault::Name => faults.fail_name_nth = Some(counts.names + nth),
            DiskFault::Misdirect => faults.misdirect_write_to = Some(".segment"),
        }
    }
}
