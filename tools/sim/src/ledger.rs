//! What clients were promised and shown, record by record, and whether it was kept.
//!
//! It knows what went through clients' hands, and how lives ended; nothing of the server. What a
//! newcomer gets wrong: an ack counts when the client has heard it. What the server meant to say
//! binds nobody.

mod compaction;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use plimsoll_client::BatchOutcome;
use plimsoll_device::Instant;
use plimsoll_wire::{AckLevel, ErrorCode, Offset, Visible};

pub(crate) use self::compaction::{Compactions, Excuses};
use crate::deliveries::Deliveries;
use crate::keyed::{Keyed, Shown};
use crate::met::{Meetings, Met};
use crate::positions::Positions;
use crate::starts::{Kept, Starts};
use crate::value::RecordId;
use crate::walls::Walls;

/// A partition: the topic's number in the scenario, and its own in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) topic: usize,
    pub(crate) partition: u32,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of a record, as its producer heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pending,
    Acked,
    Sent,
    Refused,
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) producer: usize,
    pub(crate) length: usize,
    /// Its key, and whether it deletes that.
    pub(crate) keyed: Keyed,
    pub(crate) begun: Instant,
    pub(crate) fate: Fate,
    /// The deepest ack, and the life in which the first came.
    pub(crate) level: Option<AckLevel>,
    pub(crate) acked_in: usize,
    /// Where it is, once anybody has said so.
    pub(crate) offset: Option<Offset>,
    /// It must be there at the end, unless it may have gone from the front.
    pub(crate) required: bool,
    /// It was not written before this, by any clock.
    pub(crate) written_ms: i64,
    /// What its producer says.
    pub(crate) stamp_ms: i64,
    /// Groups in share mode do not hand it out before this.
    pub(crate) due_ms: Option<i64>,
    /// Its batch is compressed: the server does not see its key.
    pub(crate) is_compressed: bool,
}

/// One consumer's way through one partition.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pub(crate) place: Place,
    pub(crate) visible: Visible,
    /// Where it begins.
    pub(crate) from: Offset,
    /// What was delivered, in order.
    pub(crate) seen: Vec<Seen>,
    /// What is before this had gone when its session began.
    begun_at: Offset,
}

/// A record that a consumer was shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) offset: Offset,
    pub(crate) id: RecordId,
    pub(crate) life: usize,
    /// It survives what takes the kernel's memory.
    is_durable: bool,
    /// It must be there at the end.
    pub(crate) required: bool,
}

/// All that is known.
pub(crate) struct Ledger {
    pub(crate) entries: Vec<Entry>,
    pub(crate) walks: Vec<Walk>,
    /// Every offset that anybody was told of.
    pub(crate) told: BTreeMap<(Place, Offset), RecordId>,
    /// The life that runs, from 0 on.
    pub(crate) life: usize,
    /// What clients saw, for the trace, if one is written.
    pub(crate) remarks: Option<Vec<String>>,
    /// Stored bytes were damaged: nothing is promised but that no damage is delivered.
    pub(crate) is_damaged: bool,
    /// The last life goes on, in which no operation is told to fail.
    pub(crate) nothing_fails: bool,
    /// What the clocks say.
    pub(crate) now: Instant,
    pub(crate) now_ms: i64,
    /// What the wall clock showed.
    pub(crate) walls: Walls,
    /// Partitions whose shard's disk has failed in this life, and when.
    pub(crate) failed_since: BTreeMap<Place, Instant>,
    /// Some life's end lost the kernel's memory.
    pub(crate) has_lost_memory: bool,
    pub(crate) violation: Option<Violation>,
    /// What is known of each group.
    pub(crate) groups: Vec<Positions>,
    /// What is known of each group in share mode, and since when its members are calm.
    pub(crate) shares: Vec<Deliveries>,
    pub(crate) calm_since_ms: Option<i64>,
    /// Where partitions begin.
    pub(crate) starts: Starts,
    /// Which topics are compacted, and what is known to have gone.
    pub(crate) compactions: Compactions,
    pub(crate) met: Meetings,
    last_acked: BTreeMap<(usize, usize, Place, AckLevel), Offset>,
    hash: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            walks: Vec::new(),
            told: BTreeMap::new(),
            life: 0,
            remarks: None,
            is_damaged: false,
            nothing_fails: false,
            now: Instant::ORIGIN,
            now_ms: 0,
            walls: Walls::default(),
            failed_since: BTreeMap::new(),
            has_lost_memory: false,
            violation: None,
            groups: Vec::new(),
            shares: Vec::new(),
            calm_since_ms: None,
            starts: Starts::default(),
            compactions: Compactions::default(),
            met: Meetings::default(),
            last_acked: BTreeMap::new(),
            hash: 0,
        }
    }
}

impl Ledger {
    pub(crate) fn meet(&mut self, what: Met) {
        self.met[what as usize] += 1;
    }

    /// A consumer hears why it gets nothing of a partition.
    pub(crate) fn heard_of_read(&mut self, topic: usize, partition: u32, code: ErrorCode) {
        if code == ErrorCode::DiskFailed && self.nothing_fails {
            self.violate(format!("nothing fails, and a read of {topic}/{partition} does"));
        }
    }

    pub(crate) fn violate(&mut self, text: String) {
        self.violation.get_or_insert(Violation(text));
    }

    /// Something that was done to a group, or heard of it; where bytes were damaged, no more is
    /// promised of it.
    pub(crate) fn of_group(&mut self, group: usize, outcome: Result<(), String>) {
        if let Err(text) = outcome
            && !self.is_damaged
        {
            self.violate(format!("group {group}: {text}"));
        }
    }

    /// The time that nobody sets.
    pub(crate) fn steady_ms(&self) -> i64 {
        self.walls.steady_ms(self.now_ms)
    }

    pub(crate) fn remark(&mut self, text: impl FnOnce() -> String) {
        if let Some(remarks) = &mut self.remarks {
            remarks.push(text());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn fold(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }

    pub(crate) fn entry(&self, id: RecordId) -> Option<&Entry> {
        self.entries.get(usize::try_from(id.0).ok()?)
    }

    fn entry_mut(&mut self, id: RecordId) -> &mut Entry {
        &mut self.entries[id.0 as usize]
    }

    /// A new record, before it is handed to its producer.
    pub(crate) fn begin(&mut self, producer: usize, place: Place, length: usize) -> RecordId {
        let id = RecordId(self.entries.len() as u64);
        let keyed = self.compactions.keyed(place.topic, id);
        let length = if keyed.deletes { 0 } else { length };
        self.entries.push(Entry {
            place,
            producer,
            length,
            keyed,
            begun: self.now,
            fate: Fate::Pending,
            level: None,
            acked_in: 0,
            offset: None,
            required: false,
            written_ms: self.now_ms,
            stamp_ms: self.now_ms,
            due_ms: None,
            is_compressed: false,
        });
        id
    }

    /// A producer hears of records of one batch. `session` tells apart the lives of a producer.
    pub(crate) fn heard(
        &mut self,
        session: usize,
        records: &[RecordId],
        outcome: &BatchOutcome,
        is_final: bool,
    ) {
        self.fold(records.first().map_or(0, |id| id.0) + 1);
        self.remark(|| {
            let first = records.first().map(|id| id.0);
            format!("{} records from {first:?} on: {outcome:?}", records.len())
        });
        match outcome {
            BatchOutcome::Acked { base_offset, level } => {
                self.fold(base_offset.value());
                self.acked(session, records, *base_offset, *level, is_final);
            }
            BatchOutcome::Sent => records.iter().for_each(|id| self.ended(*id, Fate::Sent)),
            BatchOutcome::Refused(_) => self.refused(records),
            BatchOutcome::Unknown(_) => {
                records.iter().for_each(|id| self.ended(*id, Fate::Unknown));
            }
            other => self.violate(format!("an outcome of another kind: {other:?}")),
        }
    }

    fn ended(&mut self, id: RecordId, fate: Fate) {
        self.entry_mut(id).fate = fate;
    }

    fn refused(&mut self, records: &[RecordId]) {
        for id in records {
            let entry = self.entry_mut(*id);
            entry.fate = Fate::Refused;
            if let Some(offset) = entry.offset {
                let place = entry.place;
                self.violate(format!("{id:?} was refused and is at {offset} of {place:?}"));
            }
        }
    }

    fn acked(
        &mut self,
        session: usize,
        records: &[RecordId],
        base: Offset,
        level: AckLevel,
        is_final: bool,
    ) {
        let Some(first) = records.first() else { return };
        let Entry { producer, place, .. } = *self.entry_mut(*first);
        let last = self.last_acked.insert((producer, session, place, level), base);
        if last.is_some_and(|last| last >= base) {
            self.violate(format!("{place:?}: ack of {base} at {level} after that of {last:?}"));
        }
        let begun = self.entry_mut(*first).begun;
        if level == AckLevel::Disk && self.failed_since.get(&place).is_some_and(|at| *at < begun) {
            self.violate(format!("{place:?}: {base} is acked at disk after the disk failed"));
        }
        let life = self.life;
        for (index, id) in (0_u64..).zip(records) {
            let offset = Offset::new(base.value() + index);
            self.tell(place, offset, *id);
            let entry = self.entry_mut(*id);
            if entry.level.is_none() {
                entry.acked_in = life;
            }
            entry.level = entry.level.max(Some(level));
            entry.required = true;
            if is_final {
                entry.fate = Fate::Acked;
            }
        }
    }

    /// Somebody was told that a record is at an offset.
    pub(crate) fn tell(&mut self, place: Place, offset: Offset, id: RecordId) {
        let other = *self.told.entry((place, offset)).or_insert(id);
        if other != id && !self.is_damaged {
            self.violate(format!("{place:?}: offset {offset} is {other:?} and {id:?}"));
        }
        let entry = self.entry_mut(id);
        let known = *entry.offset.get_or_insert(offset);
        if entry.place != place {
            let text = format!("{id:?} of {:?} is in {place:?}", entry.place);
            self.violate(text);
        } else if known != offset && !self.is_damaged {
            self.violate(format!("{place:?}: {id:?} is at {known} and at {offset}"));
        }
    }

    /// What follows the last record that anybody was told of.
    pub(crate) fn told_end(&self, place: Place) -> Offset {
        let mut of_place = self.told.range((place, Offset::ZERO)..=(place, Offset::MAX));
        let last = of_place.next_back().map(|((_, offset), _)| *offset);
        last.map_or(Offset::ZERO, |last| Offset::new(last.value() + 1))
    }

    /// A new walk through a partition.
    pub(crate) fn walk(&mut self, place: Place, visible: Visible, from: Offset) -> usize {
        let begun_at = self.starts.known(place);
        self.walks.push(Walk { place, visible, from, seen: Vec::new(), begun_at });
        self.walks.len() - 1
    }

    /// A new session goes on with a walk.
    pub(crate) fn walk_on(&mut self, walk: usize) {
        let Walk { place, begun_at, .. } = &mut self.walks[walk];
        *begun_at = self.starts.known(*place);
    }

    /// A record was delivered on a walk.
    pub(crate) fn delivered(&mut self, walk: usize, shown: &Shown<'_>) {
        let offset = shown.offset;
        self.fold(offset.value() << 8 | walk as u64);
        self.remark(|| format!("walk {walk}: {offset} {:?}", shown.id()));
        let place = self.walks[walk].place;
        let Some(id) = shown.id().filter(|id| self.entry(*id).is_some()) else {
            return self.violate(format!("{place:?}: at {offset} is what nobody produced"));
        };
        let has_copies = self.has_copies(place);
        let entry = self.entry_mut(id);
        let fate = entry.fate;
        // A copy of a dead record has its place elsewhere.
        let is_copy = has_copies && entry.place.topic != place.topic;
        if !shown.is(id, entry) || !(is_copy || shown.has_headers_of(entry)) {
            return self.violate(format!("{place:?}: {id:?} at {offset} has other bytes"));
        }
        if fate == Fate::Refused {
            self.violate(format!("{place:?}: {id:?} was refused and is delivered at {offset}"));
        }
        if !is_copy {
            self.tell(place, offset, id);
        }
        let is_durable = self.walks[walk].visible == Visible::Disk;
        let now = Seen { offset, id, life: self.life, is_durable, required: true };
        let seen = &mut self.walks[walk].seen;
        let last = seen.last().map(|seen| seen.offset);
        seen.push(now);
        self.passed_over(walk, last, offset);
        if last.is_some_and(|last| last >= offset) && !self.is_damaged {
            self.violate(format!("{place:?}: {offset} is delivered after {last:?}"));
        }
        let begun_at = self.walks[walk].begun_at;
        if offset < begun_at && !self.is_damaged {
            self.violate(format!("{place:?}: {offset} is delivered, and {begun_at} was the start"));
        }
    }

    /// Somebody is shown where a partition begins; `before` is what was known when he asked.
    pub(crate) fn saw_start(&mut self, place: Place, start: Offset, before: Offset) {
        if self.is_damaged {
            return;
        }
        self.fold(start.value());
        if start < before {
            self.violate(format!("{place:?}: the start goes back from {before} to {start}"));
        }
        if start > self.starts.known(place) {
            self.note_what_may_go(place);
            self.remark(|| format!("{place:?} begins at {start}"));
            self.meet(Met::StartMoved);
            match self.starts.saw(place, start) {
                Ok(true) => self.meet(Met::Retained),
                Ok(false) => {}
                Err(text) => self.violate(text),
            }
        }
    }

    /// A consumer that wants `wanted` is told that the partition begins behind that, or at least
    /// that this is not there any more.
    pub(crate) fn saw_missing(&mut self, place: Place, wanted: Offset) {
        self.note_what_may_go(place);
        if !self.is_damaged && !self.starts.may_have_gone(place, wanted) {
            self.violate(format!("{place:?}: {wanted} is said to have gone, and may not"));
        }
    }

    /// Somebody is told from where on all is to be seen that is of a time, or later.
    pub(crate) fn saw_time(&mut self, place: Place, unix_ms: i64, from: Offset) {
        self.meet(Met::TimeSought);
        self.note_what_may_go(place);
        let of_place = self.entries.iter().filter(|it| it.place == place && it.required);
        let mut earlier = of_place.filter(|it| {
            let is_safe = it.level == Some(AckLevel::Disk) && it.stamp_ms >= unix_ms;
            let stays = |at: Offset| {
                at < from && !self.starts.may_have_gone(place, at) && !self.may_be_superseded(it)
            };
            is_safe && it.offset.is_some_and(stays)
        });
        if let Some(entry) = earlier.next()
            && !self.is_damaged
        {
            let text = format!("{place:?}: from {from} on is all of {unix_ms}, and not {entry:?}");
            self.violate(text);
        }
    }

    /// What may have gone of a partition by now.
    pub(crate) fn note_what_may_go(&mut self, place: Place) {
        let of_place = self.entries.iter();
        let of_place = of_place.filter(|it| it.place == place && it.fate != Fate::Refused);
        let records: Vec<Kept> = of_place
            .map(|it| Kept {
                offset: it.offset,
                length: it.length,
                begun: it.begun,
                written_ms: it.written_ms,
                is_there: it.required,
            })
            .collect();
        self.starts.note_what_may_go(place, &records);
    }

    /// The wall clock was set: what nobody knows to be written is written by this clock, maybe.
    pub(crate) fn clock_was_set(&mut self, now_ms: i64) {
        self.meet(Met::ClockLeapt);
        if !self.shares.is_empty() {
            self.meet(Met::ShareClockSet);
        }
        self.walls.set(self.now_ms, now_ms);
        self.now_ms = now_ms;
        for entry in self.entries.iter_mut().filter(|entry| entry.offset.is_none()) {
            entry.written_ms = entry.written_ms.min(now_ms);
        }
    }

    /// What was told of in memory only, and is gone, may be written again by its producer, which
    /// still waits for a deeper ack: then it is elsewhere.
    fn forget_lost_places(&mut self) {
        let seen = self.walks.iter().flat_map(|walk| &walk.seen);
        let durable: BTreeSet<RecordId> =
            seen.filter(|seen| seen.is_durable).map(|seen| seen.id).collect();
        for (id, entry) in (0..).map(RecordId).zip(&mut self.entries) {
            let may_be_gone = entry.level < Some(AckLevel::Disk) && !durable.contains(&id);
            if entry.fate == Fate::Pending && may_be_gone {
                (entry.offset, entry.level) = (None, None);
            }
        }
    }

    /// A life has ended.
    pub(crate) fn end_life(&mut self, loses_memory: bool, was_clean: bool) {
        for entry in &mut self.entries {
            if was_clean && entry.level.is_some() && entry.required {
                // A clean stop makes everything durable.
                entry.level = Some(AckLevel::Disk);
            }
            if loses_memory && entry.level < Some(AckLevel::Disk) {
                entry.required = false;
            }
        }
        for seen in self.walks.iter_mut().flat_map(|walk| &mut walk.seen) {
            seen.is_durable |= was_clean && seen.required;
            seen.required &= seen.is_durable || !loses_memory;
        }
        if loses_memory {
            self.forget_lost_places();
        }
        self.has_lost_memory |= loses_memory;
        self.failed_since.clear();
        self.groups.iter_mut().for_each(Positions::end_life);
        for share in 0..self.shares.len() {
            for _ in 0..self.shares[share].end_life() {
                self.meet(Met::ShareResetOpen);
            }
        }
        self.life += 1;
    }
}
