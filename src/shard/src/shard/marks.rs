//! Up to where partitions are on disk: told by the shards that own them to those that keep groups
//! in share mode.
//!
//! A keeper asks once, and is told once: as soon as there is more than it knows, or the partition
//! is gone. Nobody waits for a partition without such a question, so that idle groups cost nothing.
//! What a newcomer gets wrong: a question may come before the topic is known here, and waits.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_storage::{PartitionId, Slot};
use plimsoll_wire::{PartitionIndex, ShardIndex, ShareBegin, TopicId, TopicPartition};

use super::Shard;
use super::groups::storage_id;
use crate::groups::GroupName;
use crate::mail::{Letter, Marks, MarksLetter};

/// What this shard knows of partitions, and who wants to know about its own.
#[derive(Debug, Default)]
pub(super) struct MarksBook {
    /// As told last.
    pub(super) known: BTreeMap<PartitionId, Marks>,
    /// Of which an owner will tell more, and the groups that wait for that.
    awaited: BTreeMap<PartitionId, BTreeSet<GroupName>>,
    /// Partitions of this shard, and the keepers that wait until they are on disk beyond an offset.
    watched: BTreeMap<PartitionId, BTreeMap<ShardIndex, Option<Offset>>>,
}

impl Shard {
    pub(super) fn handle_marks(&mut self, from: ShardIndex, letter: MarksLetter) {
        match letter {
            MarksLetter::Wanted(partitions) => self.watch_marks(from, partitions),
            MarksLetter::Are(marks) => self.take_marks(marks),
            MarksLetter::Seek { partition, group, unix_ms } => {
                self.seek_for_share(from, partition, group, unix_ms);
            }
            MarksLetter::Sought { partition, group, start } => {
                self.share_sought(partition, &group, start);
            }
        }
    }

    /// Has owners tell as soon as a partition is on disk beyond the offset; where there is none, at
    /// once. Nothing is asked that is known.
    pub(super) fn want_marks(
        &mut self,
        name: &GroupName,
        partitions: Vec<(TopicPartition, Option<Offset>)>,
    ) {
        let mut asked: BTreeMap<u16, Vec<(PartitionId, Option<Offset>)>> = BTreeMap::new();
        for (partition, above) in partitions {
            let id = storage_id(partition);
            let known = self.marks.known.get(&id).map(|marks| marks.disk);
            // More than the group has had is known: it is something else that is wanting.
            if above.is_some() && known.is_some_and(|known| above < Some(known)) {
                continue;
            }
            let is_asked = self.marks.awaited.contains_key(&id);
            self.marks.awaited.entry(id).or_default().insert(GroupName::clone(name));
            if !is_asked || above.is_none() {
                let above = above.and(known);
                asked.entry(id.owner(self.config.shards)).or_default().push((id, above));
            }
        }
        for (owner, partitions) in asked {
            if owner == self.config.index.0 {
                self.watch_marks(self.config.index, partitions);
            } else {
                self.post(ShardIndex(owner), Letter::Marks(MarksLetter::Wanted(partitions)));
            }
        }
    }

    /// A keeper wants to know about partitions of this shard.
    fn watch_marks(&mut self, keeper: ShardIndex, partitions: Vec<(PartitionId, Option<Offset>)>) {
        let mut marks = Vec::new();
        for (id, above) in partitions {
            match self.own_marks(id) {
                Some(own) if above.is_none_or(|above| above < own.disk) => {
                    marks.push((id, Some(own)));
                }
                None if self.catalog.was_removed(id.topic) => marks.push((id, None)),
                _ => {
                    self.marks.watched.entry(id).or_default().insert(keeper, above);
                }
            }
        }
        self.tell_marks(keeper, marks);
    }

    fn own_marks(&self, id: PartitionId) -> Option<Marks> {
        let slot = self.storage.slot(id)?;
        self.catalog.with_id(id.topic)?;
        let marks = self.storage.watermarks(slot);
        Some(Marks { start: marks.start, disk: marks.disk })
    }

    fn tell_marks(&mut self, keeper: ShardIndex, marks: Vec<(PartitionId, Option<Marks>)>) {
        if marks.is_empty() {
            return;
        }
        if keeper == self.config.index {
            self.take_marks(marks);
        } else {
            self.post(keeper, Letter::Marks(MarksLetter::Are(marks)));
        }
    }

    /// A partition of this shard has moved on.
    pub(super) fn marks_advanced(&mut self, slot: Slot) {
        if self.marks.watched.is_empty() {
            return;
        }
        if let Some(id) = self.partition(slot).map(|partition| partition.id) {
            self.tell_watchers(id);
        }
    }

    /// A topic is known now, or is gone: whoever waits for its partitions hears of it.
    pub(super) fn tell_watchers_of(&mut self, topic: u32) {
        let at = |partition| PartitionId { topic, partition };
        let watched = self.marks.watched.range(at(0)..=at(u32::MAX));
        let ids: Vec<PartitionId> = watched.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.tell_watchers(id));
    }

    fn tell_watchers(&mut self, id: PartitionId) {
        let marks = self.own_marks(id);
        let Some(watchers) = self.marks.watched.get_mut(&id) else { return };
        let is_told = |above: &Option<Offset>| match marks {
            Some(marks) => above.is_none_or(|above| above < marks.disk),
            None => true,
        };
        let told = watchers.iter().filter(|(_, above)| is_told(above));
        let told: Vec<ShardIndex> = told.map(|(keeper, _)| *keeper).collect();
        watchers.retain(|_, above| !is_told(above));
        if watchers.is_empty() {
            self.marks.watched.remove(&id);
        }
        for keeper in told {
            self.tell_marks(keeper, Vec::from([(id, marks)]));
        }
    }

    /// Owners say how far partitions go.
    fn take_marks(&mut self, marks: Vec<(PartitionId, Option<Marks>)>) {
        let mut groups = BTreeSet::new();
        for (id, marks) in marks {
            let waiting = self.marks.awaited.remove(&id).unwrap_or_default();
            let Some(marks) = marks.filter(|_| self.catalog.with_id(id.topic).is_some()) else {
                self.marks.known.remove(&id);
                for name in waiting {
                    self.groups.with_share(&name, |share| share.note_unwatched(of_storage(id)));
                }
                continue;
            };
            self.marks.known.insert(id, marks);
            for name in waiting {
                self.share_hears(&name, id, marks);
                groups.insert(name);
            }
        }
        for name in groups {
            self.settle_share(&name);
        }
    }

    /// A group hears how far a partition goes; it may be what it needs to begin.
    fn share_hears(&mut self, name: &GroupName, id: PartitionId, marks: Marks) {
        let partition = of_storage(id);
        let Some(share) = self.groups.share(name) else { return };
        if !share.is_sought(partition) {
            self.groups.with_share(name, |share| {
                share.note_unwatched(partition);
                share.drop_before(partition, marks.start);
            });
            return;
        }
        match share.begin_of(partition) {
            ShareBegin::Beginning => self.begin_share(name, partition, marks.start),
            ShareBegin::End => self.begin_share(name, partition, marks.disk),
            ShareBegin::Timestamp { unix_ms } => {
                let (owner, group) = (id.owner(self.config.shards), GroupName::clone(name));
                if owner == self.config.index.0 {
                    self.seek_for_share(self.config.index, id, group, unix_ms);
                } else {
                    let letter = MarksLetter::Seek { partition: id, group, unix_ms };
                    self.post(ShardIndex(owner), Letter::Marks(letter));
                }
            }
        }
    }

    fn begin_share(&mut self, name: &GroupName, partition: TopicPartition, start: Offset) {
        let incarnation = self.groups.next_incarnation(self.config.epoch);
        self.groups.with_share(name, |share| share.begin_at(partition, start, incarnation));
    }

    /// An owner says where a group that begins with a time begins.
    pub(super) fn share_sought(
        &mut self,
        id: PartitionId,
        name: &GroupName,
        start: Option<Offset>,
    ) {
        let partition = of_storage(id);
        let is_sought = self.groups.share(name).is_some_and(|share| share.is_sought(partition));
        if let Some(start) = start.filter(|_| is_sought) {
            self.begin_share(name, partition, start);
            self.settle_share(name);
        } else {
            // It is looked up again when somebody asks for records.
            self.groups.with_share(name, |share| share.seek_again(partition));
        }
    }

    /// Writes what has come of it, and gives those who wait what there is.
    fn settle_share(&mut self, name: &GroupName) {
        if self.flush_share(name).is_ok() {
            self.serve_waiters(name);
        }
    }

    /// What was known of a topic's partitions means nothing any more.
    pub(super) fn forget_marks(&mut self, topic: u32) {
        self.tell_watchers_of(topic);
        self.marks.known.retain(|id, _| id.topic != topic);
        self.marks.awaited.retain(|id, _| id.topic != topic);
    }
}

/// The partition as the protocol knows it.
fn of_storage(id: PartitionId) -> TopicPartition {
    TopicPartition { topic: TopicId(id.topic), partition: PartitionIndex(id.partition) }
}
