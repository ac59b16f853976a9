//! The consumer groups that this shard keeps: who is in them, and when they are heard too late.
//!
//! Pure state: requests and time go in, assignments to tell come out. The log of committed offsets
//! and the connections are `shard/`'s business. What a newcomer gets wrong: members live in memory
//! only. After a restart of the server they join again and keep what they hold; what a group has
//! consumed is in the log.

mod assignor;
mod committed;
mod group;
mod member;
mod offset_record;
mod request;
mod share;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use plimsoll_device::{Instant, Now};
use plimsoll_storage::{OFFSETS_PARTITIONS, PartitionId};
use plimsoll_wire::{Generation, MemberId, TopicId};

pub(crate) use self::committed::{Committed, Place};
pub(crate) use self::group::{Group, GroupProblem, Joining, TopicShape};
pub(crate) use self::member::Member;
pub(crate) use self::offset_record::{OffsetChange, RecordOfLog};
pub(crate) use self::request::{
    CommitRequest, GroupRequest, JoinRequest, ShareAcquireRequest, ShareSettleRequest,
};
pub(crate) use self::share::{
    Acquired, DeadLetters, Incarnation, Share, ShareFact, ShareRecord, ShareTally, Terms, Waiter,
};

/// A group's name.
pub(crate) type GroupName = Arc<str>;

#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_name: BTreeMap<GroupName, Group>,
    /// When a member is to be looked at, at the latest. Whoever was heard meanwhile is put back.
    deadlines: BTreeSet<(Instant, GroupName, MemberId)>,
    /// Member numbers given out since the start.
    members_begun: u64,
    /// The newest assignment of all groups that are gone: one that is made again goes on from
    /// there.
    generation_of_gone: Generation,
    /// When groups in share mode are to be looked at.
    share_timers: BTreeSet<(Instant, GroupName)>,
    /// How many offsets are under way in all groups in share mode, and how many of them members
    /// hold.
    under_way: u64,
    share_locks: u64,
    /// What became of all that were handed out.
    share_tally: ShareTally,
    /// Times that a group has begun in a partition since the start.
    incarnations_begun: u64,
}

impl Groups {
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.by_name.get(name)
    }

    pub(crate) fn group_mut(&mut self, name: &str) -> Option<&mut Group> {
        self.by_name.get_mut(name)
    }

    /// The group, which is made if there is none.
    pub(crate) fn ensure(&mut self, name: &str) -> &mut Group {
        if !self.by_name.contains_key(name) {
            let name: GroupName = Arc::from(name);
            let mut group = Group::new(Arc::clone(&name));
            group.generation = self.generation_of_gone;
            self.by_name.insert(name, group);
        }
        let Some(group) = self.by_name.get_mut(name) else { unreachable!("it was just made") };
        group
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.by_name.values()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &GroupName> {
        self.by_name.keys()
    }

    /// Forgets a group that has neither members nor committed offsets.
    pub(crate) fn drop_if_void(&mut self, name: &str) {
        if let Some(group) = self.by_name.get(name)
            && group.is_void()
        {
            self.generation_of_gone = self.generation_of_gone.max(group.generation);
            if let Some(timer) = group.share.as_ref().and_then(|share| share.timer) {
                self.share_timers.remove(&(timer, Arc::from(name)));
            }
            self.by_name.remove(name);
        }
    }

    /// A number that no member ever had: the epoch goes up at each start, and no two shards share
    /// theirs.
    pub(crate) fn next_member(&mut self, epoch: u64, shard: u16) -> MemberId {
        self.members_begun += 1;
        MemberId((epoch << 40) | (u64::from(shard) << 28) | (self.members_begun & 0xfff_ffff))
    }

    /// Puts back what a record of the log says.
    pub(crate) fn restore_place(&mut self, change: OffsetChange<'_>) {
        let group = self.ensure(change.group);
        let place = group.places.entry(change.partition).or_default();
        place.written.clone_from(&change.committed);
        place.durable = change.committed;
    }

    /// As [`Self::restore_place`], of a group in share mode.
    pub(crate) fn restore_share(&mut self, record: &ShareRecord<'_>) {
        let share = self.ensure(record.group).share.get_or_insert_default();
        share.restore(record.partition, record.fact);
    }

    /// A topic is gone, and with it what was committed of it.
    pub(crate) fn forget_topic(&mut self, topic: TopicId) {
        for group in self.by_name.values_mut() {
            group.forget_topic(topic);
        }
        self.count_under_way();
        let names: Vec<GroupName> = self.by_name.keys().cloned().collect();
        names.iter().for_each(|name| self.drop_if_void(name));
    }

    /// How many members all groups have together.
    pub(crate) fn members(&self) -> usize {
        self.by_name.values().map(|group| group.members.len()).sum()
    }

    /// Has the member looked at when its time is up, or again when it was heard meanwhile.
    pub(crate) fn watch(&mut self, name: &GroupName, member: MemberId, at: Instant) {
        self.deadlines.insert((at, Arc::clone(name), member));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, ..)| *at);
        let share = self.share_timers.first().map(|(at, _)| *at);
        [deadline, share].into_iter().flatten().min()
    }

    /// The next member whose time may be up.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<(GroupName, MemberId)> {
        if self.deadlines.first()?.0 > now {
            return None;
        }
        self.deadlines.pop_first().map(|(_, name, member)| (name, member))
    }

    /// Does something to what a group has under way, if it is in share mode.
    pub(crate) fn with_share<T>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut Share) -> T,
    ) -> Option<T> {
        let share = self.by_name.get_mut(name)?.share.as_mut()?;
        let (under_way, locks) = (share.under_way(), share.locks());
        let done = act(share);
        self.under_way = self.under_way.saturating_sub(under_way) + share.under_way();
        self.share_locks = self.share_locks.saturating_sub(locks) + share.locks();
        self.share_tally.add(share.take_tally());
        Some(done)
    }

    pub(crate) fn share(&self, name: &str) -> Option<&Share> {
        self.by_name.get(name)?.share.as_ref()
    }

    /// How many offsets are under way in all groups in share mode.
    pub(crate) fn under_way(&self) -> u64 {
        self.under_way
    }

    pub(crate) fn count_under_way(&mut self) {
        let shares = self.by_name.values().filter_map(|group| group.share.as_ref());
        let sums = shares.map(|share| (share.under_way(), share.locks()));
        (self.under_way, self.share_locks) =
            sums.fold((0, 0), |sums, share| (sums.0 + share.0, sums.1 + share.1));
    }

    /// How many offsets members of groups in share mode hold.
    pub(crate) fn share_locks(&self) -> u64 {
        self.share_locks
    }

    /// What became of all offsets that groups in share mode have handed out.
    pub(crate) fn share_tally(&self) -> ShareTally {
        self.share_tally
    }

    /// A number that no partition of a group had before.
    pub(crate) fn next_incarnation(&mut self, epoch: u64) -> Incarnation {
        self.incarnations_begun += 1;
        Incarnation((epoch << 32) | (self.incarnations_begun & 0xffff_ffff))
    }

    /// Has a group in share mode looked at by then.
    pub(crate) fn watch_share(&mut self, name: &GroupName, now: Now) {
        let Some(share) = self.by_name.get_mut(name).and_then(|it| it.share.as_mut()) else {
            return;
        };
        let Some(at) = share.next_timeout(now) else { return };
        if share.timer.is_some_and(|timer| timer <= at) {
            return;
        }
        if let Some(timer) = share.timer.replace(at) {
            self.share_timers.remove(&(timer, Arc::clone(name)));
        }
        self.share_timers.insert((at, Arc::clone(name)));
    }

    /// The next group in share mode whose time has come.
    pub(crate) fn share_due(&mut self, now: Instant) -> Option<GroupName> {
        if self.share_timers.first()?.0 > now {
            return None;
        }
        let (_, name) = self.share_timers.pop_first()?;
        if let Some(share) = self.by_name.get_mut(&name).and_then(|it| it.share.as_mut()) {
            share.timer = None;
        }
        Some(name)
    }
}

/// The partition of the offsets topic that has the offsets of a group. It never changes, so that
/// the offsets are found again: FNV-1a of the name.
pub(crate) fn partition_of(group: &str) -> PartitionId {
    let hash = group
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    PartitionId { topic: PartitionId::OFFSETS_TOPIC, partition: hash % OFFSETS_PARTITIONS }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change here would lose every group's offsets at the next start.
    #[test]
    fn the_place_of_a_group_is_the_same_for_ever() {
        let places = ["", "a", "orders", "größe"].map(|name| partition_of(name).partition);
        assert_eq!(places, [5, 12, 12, 10]);
    }

    /// Who was a member of the one that is gone would else take the new one's assignments for old.
    #[test]
    fn a_group_that_is_made_again_uses_no_generation_again() {
        let mut groups = Groups::default();
        groups.ensure("g").generation = Generation(7);
        groups.drop_if_void("g");
        assert!(groups.group("g").is_none());
        assert_eq!(groups.ensure("g").generation, Generation(7));
        assert_eq!(groups.ensure("other").generation, Generation(7), "or any other: it is newer");
    }

    #[test]
    fn members_of_other_shards_and_starts_have_other_numbers() {
        let mut groups = Groups::default();
        let numbers =
            [(1, 0), (1, 0), (1, 1), (2, 0)].map(|(epoch, shard)| groups.next_member(epoch, shard));
        let distinct: BTreeSet<MemberId> = numbers.into_iter().collect();
        assert_eq!(distinct.len(), 4);
        assert!(!distinct.contains(&MemberId::NONE));
    }
}
