//! Asking for records, and taking down what came.
//!
//! What a newcomer gets wrong: the lock counts from when the server sent the answer. A member that
//! was stopped in between learns that from the server, which then knows the lock no more.

use super::held::{Held, Key, LockId, Stage};
use super::{Asked, LINK, ShareConsumer, ShareNotice, Standing, UNSEEN};
use crate::{ConnectionFault, Instant};
use core::mem;
use core::time::Duration;
use plimsoll_wire::{
    AcquiredRange, ErrorCode, Offset, SHARE_WAIT_MS_MAX, ShareAcquire, ShareAcquired,
};

impl ShareConsumer {
    /// Asks for records if the application wants some and the member has less than half of what it
    /// may have.
    pub(super) fn acquire(&mut self, now: Instant) {
        let records_max = self.options.records_max;
        let is_due = self.acquire_at.is_none_or(|at| at <= now);
        let has_room = self.held.len() <= records_max as usize / 2
            && self.fetching.wanted.is_empty()
            && self.ready_bytes < self.options.buffer_bytes_max;
        let is_member = self.standing == Standing::Member;
        if !is_member || !self.is_wanted || !is_due || !has_room || self.acquires > 0 {
            return;
        }
        self.acquire_at = None;
        let wait = self.options.link.request_timeout / 2;
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).min(SHARE_WAIT_MS_MAX);
        self.ask_for(records_max - self.held.len() as u32, wait_ms, now);
    }

    /// Ends a request that waits at the server: a second one does that, and what it gets is given
    /// back.
    pub(super) fn cancel_acquire(&mut self, now: Instant) {
        if self.standing == Standing::Leaving && self.acquires == 1 && self.links.is_ready(LINK) {
            self.ask_for(1, 0, now);
        }
    }

    fn ask_for(&mut self, max_records: u32, wait_ms: u32, now: Instant) {
        let request =
            ShareAcquire { group: &self.group, member: self.member, max_records, wait_ms };
        let asked = Asked::Acquire { era: self.era, records_max: max_records };
        self.links.request(LINK, asked, now, |id, out| request.encode(id, out));
        self.acquires += 1;
    }

    pub(super) fn acquired(
        &mut self,
        records_max: u32,
        answer: &ShareAcquired,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        self.acquires = self.acquires.saturating_sub(1);
        self.server_time = Some((answer.unix_ms, now));
        let is_missing = answer.warning == Some(ErrorCode::DeadLetterTopicNotFound);
        if mem::replace(&mut self.is_dead_letter_missing, is_missing) != is_missing && is_missing {
            self.notice(ShareNotice::DeadLetterTopicMissing);
        }
        let mut left = u64::from(records_max);
        for range in &answer.ranges {
            let records = range.last.distance_from(range.first).map(|between| between + 1);
            left = records
                .and_then(|records| left.checked_sub(records))
                .ok_or(ConnectionFault::Unexpected("records that were not asked for"))?;
        }
        if !answer.ranges.is_empty() {
            self.lock = Duration::from_millis(u64::from(answer.lock_ms.max(1)));
            for range in &answer.ranges {
                self.take_down(range, now + self.lock, now);
            }
            let renew_at = now + self.lock / RENEW_PART;
            self.renew_at = Some(self.renew_at.map_or(renew_at, |at| at.min(renew_at)));
        }
        Ok(())
    }

    fn take_down(&mut self, range: &AcquiredRange, lock_until: Instant, now: Instant) {
        for offset in range.first.value()..=range.last.value() {
            let key: Key = (range.partition, Offset::new(offset));
            // Handed out again: the lock that this member had was lost before it knew.
            self.lose(key);
            self.last_lock = LockId(self.last_lock.0 + 1);
            let held = Held {
                lock: self.last_lock,
                deliveries: range.deliveries,
                dead: range.dead,
                lock_until,
                since: now,
                stage: Stage::Wanted,
            };
            self.held.insert(key, held);
            if self.standing == Standing::Leaving {
                self.settle_as(key, UNSEEN, None);
            } else {
                self.fetching.wanted.insert(key);
            }
        }
    }

    /// Whether a time has come, by the server's clock, which this member knows only to be not
    /// behind what it last heard of it.
    pub(super) fn has_come(&self, unix_ms: i64, now: Instant) -> bool {
        self.server_time.is_some_and(|(server_unix_ms, heard_at)| {
            let since_ms = i64::try_from(now.since(heard_at).as_millis()).unwrap_or(i64::MAX);
            unix_ms <= server_unix_ms.saturating_add(since_ms)
        })
    }
}

/// A lock is renewed when this part of its time is over: two attempts fit in before it ends.
pub(super) const RENEW_PART: u32 = 3;
