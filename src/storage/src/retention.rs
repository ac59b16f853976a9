//! What goes by itself: whole segments from the front, by size and by age.
//!
//! It only says where a start is to be; `trim.rs` moves it as if somebody had asked, so that files
//! go one at a time behind whatever else there is to do. Nothing is polled: each partition whose
//! data ages has one timer, for its next segment. What a newcomer gets wrong: only sealed segments
//! go, so that one that takes data is sealed when it has done so for a quarter of the age.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::Offset;
use plimsoll_device::{Instant, Now};

use crate::age_clock::{AgeClock, ClockNews};
use crate::identity::{PartitionConfig, Retention, Slot};
use crate::limits::{AGES_A_TURN, SEGMENTS_MAX};
use crate::notice::Notice;
use crate::partition::Partition;
use crate::storage::{Seeding, StopState, Storage};
use crate::written::{Written, WrittenSpan};

/// A segment takes data for this part of the age at most.
const SEALED_AFTER_PARTS: i64 = 4;

/// What of the log ages, and by which clock.
#[derive(Default)]
pub(crate) struct Aging {
    pub(crate) clock: AgeClock,
    /// When to look for old segments of which partition.
    pub(crate) due: BTreeSet<(Instant, Slot)>,
}

impl Storage {
    /// New settings of a partition; they count from now on, the size of segments for those that are
    /// begun from now on.
    pub fn set_config(&mut self, slot: Slot, config: PartitionConfig, now: Now) {
        self.look_at_clocks(now);
        self.partition_mut(slot).config = config;
        self.retain_by_size(slot);
        self.retain_by_age(slot);
        self.forget_compaction(slot);
        self.compact_anew(slot);
    }

    /// After a start: what has to go by settings that are new, or what an earlier life had no time
    /// for.
    pub(crate) fn retain_all(&mut self) {
        let slots: Vec<Slot> = self.by_id.values().copied().collect();
        for slot in slots {
            self.retain_by_size(slot);
            self.retain_by_age(slot);
            self.consider_trim(slot);
            self.compact_anew(slot);
        }
    }

    /// Data came; `begins`: the first of its segment.
    pub(crate) fn retain_after_append(&mut self, slot: Slot, begins: bool) {
        let Retention { age, bytes } = self.partition(slot).config.retention;
        if bytes.is_some() {
            self.retain_by_size(slot);
        }
        if age.is_some() && begins {
            self.retain_by_age(slot);
        }
    }

    /// Looks at those whose next segment is old by now, at most so many at once.
    pub(crate) fn retain_due(&mut self) {
        for _ in 0..AGES_A_TURN {
            match self.aging.due.first() {
                Some(&(due, slot)) if due <= self.clock => self.retain_by_age(slot),
                _ => return,
            }
        }
    }

    /// What the clocks say now; with every input.
    pub(crate) fn look_at_clocks(&mut self, now: Now) {
        self.clock = now.monotonic;
        if let Some(news) = self.aging.clock.observe(now) {
            self.tell_clock(news);
        }
    }

    /// The first look at the wall clock.
    pub(crate) fn begin_age_clock(&mut self, now: Now) {
        let newest = self.by_id.values().map(|slot| self.partition(*slot).newest_written());
        let newest = newest.max().unwrap_or(Written::UNKNOWN);
        if let Some(news) = self.aging.clock.begin(newest, now) {
            self.tell_clock(news);
        }
    }

    /// Ages are other ones than those that timers were set by.
    fn tell_clock(&mut self, news: ClockNews) {
        let ages = |partition: &Partition| partition.config.retention.age.is_some();
        if self.partitions.iter().flatten().any(|partition| ages(partition)) {
            self.notices.push_back(match news {
                ClockNews::Leapt(by_ms) => Notice::ClockLeapt { by_ms },
                ClockNews::Believed(by_ms) => Notice::ClockBelieved { by_ms },
            });
        }
        let slots: Vec<Slot> =
            core::mem::take(&mut self.aging.due).into_iter().map(|it| it.1).collect();
        for slot in slots {
            self.partition_mut(slot).age_due = Some(self.clock);
            self.aging.due.insert((self.clock, slot));
        }
    }

    /// Whether nothing goes by itself now.
    fn keeps_everything(&self, slot: Slot) -> bool {
        let partition = self.partition(slot);
        partition.closing
            || partition.damage.is_some()
            || self.journal_damage.is_some()
            || self.failure.is_some()
            || self.stop != StopState::Running
            || self.seeding != Seeding::Done
    }

    fn retain_by_size(&mut self, slot: Slot) {
        if !self.keeps_everything(slot)
            && let Some(to) = self.partition(slot).too_large_before()
        {
            self.want_start(slot, to);
        }
    }

    /// Moves the start beyond what is too old, seals what has taken data for long, and sets the
    /// timer for what comes next.
    fn retain_by_age(&mut self, slot: Slot) {
        self.forget_age(slot);
        let (Some(age), Some(now_ms)) =
            (self.partition(slot).config.retention.age, self.aging.clock.now_ms())
        else {
            return;
        };
        if self.keeps_everything(slot) {
            return;
        }
        let written = self.aging.clock.written();
        let partition = self.partition_mut(slot);
        partition.count_unknown_from(written);
        let ages = Ages { now_ms, age_ms: i64::try_from(age.as_millis()).unwrap_or(i64::MAX) };
        if let Some(to) = partition.too_old_before(&ages) {
            self.want_start(slot, to);
        }
        let partition = self.partition(slot);
        let is_long = partition.published.position > 0
            && ages.sealed_in_ms(partition.active_written) == 0
            && partition.sealed.len() < SEGMENTS_MAX;
        if is_long {
            self.roll(slot);
        }
        if let Some(left_ms) = self.partition(slot).next_in_ms(&ages) {
            let in_ms = u64::try_from(left_ms.max(1)).unwrap_or(1);
            let due = self.clock + Duration::from_millis(in_ms);
            // The earlier the clock is known to be right, the better.
            let due =
                self.aging.clock.leap_ends().map_or(due, |ends| ends.max(self.clock).min(due));
            self.partition_mut(slot).age_due = Some(due);
            self.aging.due.insert((due, slot));
        }
    }

    /// The partition has no timer.
    pub(crate) fn forget_age(&mut self, slot: Slot) {
        if let Some(due) = self.partition_mut(slot).age_due.take() {
            self.aging.due.remove(&(due, slot));
        }
    }
}

/// By what is old.
struct Ages {
    now_ms: i64,
    age_ms: i64,
}

impl Ages {
    /// Until data of then is old; 0 if it is.
    fn old_in_ms(&self, written: Written) -> i64 {
        let written_ms = written.unix_ms().unwrap_or(self.now_ms);
        written_ms.saturating_add(self.age_ms).saturating_sub(self.now_ms).max(0)
    }

    /// Until a segment of which the first data is of then has to be sealed; 0 if it has.
    fn sealed_in_ms(&self, written: WrittenSpan) -> i64 {
        let first_ms = written.first.unix_ms().unwrap_or(self.now_ms);
        let after_ms = self.age_ms / SEALED_AFTER_PARTS;
        first_ms.saturating_add(after_ms).saturating_sub(self.now_ms).max(0)
    }
}

impl Partition {
    /// Where the start has to be by the size: before it are segments without which there is enough.
    fn too_large_before(&self) -> Option<Offset> {
        let bytes_min = self.config.retention.bytes?;
        let mut left = self.sealed_bytes + self.published.position;
        let mut to = None;
        for (at, sealed) in self.sealed.iter().enumerate() {
            left -= sealed.length_bytes;
            if left < bytes_min {
                break;
            }
            to = Some(self.sealed.get(at + 1).map_or(self.active, |next| next.base));
        }
        to.filter(|to| *to > self.start_wanted)
    }

    /// Where the start has to be by the age.
    fn too_old_before(&self, ages: &Ages) -> Option<Offset> {
        let young = self.sealed.iter().find(|sealed| ages.old_in_ms(sealed.written) > 0);
        let active_is_old =
            self.published.position > 0 && ages.old_in_ms(self.active_written.last) == 0;
        let to = match young {
            Some(young) => young.base,
            None if active_is_old => self.published.offset,
            None => self.active,
        };
        (to > self.start_wanted).then_some(to)
    }

    /// How long until something is to be done for the age of what stays.
    fn next_in_ms(&self, ages: &Ages) -> Option<i64> {
        let stays =
            |base: Offset| self.segment_after(base).is_some_and(|it| it > self.start_wanted);
        let sealed = self.sealed.iter().find(|sealed| stays(sealed.base));
        let old = sealed.map(|sealed| ages.old_in_ms(sealed.written));
        let takes_data = self.published.position > 0;
        let full = takes_data.then(|| ages.sealed_in_ms(self.active_written));
        [old, full].into_iter().flatten().min()
    }

    /// Data of which nobody knows when it was written is as young as can be.
    pub(crate) fn count_unknown_from(&mut self, written: Written) {
        let begin = |unknown: &mut Written| {
            if *unknown == Written::UNKNOWN {
                *unknown = written;
            }
        };
        self.sealed.iter_mut().for_each(|sealed| begin(&mut sealed.written));
        if self.published.position > 0 {
            begin(&mut self.active_written.first);
            begin(&mut self.active_written.last);
        }
    }

    fn newest_written(&self) -> Written {
        let sealed = self.sealed.last().map_or(Written::UNKNOWN, |sealed| sealed.written);
        self.active_written.last.max(sealed)
    }
}
