//! One group: members, who holds which partition, and what was committed.
//!
//! After every change the partitions are shared out anew (`assignor.rs`) and the difference is
//! carried out step by step: what is to move is withdrawn from its holder, and given to the next
//! one when the holder has let go. Everything else goes on undisturbed.
//!
//! What a newcomer gets wrong: two members never hold one partition, and that is not the assignor's
//! merit. `holders` says who holds it, and only `let_go` and the end of a member free it.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::Offset;
use plimsoll_device::Instant;
use plimsoll_wire::{
    Assignor, CommitMode, Generation, GroupMode, GroupState, MemberId, PartitionIndex, TopicId,
    TopicPartition,
};

use super::GroupName;
use super::assignor::{Before, Candidate, Shares, Topics, assign};
use super::committed::{Committed, Place};
use super::member::Member;
use super::share::{Share, SharePolicy};
use crate::mail::Client;

/// Numbers of members that were fenced, so that they are told why.
const FENCED_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: GroupName,
    pub(crate) assignor: Assignor,
    pub(crate) generation: Generation,
    pub(crate) members: BTreeMap<MemberId, Member>,
    /// Who is to have each partition.
    targets: Shares,
    /// Who holds each partition, or was told to let go of it.
    holders: Shares,
    instances: BTreeMap<String, MemberId>,
    fenced: VecDeque<MemberId>,
    /// What was committed of each partition.
    pub(crate) places: BTreeMap<TopicPartition, Place>,
    /// In share mode: what is under way of each partition.
    pub(crate) share: Option<Share>,
    /// Until then, members of the time before the server's start may come and claim what they hold.
    pub(crate) claims_until: Option<Instant>,
    /// A partition is free, and given when the commits of who held it are on disk.
    awaits_commits: bool,
}

/// A topic, as far as a group needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicShape {
    pub(crate) id: TopicId,
    pub(crate) partitions: u32,
}

/// Who wants to join.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) client: Client,
    /// Its number from before, or none.
    pub(crate) former: MemberId,
    /// The number that it gets if it needs one.
    pub(crate) number: MemberId,
    pub(crate) instance: String,
    pub(crate) name: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) assignor: Assignor,
    pub(crate) topics: BTreeSet<String>,
    pub(crate) owned: Vec<TopicPartition>,
    /// How records are handed out one by one, if that is how it is to be.
    pub(crate) share: Option<SharePolicy>,
}

/// Why a group does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupProblem {
    MemberUnknown,
    MemberFenced,
    /// The members have agreed on another assignor.
    OtherAssignor(Assignor),
    /// The group is in this mode.
    OtherMode(GroupMode),
    /// The members have agreed on other settings of share mode: these.
    OtherSettings(SharePolicy),
    /// Only a group without members takes this.
    NotEmpty(usize),
}

impl Group {
    pub(super) fn new(name: GroupName) -> Self {
        Self {
            name,
            assignor: Assignor::default(),
            generation: Generation::default(),
            members: BTreeMap::new(),
            targets: Shares::new(),
            holders: Shares::new(),
            instances: BTreeMap::new(),
            fenced: VecDeque::new(),
            places: BTreeMap::new(),
            share: None,
            claims_until: None,
            awaits_commits: false,
        }
    }

    pub(crate) fn is_void(&self) -> bool {
        self.members.is_empty()
            && self.places.values().all(Place::is_void)
            && self.share.as_ref().is_none_or(Share::is_void)
    }

    pub(crate) fn state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.members.values().all(|member| member.leaving.is_empty())
            && self.targets.len() == self.holders.len()
        {
            GroupState::Stable
        } else {
            GroupState::Rebalancing
        }
    }

    /// The member, if it is one.
    pub(crate) fn member(&self, id: MemberId) -> Result<&Member, GroupProblem> {
        self.members.get(&id).ok_or_else(|| self.missing(id))
    }

    /// Whether who joins with this number and this static name is a member, or takes the place of
    /// one.
    pub(crate) fn has_place(&self, id: MemberId, instance: &str) -> bool {
        self.members.contains_key(&id) || self.instances.contains_key(instance)
    }

    fn missing(&self, id: MemberId) -> GroupProblem {
        if self.fenced.contains(&id) {
            GroupProblem::MemberFenced
        } else {
            GroupProblem::MemberUnknown
        }
    }

    /// Takes a member in, or takes note of what it wants now. Follow with `rebalance`.
    pub(crate) fn join(
        &mut self,
        joining: Joining,
        now: Instant,
        first_generation: Generation,
    ) -> Result<MemberId, GroupProblem> {
        if self.fenced.contains(&joining.former) {
            return Err(GroupProblem::MemberFenced);
        }
        let is_alone = self.members.keys().all(|id| *id == joining.former);
        self.agree_on_mode(joining.share.as_ref(), is_alone)?;
        if is_alone {
            self.assignor = joining.assignor;
        } else if self.share.is_none() && self.assignor != joining.assignor {
            return Err(GroupProblem::OtherAssignor(self.assignor));
        }
        // Across starts of the server, too, a generation is never used again.
        self.generation = self.generation.max(first_generation);
        let id = if self.members.contains_key(&joining.former) {
            joining.former
        } else {
            joining.number
        };
        let taken_over = match self.instances.get(&joining.instance) {
            Some(other) if *other != id => self.fence(*other),
            _ => None,
        };
        let mut assigned = BTreeMap::new();
        if let Some(old) = self.members.get(&id) {
            assigned.clone_from(&old.assigned);
        } else if let Some(old) = taken_over
            && self.share.is_none()
        {
            self.generation = Generation(self.generation.0 + 1);
            // The rest is given by `settle`.
            let kept = old.assigned.into_keys().filter(|it| !is_under_way(&self.places, it));
            assigned = kept.map(|partition| (partition, self.generation)).collect();
            for partition in assigned.keys() {
                self.holders.insert(*partition, id);
                self.targets.insert(*partition, id);
            }
        }
        if !joining.instance.is_empty() {
            self.instances.insert(joining.instance.clone(), id);
        }
        let old = self.members.remove(&id);
        let owned = joining.owned;
        let member = Member {
            id,
            instance: joining.instance,
            name: joining.name,
            topics: joining.topics,
            client: joining.client,
            session_timeout: joining.session_timeout,
            rebalance_timeout: joining.rebalance_timeout,
            heard_at: now,
            told: self.generation,
            owes_since: old.as_ref().and_then(|old| old.owes_since),
            assigned,
            leaving: old.map(|old| old.leaving).unwrap_or_default(),
        };
        self.members.insert(id, member);
        if self.share.is_none() {
            self.claim(id, &owned);
        }
        Ok(id)
    }

    /// Whether the group hands out its records as a member wants it to.
    fn agree_on_mode(
        &mut self,
        policy: Option<&SharePolicy>,
        is_alone: bool,
    ) -> Result<(), GroupProblem> {
        let is_new = self.is_void();
        match (&mut self.share, policy) {
            (Some(share), Some(policy)) => share.agree(policy, is_alone),
            (None, Some(policy)) if is_new => {
                self.share.get_or_insert_default().agree(policy, is_alone)
            }
            (Some(_), None) if is_new => {
                self.share = None;
                Ok(())
            }
            (Some(_), None) => Err(GroupProblem::OtherMode(GroupMode::Share)),
            (None, Some(_)) => Err(GroupProblem::OtherMode(GroupMode::Classic)),
            (None, None) => Ok(()),
        }
    }

    /// What a member holds from an earlier membership stays its own if nobody else has it.
    fn claim(&mut self, id: MemberId, owned: &[TopicPartition]) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let mut is_first = true;
        for partition in owned {
            if self.holders.contains_key(partition) || is_under_way(&self.places, partition) {
                continue;
            }
            if core::mem::take(&mut is_first) {
                self.generation = Generation(self.generation.0 + 1);
                member.told = self.generation;
            }
            self.holders.insert(*partition, id);
            self.targets.insert(*partition, id);
            member.assigned.insert(*partition, self.generation);
        }
    }

    /// Ends a member whose place another one takes. Its partitions stay held, by nobody yet.
    fn fence(&mut self, id: MemberId) -> Option<Member> {
        if self.fenced.len() == FENCED_MAX {
            self.fenced.pop_front();
        }
        self.fenced.push_back(id);
        let member = self.members.remove(&id)?;
        self.holders.retain(|_, holder| *holder != id);
        self.targets.retain(|_, target| *target != id);
        Some(member)
    }

    /// A sign of life. What the member has let go of is free; follow with `settle` if it says so.
    pub(crate) fn heartbeat(
        &mut self,
        id: MemberId,
        generation: Generation,
        client: Client,
        now: Instant,
    ) -> Result<bool, GroupProblem> {
        let problem = self.missing(id);
        let member = self.members.get_mut(&id).ok_or(problem)?;
        member.heard_at = now;
        member.client = client;
        let gone = member.follow(generation);
        for partition in &gone {
            self.holders.remove(partition);
        }
        Ok(!gone.is_empty())
    }

    /// A sign of life of a member that holds no partitions.
    pub(crate) fn touch(
        &mut self,
        id: MemberId,
        client: Client,
        now: Instant,
    ) -> Result<(), GroupProblem> {
        let problem = self.missing(id);
        let member = self.members.get_mut(&id).ok_or(problem)?;
        member.heard_at = now;
        member.client = client;
        Ok(())
    }

    /// Ends a member. Follow with `rebalance`.
    pub(crate) fn leave(&mut self, id: MemberId) -> Result<Member, GroupProblem> {
        let member = self.members.remove(&id).ok_or_else(|| self.missing(id))?;
        self.holders.retain(|_, holder| *holder != id);
        self.targets.retain(|_, target| *target != id);
        self.instances.retain(|_, of_instance| *of_instance != id);
        Ok(member)
    }

    /// Shares the partitions out anew, and carries out what can be. Gives the members whose
    /// assignment has changed.
    pub(crate) fn rebalance(
        &mut self,
        topic: impl Fn(&str) -> Option<TopicShape>,
        now: Instant,
    ) -> BTreeSet<MemberId> {
        if self.share.is_some() {
            return self.share_topics(topic);
        }
        let mut topics = Topics::new();
        let mut candidates = Vec::with_capacity(self.members.len());
        for member in self.members.values() {
            let shapes = member.topics.iter().filter_map(|name| topic(name));
            let mut wanted = BTreeSet::new();
            for shape in shapes {
                topics.insert(shape.id, shape.partitions);
                wanted.insert(shape.id);
            }
            let rank = member.instance.clone();
            candidates.push(Candidate { member: member.id, rank, topics: wanted });
        }
        let before = Before { targets: &self.targets, holders: &self.holders };
        self.targets = assign(self.assignor, &candidates, &topics, before);
        self.settle(now)
    }

    /// In share mode everybody has everything. Gives the members whose topics have come or gone.
    fn share_topics(&mut self, topic: impl Fn(&str) -> Option<TopicShape>) -> BTreeSet<MemberId> {
        let Some(share) = &mut self.share else { return BTreeSet::new() };
        let wanted: BTreeSet<&String> =
            self.members.values().flat_map(|member| &member.topics).collect();
        let shapes = wanted.into_iter().filter_map(|name| Some((name.clone(), topic(name)?)));
        let changed_topics = share.set_topics(shapes.collect());
        let next = Generation(self.generation.0 + 1);
        let mut changed = BTreeSet::new();
        for member in self.members.values_mut() {
            if !changed_topics.is_disjoint(&member.topics) {
                member.told = next;
                changed.insert(member.id);
            }
        }
        if !changed.is_empty() {
            self.generation = next;
        }
        changed
    }

    /// Commits are on disk, or never will be: gives what had to wait for that. As `settle`.
    pub(crate) fn settle_awaited(&mut self, now: Instant) -> BTreeSet<MemberId> {
        if self.awaits_commits { self.settle(now) } else { BTreeSet::new() }
    }

    /// Carries out what can be: withdraws what is to go, gives what is free. Gives the members
    /// whose assignment has changed.
    pub(crate) fn settle(&mut self, now: Instant) -> BTreeSet<MemberId> {
        let next = Generation(self.generation.0 + 1);
        let mut changed = BTreeSet::new();
        for member in self.members.values_mut() {
            let id = member.id;
            let gone = member.assigned.keys().filter(|it| self.targets.get(it) != Some(&id));
            for partition in gone.copied().collect::<Vec<_>>() {
                member.withdraw(partition, next, now);
                changed.insert(id);
            }
        }
        let may_give = self.claims_until.is_none_or(|until| until <= now);
        self.awaits_commits = false;
        for (partition, id) in &self.targets {
            if !may_give || self.holders.contains_key(partition) {
                continue;
            }
            if is_under_way(&self.places, partition) {
                // Whoever begins behind a commit that is taken after all does its work again.
                self.awaits_commits = true;
                continue;
            }
            if let Some(member) = self.members.get_mut(id) {
                self.holders.insert(*partition, *id);
                member.assigned.insert(*partition, next);
                changed.insert(*id);
            }
        }
        if !changed.is_empty() {
            self.generation = next;
        }
        for id in &changed {
            if let Some(member) = self.members.get_mut(id) {
                member.told = next;
            }
        }
        changed
    }

    /// Whether offsets may be committed by someone, and in this way.
    pub(crate) fn check_committer(
        &self,
        member: MemberId,
        mode: CommitMode,
    ) -> Result<Option<&Member>, GroupProblem> {
        if member != MemberId::NONE && mode == CommitMode::Forward {
            return self.member(member).map(Some);
        }
        if self.members.is_empty() {
            return Ok(None);
        }
        Err(GroupProblem::NotEmpty(self.members.len()))
    }

    /// The oldest of the changes of a place that are on their way is on disk.
    pub(crate) fn settle_place(&mut self, at: TopicPartition, committed: Option<Committed>) {
        let place = self.places.entry(at).or_default();
        place.settle(committed);
        if place.is_void() {
            self.places.remove(&at);
        }
    }

    /// A topic is gone, and with it what was committed of it. Gives how many offsets that were.
    pub(crate) fn forget_topic(&mut self, topic: TopicId) -> usize {
        if let Some(share) = &mut self.share {
            share.forget_topic(topic);
        }
        let before = self.places.len();
        self.places.retain(|partition, place| partition.topic != topic || place.pending > 0);
        for (partition, place) in &mut self.places {
            if partition.topic == topic {
                place.durable = None;
            }
        }
        before - self.places.len()
    }

    /// The partitions that a member may consume, by topic.
    pub(crate) fn assignment(
        &self,
        member: &Member,
    ) -> BTreeMap<TopicId, Vec<(PartitionIndex, Option<Offset>)>> {
        if let Some(share) = &self.share {
            return share.assignment(member.topics.iter());
        }
        let mut topics: BTreeMap<TopicId, Vec<_>> = BTreeMap::new();
        for partition in member.assigned.keys() {
            let place = self.places.get(partition);
            let committed = place.and_then(|place| place.durable.as_ref());
            let committed = committed.map(|committed| committed.offset);
            topics.entry(partition.topic).or_default().push((partition.partition, committed));
        }
        topics
    }

    /// Whether a member wants the topic of this name.
    pub(crate) fn wants(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.topics.contains(topic))
    }

    /// What is committed, durably; in share mode the offsets before which everything is done.
    pub(crate) fn committed(&self) -> impl Iterator<Item = (TopicPartition, Offset)> {
        let durable =
            |(at, place): (&TopicPartition, &Place)| Some((*at, place.durable.as_ref()?.offset));
        let starts = self.share.iter().flat_map(Share::starts);
        self.places.iter().filter_map(durable).chain(starts)
    }

    pub(crate) fn mode(&self) -> GroupMode {
        if self.share.is_some() { GroupMode::Share } else { GroupMode::Classic }
    }

    /// Its name, to be kept.
    pub(crate) fn name(&self) -> GroupName {
        Arc::clone(&self.name)
    }
}

/// Whether a commit of a partition is appended and not yet on disk.
fn is_under_way(places: &BTreeMap<TopicPartition, Place>, partition: &TopicPartition) -> bool {
    places.get(partition).is_some_and(Place::is_under_way)
}

impl GroupProblem {
    /// What happened, for people.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::MemberUnknown => "the group has no such member: join again".to_string(),
            Self::MemberFenced => {
                "another consumer has joined with this one's instance name".to_string()
            }
            Self::OtherAssignor(assignor) => {
                alloc::format!("the members of the group use the {} assignor", assignor.name())
            }
            Self::OtherMode(mode) => alloc::format!(
                "the group is in {} mode; delete it to use it in another",
                mode.name()
            ),
            Self::OtherSettings(policy) => alloc::format!(
                "its members have agreed on other settings of share mode: {policy}; join with \
                 these, or stop all of them first"
            ),
            Self::NotEmpty(members) => {
                alloc::format!("the group has {members} members; stop them first")
            }
        }
    }
}

#[cfg(test)]
mod tests;
