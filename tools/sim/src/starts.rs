//! Where partitions begin: what may have gone from their fronts, by which setting or by whose word.
//!
//! It knows the settings that were asked for, the clock that the machine showed, and what producers
//! have written; nothing of segments. What a newcomer gets wrong: what may go at one time may go at
//! any later one, so that only the most that was ever allowed counts; and a wall clock that leaps
//! is not the clock by which data ages, until it has stayed there for an hour.

use core::time::Duration;
use std::collections::BTreeMap;

use plimsoll_device::{Instant, Now};
use plimsoll_wire::{Offset, TopicRetention};

use crate::client::Task;
use crate::ledger::Place;

/// A step of the wall clock beyond this is a leap; so long it is not believed; and so long after
/// the newest write a start is a leap, too. So says decision 0017; nothing here asks the server.
const LEAP_MS: i64 = 60_000;
const BELIEVED_AFTER_MS: i64 = 3_600_000;
const START_GAP_MS: i64 = 24 * 3_600_000;
/// What the format adds to a record at most: a batch's header, and a record's own.
const OVERHEAD_BYTES: u64 = 61 + 24;

/// A record as it counts for retention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) offset: Option<Offset>,
    pub(crate) length: usize,
    pub(crate) begun: Instant,
    /// It was not written before this, by any clock.
    pub(crate) written_ms: i64,
    /// It is there, unless it has gone: what power took keeps nothing from going.
    pub(crate) is_there: bool,
}

/// The books of all starts.
#[derive(Default)]
pub(crate) struct Starts {
    settings: Vec<Settings>,
    places: BTreeMap<Place, Start>,
    pub(crate) clock: ClockBook,
}

/// The life of settings that were answered.
const SETTLED: usize = usize::MAX;

/// Settings of one topic that may be in force, each with the life in which it was asked for and not
/// yet answered.
struct Settings(Vec<(TopicRetention, usize)>);

#[derive(Clone, Copy)]
struct Start {
    /// The highest that anybody was shown.
    known: Offset,
    /// Beyond this nothing may have gone.
    may_go: Offset,
    /// Up to here somebody has asked for.
    asked: Offset,
}

impl Default for Start {
    fn default() -> Self {
        Self { known: Offset::ZERO, may_go: Offset::ZERO, asked: Offset::ZERO }
    }
}

impl Starts {
    pub(crate) fn new(created: impl Iterator<Item = TopicRetention>) -> Self {
        let settings = created.map(|retention| Settings(vec![(retention, SETTLED)])).collect();
        Self { settings, ..Self::default() }
    }

    /// Where a partition begins, as far as anybody was told.
    pub(crate) fn known(&self, place: Place) -> Offset {
        self.places.get(&place).map_or(Offset::ZERO, |start| start.known)
    }

    /// All that is known, for who asks now.
    pub(crate) fn all_known(&self) -> BTreeMap<Place, Offset> {
        self.places.iter().map(|(place, start)| (*place, start.known)).collect()
    }

    /// Somebody asks for other settings of a topic, or for records to be deleted.
    pub(crate) fn note_question(&mut self, task: &Task, life: usize) {
        match task {
            Task::Alter(topic, retention, _) => self.settings[*topic].0.push((*retention, life)),
            Task::DeleteRecords(place, to) => {
                let start = self.places.entry(*place).or_default();
                (start.may_go, start.asked) = (start.may_go.max(*to), start.asked.max(*to));
            }
            _ => {}
        }
    }

    /// He was answered: what was in force before is not any more, but for what was asked for in the
    /// same life and never answered, which may come yet. What may have gone by it was noted.
    pub(crate) fn answered(&mut self, topic: usize, retention: TopicRetention, life: usize) {
        let Settings(settings) = &mut self.settings[topic];
        if let Some(at) = settings.iter().rposition(|it| *it == (retention, life)) {
            settings.remove(at);
            settings.retain(|(_, asked_in)| *asked_in == life);
            settings.push((retention, SETTLED));
        }
    }

    /// What was asked for last.
    pub(crate) fn settings(&self, topic: usize) -> TopicRetention {
        self.settings[topic].0.last().map_or(TopicRetention::UNLIMITED, |it| it.0)
    }

    /// Whether nothing goes by itself, by any settings that may be in force.
    pub(crate) fn keeps_everything(&self, topic: usize) -> bool {
        self.settings[topic].0.iter().all(|(retention, _)| *retention == TopicRetention::UNLIMITED)
    }

    /// What may have gone by now, by the settings that may be in force.
    pub(crate) fn note_what_may_go(&mut self, place: Place, records: &[Kept]) {
        let settings = self.settings[place.topic].0.clone();
        let start = self.places.entry(place).or_default();
        for (retention, _) in settings {
            let by_size = too_large_before(retention.bytes, records);
            start.may_go = start.may_go.max(by_size);
            if retention.age_ms > 0 {
                start.may_go = self.clock.too_old_before(retention.age_ms, start.may_go, records);
            }
        }
    }

    /// Whether a record at `offset` may have gone.
    pub(crate) fn may_have_gone(&self, place: Place, offset: Offset) -> bool {
        self.places.get(&place).is_some_and(|start| offset < start.may_go)
    }

    /// Somebody is shown where a partition begins; gives whether what is before it went by itself.
    pub(crate) fn saw(&mut self, place: Place, shown: Offset) -> Result<bool, String> {
        let settings = &self.settings[place.topic].0;
        let start = self.places.entry(place).or_default();
        if shown <= start.known {
            return Ok(false);
        }
        if shown > start.may_go {
            return Err(format!(
                "{place:?} begins at {shown}, and what is from {} on may not have gone, of \
                 {settings:?}",
                start.may_go
            ));
        }
        start.known = shown;
        Ok(shown > start.asked)
    }
}

/// By the size: the highest start from which on there may be enough.
fn too_large_before(bytes: u64, records: &[Kept]) -> Offset {
    if bytes == 0 {
        return Offset::ZERO;
    }
    let size = |record: &Kept| record.length as u64 + OVERHEAD_BYTES;
    // Of these nobody knows where they are, if they are.
    let mut left: u64 = records.iter().filter(|it| it.offset.is_none()).map(size).sum();
    if left >= bytes {
        return Offset::MAX;
    }
    let mut located: Vec<&Kept> = records.iter().filter(|it| it.offset.is_some()).collect();
    located.sort_by_key(|record| core::cmp::Reverse(record.offset));
    for record in located {
        left += size(record);
        if left >= bytes {
            return record.offset.unwrap_or(Offset::MAX);
        }
    }
    Offset::ZERO
}

/// The clock by which data ages, as far as it can have come.
#[derive(Default)]
pub(crate) struct ClockBook {
    /// What the wall clock says beyond the monotonic one, where that is believed.
    trusted_ms: i64,
    /// A start has found data of the future, of up to then: until the next, a wall clock that is
    /// not beyond it may be believed at once.
    found_ms: Option<i64>,
    /// Where it leapt to, and when.
    leap: Option<(i64, i64)>,
    /// Data may have aged by this: what was begun before `doubts_since`, and what was later.
    before_ms: i64,
    since_ms: i64,
    doubts_since: Option<Instant>,
    /// The latest that any data may be noted to have been written at.
    latest_ms: i64,
    /// What the wall clock said beyond the monotonic one at the first look of all.
    first_ms: Option<i64>,
    /// It has leapt, at some time: then a start may doubt it also where the latest that can have
    /// been written gives no reason to, since what is on disk may be older.
    has_leapt: bool,
}

fn millis(at: Instant) -> i64 {
    i64::try_from(at.as_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

impl ClockBook {
    /// A process begins to look at the clock.
    pub(crate) fn begin(&mut self, now: Now) {
        let monotonic_ms = millis(now.monotonic);
        let offset_ms = now.unix_ms - monotonic_ms;
        let found_ms = self.latest_ms - monotonic_ms;
        self.found_ms = (found_ms - offset_ms > LEAP_MS).then_some(found_ms);
        let is_doubtful = self.latest_ms > 0 && now.unix_ms - self.latest_ms > START_GAP_MS;
        if is_doubtful {
            // What is there is as old as it was; what comes is written by the new time.
            self.before_ms = self.before_ms.max(self.since_ms);
            self.doubts_since = Some(now.monotonic);
            self.trusted_ms = self.latest_ms - monotonic_ms;
            (self.leap, self.has_leapt) = (Some((offset_ms, monotonic_ms)), true);
        } else {
            (self.trusted_ms, self.leap) = (offset_ms, None);
        }
        self.look(now);
    }

    /// A process that runs looks at it.
    pub(crate) fn look(&mut self, now: Now) {
        let monotonic_ms = millis(now.monotonic);
        let offset_ms = now.unix_ms - monotonic_ms;
        let is_near = |other: i64| (offset_ms - other).abs() <= LEAP_MS;
        self.has_leapt |= !is_near(*self.first_ms.get_or_insert(offset_ms));
        let is_found = self.found_ms.is_some_and(|found_ms| offset_ms <= found_ms + LEAP_MS);
        match self.leap {
            _ if is_found || is_near(self.trusted_ms) => {
                (self.trusted_ms, self.leap) = (offset_ms, None);
            }
            Some((to_ms, at_ms)) if is_near(to_ms) => {
                if monotonic_ms - at_ms >= BELIEVED_AFTER_MS {
                    (self.trusted_ms, self.leap) = (offset_ms, None);
                }
            }
            _ => (self.leap, self.has_leapt) = (Some((offset_ms, monotonic_ms)), true),
        }
        let aged_ms = monotonic_ms + self.trusted_ms.min(offset_ms);
        self.before_ms = self.before_ms.max(aged_ms);
        // Where nothing was before a doubtful start, the wall clock was believed at once.
        let since_ms = if self.doubts_since.is_some() { now.unix_ms } else { aged_ms };
        self.since_ms = self.since_ms.max(since_ms);
        let written_ms = monotonic_ms + self.trusted_ms.max(offset_ms);
        self.latest_ms = self.latest_ms.max(written_ms + 1_000);
    }

    /// How long from `now` on until all data is so old, if nobody touches the clock any more.
    pub(crate) fn until_all_is_old(&self, age_ms: u64, now: Now) -> Duration {
        let ahead_ms = (self.latest_ms - now.unix_ms).max(0).unsigned_abs();
        let doubts_ms = if self.has_leapt { 2 * BELIEVED_AFTER_MS.unsigned_abs() } else { 0 };
        Duration::from_millis(ahead_ms + doubts_ms + age_ms + age_ms / 4 + 3_000)
    }

    /// By the age: from `from` on, the first record that is young.
    fn too_old_before(&self, age_ms: u64, from: Offset, records: &[Kept]) -> Offset {
        let age_ms = i64::try_from(age_ms).unwrap_or(i64::MAX);
        let is_young = |record: &&Kept| {
            let is_later = self.doubts_since.is_none_or(|since| record.begun >= since);
            let aged_by_ms = if is_later { self.since_ms } else { self.before_ms };
            record.is_there && record.written_ms.saturating_add(age_ms) > aged_by_ms
        };
        let young = records.iter().filter(is_young).filter_map(|record| record.offset);
        let first = young.filter(|offset| *offset >= from).min();
        first.unwrap_or(Offset::MAX).max(from)
    }
}
