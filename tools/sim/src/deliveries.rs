//! What a group in share mode handed out, to whom, and what was said of it; and whether that was
//! kept (P5): what is accepted never comes again, nobody else has what is locked, nothing is early.
//!
//! It knows what members heard and sent. What a newcomer gets wrong: what is heard may have been
//! said long ago, by a server that has handed the record to somebody else since, or has been told
//! to forget all of it. The server's clock in its answer tells, as far as nobody has set it; how
//! often the record was handed out helps where that is not enough, and who was a member before and
//! who after a reset.

use std::collections::BTreeMap;

use plimsoll_wire::{DeadReason, MemberId, Offset, Verdict};

use crate::ledger::Place;
use crate::scenario::SharePlan;
use crate::walls::{Stamp, Walls};

mod copies;
mod judging;
mod resets;
mod version;

pub(crate) use self::copies::DeadCopy;
use self::resets::{Layer, Reset};
pub(crate) use self::resets::{ShareResetId, WantedStarts};
use self::version::Due;

/// A record, by its place.
pub(crate) type At = (Place, Offset);

/// The books of one group in share mode.
pub(crate) struct Deliveries {
    pub(crate) plan: SharePlan,
    shelves: BTreeMap<Place, Shelf>,
    members: BTreeMap<MemberId, Alive>,
    resets: Vec<Reset>,
    /// Requests for records that wait for an answer, and those that never had one, by who asks.
    open: BTreeMap<MemberId, u64>,
    unheard: BTreeMap<MemberId, u64>,
    /// Before these everything is done, as somebody was told last.
    starts: BTreeMap<Place, Offset>,
    /// What was found in the dead-letter topic, by the record that it is of.
    copies: BTreeMap<At, Vec<DeadCopy>>,
}

/// What is known of a partition.
#[derive(Default)]
struct Shelf {
    records: BTreeMap<Offset, Known>,
    /// What must hold since a reset, and below it what held before.
    layers: Vec<Layer>,
}

/// What was said and heard of a record, whatever became of it.
#[derive(Debug, Default)]
struct Known {
    last: Option<Handout>,
    said: Vec<(MemberId, Word)>,
    /// How often who heard that he has it, for work or as dead.
    heard_by: BTreeMap<MemberId, u32>,
    /// Its copy may have gone with the dead-letter topic.
    may_have_lost_copy: bool,
    /// Its end was answered once.
    was_done: bool,
}

/// What a member has heard or said of a record, heard by the server or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// It was handed out for work.
    Had,
    Accepted,
    Rejected,
    DeadLettered,
    /// The application rejects it, whatever becomes of that.
    Refused,
}

/// One handing out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handout {
    pub(crate) member: MemberId,
    pub(crate) life: usize,
    pub(crate) count: u32,
    pub(crate) dead: Option<DeadReason>,
    /// When, by the server's clock in the answer.
    pub(crate) at: Stamp,
    /// Surely locked so long, unless the member has said something of it.
    pub(crate) until_ms: i64,
    said: Said,
}

/// What its holder has said of a record that it was handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    /// Not a delivery, or maybe not.
    Deferred,
    Something,
}

#[derive(Clone, Copy, Debug)]
struct Alive {
    until_ms: i64,
    life: usize,
    has_left: bool,
    /// It was no member before this, and was one by then.
    born_ms: i64,
    known_ms: i64,
    /// It was one as late as this.
    seen_ms: i64,
}

/// When something is said or heard, by time that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) now_ms: i64,
    pub(crate) life: usize,
}

/// A run of offsets in a verdict, and what was known when it was sent.
pub(crate) struct Sent {
    pub(crate) place: Place,
    pub(crate) first: Offset,
    pub(crate) last: Offset,
    pub(crate) verdict: Verdict,
    member: MemberId,
    records: Vec<SentOf>,
}

/// What was known of one record when something was said of it.
struct SentOf {
    offset: Offset,
    /// What its member was handed last.
    handout: Option<Handout>,
    /// Somebody else has it since.
    is_given_on: bool,
    /// How often its member had heard that it has it.
    heard: u32,
}

/// What hearing of a handing out has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Whoever had the record before has said nothing of it.
    pub(crate) lock_ended: bool,
}

impl Handout {
    pub(crate) fn new(
        (member, life): (MemberId, usize),
        (count, dead): (u32, Option<DeadReason>),
        (at, lock_ms): (Stamp, u32),
    ) -> Self {
        let until_ms = at.earliest_ms + i64::from(lock_ms);
        Self { member, life, count, dead, at, until_ms, said: Said::Nothing }
    }

    /// Its member has said something of the record before, which may be taken for this one, and may
    /// be that it gives it back.
    pub(crate) fn spoken_of(self) -> Self {
        Self { said: Said::Deferred, ..self }
    }

    /// Whether it was surely before `other`.
    fn is_before(&self, other: &Self) -> bool {
        self.life < other.life
            || self.at.is_before(&other.at)
            || (self.at.overlaps(&other.at)
                && (self.count < other.count
                    || (self.dead.is_none() && other.dead.is_some())
                    || (self.count == other.count && self.said != Said::Nothing)))
    }
}

impl Deliveries {
    pub(crate) fn new(plan: &SharePlan) -> Self {
        Self {
            plan: plan.clone(),
            shelves: BTreeMap::new(),
            members: BTreeMap::new(),
            resets: Vec::new(),
            open: BTreeMap::new(),
            unheard: BTreeMap::new(),
            starts: BTreeMap::new(),
            copies: BTreeMap::new(),
        }
    }

    /// A member asks for records.
    pub(crate) fn asks(&mut self, member: MemberId) {
        *self.open.entry(member).or_default() += 1;
    }

    /// It was answered.
    pub(crate) fn was_answered(&mut self, member: MemberId) {
        *self.open.entry(member).or_default() -= 1;
    }

    /// It will never be: nobody hears what the answer hands out.
    pub(crate) fn is_not_answered(&mut self, member: MemberId) {
        self.was_answered(member);
        *self.unheard.entry(member).or_default() += 1;
    }

    /// The server has heard a member at `sent_ms`, or later.
    pub(crate) fn heard_by_server(&mut self, member: MemberId, sent_ms: i64, when: When) {
        let until_ms = sent_ms + i64::from(self.plan.session_timeout_ms);
        let (life, known_ms) = (when.life, when.now_ms);
        let (born_ms, seen_ms, has_left) = (sent_ms, sent_ms, false);
        let known = Alive { until_ms, life, has_left, born_ms, known_ms, seen_ms };
        let alive = self.members.entry(member).or_insert(known);
        if alive.life != life {
            *alive = known;
        }
        alive.until_ms = alive.until_ms.max(until_ms);
    }

    /// A member says good-bye.
    pub(crate) fn leaves(&mut self, member: MemberId) {
        if let Some(alive) = self.members.get_mut(&member) {
            alive.has_left = true;
        }
    }

    /// Whether the server surely takes a member for alive.
    pub(crate) fn is_alive(&self, member: MemberId, when: When) -> bool {
        let alive = self.members.get(&member);
        alive.is_some_and(|it| it.life == when.life && !it.has_left && it.until_ms > when.now_ms)
    }

    /// A member hears that it has a record to itself.
    pub(crate) fn hand_out(
        &mut self,
        at: At,
        handout: Handout,
        walls: &Walls,
    ) -> Result<Shown, String> {
        if let Some(alive) = self.members.get_mut(&handout.member) {
            alive.known_ms = alive.known_ms.min(handout.at.latest_ms);
            alive.seen_ms = alive.seen_ms.max(handout.at.earliest_ms);
        }
        let (place, offset) = at;
        let record = self.shelves.entry(place).or_default().records.entry(offset).or_default();
        let last = record.last;
        *record.heard_by.entry(handout.member).or_default() += 1;
        if handout.dead.is_none() {
            record.said.push((handout.member, Word::Had));
        }
        self.check_member(place, handout.member, handout.at.earliest_ms)?;
        self.hold(place, handout.member, |version, book| {
            version.check_handout(at, &handout, (book, walls))
        })?;
        let is_late = last.is_some_and(|last| {
            !last.is_before(&handout) && !self.is_of_before(place, last.member, handout.member)
        });
        if is_late {
            // Somebody hears it late.
            return Ok(Shown::default());
        }
        self.known_mut(at).last = Some(handout);
        let Some(last) = last else { return Ok(Shown::default()) };
        let stamp = When { now_ms: handout.at.latest_ms + 1, life: handout.life };
        let is_same_life = last.life == handout.life;
        let was_left = last.said == Said::Nothing && is_same_life;
        let is_locked = was_left && handout.at.latest_ms < last.until_ms;
        if is_locked && last.member != handout.member && self.is_alive(last.member, stamp) {
            return Err(format!("{at:?} is locked, {last:?}, and handed out: {handout:?}"));
        }
        Ok(Shown { lock_ended: was_left && last.member != handout.member })
    }

    /// The application of a member rejects a record.
    pub(crate) fn refuse(&mut self, at: At, member: MemberId) {
        self.known_mut(at).said.push((member, Word::Refused));
    }

    /// A member says what became of a run of offsets.
    pub(crate) fn say(
        &mut self,
        member: MemberId,
        (place, first, last): (Place, Offset, Offset),
        (verdict, life): (Verdict, usize),
    ) -> Sent {
        let records = self.handed(member, (place, first, last), life);
        let shelf = self.shelves.entry(place).or_default();
        for (_, record) in shelf.records.range_mut(first..=last) {
            let word = match verdict {
                Verdict::Accept => Some(Word::Accepted),
                Verdict::Reject => Some(Word::Rejected),
                Verdict::DeadLettered => Some(Word::DeadLettered),
                _ => None,
            };
            record.said.extend(word.map(|word| (member, word)));
            let is_its = |it: &&mut Handout| it.member == member && it.life == life;
            if let Some(handout) = record.last.as_mut().filter(is_its) {
                match verdict {
                    Verdict::Renew => {}
                    Verdict::Defer { .. } => handout.said = Said::Deferred,
                    // A leap to the next record reaches over what was given back before.
                    Verdict::Gone if handout.said == Said::Deferred => {}
                    _ => handout.said = Said::Something,
                }
            }
        }
        Sent { place, first, last, verdict, member, records }
    }

    /// What is known of each record of a run for who says something of it.
    fn handed(
        &self,
        member: MemberId,
        (place, first, last): (Place, Offset, Offset),
        life: usize,
    ) -> Vec<SentOf> {
        let Some(shelf) = self.shelves.get(&place) else { return Vec::new() };
        let of_record = |(offset, record): (&Offset, &Known)| {
            let in_life = record.last.filter(|it| it.life == life);
            let is_given_on = in_life
                .is_some_and(|it| it.member != member && !self.may_part(place, it.member, member));
            let handout = in_life.filter(|it| it.member == member);
            SentOf { offset: *offset, handout, is_given_on, heard: record.heard_of(member) }
        };
        shelf.records.range(first..=last).map(of_record).collect()
    }

    /// The server has taken a verdict on a run of offsets, sent at `sent_ms`.
    pub(crate) fn taken(
        &mut self,
        sent: &Sent,
        (sent_ms, when): (i64, When),
        walls: &Walls,
    ) -> Result<(), String> {
        let Sent { place, verdict, member, .. } = *sent;
        self.check_member(place, member, sent_ms)?;
        let died_waiting = self.unheard.contains_key(&member);
        for SentOf { offset, handout, is_given_on, heard } in &sent.records {
            let at = (place, *offset);
            let record = self.known_mut(at);
            // What it was handed since, it may have had before its verdict came; and one that died
            // while it waited for records may have been handed some.
            let is_its_again = record.heard_of(member) > *heard;
            let again = record.last.filter(|last| is_its_again && last.member == member);
            let may_have_it = is_its_again || died_waiting;
            if *is_given_on && !may_have_it {
                return Err(format!("{at:?}: {verdict:?} is taken of who does not have it"));
            }
            if handout.is_none() && verdict != Verdict::Gone && !may_have_it {
                return Err(format!("{at:?}: {verdict:?} is taken of who was never handed it"));
            }
            self.settle(at, (member, handout.or(again)), (verdict, sent_ms), (when, walls))?;
        }
        Ok(())
    }

    /// The server says that of it all that was not done before has its verdict now.
    pub(crate) fn was_taken_before(
        &mut self,
        sent: &Sent,
        when: When,
        walls: &Walls,
    ) -> Result<(), String> {
        let ends = matches!(sent.verdict, Verdict::Accept | Verdict::Gone | Verdict::DeadLettered);
        let is_one = sent.first == sent.last && sent.verdict != Verdict::Renew;
        if !ends && !is_one {
            // A part of it was done before, nobody knows which; and to renew nothing waits for the
            // disk.
            return Ok(());
        }
        for SentOf { offset, .. } in &sent.records {
            let at = (sent.place, *offset);
            self.settle(at, (sent.member, None), (Verdict::Accept, 0), (when, walls))?;
        }
        Ok(())
    }

    fn settle(
        &mut self,
        at: At,
        (member, handout): (MemberId, Option<Handout>),
        (verdict, sent_ms): (Verdict, i64),
        (when, walls): (When, &Walls),
    ) -> Result<(), String> {
        let lock_ms = i64::from(self.plan.lock_ms);
        let record = self.known_mut(at);
        // Which of the two handings out it was taken of, if there are two, nobody knows.
        let latest = handout.map(|handout| record.latest_of(handout, verdict));
        let due_unix_ms = match verdict {
            Verdict::Release { delay_ms } => {
                let earliest = walls.earliest_shown((sent_ms, when.now_ms));
                Some(earliest.saturating_add_unsigned(delay_ms))
            }
            Verdict::Defer { until_unix_ms } => Some(until_unix_ms),
            _ => None,
        };
        match (verdict, handout, &mut record.last) {
            (Verdict::Accept | Verdict::Gone | Verdict::DeadLettered, ..) => record.was_done = true,
            (Verdict::Renew, Some(handout), Some(last))
                if (last.member, last.at) == (handout.member, handout.at) =>
            {
                last.until_ms = last.until_ms.max(sent_ms + lock_ms);
            }
            _ => {}
        }
        let due = due_unix_ms.map(|unix_ms| Due { unix_ms, since_ms: sent_ms });
        let due = due.map_or(Ok(None), |due| self.delay(at, handout, (due, walls)))?;
        for version in self.versions_of(at.0, member) {
            version.settle(at.1, (verdict, [handout, latest]), (due, when));
        }
        Ok(())
    }

    /// It is not to be handed out again before that. Somebody may have had it meanwhile.
    fn delay(
        &self,
        at: At,
        handout: Option<Handout>,
        (due, walls): (Due, &Walls),
    ) -> Result<Option<Due>, String> {
        let last = self.known(at).and_then(|record| record.last);
        let (Some(handout), Some(last)) = (handout, last) else { return Ok(None) };
        // If its member was handed it again meanwhile, the verdict may be of that.
        if last.member == handout.member || !handout.is_before(&last) {
            return Ok(Some(due));
        }
        if due.is_before(&last, walls)
            && last.count == handout.count + 1
            && !self.is_of_before(at.0, handout.member, last.member)
        {
            return Err(format!("{at:?} is not due, {due:?}, and was handed out: {last:?}"));
        }
        Ok(None)
    }

    /// Whether it was answered once that nobody gets a record again.
    pub(crate) fn was_done(&self, at: At) -> bool {
        self.known(at).is_some_and(|record| record.was_done)
    }

    /// Whether a member may have a record that it has said nothing of.
    pub(crate) fn is_at_work(&self) -> bool {
        let records = self.shelves.values().flat_map(|shelf| shelf.records.values());
        let mut last = records.filter_map(|record| record.last);
        last.any(|handout| handout.said == Said::Nothing)
    }

    /// Before this everything is done, as somebody was told last.
    pub(crate) fn start(&self, place: Place) -> Offset {
        self.starts.get(&place).copied().unwrap_or(Offset::ZERO)
    }

    fn known(&self, (place, offset): At) -> Option<&Known> {
        self.shelves.get(&place)?.records.get(&offset)
    }

    fn known_mut(&mut self, (place, offset): At) -> &mut Known {
        self.shelves.entry(place).or_default().records.entry(offset).or_default()
    }
}

impl Known {
    fn heard_of(&self, member: MemberId) -> u32 {
        self.heard_by.get(&member).copied().unwrap_or(0)
    }

    /// The latest handing out to the member that says something of an earlier one. It has said it
    /// of this one, too.
    fn latest_of(&mut self, handout: Handout, verdict: Verdict) -> Handout {
        let is_its =
            |last: &&mut Handout| (last.member, last.life) == (handout.member, handout.life);
        let Some(last) = self.last.as_mut().filter(is_its) else { return handout };
        last.said = match (last.said, verdict) {
            (_, Verdict::Defer { .. }) => Said::Deferred,
            (Said::Nothing, Verdict::Renew) => Said::Nothing,
            (Said::Nothing, _) => Said::Something,
            (said, _) => said,
        };
        *last
    }
}
