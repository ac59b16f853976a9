//! What a group in share mode handed out, to whom, and what was said of it; and whether that was
//! kept (P5): what is accepted never comes again, nobody else has what is locked, nothing is early.
//!
//! It knows what members heard and sent. What a newcomer gets wrong: what is heard may have been
//! said long ago, by a server that has handed the record to somebody else since. The server's clock
//! in its answer tells; how often the record was handed out helps where that is not enough.

use std::collections::BTreeMap;

use plimsoll_wire::{DeadReason, MemberId, Offset, Verdict};

use crate::ledger::Place;
use crate::scenario::SharePlan;

mod copies;
mod judging;

pub(crate) use copies::DeadCopy;

/// A record, by its place.
pub(crate) type At = (Place, Offset);

/// The books of one group in share mode.
pub(crate) struct Deliveries {
    pub(crate) plan: SharePlan,
    records: BTreeMap<At, Known>,
    members: BTreeMap<MemberId, Alive>,
    /// Requests for records that wait for an answer, and those that never had one.
    open: u64,
    unheard: u64,
    /// Before these everything is done, as somebody was told last.
    starts: BTreeMap<Place, Offset>,
    /// What was found in the dead-letter topic, by the record that it is of.
    copies: BTreeMap<At, Vec<DeadCopy>>,
}

/// What is known of a record.
#[derive(Debug, Default)]
struct Known {
    /// How often it was heard to be handed out for work.
    heard: u64,
    /// And to whom, for work or as dead.
    heard_by: BTreeMap<MemberId, u32>,
    last: Option<Handout>,
    /// How often it was handed out, as is on disk.
    floor: u32,
    /// Not before this, by the server's clock.
    due_ms: i64,
    asked: Asked,
    /// Its copy may have gone with the dead-letter topic.
    may_have_lost_copy: bool,
    done: Option<Settled>,
    rejected: Option<Settled>,
}

/// What members have said of a record, heard by the server or not.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    is_accepted: bool,
    is_rejected: bool,
    is_dead_lettered: bool,
    /// The application rejects it, whatever becomes of that.
    is_refused: bool,
}

/// One handing out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handout {
    pub(crate) member: MemberId,
    pub(crate) life: usize,
    pub(crate) count: u32,
    pub(crate) dead: Option<DeadReason>,
    /// The server's clock then.
    pub(crate) stamp_ms: i64,
    /// Surely locked so long, unless the member has said something of it.
    pub(crate) until_ms: i64,
    said: Said,
}

/// What its holder has said of a record that it was handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    /// Not a delivery.
    Deferred,
    Something,
}

/// A verdict that was answered.
#[derive(Clone, Copy, Debug)]
struct Settled {
    life: usize,
    heard_ms: i64,
    /// Of a handing out for work in this life.
    count: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Alive {
    until_ms: i64,
    life: usize,
    has_left: bool,
}

/// When something is said or heard.
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
        (stamp_ms, lock_ms): (i64, u32),
    ) -> Self {
        let until_ms = stamp_ms + i64::from(lock_ms);
        Self { member, life, count, dead, stamp_ms, until_ms, said: Said::Nothing }
    }

    /// Whether it was surely before `other`.
    fn is_before(&self, other: &Self) -> bool {
        self.life < other.life
            || self.stamp_ms < other.stamp_ms
            || (self.stamp_ms == other.stamp_ms
                && (self.count < other.count
                    || (self.dead.is_none() && other.dead.is_some())
                    || self.said != Said::Nothing))
    }
}

impl Settled {
    /// Whether a handing out was surely after this.
    fn is_before(&self, handout: &Handout) -> bool {
        let is_of_count = |count: u32| {
            handout.life == self.life && handout.dead.is_none() && handout.count >= count
        };
        handout.life > self.life
            || handout.stamp_ms > self.heard_ms
            || self.count.is_some_and(is_of_count)
    }
}

impl Deliveries {
    pub(crate) fn new(plan: &SharePlan) -> Self {
        Self {
            plan: plan.clone(),
            records: BTreeMap::new(),
            members: BTreeMap::new(),
            open: 0,
            unheard: 0,
            starts: BTreeMap::new(),
            copies: BTreeMap::new(),
        }
    }

    /// A member asks for records.
    pub(crate) fn asks(&mut self) {
        self.open += 1;
    }

    /// It was answered.
    pub(crate) fn was_answered(&mut self) {
        self.open -= 1;
    }

    /// It will never be: nobody hears what the answer hands out.
    pub(crate) fn is_not_answered(&mut self, requests: u64) {
        self.open -= requests;
        self.unheard += requests;
    }

    /// The server has heard a member at `sent_ms`, or later.
    pub(crate) fn heard_by_server(&mut self, member: MemberId, sent_ms: i64, life: usize) {
        let until_ms = sent_ms + i64::from(self.plan.session_timeout_ms);
        let known = Alive { until_ms, life, has_left: false };
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
    pub(crate) fn hand_out(&mut self, at: At, handout: Handout) -> Result<Shown, String> {
        // Those who wait may have been handed it, too, and have not heard of it.
        let unheard = self.unheard + self.open;
        let stamp = When { now_ms: handout.stamp_ms + 1, life: handout.life };
        let deliveries_max = self.plan.deliveries_max;
        let record = self.records.entry(at).or_default();
        record.heard += u64::from(handout.dead.is_none());
        *record.heard_by.entry(handout.member).or_default() += 1;
        let heard = record.heard + unheard;
        let last = record.last;
        if let Some(done) = &record.done
            && done.is_before(&handout)
        {
            return Err(format!("{at:?} is done, {done:?}, and handed out again: {handout:?}"));
        }
        if let Some(rejected) = &record.rejected
            && rejected.is_before(&handout)
            && handout.dead.is_none()
        {
            return Err(format!("{at:?} is rejected and handed out for work: {handout:?}"));
        }
        if handout.stamp_ms < record.due_ms && last.is_none_or(|last| last.is_before(&handout)) {
            let due_ms = record.due_ms;
            return Err(format!("{at:?} is not due before {due_ms}, and handed out: {handout:?}"));
        }
        record.check_count(at, &handout, (heard, deliveries_max))?;
        if last.is_some_and(|last| !last.is_before(&handout)) {
            // Somebody hears it late.
            return Ok(Shown::default());
        }
        record.last = Some(handout);
        let Some(last) = last else { return Ok(Shown::default()) };
        let is_same_life = last.life == handout.life;
        let was_left = last.said == Said::Nothing && is_same_life;
        let is_locked = was_left && handout.stamp_ms < last.until_ms;
        if is_locked && last.member != handout.member && self.is_alive(last.member, stamp) {
            return Err(format!("{at:?} is locked, {last:?}, and handed out: {handout:?}"));
        }
        Ok(Shown { lock_ended: was_left && last.member != handout.member })
    }

    /// The application rejects a record.
    pub(crate) fn refuse(&mut self, at: At) {
        self.records.entry(at).or_default().asked.is_refused = true;
    }

    /// A member says what became of a run of offsets.
    pub(crate) fn say(
        &mut self,
        member: MemberId,
        (place, first, last): (Place, Offset, Offset),
        (verdict, life): (Verdict, usize),
    ) -> Sent {
        let mut records = Vec::new();
        for ((_, offset), record) in self.records.range_mut((place, first)..=(place, last)) {
            match verdict {
                Verdict::Accept => record.asked.is_accepted = true,
                Verdict::Reject => record.asked.is_rejected = true,
                Verdict::DeadLettered => record.asked.is_dead_lettered = true,
                _ => {}
            }
            let is_its = |it: &Handout| it.member == member && it.life == life;
            let handout = record.last.filter(is_its);
            let is_given_on = record.last.is_some_and(|it| !is_its(&it) && it.life == life);
            let heard = record.heard_of(member);
            if let Some(handout) = record.last.as_mut().filter(|it| is_its(it)) {
                match verdict {
                    Verdict::Renew => {}
                    Verdict::Defer { .. } => handout.said = Said::Deferred,
                    // A leap to the next record reaches over what was given back before.
                    Verdict::Gone if handout.said == Said::Deferred => {}
                    _ => handout.said = Said::Something,
                }
            }
            records.push(SentOf { offset: *offset, handout, is_given_on, heard });
        }
        Sent { place, first, last, verdict, member, records }
    }

    /// The server has taken a verdict on a run of offsets, sent at `sent_ms`.
    pub(crate) fn taken(&mut self, sent: &Sent, sent_ms: i64, when: When) -> Result<(), String> {
        for SentOf { offset, handout, is_given_on, heard } in &sent.records {
            let at = (sent.place, *offset);
            let verdict = sent.verdict;
            let record = &self.records[&at];
            // What it was handed since, it may have had before its verdict came.
            let is_its_again = record.heard_of(sent.member) > *heard;
            let again = record.last.filter(|last| is_its_again && last.member == sent.member);
            if *is_given_on && !is_its_again {
                return Err(format!("{at:?}: {verdict:?} is taken of who does not have it"));
            }
            if handout.is_none() && verdict != Verdict::Gone && !is_its_again {
                return Err(format!("{at:?}: {verdict:?} is taken of who was never handed it"));
            }
            self.settle(at, handout.or(again), (verdict, sent_ms), when)?;
        }
        Ok(())
    }

    /// The server says that of it all that was not done before has its verdict now.
    pub(crate) fn was_taken_before(&mut self, sent: &Sent, when: When) -> Result<(), String> {
        let ends = matches!(sent.verdict, Verdict::Accept | Verdict::Gone | Verdict::DeadLettered);
        let is_one = sent.first == sent.last && sent.verdict != Verdict::Renew;
        if !ends && !is_one {
            // A part of it was done before, nobody knows which; and to renew nothing waits for the
            // disk.
            return Ok(());
        }
        for SentOf { offset, .. } in &sent.records {
            self.settle((sent.place, *offset), None, (Verdict::Accept, 0), when)?;
        }
        Ok(())
    }

    fn settle(
        &mut self,
        at: At,
        handout: Option<Handout>,
        (verdict, sent_ms): (Verdict, i64),
        when: When,
    ) -> Result<(), String> {
        let record = self.records.entry(at).or_default();
        let worked_on =
            |handout: Option<Handout>| handout.filter(|it| it.dead.is_none()).map(|it| it.count);
        // Which of the two handings out it was taken of, if there are two, nobody knows.
        let (first, last) = (handout, handout.map(|handout| record.latest_of(handout, verdict)));
        let (count, count_max) = (worked_on(first), worked_on(last));
        let settled = Settled { life: when.life, heard_ms: when.now_ms, count: count_max };
        let until_ms = sent_ms + i64::from(self.plan.lock_ms);
        match verdict {
            Verdict::Accept | Verdict::Gone | Verdict::DeadLettered => {
                record.done.get_or_insert(settled);
            }
            Verdict::Reject => drop(record.rejected.get_or_insert(settled)),
            Verdict::Release { delay_ms } => {
                record.floor = record.floor.max(count.unwrap_or(0));
                record.delay(at, handout, sent_ms.saturating_add_unsigned(delay_ms))?;
            }
            Verdict::Defer { until_unix_ms } => {
                record.floor = record.floor.max(count.unwrap_or(1) - 1);
                record.delay(at, handout, until_unix_ms)?;
            }
            Verdict::Renew => {
                if let (Some(handout), Some(last)) = (handout, &mut record.last)
                    && (last.member, last.stamp_ms) == (handout.member, handout.stamp_ms)
                {
                    last.until_ms = last.until_ms.max(until_ms);
                }
            }
        }
        Ok(())
    }

    /// Before this nobody is handed a record, as somebody asked for.
    pub(crate) fn due_ms(&self, at: At) -> i64 {
        self.records.get(&at).map_or(0, |record| record.due_ms)
    }

    /// Whether it is known that nobody gets a record again.
    pub(crate) fn is_done(&self, at: At) -> bool {
        self.records.get(&at).is_some_and(|record| record.done.is_some())
    }

    /// Whether a member may have a record that it has said nothing of.
    pub(crate) fn is_at_work(&self) -> bool {
        let mut last = self.records.values().filter_map(|record| record.last);
        last.any(|handout| handout.said == Said::Nothing)
    }

    /// Before this everything is done, as somebody was told last.
    pub(crate) fn start(&self, place: Place) -> Offset {
        self.starts.get(&place).copied().unwrap_or(Offset::ZERO)
    }
}

impl Known {
    /// How often it was handed out goes up by one each time, and no higher than it may.
    fn check_count(
        &self,
        at: At,
        handout: &Handout,
        (heard, deliveries_max): (u64, u32),
    ) -> Result<(), String> {
        let Handout { count, dead, .. } = *handout;
        match dead {
            Some(DeadReason::Rejected) if !self.asked.is_rejected => {
                return Err(format!("{at:?} is dead, and nobody has rejected it: {handout:?}"));
            }
            Some(DeadReason::TooManyDeliveries)
                if count < deliveries_max || heard < u64::from(deliveries_max) =>
            {
                return Err(format!("{at:?} is dead after {heard} deliveries: {handout:?}"));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        if count > deliveries_max || u64::from(count) > heard {
            return Err(format!("{at:?} was handed out {heard} times at most: {handout:?}"));
        }
        let last = self.last.filter(|last| last.life == handout.life && last.is_before(handout));
        let in_life = last.map_or(0, |last| match last.said {
            Said::Deferred => last.count.saturating_sub(1),
            _ => last.count,
        });
        let is_late = self.last.is_some_and(|last| !last.is_before(handout));
        if !is_late && count <= self.floor.max(in_life) {
            let text = format!("{at:?}: {} deliveries are forgotten", self.floor.max(in_life));
            return Err(format!("{text}: {handout:?} after {:?}", self.last));
        }
        Ok(())
    }

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
            (Said::Nothing, Verdict::Renew) => Said::Nothing,
            (Said::Nothing, Verdict::Defer { .. }) => Said::Deferred,
            (Said::Nothing, _) => Said::Something,
            (said, _) => said,
        };
        *last
    }

    /// It is not to be handed out again before `due_ms`. Somebody may have had it meanwhile.
    fn delay(&mut self, at: At, handout: Option<Handout>, due_ms: i64) -> Result<(), String> {
        let (Some(handout), Some(last)) = (handout, self.last) else { return Ok(()) };
        // If its member was handed it again meanwhile, the verdict may be of that.
        if last.member == handout.member || !handout.is_before(&last) {
            self.due_ms = due_ms;
        } else if last.stamp_ms < due_ms && last.count == handout.count + 1 {
            return Err(format!("{at:?} is not due before {due_ms}, and was handed out: {last:?}"));
        }
        Ok(())
    }
}
