//! What an application does as a member of a group: takes records, works on them, commits.
//!
//! It treats the session as `client-blocking` does, without threads. What a newcomer gets wrong: a
//! record counts as worked off when the work has ended. An application that dies over it has not
//! done it, whatever it has committed.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plimsoll_client::{
    CommitId, CommitReport, DeliveredBatch, DeliveredBatches, GroupConsumer, GroupEvent,
    GroupOptions, Instant, Offset, Session, Topic,
};
use plimsoll_sim::{Network, Random};

use super::links::{Links, Surroundings};
use super::member_tap::{Hearing, MemberTap};
use crate::ledger::Ledger;
use crate::scenario::{Commits, GroupPlan, MemberPlan};

/// How often an application that waits for records says that it does.
const ASKS: Duration = Duration::from_millis(200);
/// When a commit that was not taken is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// A running application.
pub(crate) struct MemberApp {
    session: GroupConsumer,
    pub(crate) links: Links,
    group: usize,
    commits: Commits,
    plan: MemberPlan,
    hearing: Hearing,
    step: Step,
    /// The delivery whose batches are being handed out.
    current: Option<DeliveredBatches>,
    /// Its next batch, which waits for its commit.
    ready: Option<DeliveredBatch>,
    /// Offsets of the batch whose records are being handed out.
    records: VecDeque<Offset>,
    /// What follows all that was worked off.
    done: BTreeMap<u32, Offset>,
    commit_at: Option<Instant>,
    ask_at: Instant,
    is_leaving: bool,
    has_failed: bool,
    random: Random,
}

/// What an application is about.
enum Step {
    Asks,
    /// It waits for the answer to a commit.
    Waits(CommitId),
    /// It works on these until then.
    Works {
        until: Instant,
        partition: u32,
        offsets: Vec<Offset>,
    },
    /// It tries again then.
    Rests(Instant),
}

/// How it stands with an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Works,
    /// A partition has failed: it is to be started again.
    Fails,
    /// It is no member any more.
    Ended,
}

impl MemberApp {
    pub(crate) fn new(
        topic: &Topic,
        (group, group_plan): (usize, &GroupPlan),
        plan: &MemberPlan,
        options: GroupOptions,
        (random, now): (Random, Instant),
    ) -> Self {
        let name = super::member::name_of_group(group);
        Self {
            session: GroupConsumer::new(topic.clone(), &name, options, now),
            links: Links::default(),
            group,
            commits: group_plan.commits,
            plan: plan.clone(),
            hearing: Hearing::default(),
            step: Step::Asks,
            current: None,
            ready: None,
            records: VecDeque::new(),
            done: BTreeMap::new(),
            commit_at: None,
            ask_at: now,
            is_leaving: false,
            has_failed: false,
            random,
        }
    }

    pub(crate) fn die(&mut self, network: &mut Network) {
        self.links.abandon(network);
    }

    /// It hands out nothing more, and goes when its commits are answered.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.session.leave(now);
        self.is_leaving = true;
    }

    /// What it may hand out.
    pub(crate) fn assigned(&self) -> BTreeSet<u32> {
        self.session.assigned().map(|(_, partition)| partition).collect()
    }

    pub(crate) fn is_ready(&self, network: &Network, now: Instant, reads: bool) -> bool {
        let due = self.poll_timeout().is_some_and(|timeout| timeout <= now);
        due || (reads && self.links.have_news(network))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let step = match &self.step {
            _ if self.is_leaving => None,
            Step::Asks => Some(self.commit_at.map_or(self.ask_at, |at| at.min(self.ask_at))),
            Step::Waits(_) => None,
            Step::Works { until, .. } | Step::Rests(until) => Some(*until),
        };
        step.into_iter().chain(self.session.poll_timeout()).min()
    }

    /// Goes on as far as it can.
    pub(crate) fn turn(
        &mut self,
        seat: Option<usize>,
        ledger: &mut Ledger,
        around: &mut Surroundings<'_>,
    ) -> Standing {
        loop {
            let (group, hearing) = (self.group, &mut self.hearing);
            let mut tap = MemberTap { ledger, hearing, group, seat };
            self.links.turn_heard(&mut self.session, around, &mut tap);
            if self.session.is_ended() || (self.is_leaving && self.session.last_fault().is_some()) {
                return Standing::Ended;
            }
            if self.is_leaving || !self.go_on(ledger, around.now) {
                break;
            }
        }
        if self.has_failed { Standing::Fails } else { Standing::Works }
    }

    /// Takes a step; false when it has to wait.
    fn go_on(&mut self, ledger: &mut Ledger, now: Instant) -> bool {
        match &mut self.step {
            Step::Asks => self.ask(ledger, now),
            Step::Rests(until) if *until > now => false,
            Step::Rests(_) => {
                self.step = Step::Asks;
                true
            }
            Step::Works { until, .. } if *until > now => false,
            Step::Works { partition, offsets, .. } => {
                let (partition, offsets) = (*partition, std::mem::take(offsets));
                self.end_work(partition, &offsets, ledger, now);
                true
            }
            Step::Waits(id) => match self.session.poll_report(*id) {
                None => false,
                Some(report) => {
                    self.step = Step::Asks;
                    self.take_report(&report, ledger, now);
                    true
                }
            },
        }
    }

    fn end_work(&mut self, partition: u32, offsets: &[Offset], ledger: &mut Ledger, now: Instant) {
        self.step = Step::Asks;
        for offset in offsets {
            ledger.groups[self.group].work_off(partition, *offset);
            self.done.insert(partition, Offset::new(offset.value() + 1));
        }
        if let Commits::Manual { delay_ms } = self.commits {
            let wait_ms = self.random.below(u64::from(delay_ms) + 1);
            self.commit_at.get_or_insert(now + Duration::from_millis(wait_ms));
        }
    }

    /// The application asks for records.
    fn ask(&mut self, ledger: &mut Ledger, now: Instant) -> bool {
        if self.commit_at.is_some_and(|at| at <= now) {
            return self.commit(now);
        }
        if let Some(offset) = self.records.pop_front() {
            self.work(&[offset], ledger, now);
            return true;
        }
        let Some(current) = self.current.as_mut().filter(|it| self.session.is_current(it)) else {
            return self.take_event(now);
        };
        let Some(batch) = self.ready.take().map(Ok).or_else(|| current.next()) else {
            return self.take_event(now);
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                ledger.violate(format!("a group is handed a batch that is none: {error}"));
                return false;
            }
        };
        if self.commits == Commits::Before {
            let next = batch.header().next_offset();
            let offsets = [(batch.partition(), next, "")];
            self.step = Step::Waits(self.session.commit_offsets(&offsets, true, now));
            self.ready = Some(batch);
            return true;
        }
        self.hand_out(&batch, ledger, now);
        true
    }

    /// Whatever the session has to say; what was handed out of the last delivery is worked off.
    fn take_event(&mut self, now: Instant) -> bool {
        self.ready = None;
        self.records.clear();
        if let Some(consumed) = self.current.take() {
            self.session.release(&consumed);
        }
        if self.ask_at <= now {
            self.ask_at = now + ASKS;
        }
        self.session.polled(now);
        match self.session.poll_event() {
            None => return false,
            Some(GroupEvent::Delivered(batches)) => self.current = Some(batches),
            Some(GroupEvent::Failed { .. }) => self.has_failed = true,
            Some(GroupEvent::Revoked { partitions, .. } | GroupEvent::Lost { partitions, .. }) => {
                self.done.retain(|partition, _| !partitions.contains(partition));
            }
            Some(_) => {}
        }
        true
    }

    fn hand_out(&mut self, batch: &DeliveredBatch, ledger: &mut Ledger, now: Instant) {
        let offsets: Vec<Offset> = batch.records().flatten().map(|record| record.offset).collect();
        if self.plan.by_record {
            self.records.extend(offsets);
        } else {
            self.work(&offsets, ledger, now);
        }
    }

    /// Records are handed out, and the application works on them.
    fn work(&mut self, offsets: &[Offset], ledger: &mut Ledger, now: Instant) {
        let (Some(current), Some(last)) = (&self.current, offsets.last()) else { return };
        self.session.polled(now);
        if !self.session.hand_out(current, Offset::new(last.value() + 1)) {
            self.records.clear();
            return;
        }
        let partition = current.partition;
        for offset in offsets {
            let handed = ledger.groups[self.group].hand_out(partition, *offset);
            ledger.of_group(self.group, handed);
        }
        let group = self.group;
        ledger.remark(|| format!("group {group}: {partition} {offsets:?} are worked on"));
        // Once in a while it takes longer than the session waits.
        let work_us = match self.random.below(60) {
            0 if self.plan.work_us > 1_000 => 1_200_000,
            _ => self.random.below(u64::from(self.plan.work_us) + 1),
        };
        let until = now + Duration::from_micros(work_us);
        self.step = Step::Works { until, partition, offsets: offsets.to_vec() };
    }

    /// Commits what was worked off.
    fn commit(&mut self, now: Instant) -> bool {
        self.commit_at = None;
        let committed = &self.hearing.committed;
        let open = self.done.iter().filter(|(at, done)| committed.get(at) < Some(*done));
        let open: Vec<(u32, Offset)> = open.map(|(at, done)| (*at, *done)).collect();
        if open.is_empty() {
            return true;
        }
        self.commit_at = Some(now + RETRY);
        let note = "n".repeat(self.plan.note_bytes);
        let awaits = self.plan.awaits;
        let id = if self.random.chance(300) {
            self.session.commit(awaits, now)
        } else {
            let offsets: Vec<(u32, Offset, &str)> =
                open.iter().map(|(partition, offset)| (*partition, *offset, &*note)).collect();
            self.session.commit_offsets(&offsets, awaits, now)
        };
        if awaits {
            self.step = Step::Waits(id);
        }
        true
    }

    /// Under `before`, a batch is handed out when it was this commit that took it.
    fn take_report(&mut self, report: &CommitReport, ledger: &mut Ledger, now: Instant) {
        if self.commits != Commits::Before {
            return;
        }
        let Some(next) = self.ready.as_ref().map(|batch| batch.header().next_offset()) else {
            return;
        };
        if report.first_fault().is_none() {
            let is_ours = report.partitions.iter().all(|of| of.result == Ok(next));
            if let Some(batch) = self.ready.take().filter(|_| is_ours) {
                self.hand_out(&batch, ledger, now);
            }
        } else if self.current.as_ref().is_some_and(|it| self.session.is_current(it)) {
            self.step = Step::Rests(now + RETRY);
        } else {
            self.ready = None;
        }
    }
}

impl fmt::Debug for MemberApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match &self.step {
            Step::Asks => "asks",
            Step::Waits(_) => "waits for a commit",
            Step::Works { .. } => "works",
            Step::Rests(_) => "rests",
        };
        let assigned = self.assigned();
        write!(f, "{step}, has {assigned:?}, done {:?}, {:?}", self.done, self.hearing.committed)
    }
}
