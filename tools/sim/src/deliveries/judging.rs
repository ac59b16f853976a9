//! What a group in share mode says to be done is done, and at the end nothing was forgotten.
//!
//! What a newcomer gets wrong: a verdict that was sent and never answered may have been taken.

use std::collections::BTreeMap;

use plimsoll_wire::{MemberId, Offset};

use super::version::Version;
use super::{At, Deliveries, Word};
use crate::ledger::{Entry, Ledger, Place, Violation};
use crate::met::Met;
use crate::value::{RecordId, id_of, value_of};
use crate::walls::Walls;

/// When members that are to be calm have no locks of before any more.
const CALMING_MS: i64 = 1_000;
/// How late a record is shown where nothing is wrong.
const LATE_MS_MAX: i64 = 2_500;

impl Deliveries {
    /// Whether the server may take a record for done, if a version holds.
    fn may_be_done(&self, version: &Version, at: At) -> bool {
        let has = |word| version.has(at, word, self);
        let is_used_up = || version.heard(at, self) >= u64::from(self.plan.deliveries_max);
        match self.plan.dead_letters {
            _ if at.1 < version.low => true,
            Some(_) => has(Word::Accepted) || has(Word::DeadLettered),
            // With nowhere to go dead records are dropped.
            None => has(Word::Accepted) || has(Word::Rejected) || is_used_up(),
        }
    }

    /// Whether a record was accepted, or it is known where it went, if a version holds.
    fn is_accounted_for(&self, version: &Version, at: At, id: RecordId) -> bool {
        let is_dead_lettered = version.has(at, Word::DeadLettered, self);
        let may_be_lost = self.known(at).is_some_and(|it| it.may_have_lost_copy);
        // A copy may be of the time before a reset; then somebody has said since that there is one.
        let is_copied = version.since.is_none() || is_dead_lettered;
        match self.plan.dead_letters {
            _ if at.1 < version.low => true,
            Some(_) => {
                version.has(at, Word::Accepted, self)
                    || (may_be_lost && is_dead_lettered)
                    || (is_copied && self.has_copy(at, id))
            }
            None => self.may_be_done(version, at),
        }
    }
}

impl Ledger {
    /// Something that was done to a group in share mode, or heard of it.
    pub(crate) fn of_share(&mut self, share: usize, outcome: Result<(), String>) {
        if let Err(text) = outcome
            && !self.is_damaged
        {
            self.violate(format!("share group {share}: {text}"));
        }
    }

    /// An application is shown a record.
    pub(crate) fn shown_in_share(&mut self, share: usize, (place, offset): At, value: &[u8]) {
        let Some(id) = id_of(value).filter(|id| self.entry(*id).is_some()) else {
            return self.of_share(share, Err(format!("{place:?}: nobody produced {offset}")));
        };
        self.tell(place, offset, id);
        let Some(Entry { length, due_ms, begun, .. }) = self.entry(id).cloned() else { return };
        if value != value_of(id, length) {
            self.of_share(share, Err(format!("{place:?}: {id:?} at {offset} has other bytes")));
        }
        let Some(due_ms) = due_ms else { return };
        self.meet(Met::Delayed);
        let (begun_ms, now_ms) = (Walls::steady_ms_at(begun), self.now_ms);
        // It has come when the server's clock has said so, once, and what has passed since.
        let counted_ms = self.walls.latest_counted((begun_ms, self.steady_ms()));
        if counted_ms < due_ms {
            let text = format!("{place:?}: {offset} is shown at {now_ms}, and is of {due_ms}");
            self.of_share(share, Err(text));
        }
        // Who could not read it may have put it off.
        let due_ms = self.shares[share].due_unix_ms((place, offset)).max(due_ms);
        let is_calm = |since_ms: i64| since_ms + CALMING_MS < due_ms;
        let is_late = self.calm_since_ms.is_some_and(is_calm) && now_ms > due_ms + LATE_MS_MAX;
        if is_late && self.walls.is_untouched_since(begun_ms) {
            let text = format!("{place:?}: {offset} is of {due_ms}, and is shown at {now_ms}");
            self.of_share(share, Err(text));
        }
    }

    /// Somebody was told before which offset everything is done: a member, or the operator.
    pub(crate) fn saw_share_start(
        &mut self,
        share: usize,
        (place, start): (Place, Offset),
        member: Option<MemberId>,
    ) {
        let book = &self.shares[share];
        if member.is_some_and(|member| !book.is_of_now(place, member)) {
            return;
        }
        let told = self.told.range((place, Offset::ZERO)..(place, start));
        let there = told.filter(|(at, id)| {
            let entry = self.entry(**id);
            let is_there = entry.is_some_and(|it| it.required && it.offset == Some(at.1));
            is_there && at.1 >= self.starts.known(place)
        });
        let there: Vec<At> = there.map(|(at, _)| *at).collect();
        let not_done = |version: &Version| {
            let left = there.iter().copied().filter(|at| !book.may_be_done(version, *at));
            (start < version.low, left.collect::<Vec<At>>())
        };
        let possible: Vec<_> = book.possible(place).iter().map(not_done).collect();
        if possible.iter().any(|(_, left)| !left.is_empty()) {
            self.note_what_may_go(place);
        }
        let stays = |at: &At| !self.starts.may_have_gone(place, at.1);
        let holds = |(is_low, left): &(bool, Vec<At>)| !is_low && !left.iter().any(stays);
        if !possible.iter().any(holds) {
            let text = format!("{place:?} begins at {start}; too low, and not done: {possible:?}");
            self.of_share(share, Err(text));
        }
        self.shares[share].starts.insert(place, start);
    }

    /// At the end: every record was accepted, or is in the dead-letter topic.
    pub(crate) fn judge_shares(
        &self,
        logs: &BTreeMap<Place, BTreeMap<Offset, RecordId>>,
    ) -> Result<(), Violation> {
        for (number, share) in self.shares.iter().enumerate() {
            let of_it = logs.iter().filter(|(place, _)| share.consumes(**place));
            for (place, log) in of_it {
                let forgotten = |version: &Version| {
                    let mut left = log.range(self.starts.known(*place)..);
                    left.find(|(offset, id)| {
                        let at = (*place, **offset);
                        !share.is_accounted_for(version, at, **id)
                            && !self.starts.may_have_gone(*place, at.1)
                    })
                };
                let found: Vec<_> = share.possible(*place).iter().map(forgotten).collect();
                if let (Some(Some((offset, id))), true) =
                    (found.first(), found.iter().all(Option::is_some))
                {
                    let record = share.known((*place, **offset));
                    let text = format!("{id:?} at {offset} of {place:?} is forgotten: {record:?}");
                    return Err(Violation(format!("share group {number}: {text}")));
                }
            }
        }
        Ok(())
    }
}
