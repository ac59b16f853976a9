//! What must hold of a partition in share mode, if a reset, or none, was the last that happened.
//!
//! What a newcomer gets wrong: what excuses the server (somebody was handed the record, somebody
//! has accepted it) is looked up among all that was ever said, by those who may have said it since
//! that reset. What binds it is kept here, and is only what is sure.

use std::collections::BTreeMap;

use plimsoll_wire::{DeadReason, MemberId, Offset, Verdict};

use super::resets::ShareResetId;
use super::{At, Deliveries, Handout, Said, When, Word};
use crate::walls::Walls;

/// What must hold since a reset, or since the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Version {
    pub(super) since: Option<ShareResetId>,
    /// What is before it is not handed out.
    pub(super) low: Offset,
    records: BTreeMap<Offset, Kept>,
}

/// What must hold of a record.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    /// How often it was handed out, as is on disk.
    floor: u32,
    due: Option<Due>,
    done: Option<Settled>,
    rejected: Option<Settled>,
}

/// Not before the wall clock has shown a time, since it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) unix_ms: i64,
    pub(super) since_ms: i64,
}

/// A verdict that was answered.
#[derive(Clone, Copy, Debug)]
struct Settled {
    life: usize,
    heard_ms: i64,
    /// Of a handing out for work in this life.
    count: Option<u32>,
}

impl Settled {
    /// Whether a handing out was surely after this.
    fn is_before(&self, handout: &Handout) -> bool {
        let is_of_count = |count: u32| {
            handout.life == self.life && handout.dead.is_none() && handout.count >= count
        };
        handout.life > self.life
            || handout.at.earliest_ms > self.heard_ms
            || self.count.is_some_and(is_of_count)
    }
}

impl Due {
    /// Whether a handing out came too early.
    pub(super) fn is_before(&self, handout: &Handout, walls: &Walls) -> bool {
        walls.latest_shown((self.since_ms, handout.at.latest_ms)) < self.unix_ms
    }
}

impl Version {
    pub(super) fn new(since: Option<ShareResetId>, low: Offset) -> Self {
        Self { since, low, records: BTreeMap::new() }
    }

    /// Whether a record may be handed out so.
    pub(super) fn check_handout(
        &self,
        at: At,
        handout: &Handout,
        (book, walls): (&Deliveries, &Walls),
    ) -> Result<(), String> {
        if at.1 < self.low {
            let low = self.low;
            return Err(format!("{at:?} is before {low}, where it begins, and has {handout:?}"));
        }
        let last = book.known(at).and_then(|record| record.last);
        let kept = self.records.get(&at.1).copied().unwrap_or_default();
        if let Some(done) = &kept.done
            && done.is_before(handout)
        {
            return Err(format!("{at:?} is done, {done:?}, and handed out again: {handout:?}"));
        }
        if let Some(rejected) = &kept.rejected
            && rejected.is_before(handout)
            && handout.dead.is_none()
        {
            return Err(format!("{at:?} is rejected and handed out for work: {handout:?}"));
        }
        if let Some(due) = kept.due
            && due.is_before(handout, walls)
            && last.is_none_or(|last| last.is_before(handout))
        {
            return Err(format!("{at:?} is not due, {due:?}, and handed out: {handout:?}"));
        }
        self.check_count(at, handout, book)
    }

    /// How often it was handed out goes up by one each time, and no higher than it may.
    fn check_count(&self, at: At, handout: &Handout, book: &Deliveries) -> Result<(), String> {
        let Handout { count, dead, .. } = *handout;
        let deliveries_max = book.plan.deliveries_max;
        // Those who wait may have been handed it, too, and have not heard of it.
        let heard = self.heard(at, book);
        match dead {
            Some(DeadReason::Rejected) if !self.has(at, Word::Rejected, book) => {
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
        let last = book.known(at).and_then(|record| record.last);
        let is_late = last.is_some_and(|last| !last.is_before(handout));
        let last = last.filter(|last| last.life == handout.life && last.is_before(handout));
        let last = last.filter(|last| book.is_surely_of(self.since, last.member));
        let in_life = last.map_or(0, |last| match last.said {
            Said::Deferred => last.count.saturating_sub(1),
            _ => last.count,
        });
        let floor = self.records.get(&at.1).map_or(0, |kept| kept.floor);
        if !is_late && count <= floor.max(in_life) {
            let text = format!("{at:?}: {} deliveries are forgotten", floor.max(in_life));
            return Err(format!("{text}: {handout:?} after {last:?}"));
        }
        Ok(())
    }

    /// A verdict on a record was answered.
    pub(super) fn settle(
        &mut self,
        offset: Offset,
        (verdict, [handout, latest]): (Verdict, [Option<Handout>; 2]),
        (due, when): (Option<Due>, When),
    ) {
        let kept = self.records.entry(offset).or_default();
        let worked_on =
            |handout: Option<Handout>| handout.filter(|it| it.dead.is_none()).map(|it| it.count);
        let (count, count_max) = (worked_on(handout), worked_on(latest));
        let settled = Settled { life: when.life, heard_ms: when.now_ms, count: count_max };
        match verdict {
            Verdict::Accept | Verdict::Gone | Verdict::DeadLettered => {
                kept.done.get_or_insert(settled);
            }
            Verdict::Reject => drop(kept.rejected.get_or_insert(settled)),
            Verdict::Release { .. } => kept.floor = kept.floor.max(count.unwrap_or(0)),
            Verdict::Defer { .. } => kept.floor = kept.floor.max(count.unwrap_or(1) - 1),
            Verdict::Renew => {}
        }
        kept.due = due.or(kept.due);
    }

    /// Before the wall clock shows this nobody is handed a record, as somebody asked for.
    pub(super) fn due_unix_ms(&self, offset: Offset) -> Option<i64> {
        self.records.get(&offset)?.due.map(|due| due.unix_ms)
    }

    /// How often a record may have been handed out for work.
    pub(super) fn heard(&self, at: At, book: &Deliveries) -> u64 {
        let requests = book.open.iter().chain(&book.unheard);
        let of_it = requests.filter(|(member, _)| book.may_be_of(self.since, **member));
        let unheard: u64 = of_it.map(|(_, requests)| requests).sum();
        self.words(at, book).filter(|word| *word == Word::Had).count() as u64 + unheard
    }

    /// Whether somebody has said it.
    pub(super) fn has(&self, at: At, word: Word, book: &Deliveries) -> bool {
        self.words(at, book).any(|it| it == word)
    }

    fn words(&self, at: At, book: &Deliveries) -> impl Iterator<Item = Word> {
        let said: &[(MemberId, Word)] = book.known(at).map_or(&[], |record| &record.said[..]);
        let of_it = said.iter().filter(|(member, _)| book.may_be_of(self.since, *member));
        of_it.map(|(_, word)| *word)
    }
}
