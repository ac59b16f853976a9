//! A group in share mode: each record goes to one member, whichever asks, and is settled by itself.
//!
//! Pure state: what members ask and what time does goes in, what is to be written to the log comes
//! out of [`Share::take_unwritten`]. What a newcomer gets wrong: memory may be ahead of the log,
//! but nobody may hear of it before the log is on disk. A change that could not be appended stays
//! unwritten, and nothing is answered until it is.

mod keeping;
mod policy;
mod record;
mod span;
mod window;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::{Instant, Now};
use plimsoll_wire::{
    AcquiredRange, CorrelationId, ErrorCode, MemberId, PartitionIndex, RangeToSettle, ShareBegin,
    ShareDescription, TopicId, TopicPartition, Verdict,
};

use super::group::{GroupProblem, TopicShape};
use crate::mail::Client;

pub(crate) use self::policy::SharePolicy;
pub(crate) use self::record::{Incarnation, ShareFact, ShareRecord};
pub(crate) use self::window::DeadLetters;
use self::window::{Asking, Change, Window};

#[derive(Debug, Default)]
pub(crate) struct Share {
    /// What the members have agreed on.
    policy: SharePolicy,
    /// The topics that members want, as far as they exist.
    topics: BTreeMap<String, TopicShape>,
    partitions: BTreeMap<TopicPartition, SharePartition>,
    /// Those whose start is not on disk yet, and where it was appended.
    opening: Vec<(TopicPartition, Option<Offset>)>,
    /// Who waits for records, in the order of arrival.
    pub(crate) waiters: VecDeque<Waiter>,
    /// Whose turn it was last.
    turn: Option<TopicPartition>,
    /// What is to be appended to the log, in this order.
    unwritten: Vec<(TopicPartition, ShareFact)>,
    /// How many offsets in all windows are not done.
    under_way: u64,
    /// When it is to be looked at, at the latest.
    pub(crate) timer: Option<Instant>,
}

#[derive(Debug)]
struct SharePartition {
    stage: Stage,
    /// The topic was created while members waited for it: all its records are new to the group.
    is_of_new_topic: bool,
    incarnation: Incarnation,
    window: Window,
    dead_lettered: u64,
    dropped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Where to begin is to be looked up, or is being.
    Seeking {
        is_asked: bool,
    },
    /// Where it begins is not on disk yet: nothing is handed out, because after a crash the group
    /// might begin behind it.
    Opening,
    Open,
}

/// A member that waits for records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) member: MemberId,
    pub(crate) client: Client,
    pub(crate) correlation: CorrelationId,
    pub(crate) records_max: u32,
    pub(crate) deadline: Instant,
}

/// What a member may have, and what is known of the partitions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) now: Now,
    pub(crate) ranges_max: usize,
    /// How many offsets that are not done there may be in a partition's window.
    pub(crate) window_max: u64,
    /// How many more may be under way in all.
    pub(crate) room: u64,
    pub(crate) dead_letters: DeadLetters,
}

impl Share {
    /// Nothing is known that would be worth keeping, but for members.
    pub(crate) fn is_void(&self) -> bool {
        self.partitions.values().all(SharePartition::is_sought) && self.unwritten.is_empty()
    }

    pub(crate) fn policy(&self) -> &SharePolicy {
        &self.policy
    }

    /// Takes a member's settings, which are those of the others, if there are any.
    pub(crate) fn agree(
        &mut self,
        policy: &SharePolicy,
        is_alone: bool,
    ) -> Result<(), GroupProblem> {
        if is_alone {
            self.policy = policy.clone();
        } else if self.policy != *policy {
            return Err(GroupProblem::OtherSettings);
        }
        Ok(())
    }

    /// Takes the topics that members want, as they are now. Gives the names of those that have
    /// come, gone or changed.
    pub(crate) fn set_topics(&mut self, topics: BTreeMap<String, TopicShape>) -> BTreeSet<String> {
        let before = core::mem::replace(&mut self.topics, topics);
        let now = &self.topics;
        let differs = |name: &&String| before.get(*name) != now.get(*name);
        before.keys().chain(now.keys()).filter(differs).cloned().collect()
    }

    /// The partitions of those topics, with the offset before which everything is done.
    pub(crate) fn assignment<'a>(
        &self,
        topics: impl Iterator<Item = &'a String>,
    ) -> BTreeMap<TopicId, Vec<(PartitionIndex, Option<Offset>)>> {
        let shapes = topics.filter_map(|name| self.topics.get(name));
        let partitions = |shape: &TopicShape| {
            let of = |index| TopicPartition { topic: shape.id, partition: PartitionIndex(index) };
            let all = (0..shape.partitions).map(of);
            (shape.id, all.map(|it| (it.partition, self.start_of(it))).collect())
        };
        shapes.map(partitions).collect()
    }

    /// The offset before which everything is done, if that is on disk.
    pub(crate) fn start_of(&self, partition: TopicPartition) -> Option<Offset> {
        let known = self.partitions.get(&partition)?;
        (known.stage == Stage::Open).then_some(known.window.start())
    }

    /// Partitions with a start.
    pub(crate) fn starts(&self) -> impl Iterator<Item = (TopicPartition, Offset)> {
        let open = self.partitions.iter().filter(|(_, it)| it.stage == Stage::Open);
        open.map(|(partition, it)| (*partition, it.window.start()))
    }

    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    pub(crate) fn under_way(&self) -> u64 {
        self.under_way
    }

    /// Takes note of partitions of wanted topics that are not known yet, as many as there may be.
    pub(crate) fn add_partitions(&mut self, partitions_max: usize, is_of_new_topic: bool) {
        let mut left = partitions_max;
        for shape in self.topics.values() {
            for index in 0..shape.partitions {
                let partition = PartitionIndex(index);
                let partition = TopicPartition { topic: shape.id, partition };
                if left > 0 && !self.partitions.contains_key(&partition) {
                    left -= 1;
                    let sought = SharePartition { is_of_new_topic, ..SharePartition::sought() };
                    self.partitions.insert(partition, sought);
                }
            }
        }
    }

    /// Those of which it is not known where to begin, and nobody has been asked.
    pub(crate) fn take_sought(&mut self) -> Vec<TopicPartition> {
        let mut sought = Vec::new();
        for (partition, it) in &mut self.partitions {
            if it.stage == (Stage::Seeking { is_asked: false }) {
                it.stage = Stage::Seeking { is_asked: true };
                sought.push(*partition);
            }
        }
        sought
    }

    /// Whoever was asked where to begin does not know it.
    pub(crate) fn seek_again(&mut self, partition: TopicPartition) {
        if let Some(it) = self.partitions.get_mut(&partition)
            && it.is_sought()
        {
            it.stage = Stage::Seeking { is_asked: false };
        }
    }

    /// Where the group begins in a partition of which it knows nothing.
    pub(crate) fn begin_of(&self, partition: TopicPartition) -> ShareBegin {
        match self.partitions.get(&partition) {
            Some(it) if it.is_of_new_topic => ShareBegin::Beginning,
            _ => self.policy.begin,
        }
    }

    pub(crate) fn is_sought(&self, partition: TopicPartition) -> bool {
        self.partitions.get(&partition).is_some_and(SharePartition::is_sought)
    }

    /// The group begins there, with nothing under way: for the first time, or by a reset.
    pub(crate) fn begin_at(
        &mut self,
        partition: TopicPartition,
        start: Offset,
        incarnation: Incarnation,
    ) {
        let known = self.partitions.entry(partition).or_insert_with(SharePartition::sought);
        self.under_way -= known.window.open();
        known.stage = Stage::Opening;
        known.incarnation = incarnation;
        known.window = Window::at(start);
        self.opening.retain(|(opening, _)| *opening != partition);
        self.opening.push((partition, None));
        self.unwritten.push((partition, ShareFact::Start(Some((incarnation, start)))));
    }

    /// The group's work on the partition is forgotten.
    pub(crate) fn end_partition(&mut self, partition: TopicPartition) {
        if self.forget_partition(partition) {
            self.unwritten.push((partition, ShareFact::Start(None)));
        }
    }

    /// As [`Self::end_partition`], for all.
    pub(crate) fn end_all(&mut self) {
        let partitions: Vec<TopicPartition> = self.partitions.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.end_partition(partition));
    }

    /// A topic is gone, and everything about it.
    pub(crate) fn forget_topic(&mut self, topic: TopicId) {
        let of_topic = |it: &&TopicPartition| it.topic == topic;
        let partitions: Vec<TopicPartition> =
            self.partitions.keys().filter(of_topic).copied().collect();
        for partition in partitions {
            self.forget_partition(partition);
        }
        self.unwritten.retain(|(partition, _)| partition.topic != topic);
    }

    fn forget_partition(&mut self, partition: TopicPartition) -> bool {
        self.opening.retain(|(opening, _)| *opening != partition);
        let known = self.partitions.remove(&partition);
        self.under_way -= known.as_ref().map_or(0, |it| it.window.open());
        known.is_some_and(|it| !it.is_sought())
    }

    /// Gives a member what there is. `disk` says up to where a partition is on disk.
    pub(crate) fn acquire(
        &mut self,
        (member, topics): (MemberId, &BTreeSet<String>),
        records_max: u32,
        terms: &Terms,
        disk: impl Fn(TopicPartition) -> Option<Offset>,
    ) -> Acquired {
        let mut acquired = Acquired::default();
        let mut left = u64::from(records_max);
        for partition in self.in_turn(topics) {
            let Some(disk) = disk(partition) else { continue };
            let ranges_max = terms.ranges_max.saturating_sub(acquired.ranges.len());
            if left == 0 || ranges_max == 0 {
                break;
            }
            self.expire_partition(partition, terms.now);
            let room = terms.room.saturating_sub(acquired.under_way);
            let Some(known) = self.partitions.get_mut(&partition) else { continue };
            let under_way = known.window.open();
            let asking = Asking {
                member,
                until: terms.now.monotonic + self.policy.lock,
                records_max: left,
                ranges_max,
                disk,
                window_max: terms.window_max.min(under_way.saturating_add(room)),
                deliveries_max: self.policy.deliveries_max,
                dead_letters: terms.dead_letters,
            };
            let start = known.window.start();
            let got = known.window.acquire(&asking);
            acquired.under_way += known.window.open().saturating_sub(under_way);
            self.under_way = self.under_way - under_way + known.window.open();
            known.dropped += offsets_of(&got.dropped);
            acquired.misses_dead_letters |= got.is_missing_dead_letters;
            left -= offsets_of(&got.ranges);
            let ranges = got.ranges.into_iter().map(|(first, span)| AcquiredRange {
                partition,
                first,
                last: span.last,
                deliveries: span.deliveries,
                dead: span.dead,
            });
            let before = acquired.ranges.len();
            acquired.ranges.extend(ranges);
            if acquired.ranges.len() > before {
                self.turn = Some(partition);
            }
            self.write(partition, start, got.dropped);
        }
        acquired
    }

    /// The open partitions of those topics; the one after the last that gave something comes first.
    fn in_turn(&self, topics: &BTreeSet<String>) -> Vec<TopicPartition> {
        let shapes = topics.iter().filter_map(|name| self.topics.get(name));
        let of_topic = |shape: &TopicShape| {
            let at = |index| TopicPartition { topic: shape.id, partition: PartitionIndex(index) };
            self.partitions.range(at(0)..=at(u32::MAX))
        };
        let open = shapes.flat_map(of_topic).filter(|(_, it)| it.stage == Stage::Open);
        let mut partitions: Vec<TopicPartition> = open.map(|(partition, _)| *partition).collect();
        partitions.sort_unstable();
        let first = self.turn.and_then(|turn| partitions.iter().position(|it| *it > turn));
        partitions.rotate_left(first.unwrap_or(0));
        partitions
    }

    /// Partitions of those topics from which more can be handed out as soon as it is on disk, and
    /// where that would begin.
    pub(crate) fn dry_partitions(
        &self,
        topics: &BTreeSet<String>,
    ) -> Vec<(TopicPartition, Option<Offset>)> {
        let shapes = topics.iter().filter_map(|name| self.topics.get(name));
        let of_topic = |shape: &TopicShape| {
            let at = |index| TopicPartition { topic: shape.id, partition: PartitionIndex(index) };
            self.partitions.range(at(0)..=at(u32::MAX))
        };
        let begun = shapes.flat_map(of_topic).filter(|(_, it)| !it.is_sought());
        begun.map(|(partition, it)| (*partition, Some(it.window.end()))).collect()
    }

    /// Carries out a verdict of a member. Says why it does not count, or not for all. The partition
    /// is on disk up to `disk`.
    pub(crate) fn settle(
        &mut self,
        member: MemberId,
        range: &RangeToSettle,
        now: Now,
        disk: Offset,
    ) -> Option<ErrorCode> {
        let RangeToSettle { partition, first, last, verdict } = *range;
        self.expire_partition(partition, now);
        let lock_until = now.monotonic + self.policy.lock;
        let Some(known) = self.partitions.get_mut(&partition) else {
            return Some(ErrorCode::NotAcquired);
        };
        let (start, under_way) = (known.window.start(), known.window.open());
        let (changes, error) =
            known.window.settle((first, last), (member, verdict), (now, lock_until), disk);
        self.under_way = self.under_way - under_way + known.window.open();
        if verdict == Verdict::DeadLettered {
            known.dead_lettered += offsets_of(&changes);
        }
        self.write(partition, start, changes);
        error
    }

    /// Frees what was held or delayed up to now.
    pub(crate) fn expire(&mut self, now: Now) {
        let partitions: Vec<TopicPartition> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.expire_partition(partition, now);
        }
    }

    fn expire_partition(&mut self, partition: TopicPartition, now: Now) {
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        let start = known.window.start();
        let ended = known.window.expire(now);
        self.write(partition, start, ended);
    }

    /// Frees what members hold of whom `is_gone` says so.
    pub(crate) fn free_held_by(&mut self, is_gone: impl Fn(MemberId) -> bool) {
        let partitions: Vec<TopicPartition> = self.partitions.keys().copied().collect();
        for partition in partitions {
            let Some(known) = self.partitions.get_mut(&partition) else { continue };
            let start = known.window.start();
            let freed = known.window.free_held_by(&is_gone);
            self.write(partition, start, freed);
        }
    }

    /// The partition has no records before `log_start` any more.
    pub(crate) fn drop_before(&mut self, partition: TopicPartition, log_start: Offset) {
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        if known.is_sought() {
            return;
        }
        let (start, under_way) = (known.window.start(), known.window.open());
        known.window.drop_before(log_start);
        self.under_way = self.under_way - under_way + known.window.open();
        self.write(partition, start, Vec::new());
    }

    /// When something is free next, or a member has waited long enough; none if nobody waits.
    pub(crate) fn next_timeout(&self, now: Now) -> Option<Instant> {
        let waited = self.waiters.iter().map(|waiter| waiter.deadline).min()?;
        let windows = || self.partitions.values().map(|it| &it.window);
        let locks = windows().filter_map(Window::next_lock_end);
        let delays = windows().filter_map(Window::next_delay_end_unix_ms).min();
        let left_ms = delays.map(|until| u64::try_from(until.saturating_sub(now.unix_ms)));
        let delay = left_ms.map(|ms| core::time::Duration::from_millis(ms.unwrap_or(0)));
        let delays = delay.map(|delay| now.monotonic + delay);
        locks.chain(delays).chain([waited]).min()
    }

    pub(crate) fn describe(&self) -> Vec<ShareDescription> {
        let open = self.partitions.iter().filter(|(_, it)| !it.is_sought());
        let described = open.map(|(partition, it)| {
            let counts = it.window.counts();
            ShareDescription {
                partition: *partition,
                start: it.window.start(),
                end: it.window.end(),
                in_flight: counts.held,
                delayed: counts.delayed,
                waiting: counts.free,
                dead: counts.dead,
                dead_lettered: it.dead_lettered,
                dropped: it.dropped,
            }
        });
        described.collect()
    }
}

/// What a member has been given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acquired {
    pub(crate) ranges: Vec<AcquiredRange>,
    pub(crate) misses_dead_letters: bool,
    /// How many more offsets are under way.
    under_way: u64,
}

impl SharePartition {
    fn sought() -> Self {
        Self {
            stage: Stage::Seeking { is_asked: false },
            is_of_new_topic: false,
            incarnation: Incarnation::default(),
            window: Window::default(),
            dead_lettered: 0,
            dropped: 0,
        }
    }

    fn is_sought(&self) -> bool {
        matches!(self.stage, Stage::Seeking { .. })
    }
}

fn offsets_of(changes: &[Change]) -> u64 {
    changes.iter().map(|(first, span)| span::count(*first, span.last)).sum()
}

#[cfg(test)]
mod tests;
