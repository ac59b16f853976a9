//! What a group in share mode says to be done is done, and at the end nothing was forgotten.
//!
//! What a newcomer gets wrong: a verdict that was sent and never answered may have been taken.

use std::collections::BTreeMap;

use plimsoll_wire::Offset;

use super::{At, Deliveries};
use crate::ledger::{Entry, Ledger, Place, Violation};
use crate::met::Met;
use crate::value::{RecordId, id_of, value_of};

/// When members that are to be calm have no locks of before any more.
const CALMING_MS: i64 = 1_000;
/// How late a record is shown where nothing is wrong.
const LATE_MS_MAX: i64 = 2_500;

impl Deliveries {
    /// Whether the server may take a record for done.
    fn may_be_done(&self, at: At) -> bool {
        let record = self.records.get(&at);
        let asked = record.map(|it| it.asked).unwrap_or_default();
        let heard = record.map_or(0, |it| it.heard) + self.unheard + self.open;
        let is_used_up = heard >= u64::from(self.plan.deliveries_max);
        match self.plan.dead_letters {
            Some(_) => asked.is_accepted || asked.is_dead_lettered,
            // With nowhere to go dead records are dropped.
            None => asked.is_accepted || asked.is_rejected || is_used_up,
        }
    }

    /// Whether a record was accepted, or it is known where it went.
    fn is_accounted_for(&self, at: At, id: RecordId) -> bool {
        let record = self.records.get(&at);
        let is_accepted = record.is_some_and(|it| it.asked.is_accepted);
        let is_lost = record.is_some_and(|it| it.may_have_lost_copy && it.asked.is_dead_lettered);
        match self.plan.dead_letters {
            Some(_) => is_accepted || is_lost || self.has_copy(at, id),
            None => self.may_be_done(at),
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
        let Some(Entry { length, due_ms, .. }) = self.entry(id).cloned() else { return };
        if value != value_of(id, length) {
            self.of_share(share, Err(format!("{place:?}: {id:?} at {offset} has other bytes")));
        }
        let Some(due_ms) = due_ms else { return };
        let now_ms = self.now_ms;
        self.meet(Met::Delayed);
        if now_ms < due_ms {
            let text = format!("{place:?}: {offset} is shown at {now_ms}, and is of {due_ms}");
            self.of_share(share, Err(text));
        }
        // Who could not read it may have put it off.
        let due_ms = self.shares[share].due_ms((place, offset)).max(due_ms);
        let is_calm = |since_ms: i64| since_ms + CALMING_MS < due_ms;
        if self.calm_since_ms.is_some_and(is_calm) && now_ms > due_ms + LATE_MS_MAX {
            let text = format!("{place:?}: {offset} is of {due_ms}, and is shown at {now_ms}");
            self.of_share(share, Err(text));
        }
    }

    /// Somebody was told before which offset everything is done.
    pub(crate) fn saw_share_start(&mut self, share: usize, place: Place, start: Offset) {
        let told = self.told.range((place, Offset::ZERO)..(place, start));
        let book = &self.shares[share];
        let not_done = told.filter(|(at, id)| {
            let entry = self.entry(**id);
            let is_there = entry.is_some_and(|it| it.required && it.offset == Some(at.1));
            is_there && at.1 >= self.starts.known(place) && !book.may_be_done(**at)
        });
        let not_done: Vec<At> = not_done.map(|(at, _)| *at).collect();
        if !not_done.is_empty() {
            self.note_what_may_go(place);
        }
        let stays = |at: &&At| !self.starts.may_have_gone(place, at.1);
        if let Some(at) = not_done.iter().find(stays) {
            let text = format!("everything before {start} is said to be done, and {at:?} is not");
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
                let mut left = log.range(self.starts.known(*place)..);
                let forgotten = left.find(|(offset, id)| {
                    let at = (*place, **offset);
                    !share.is_accounted_for(at, **id) && !self.starts.may_have_gone(*place, at.1)
                });
                if let Some((offset, id)) = forgotten {
                    let record = share.records.get(&(*place, *offset));
                    let text = format!("{id:?} at {offset} of {place:?} is forgotten: {record:?}");
                    return Err(Violation(format!("share group {number}: {text}")));
                }
            }
        }
        Ok(())
    }
}
