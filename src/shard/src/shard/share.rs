//! Groups in share mode: who asks for records gets them, or waits; who has them says what became of
//! them.
//!
//! What is under way is `groups/share.rs`; here are connections, time and the log. What a newcomer
//! gets wrong: a verdict counts in memory at once, for everybody else's sake, and is answered from
//! the log's watermark; memory that is ahead of the log is nobody's promise.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::Offset;
use plimsoll_wire::{
    AcquiredRange, CorrelationId, ErrorCode, MemberId, Opcode, RangeToSettle, SHARE_LOCK_MS_MAX,
    SHARE_LOCK_MS_MIN, SHARE_RANGES_MAX, SHARE_RECORDS_MAX, SHARE_WAIT_MS_MAX, ShareAcquired,
    TopicPartition, Verdict,
};

use super::Shard;
use super::answers::Problem;
use super::groups::{of_group, storage_id};
use super::offset_log::{OffsetAnswer, OffsetAnswerKind};
use crate::connection::Connection;
use crate::groups::{
    Acquired, DeadLetters, Group, GroupName, GroupProblem, JoinRequest, Share, ShareAcquireRequest,
    ShareSettleRequest, Terms, Waiter,
};
use crate::mail::{Client, Ended};

impl Shard {
    /// Why a member in share mode is not taken in.
    pub(super) fn check_share_join(&self, join: &JoinRequest) -> Result<(), Problem> {
        let invalid = |text: &'static str| Err(Problem::new(ErrorCode::InvalidRequest, text));
        let Some(policy) = &join.share else { return Ok(()) };
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        if !(millis(SHARE_LOCK_MS_MIN)..=millis(SHARE_LOCK_MS_MAX)).contains(&policy.lock) {
            return invalid("lock_ms is from 100 to 3600000");
        }
        let Some(name) = &policy.dead_letter else { return Ok(()) };
        if join.topics.contains(name) {
            return invalid("a group does not consume its own dead-letter topic");
        }
        if self.catalog.named(name).is_none() {
            let text = alloc::format!("the dead-letter topic {name:?} does not exist");
            return Err(Problem::new(ErrorCode::DeadLetterTopicNotFound, text));
        }
        Ok(())
    }

    /// Members or topics of a group have changed: looks up where to begin in what is new, and takes
    /// back what members that are gone have held.
    pub(super) fn share_changed(&mut self, name: &GroupName, is_new_topic: bool) {
        let places: usize = self.committed_offsets();
        let left = self.config.limits.committed_offsets_max.saturating_sub(places);
        let Some(group) = self.groups.group(name) else { return };
        let members: BTreeSet<MemberId> = group.members.keys().copied().collect();
        let mut left_waiting = Vec::new();
        let sought = self.groups.with_share(name, |share| {
            share.add_partitions(left, is_new_topic);
            share.free_held_by(|member| !members.contains(&member));
            let is_left = |waiter: &Waiter| !members.contains(&waiter.member);
            left_waiting.extend(share.waiters.iter().copied().filter(is_left));
            share.waiters.retain(|waiter| members.contains(&waiter.member));
            share.take_sought()
        });
        let Some(sought) = sought else { return };
        let unknown = self.unknown_partitions(name);
        let sought = sought.into_iter().chain(unknown).map(|partition| (partition, None)).collect();
        for waiter in left_waiting {
            let Some(group) = self.groups.group(name) else { return };
            let problem = group.member(waiter.member).err();
            let problem = of_group(&problem.unwrap_or(GroupProblem::MemberUnknown));
            let (opcode, correlation) = (Opcode::ShareAcquire, waiter.correlation);
            self.answer_problem(waiter.client, Ended::REQUEST, opcode, correlation, problem);
        }
        self.want_marks(name, sought);
        // What cannot be written now goes ahead of what comes next.
        let _ = self.flush_share(name);
        self.serve_waiters(name);
    }

    pub(super) fn serve_share_acquire(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        request: &ShareAcquireRequest,
    ) -> Result<(), Problem> {
        let invalid = |text: &'static str| Err(Problem::new(ErrorCode::InvalidRequest, text));
        if !(1..=SHARE_RECORDS_MAX).contains(&request.records_max) {
            return invalid("max_records is from 1 to 10000");
        }
        if request.wait_ms > SHARE_WAIT_MS_MAX {
            return invalid("wait_ms is at most 60000");
        }
        let name = self.share_member(client, &request.group, request.member)?;
        let member = request.member;
        let deadline = self.now.monotonic + Duration::from_millis(u64::from(request.wait_ms));
        let records_max = request.records_max;
        let waiter = Waiter { member, client, correlation, records_max, deadline };
        self.end_waiting(&name, member);
        self.seek_starts(&name);
        if !self.try_waiter(&name, &waiter, request.wait_ms == 0)? {
            self.groups.with_share(&name, |share| share.waiters.push_back(waiter));
        }
        self.watch_dry_partitions(&name, member);
        self.groups.watch_share(&name, self.now);
        Ok(())
    }

    pub(super) fn serve_share_settle(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        request: &ShareSettleRequest,
    ) -> Result<(), Problem> {
        let name = self.share_member(client, &request.group, request.member)?;
        let (now, catalog, marks) = (self.now, &self.catalog, &self.marks);
        let settled = self.groups.with_share(&name, |share| {
            let settle = |range: &RangeToSettle| {
                if catalog.with_id(range.partition.topic.0).is_none() {
                    return Some(ErrorCode::TopicNotFound);
                }
                let known = marks.known.get(&storage_id(range.partition));
                share.settle(request.member, range, now, known.map_or(Offset::ZERO, |it| it.disk))
            };
            request.ranges.iter().map(settle).collect::<Vec<_>>()
        });
        let Some(errors) = settled else { return Err(of_group(&GroupProblem::MemberUnknown)) };
        self.counters.share_settled += errors.iter().filter(|error| error.is_none()).count() as u64;
        let is_renewal = request.ranges.iter().all(|range| range.verdict == Verdict::Renew);
        let what = OffsetAnswerKind::Settled(errors);
        if is_renewal {
            let answer = OffsetAnswer { client, correlation, group: name, what };
            self.answer_offsets(answer);
            return Ok(());
        }
        self.flush_share(&name)?;
        self.answer_when_durable(&name, (client, correlation, what))?;
        self.serve_waiters(&name);
        Ok(())
    }

    /// A member of a group in share mode shows a sign of life.
    fn share_member(
        &mut self,
        client: Client,
        group: &str,
        id: MemberId,
    ) -> Result<GroupName, Problem> {
        let unknown = || of_group(&GroupProblem::MemberUnknown);
        let now = self.now.monotonic;
        let group = self.groups.group_mut(group).ok_or_else(unknown)?;
        let name = group.name();
        group.touch(id, client, now).map_err(|problem| of_group(&problem))?;
        if group.share.is_none() {
            return Err(of_group(&GroupProblem::OtherMode(group.mode())));
        }
        self.check_disk()?;
        // What could not be written before comes first.
        self.flush_share(&name)?;
        Ok(name)
    }

    /// On a failed disk nothing can be settled, so that nothing is handed out either.
    fn check_disk(&self) -> Result<(), Problem> {
        match self.storage.failure() {
            Some(failure) => Err(Problem::new(ErrorCode::DiskFailed, failure.to_string())),
            None => Ok(()),
        }
    }

    /// Answers a member with what there is, or with nothing if it `is_due`. Whether it was
    /// answered.
    fn try_waiter(
        &mut self,
        name: &GroupName,
        waiter: &Waiter,
        is_due: bool,
    ) -> Result<bool, Problem> {
        self.check_disk()?;
        let Some(acquired) = self.acquire_for(name, waiter) else { return Ok(true) };
        if let Err(problem) = self.flush_share(name) {
            self.take_back(name, waiter.member, &acquired.ranges);
            return Err(problem);
        }
        if acquired.ranges.is_empty() && !is_due {
            return Ok(false);
        }
        let handed = |range: &AcquiredRange| {
            range.last.value().saturating_sub(range.first.value()).saturating_add(1)
        };
        self.counters.share_acquired += acquired.ranges.iter().map(handed).sum::<u64>();
        let missing = ErrorCode::DeadLetterTopicNotFound;
        let lock_ms = self.groups.share(name).map_or(0, |share| share.policy().lock.as_millis());
        let answer = ShareAcquired {
            lock_ms: u32::try_from(lock_ms).unwrap_or(u32::MAX),
            warning: acquired.misses_dead_letters.then_some(missing),
            unix_ms: self.now.unix_ms,
            ranges: acquired.ranges,
        };
        self.answer(waiter.client, Ended::REQUEST, |out| answer.encode(waiter.correlation, out));
        Ok(true)
    }

    /// What its member is not told of was not handed out, and is not counted either.
    fn take_back(&mut self, name: &GroupName, member: MemberId, ranges: &[AcquiredRange]) {
        let (now, verdict) = (self.now, Verdict::Defer { until_unix_ms: 0 });
        self.groups.with_share(name, |share| {
            for AcquiredRange { partition, first, last, .. } in ranges.iter().copied() {
                let range = RangeToSettle { partition, first, last, verdict };
                share.settle(member, &range, now, Offset::ZERO);
            }
        });
    }

    fn acquire_for(&mut self, name: &GroupName, waiter: &Waiter) -> Option<Acquired> {
        let limits = &self.config.limits;
        let group = self.groups.group(name)?;
        let topics = group.member(waiter.member).ok()?.topics.clone();
        let dead_letters = match &group.share.as_ref()?.policy().dead_letter {
            None => DeadLetters::Nowhere,
            Some(name) if self.catalog.named(name).is_none() => DeadLetters::Missing,
            Some(_) => DeadLetters::There,
        };
        let terms = Terms {
            now: self.now,
            ranges_max: SHARE_RANGES_MAX as usize,
            window_max: limits.share_window_max,
            room: limits.share_records_max.saturating_sub(self.groups.under_way()),
            dead_letters,
        };
        let marks = &self.marks;
        let disk = |at: TopicPartition| marks.known.get(&storage_id(at)).map(|marks| marks.disk);
        let member = (waiter.member, &topics);
        self.groups
            .with_share(name, |share| share.acquire(member, waiter.records_max, &terms, disk))
    }

    /// Gives those who wait what there is, in the order of arrival.
    pub(super) fn serve_waiters(&mut self, name: &GroupName) {
        let now = self.now.monotonic;
        let waiters = self.groups.with_share(name, |share| core::mem::take(&mut share.waiters));
        let (mut still, mut dry) = (Vec::new(), None);
        for waiter in waiters.into_iter().flatten() {
            if !self.is_there(waiter.client) {
                // It has no use for records, and will not say so.
                continue;
            }
            let is_due = waiter.deadline <= now;
            let topics = self.topics_of(name, waiter.member);
            if !is_due && dry.is_some() && dry == topics {
                still.push(waiter);
                continue;
            }
            match self.try_waiter(name, &waiter, is_due) {
                Ok(true) => {}
                Ok(false) => {
                    dry = topics;
                    still.push(waiter);
                }
                Err(problem) => {
                    let (client, correlation) = (waiter.client, waiter.correlation);
                    let opcode = Opcode::ShareAcquire;
                    self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
                }
            }
        }
        let members: BTreeSet<MemberId> = still.iter().map(|waiter| waiter.member).collect();
        self.groups.with_share(name, |share| share.waiters.extend(still));
        let mut watched = BTreeSet::new();
        for member in members {
            let Some(topics) = self.topics_of(name, member) else { continue };
            if watched.insert(topics) {
                self.watch_dry_partitions(name, member);
            }
        }
        self.groups.watch_share(name, self.now);
    }

    fn topics_of(&self, name: &GroupName, member: MemberId) -> Option<BTreeSet<String>> {
        let member = self.groups.group(name)?.member(member).ok()?;
        Some(member.topics.clone())
    }

    /// The partitions of a group of which nothing has been told since the start.
    fn unknown_partitions(&self, name: &GroupName) -> Vec<TopicPartition> {
        let starts = self.groups.share(name).into_iter().flat_map(Share::starts);
        let is_unknown = |at: &TopicPartition| !self.marks.known.contains_key(&storage_id(*at));
        starts.map(|(partition, _)| partition).filter(is_unknown).collect()
    }

    /// Asks where to begin where that is not known, and nobody has been asked.
    fn seek_starts(&mut self, name: &GroupName) {
        let sought = self.groups.with_share(name, Share::take_sought).unwrap_or_default();
        self.want_marks(name, sought.into_iter().map(|partition| (partition, None)).collect());
    }

    /// Whether there is still somebody behind a client.
    fn is_there(&self, client: Client) -> bool {
        if self.is_local(client) {
            self.connections.at(client.connection.0).is_some_and(Connection::is_open)
        } else {
            self.peers.contains_key(&client)
        }
    }

    /// Has the owners of a member's partitions tell when there is more.
    fn watch_dry_partitions(&mut self, name: &GroupName, member: MemberId) {
        let Some(topics) = self.topics_of(name, member) else { return };
        let marks = &self.marks;
        let disk = |at: TopicPartition| marks.known.get(&storage_id(at)).map(|marks| marks.disk);
        let dry = self.groups.with_share(name, |share| share.take_dry(&topics, disk));
        self.want_marks(name, dry.unwrap_or_default());
    }

    /// A member asks again, or is gone: what it asked before is answered without records.
    fn end_waiting(&mut self, name: &GroupName, member: MemberId) {
        let ended = self.groups.with_share(name, |share| {
            let at = share.waiters.iter().position(|waiter| waiter.member == member)?;
            share.waiters.remove(at)
        });
        let Some(waiter) = ended.flatten() else { return };
        let unix_ms = self.now.unix_ms;
        let nothing = ShareAcquired { unix_ms, ..ShareAcquired::default() };
        self.answer(waiter.client, Ended::REQUEST, |out| nothing.encode(waiter.correlation, out));
    }

    /// Looks at the groups whose time has come: locks and delays end, and so does waiting.
    pub(super) fn expire_shares(&mut self) {
        let now = self.now;
        while let Some(name) = self.groups.share_due(now.monotonic) {
            // Also where nobody waits for that partition, or its time would be over for ever.
            self.groups.with_share(&name, |share| share.expire(now));
            // What cannot be written now goes ahead of what comes next.
            let _ = self.flush_share(&name);
            self.serve_waiters(&name);
        }
    }

    /// A dead-letter topic has come or gone.
    pub(super) fn dead_letters_changed(&mut self, topic: &str) {
        let is_for = |share: &Share| share.policy().dead_letter.as_deref() == Some(topic);
        let groups = self.groups.iter().filter(|group| group.share.as_ref().is_some_and(is_for));
        let names: Vec<GroupName> = groups.map(Group::name).collect();
        names.iter().for_each(|name| self.serve_waiters(name));
    }
}
