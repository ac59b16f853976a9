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
mod standing;
mod tally;
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
use self::standing::{Round, Standing};
pub(crate) use self::tally::ShareTally;
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
    opening: BTreeMap<TopicPartition, Option<Offset>>,
    /// Who waits for records, in the order of arrival.
    pub(crate) waiters: VecDeque<Waiter>,
    /// Whose turn it was last.
    turn: Option<TopicPartition>,
    /// What is to be appended to the log, in this order.
    unwritten: Vec<(TopicPartition, ShareFact)>,
    /// Which partitions there is something to look at in.
    standing: Standing,
    /// What has not been added to the sum over all groups yet.
    tally: ShareTally,
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
    Seeking,
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
            return Err(GroupProblem::OtherSettings(self.policy.clone()));
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
        self.standing.under_way
    }

    /// How many offsets members hold.
    pub(crate) fn locks(&self) -> u64 {
        self.standing.held
    }

    /// What became of offsets since the last call.
    pub(crate) fn take_tally(&mut self) -> ShareTally {
        core::mem::take(&mut self.tally)
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
                    self.standing.sought.insert(partition);
                }
            }
        }
    }

    /// Those of which it is not known where to begin, and nobody has been asked.
    pub(crate) fn take_sought(&mut self) -> Vec<TopicPartition> {
        core::mem::take(&mut self.standing.sought).into_iter().collect()
    }

    /// Whoever was asked where to begin does not know it.
    pub(crate) fn seek_again(&mut self, partition: TopicPartition) {
        if self.is_sought(partition) {
            self.standing.sought.insert(partition);
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
        self.partitions.entry(partition).or_insert_with(SharePartition::sought);
        self.change(partition, |known| {
            known.stage = Stage::Opening;
            known.incarnation = incarnation;
            known.window = Window::at(start);
        });
        self.standing.sought.remove(&partition);
        self.standing.unwatched.insert(partition);
        self.opening.insert(partition, None);
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
        self.opening.remove(&partition);
        let Some(known) = self.partitions.remove(&partition) else { return false };
        self.standing.forget(partition, known.window.glance());
        !known.is_sought()
    }

    /// Gives a member what there is. `disk` says up to where a partition is on disk.
    pub(crate) fn acquire(
        &mut self,
        (member, topics): (MemberId, &BTreeSet<String>),
        records_max: u32,
        terms: &Terms,
        disk: impl Fn(TopicPartition) -> Option<Offset>,
    ) -> Acquired {
        let wanted: BTreeSet<TopicId> =
            topics.iter().filter_map(|name| self.topics.get(name)).map(|it| it.id).collect();
        let mut acquired = Acquired::default();
        let mut left = u64::from(records_max);
        self.expire(terms.now);
        let mut round = Round::behind(self.turn);
        while left > 0
            && acquired.ranges.len() < terms.ranges_max
            && let Some(partition) = self.standing.next(&mut round)
        {
            let is_open = self.partitions.get(&partition).is_some_and(SharePartition::is_open);
            if !is_open || !wanted.contains(&partition.topic) {
                continue;
            }
            let Some(disk) = disk(partition) else { continue };
            let room = terms.room.saturating_sub(acquired.under_way);
            let asking = Asking {
                member,
                until: terms.now.monotonic + self.policy.lock,
                records_max: left,
                ranges_max: terms.ranges_max - acquired.ranges.len(),
                disk,
                window_max: terms.window_max,
                deliveries_max: self.policy.deliveries_max,
                dead_letters: terms.dead_letters,
            };
            left -= self.acquire_of(partition, asking, room, &mut acquired);
        }
        acquired
    }

    /// Gives a member what there is in a partition; how many offsets. No more than `room` may come
    /// under way with it.
    fn acquire_of(
        &mut self,
        partition: TopicPartition,
        mut asking: Asking,
        room: u64,
        acquired: &mut Acquired,
    ) -> u64 {
        let taken = self.change(partition, |known| {
            let (start, under_way) = (known.window.start(), known.window.open());
            asking.window_max = asking.window_max.min(under_way.saturating_add(room));
            let got = known.window.acquire(&asking);
            known.dropped += offsets_of(&got.dropped);
            (start, got, known.window.open().saturating_sub(under_way))
        });
        let Some((start, got, under_way)) = taken else { return 0 };
        acquired.under_way += under_way;
        acquired.misses_dead_letters |= got.is_missing_dead_letters;
        if !got.ranges.is_empty() {
            self.turn = Some(partition);
        }
        let given = offsets_of(&got.ranges);
        self.tally.dropped += offsets_of(&got.dropped);
        acquired.ranges.extend(got.ranges.into_iter().map(|(first, span)| AcquiredRange {
            partition,
            first,
            last: span.last,
            deliveries: span.deliveries,
            dead: span.dead,
        }));
        self.write(partition, start, got.dropped);
        given
    }

    /// Partitions of those topics from which more can be handed out as soon as it is on disk, and
    /// where that would begin: of those of which nobody will tell yet. Their owners are to be asked
    /// now. `disk` says up to where a partition is on disk.
    pub(crate) fn take_dry(
        &mut self,
        topics: &BTreeSet<String>,
        disk: impl Fn(TopicPartition) -> Option<Offset>,
    ) -> Vec<(TopicPartition, Option<Offset>)> {
        let shapes = topics.iter().filter_map(|name| self.topics.get(name));
        let unwatched = shapes.flat_map(|shape| self.standing.unwatched_of(shape.id));
        let ends = unwatched.filter_map(|at| Some((at, self.partitions.get(&at)?.window.end())));
        let dry = ends.filter(|(at, end)| disk(*at).is_none_or(|disk| disk <= *end));
        let dry: Vec<_> = dry.map(|(at, end)| (at, Some(end))).collect();
        for (at, _) in &dry {
            self.standing.unwatched.remove(at);
        }
        dry
    }

    /// Nobody will tell of the partition until its owner is asked again.
    pub(crate) fn note_unwatched(&mut self, partition: TopicPartition) {
        if self.partitions.get(&partition).is_some_and(|it| !it.is_sought()) {
            self.standing.unwatched.insert(partition);
        }
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
        let settled = self.change(partition, |known| {
            let start = known.window.start();
            let (changes, error) =
                known.window.settle((first, last), (member, verdict), (now, lock_until), disk);
            if verdict == Verdict::DeadLettered {
                known.dead_lettered += offsets_of(&changes);
            }
            (start, changes, error)
        });
        let Some((start, changes, error)) = settled else { return Some(ErrorCode::NotAcquired) };
        self.tally.note(verdict, offsets_of(&changes));
        self.write(partition, start, changes);
        error
    }

    /// Frees what was held or delayed up to now.
    pub(crate) fn expire(&mut self, now: Now) {
        for partition in self.standing.due(now) {
            self.expire_partition(partition, now);
        }
    }

    fn expire_partition(&mut self, partition: TopicPartition, now: Now) {
        let ended = self.change(partition, |it| (it.window.start(), it.window.expire(now)));
        let Some((start, ended)) = ended else { return };
        self.tally.timed_out += offsets_of(&ended);
        self.write(partition, start, ended);
    }

    /// Frees what members hold of whom `is_gone` says so.
    pub(crate) fn free_held_by(&mut self, is_gone: impl Fn(MemberId) -> bool) {
        let partitions: Vec<TopicPartition> = self.partitions.keys().copied().collect();
        for partition in partitions {
            let free =
                |it: &mut SharePartition| (it.window.start(), it.window.free_held_by(&is_gone));
            let Some((start, freed)) = self.change(partition, free) else { continue };
            self.tally.abandoned += offsets_of(&freed);
            self.write(partition, start, freed);
        }
    }

    /// The partition has no records before `log_start` any more.
    pub(crate) fn drop_before(&mut self, partition: TopicPartition, log_start: Offset) {
        let drop = |known: &mut SharePartition| {
            let start = known.window.start();
            known.window.drop_before(log_start);
            start
        };
        if self.is_sought(partition) {
            return;
        }
        let Some(start) = self.change(partition, drop) else { return };
        self.write(partition, start, Vec::new());
    }

    /// When something is free next, or a member has waited long enough; none if nobody waits.
    pub(crate) fn next_timeout(&self, now: Now) -> Option<Instant> {
        let waited = self.waiters.iter().map(|waiter| waiter.deadline).min()?;
        let delay_end = self.standing.next_delay_end_unix_ms();
        let left_ms = delay_end.map(|until| u64::try_from(until.saturating_sub(now.unix_ms)));
        let delay = left_ms.map(|ms| core::time::Duration::from_millis(ms.unwrap_or(0)));
        let delay = delay.map(|delay| now.monotonic + delay);
        self.standing.next_lock_end().into_iter().chain(delay).chain([waited]).min()
    }

    /// Changes what is under way of a partition, and what is said of all of them with it.
    fn change<T>(
        &mut self,
        partition: TopicPartition,
        act: impl FnOnce(&mut SharePartition) -> T,
    ) -> Option<T> {
        let known = self.partitions.get_mut(&partition)?;
        let before = known.window.glance();
        let done = act(known);
        self.standing.note(partition, before, known.window.glance());
        Some(done)
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
            stage: Stage::Seeking,
            is_of_new_topic: false,
            incarnation: Incarnation::default(),
            window: Window::default(),
            dead_lettered: 0,
            dropped: 0,
        }
    }

    fn is_sought(&self) -> bool {
        self.stage == Stage::Seeking
    }

    fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }
}

fn offsets_of(changes: &[Change]) -> u64 {
    changes.iter().map(|(first, span)| span::count(*first, span.last)).sum()
}

#[cfg(test)]
mod tests;
