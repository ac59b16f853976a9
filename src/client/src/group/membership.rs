//! Joining, following assignments, leaving.
//!
//! What a newcomer gets wrong: of an assignment only the difference counts. A partition that stays
//! is not touched, so that a rebalance interrupts nobody who keeps what he has.

use super::{
    Asked, Begin, CommitFault, CommitId, CommitPolicy, GroupConsumer, GroupEvent, Held, LINK,
    LossReason, Standing,
};
use crate::consumer::{Place, Purpose, RETRY_DELAY};
use crate::{Instant, ServerError, StartAt, Topic};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use plimsoll_wire::{
    AssignedTopic, CommitMode, CommitOffsets, ErrorCode, Generation, Heartbeat, JoinGroup,
    LeaveGroup, MemberId, Membership, Offset, OffsetToCommit, PartitionIndex, TopicId,
    TopicPartition,
};

impl GroupConsumer {
    /// Asks to be a member, as soon as there is a connection.
    pub(super) fn join(&mut self, now: Instant) {
        self.join_at = None;
        let links = &mut self.consumer.links;
        if !links.is_ready(LINK) {
            return;
        }
        let topics = &self.consumer.topics;
        let join = JoinGroup {
            group: &self.group,
            member: self.member,
            instance: &self.options.instance,
            client: &self.options.link.client_name,
            session_timeout_ms: whole_ms(self.options.session_timeout),
            rebalance_timeout_ms: rebalance_timeout_ms(self.options.let_go_timeout),
            assignor: self.options.assignor,
            topics: topics.iter().map(|topic| &*topic.name).collect(),
            owned: self.partitions.keys().map(|place| on_wire(topics, *place)).collect(),
            share: None,
        };
        links.request(LINK, Purpose::Group(Asked::Join), now, |id, out| join.encode(id, out));
    }

    /// A sign of life, which names the generation that the member goes by.
    pub(super) fn heartbeat(&mut self, now: Instant) {
        self.heartbeat_at = None;
        if !self.consumer.links.is_ready(LINK) {
            // It is the first thing on the next connection.
            return;
        }
        self.heartbeat_at = Some(now + self.heartbeat_interval);
        self.begin_again();
        let (member, generation) = (self.member, self.named);
        let heartbeat = Heartbeat { group: &self.group, member, generation };
        let purpose = Purpose::Group(Asked::Heartbeat(member));
        self.consumer.links.request(LINK, purpose, now, |id, out| heartbeat.encode(id, out));
    }

    /// Sends the commits that are due.
    pub(super) fn send_commits(&mut self, now: Instant) {
        let links = &mut self.consumer.links;
        if !self.standing.is_member() || !links.is_ready(LINK) {
            return;
        }
        let (member, generation) = (self.member, self.named);
        let topics = &self.consumer.topics;
        while let Some((id, commit)) = self.commits.next_due(now) {
            let offsets = commit.offsets.iter().map(|(place, offset, note)| OffsetToCommit {
                partition: on_wire(topics, *place),
                offset: Some(*offset),
                metadata: note,
            });
            let offsets = offsets.collect();
            let (group, mode) = (&*self.group, CommitMode::Forward);
            let frame = CommitOffsets { group, member, generation, mode, offsets };
            let purpose = Purpose::Group(Asked::Commit(member, id));
            links.request(LINK, purpose, now, |id, out| frame.encode(id, out));
        }
    }

    /// Does what had to wait for commits under way: follows an assignment, or leaves.
    pub(super) fn settle(&mut self, now: Instant) {
        self.begin_committed(now);
        let is_done = |held: &Held| !is_at_work(held, self.options.commit);
        if self.withdrawn.values().all(is_done) {
            self.withdrawn.clear();
        }
        if !self.commits.has_ended(self.awaited) {
            return;
        }
        if self.withdrawn.is_empty() {
            self.let_go_at = None;
        }
        if self.standing == Standing::Leaving {
            self.standing = Standing::Left;
            self.say_good_bye(now);
            if !self.consumer.links.is_ready(LINK) {
                // Nobody is told: the server notices by itself.
                self.standing = Standing::Ended;
            }
        } else if self.standing == Standing::Member && self.withdrawn.is_empty() {
            self.take_up(now);
            if self.named != self.newest {
                self.named = self.newest;
                self.heartbeat(now);
            }
            self.commit_beginnings(now);
        }
    }

    /// The application has had its chance: what it has not committed comes again elsewhere.
    pub(super) fn let_go(&mut self, now: Instant) {
        self.give_up_withdrawn();
        self.awaited = self.commits.last();
        self.settle(now);
    }

    /// Neither the application nor commits that the server does not take are waited for any more:
    /// who does not let go in time is taken for dead, and loses what it may keep, too.
    pub(super) fn let_go_at_last(&mut self, now: Instant) {
        self.let_go_at = None;
        self.give_up_withdrawn();
        if self.standing == Standing::Member {
            self.awaited = CommitId(0);
        }
        self.settle(now);
    }

    /// Takes up an assignment.
    pub(super) fn follow(&mut self, membership: &Membership<'_>, joined: bool, now: Instant) {
        let interval = u64::from(membership.heartbeat_interval_ms.max(1));
        self.heartbeat_interval = Duration::from_millis(interval);
        let Some(topics) = &membership.topics else { return };
        if !joined && membership.generation < self.newest {
            return;
        }
        self.newest = membership.generation;
        let renewed = self.note_topic_ids(topics);
        let wanted = self.places(topics);
        // Of a topic that was made anew nothing is kept, and nothing can be committed.
        let is_of_old = |place: &&Place| renewed.contains(&place.topic);
        let old: Vec<Place> = self.partitions.keys().filter(is_of_old).copied().collect();
        self.drop_partitions(&old, now);
        self.withdrawn.retain(|place, _| !renewed.contains(&place.topic));
        for ended in self.commits.forget_topics(&renewed) {
            self.commit_ended(Some(ended));
        }
        let is_to_go = |(place, held): (&Place, &Held)| {
            let keeps = match wanted.get(place) {
                Some(committed) => !(joined && self.was_overtaken(held, *committed)),
                None => false,
            };
            (!keeps).then_some(*place)
        };
        let gone: Vec<Place> = self.partitions.iter().filter_map(is_to_go).collect();
        if joined {
            self.drop_partitions(&gone, now);
        } else if !gone.is_empty() {
            // What is worked off and not committed still can be, until the heartbeat.
            self.commit_worked(now);
            self.awaited = self.commits.last();
            self.withdraw(&gone, now);
            if !self.commits.has_ended(self.awaited) {
                self.let_go_at.get_or_insert(now + self.options.let_go_timeout);
            }
        }
        let is_added = |place: &Place| !self.partitions.contains_key(place);
        self.to_come = wanted.into_iter().filter(|(place, _)| is_added(place)).collect();
        for (topic, partitions) in self.by_topic(old.into_iter().chain(gone)) {
            self.events.push_back(match joined {
                false => GroupEvent::Revoked { topic, partitions },
                true => GroupEvent::Lost { topic, partitions, reason: LossReason::Forgotten },
            });
        }
        self.consumer.share_credit();
        self.settle(now);
    }

    /// The topics that have another number now: they were deleted and made anew.
    fn note_topic_ids(&mut self, topics: &[AssignedTopic<'_>]) -> Vec<usize> {
        let mut renewed = Vec::new();
        for assigned in topics {
            let known = self.consumer.topics.iter_mut().enumerate();
            for (index, topic) in known.filter(|(_, topic)| topic.name == assigned.topic) {
                if mem::replace(&mut topic.id, assigned.id.0) != assigned.id.0 {
                    renewed.push(index);
                }
            }
        }
        renewed
    }

    /// An assignment, with what is committed of each partition.
    fn places(&self, topics: &[AssignedTopic<'_>]) -> BTreeMap<Place, Option<Offset>> {
        let mut places = BTreeMap::new();
        for assigned in topics {
            let mut names = self.consumer.topics.iter();
            let Some(topic) = names.position(|topic| topic.name == assigned.topic) else {
                continue;
            };
            for of in &assigned.partitions {
                places.insert(Place { topic, partition: of.partition.0 }, of.committed);
            }
        }
        places
    }

    fn by_topic(&self, places: impl Iterator<Item = Place>) -> Vec<(Arc<str>, Vec<u32>)> {
        let mut partitions: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for place in places {
            partitions.entry(place.topic).or_default().push(place.partition);
        }
        let names = &self.consumer.names;
        partitions.into_iter().map(|(topic, of)| (Arc::clone(&names[topic]), of)).collect()
    }

    /// Takes partitions away; while the application is at work on them, the server is not told.
    fn withdraw(&mut self, gone: &[Place], now: Instant) {
        for place in gone {
            self.consumer.remove(*place, now);
            let Some(held) = self.partitions.remove(place) else { continue };
            if is_at_work(&held, self.options.commit) {
                self.withdrawn.insert(*place, held);
                self.let_go_at.get_or_insert(now + self.options.let_go_timeout);
                // Of this one it is still to be told.
                self.is_told = false;
            }
        }
    }

    /// Begins with what the assignment adds. Its commits name the generation that added it, so this
    /// waits until the member goes by that.
    fn take_up(&mut self, now: Instant) {
        let to_come = mem::take(&mut self.to_come);
        if to_come.is_empty() {
            return;
        }
        let added = self.by_topic(to_come.keys().copied());
        for (place, assigned) in to_come {
            let start = assigned.map_or(self.options.from, StartAt::Offset);
            let begin = Begin::of(start);
            let held = Held { assigned, committed: assigned, begin, ..Held::default() };
            self.partitions.insert(place, held);
            self.given_up.remove(&place);
            self.consumer.add(place, start, self.options.on_removed.if_gone(), now);
            if begin != Begin::Begun {
                self.consumer.hold(place);
            }
        }
        self.consumer.share_credit();
        let of_topic = |(topic, partitions)| GroupEvent::Assigned { topic, partitions };
        self.events.extend(added.into_iter().map(of_topic));
    }

    /// Whether somebody else may have consumed a partition while this member was none. What is
    /// committed goes back by a reset only: from there on everything is to be consumed anew.
    fn was_overtaken(&self, held: &Held, committed: Option<Offset>) -> bool {
        self.options.commit == CommitPolicy::Before
            || committed > held.handed.max(held.assigned)
            || committed < held.committed
    }

    /// The server has accepted the member.
    pub(super) fn joined(&mut self, membership: &Membership<'_>, now: Instant) {
        match self.standing {
            Standing::Joining => self.standing = Standing::Member,
            // It went away while the server was answering.
            Standing::Away | Standing::Ended => {
                self.member = membership.member;
                return self.say_good_bye(now);
            }
            Standing::Member | Standing::Leaving | Standing::Left => return,
        }
        self.member = membership.member;
        self.named = Generation(0);
        if let CommitPolicy::Auto { interval } = self.options.commit {
            self.commit_at = Some(now + interval);
        }
        self.follow(membership, true, now);
        if self.heartbeat_at.is_none() {
            self.heartbeat(now);
        }
    }

    /// The server does not know the member any more.
    pub(super) fn forgotten(&mut self, member: MemberId, now: Instant) {
        if member != self.member || !self.standing.is_member() {
            return;
        }
        let was_leaving = self.standing == Standing::Leaving;
        self.standing = if was_leaving { Standing::Ended } else { Standing::Joining };
        self.lose_standing();
        self.heartbeat_at = None;
        if !was_leaving {
            self.join(now);
        }
    }

    /// Goes because nobody asks for records: others may work them off.
    pub(super) fn go_away(&mut self, now: Instant) {
        if self.standing == Standing::Member {
            self.say_good_bye(now);
        }
        self.standing = Standing::Away;
        self.member = MemberId::NONE;
        self.heartbeat_at = None;
        self.lose_standing();
        let reason = LossReason::NotPolled(self.options.max_poll_interval);
        self.lose_all(reason, now);
    }

    /// The membership ends for good.
    pub(super) fn end(&mut self, error: ServerError, now: Instant) {
        self.standing = Standing::Ended;
        self.heartbeat_at = None;
        self.lose_standing();
        let all: Vec<Place> = self.partitions.keys().copied().collect();
        self.drop_partitions(&all, now);
        self.events.push_back(GroupEvent::Ended(error));
    }

    /// The server refused a request of the group.
    pub(super) fn refused(&mut self, asked: Asked, error: ServerError, now: Instant) {
        let retry_at = now + RETRY_DELAY;
        match (asked, error.code) {
            (Asked::Leave, _) => self.left(),
            (_, ErrorCode::MemberFenced) => self.end(error, now),
            (Asked::Heartbeat(member) | Asked::Commit(member, _), ErrorCode::MemberUnknown) => {
                self.forgotten(member, now);
            }
            (Asked::Join, _) if error.is_retriable() => self.join_at = Some(retry_at),
            (Asked::Join, ErrorCode::MemberUnknown) => {
                self.member = MemberId::NONE;
                self.join_at = Some(retry_at);
            }
            (Asked::Join, _) => self.end(error, now),
            // The next one is due anyway.
            (Asked::Heartbeat(_), _) => {}
            (Asked::Commit(_, id), _) => {
                let ended = self.commits.refused(id, &error, retry_at);
                self.commit_ended(ended);
            }
        }
    }

    pub(super) fn left(&mut self) {
        if self.standing == Standing::Left {
            self.standing = Standing::Ended;
        }
    }

    fn say_good_bye(&mut self, now: Instant) {
        let links = &mut self.consumer.links;
        if links.is_ready(LINK) {
            let leave = LeaveGroup { group: &self.group, member: self.member };
            links.request(LINK, Purpose::Group(Asked::Leave), now, |id, out| leave.encode(id, out));
        }
    }

    /// What was begun as this member cannot be ended.
    fn lose_standing(&mut self) {
        self.fail_commits();
        self.let_go_at = None;
        self.give_up_withdrawn();
        self.to_come.clear();
    }

    pub(super) fn fail_commits(&mut self) {
        while let Some(ended) = self.commits.fail_first(CommitFault::MembershipLost) {
            self.commit_ended(Some(ended));
        }
    }

    fn lose_all(&mut self, reason: LossReason, now: Instant) {
        let all: Vec<Place> = self.partitions.keys().copied().collect();
        self.drop_partitions(&all, now);
        for (topic, partitions) in self.by_topic(all.into_iter()) {
            self.events.push_back(GroupEvent::Lost { topic, partitions, reason });
        }
    }

    fn drop_partitions(&mut self, gone: &[Place], now: Instant) {
        for place in gone {
            if let Some(held) = self.partitions.remove(place) {
                self.give_up(*place, held);
            }
            self.consumer.remove(*place, now);
        }
    }

    pub(super) fn give_up_withdrawn(&mut self) {
        self.is_told = false;
        for (place, held) in mem::take(&mut self.withdrawn) {
            self.give_up(place, held);
        }
    }

    fn give_up(&mut self, place: Place, held: Held) {
        if self.options.commit == CommitPolicy::Manual
            && held.handed > held.committed
            && let Some(offset) = held.handed
        {
            self.given_up.insert(place, offset);
        }
    }
}

/// Whether the application may still commit some of what it was handed.
fn is_at_work(held: &Held, policy: CommitPolicy) -> bool {
    match policy {
        CommitPolicy::Manual => held.handed > held.committed,
        CommitPolicy::Auto { .. } => held.handed > held.worked,
        CommitPolicy::Before => false,
    }
}

pub(super) fn on_wire(topics: &[Topic], place: Place) -> TopicPartition {
    let (topic, partition) = (TopicId(topics[place.topic].id), PartitionIndex(place.partition));
    TopicPartition { topic, partition }
}

impl Standing {
    pub(super) fn is_member(self) -> bool {
        matches!(self, Standing::Member | Standing::Leaving)
    }
}

/// Twice as long, within what the server takes.
fn rebalance_timeout_ms(let_go_timeout: Duration) -> u32 {
    whole_ms(let_go_timeout.saturating_mul(2)).clamp(500, 3_600_000)
}

fn whole_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
