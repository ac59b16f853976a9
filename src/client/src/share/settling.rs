//! Telling the server what became of records, and that others are still at work.
//!
//! One request at a time: while it is under way to the disk, the next one gathers. What a newcomer
//! gets wrong: after a lost connection the same verdicts are sent again, and an answer that says
//! they were done before is the answer that was lost.

use super::acquiring::RENEW_PART;
use super::held::{Given, Key, Run, Stage, runs};
use super::{Asked, LINK, SettleFault, ShareConsumer, ShareNotice, Standing, UNSEEN};
use crate::consumer::RETRY_DELAY;
use crate::{ConnectionFault, Instant, ServerError};
use alloc::vec::Vec;
use plimsoll_wire::{
    ErrorCode, RangeToSettle, SHARE_RANGES_MAX, ShareSettle, ShareSettled, Verdict,
};

impl ShareConsumer {
    /// Sends the verdicts that wait.
    pub(super) fn settle(&mut self, now: Instant) {
        let is_due = self.settle_at.is_none_or(|at| at <= now);
        if self.is_settling || !is_due || self.to_settle.is_empty() {
            return;
        }
        self.settle_at = None;
        let given = self.to_settle.iter().filter_map(|key| match &self.held.get(key)?.stage {
            Stage::Settling(given) => Some((*key, given.verdict, given.is_alone)),
            _ => None,
        });
        let (mut runs, taken) = runs(given, SHARE_RANGES_MAX as usize);
        for run in runs.iter_mut().filter(|run| run.verdict == Verdict::Gone) {
            // Tried once. If others have acquired of it meanwhile, they see for themselves.
            if let Some(last) = self.leaps.remove(&(run.place, run.last)) {
                run.last = last;
            }
        }
        for _ in 0..taken {
            let Some(key) = self.to_settle.pop_first() else { break };
            if let Some(given) = self.given(key) {
                given.is_sent = true;
            }
        }
        if !runs.is_empty() {
            self.is_settling = true;
            let asked = Asked::Settle { era: self.era, runs: runs.clone() };
            self.send_runs(asked, &runs, now);
        }
    }

    fn send_runs(&mut self, asked: Asked, runs: &[Run], now: Instant) {
        let range = |run: &Run| {
            let &Run { place: partition, first, last, verdict } = run;
            RangeToSettle { partition, first, last, verdict }
        };
        let ranges = runs.iter().map(range).collect();
        let request = ShareSettle { group: &self.group, member: self.member, ranges };
        self.links.request(LINK, asked, now, |id, out| request.encode(id, out));
    }

    fn given(&mut self, key: Key) -> Option<&mut Given> {
        match &mut self.held.get_mut(&key)?.stage {
            Stage::Settling(given) => Some(given),
            _ => None,
        }
    }

    /// The keys of a run whose verdict was sent.
    fn sent_keys(&self, run: &Run) -> Vec<Key> {
        let is_sent = |stage: &Stage| matches!(stage, Stage::Settling(given) if given.is_sent);
        let in_run = self.held.range(run.keys());
        in_run.filter(|(_, held)| is_sent(&held.stage)).map(|(key, _)| *key).collect()
    }

    pub(super) fn settled(
        &mut self,
        runs: &[Run],
        answer: &ShareSettled,
    ) -> Result<(), ConnectionFault> {
        self.is_settling = false;
        if answer.errors.len() != runs.len() {
            return Err(ConnectionFault::Unexpected("answers to other verdicts"));
        }
        for (run, error) in runs.iter().zip(&answer.errors) {
            for key in self.sent_keys(run) {
                self.answered(key, run.is_single(), *error);
            }
        }
        Ok(())
    }

    fn answered(&mut self, key: Key, is_single: bool, error: Option<ErrorCode>) {
        let Some(given) = self.given(key) else { return };
        let was_sent_before = given.may_be_done;
        let fault = match error {
            None | Some(ErrorCode::AlreadySettled) => None,
            Some(_) if !is_single => {
                // Some of the run: each by itself now.
                (given.is_sent, given.may_be_done, given.is_alone) = (false, true, true);
                self.to_settle.insert(key);
                return;
            }
            Some(ErrorCode::LockLost) => match given.verdict {
                // Whoever had it released: it is free, as was asked for.
                Verdict::Release { .. } | Verdict::Defer { .. } if was_sent_before => None,
                Verdict::Reject if was_sent_before => Some(SettleFault::Unknown),
                _ => Some(SettleFault::LockLost),
            },
            Some(code) => Some(SettleFault::Refused(code)),
        };
        let id = given.id;
        self.held.remove(&key);
        self.end_settle(key, id, fault);
    }

    /// The request as a whole was refused.
    pub(super) fn unsettled_runs(&mut self, runs: &[Run], error: &ServerError, now: Instant) {
        self.is_settling = false;
        let passes = matches!(
            error.code,
            ErrorCode::Overloaded | ErrorCode::DiskFull | ErrorCode::DiskFailed
        );
        for key in runs.iter().flat_map(|run| self.sent_keys(run)).collect::<Vec<_>>() {
            let Some(given) = self.given(key) else { continue };
            if passes {
                given.is_sent = false;
                given.may_be_done |= error.code == ErrorCode::DiskFailed;
                self.to_settle.insert(key);
            } else {
                let id = given.id;
                self.held.remove(&key);
                self.end_settle(key, id, Some(SettleFault::Refused(error.code)));
            }
        }
        self.settle_at = Some(now + RETRY_DELAY);
    }

    /// What was sent and not answered is sent again on the next connection.
    pub(super) fn send_again(&mut self) {
        self.is_settling = false;
        for (key, held) in &mut self.held {
            if let Stage::Settling(given) = &mut held.stage
                && given.is_sent
            {
                (given.is_sent, given.may_be_done) = (false, true);
                self.to_settle.insert(*key);
            }
        }
    }

    /// The locks that this member has are renewed, and what it has held for too long is given up.
    pub(super) fn renew(&mut self, now: Instant) {
        self.renew_at = None;
        let (hold_max, mut lost) = (self.options.hold_max, 0);
        let mut renewed: Vec<Key> = Vec::new();
        let (mut over, mut unseen) = (Vec::new(), Vec::new());
        for (key, held) in &self.held {
            let is_old = now.since(held.since) >= hold_max;
            let is_over = held.lock_until <= now;
            match &held.stage {
                Stage::Settling(given) if given.is_sent => {}
                Stage::Wanted | Stage::Ready | Stage::Out if is_over => over.push(*key),
                Stage::Wanted | Stage::Ready if is_old => unseen.push(*key),
                Stage::Out if is_old => {}
                _ => renewed.push(*key),
            }
        }
        for key in over {
            lost += u32::from(self.lose(key));
        }
        for key in unseen {
            self.fetching.wanted.remove(&key);
            self.settle_as(key, UNSEEN, None);
        }
        self.tell_lost(lost);
        if self.held.is_empty() {
            return;
        }
        self.renew_at = Some(now + self.lock / RENEW_PART);
        if self.links.is_ready(LINK) && self.standing.is_member() {
            self.send_renewals(renewed.into_iter().map(|key| (key, Verdict::Renew, false)), now);
        }
        self.work(now);
    }

    fn send_renewals(&mut self, keys: impl Iterator<Item = (Key, Verdict, bool)>, now: Instant) {
        // At most `records_max` keys, and a frame takes as many runs.
        let (runs, _) = runs(keys, SHARE_RANGES_MAX as usize);
        if !runs.is_empty() {
            let asked = Asked::Renew { era: self.era, sent_at: now, runs: runs.clone() };
            self.send_runs(asked, &runs, now);
        }
    }

    pub(super) fn renewed(
        &mut self,
        runs: &[Run],
        sent_at: Instant,
        answer: &ShareSettled,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        if answer.errors.len() != runs.len() {
            return Err(ConnectionFault::Unexpected("answers to other locks"));
        }
        let lock_until = sent_at + self.lock;
        let (mut again, mut lost) = (Vec::new(), 0);
        for (run, error) in runs.iter().zip(&answer.errors) {
            match error {
                None => {
                    for (_, held) in self.held.range_mut(run.keys()) {
                        held.lock_until = held.lock_until.max(lock_until);
                    }
                }
                Some(_) => {
                    let keys: Vec<Key> = self.held.range(run.keys()).map(|(key, _)| *key).collect();
                    if !run.is_single() {
                        again.extend(keys.into_iter().map(|key| (key, Verdict::Renew, true)));
                        continue;
                    }
                    // What has its verdict learns from the answer to that.
                    let is_undecided = |key: &Key| {
                        self.held.get(key).is_some_and(|held| {
                            matches!(held.stage, Stage::Wanted | Stage::Ready | Stage::Out)
                        })
                    };
                    let undecided: Vec<Key> = keys.into_iter().filter(is_undecided).collect();
                    for key in undecided {
                        lost += u32::from(self.lose(key));
                    }
                }
            }
        }
        self.tell_lost(lost);
        self.send_renewals(again.into_iter(), now);
        Ok(())
    }

    pub(super) fn tell_lost(&mut self, records: u32) {
        if records > 0 {
            self.notice(ShareNotice::LocksLost { records });
        }
    }

    /// Everything was answered: the server may hear the good-bye.
    pub(super) fn finish_leaving(&mut self, now: Instant) {
        if self.standing == Standing::Leaving
            && !self.is_settling
            && self.to_settle.is_empty()
            && self.acquires == 0
            && self.held.is_empty()
        {
            self.standing = Standing::Left;
            self.say_good_bye(now);
        }
    }
}
