//! What an application does as a member of a group: takes records, works on them, commits.
//!
//! What is handed out, and when, is decided as in the drivers that ship ([`Handout`]). What a
//! newcomer gets wrong: a record counts as worked off when the work has ended. An application that
//! dies over it has not done it, whatever it has committed.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use plimsoll_client::{
    CommitId, CommitReport, GroupConsumer, GroupError, GroupEvent, GroupOptions, Handed, Handout,
    Instant, Offset, OnRemoved, PartitionCommit, Session, Topic,
};
use plimsoll_sim::{Network, Random};

use super::links::{Links, Surroundings};
use super::member_tap::{Hearing, MemberTap};
use crate::ledger::{Ledger, Place};
use crate::met::Met;
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
    topic: usize,
    commits: Commits,
    on_removed: OnRemoved,
    plan: MemberPlan,
    hearing: Hearing,
    step: Step,
    handout: Handout,
    /// What follows all that was worked off, and all that was handed out.
    done: BTreeMap<u32, Offset>,
    handed: BTreeMap<u32, Offset>,
    commit_at: Option<Instant>,
    ask_at: Instant,
    is_leaving: bool,
    has_failed: bool,
    /// It is started again when its commit is answered.
    begins_again: bool,
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
            topic: group_plan.topic,
            commits: group_plan.commits,
            on_removed: group_plan.on_removed,
            plan: plan.clone(),
            hearing: Hearing::default(),
            step: Step::Asks,
            handout: Handout::default(),
            done: BTreeMap::new(),
            handed: BTreeMap::new(),
            commit_at: None,
            ask_at: now,
            is_leaving: false,
            has_failed: false,
            begins_again: false,
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
            self.turn_links(seat, ledger, around);
            if self.session.is_ended() || (self.is_leaving && self.session.last_fault().is_some()) {
                return Standing::Ended;
            }
            if self.is_leaving || !self.go_on(ledger, around.now) {
                break;
            }
        }
        // What it waits for was only now asked: nothing else would send that.
        self.turn_links(seat, ledger, around);
        if self.has_failed { Standing::Fails } else { Standing::Works }
    }

    fn turn_links(
        &mut self,
        seat: Option<usize>,
        ledger: &mut Ledger,
        around: &mut Surroundings<'_>,
    ) {
        let (group, hearing) = (self.group, &mut self.hearing);
        let mut tap = MemberTap { ledger, hearing, group, seat };
        self.links.turn_heard(&mut self.session, around, &mut tap);
    }

    /// Takes a step; false when it has to wait.
    fn go_on(&mut self, ledger: &mut Ledger, now: Instant) -> bool {
        match &mut self.step {
            Step::Asks => self.ask(ledger, now),
            Step::Rests(until) if *until > now => false,
            Step::Rests(_) => {
                self.begin_asking(now);
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
                    let taken = check(&report, &self.hearing.committed);
                    ledger.of_group(self.group, taken);
                    self.has_failed |= self.begins_again;
                    self.begin_asking(now);
                    true
                }
            },
        }
    }

    fn end_work(&mut self, partition: u32, offsets: &[Offset], ledger: &mut Ledger, now: Instant) {
        self.begin_asking(now);
        for offset in offsets {
            ledger.groups[self.group].work_off(partition, *offset);
            self.done.insert(partition, Offset::new(offset.value() + 1));
        }
        if let Commits::Manual { delay_ms } = self.commits {
            let wait_ms = self.random.below(u64::from(delay_ms) + 1);
            self.commit_at.get_or_insert(now + Duration::from_millis(wait_ms));
        }
    }

    /// The application calls for records.
    fn begin_asking(&mut self, now: Instant) {
        self.step = Step::Asks;
        self.handout.ask();
        self.ask_at = now + ASKS;
    }

    fn ask(&mut self, ledger: &mut Ledger, now: Instant) -> bool {
        if self.commit_at.is_some_and(|at| at <= now) {
            return self.commit(now);
        }
        if self.ask_at <= now {
            self.begin_asking(now);
        }
        self.handout.open();
        let session = &mut self.session;
        let handed = if self.plan.by_record {
            let handed = self.handout.poll_record(session, now);
            handed.map(|handed| given(handed, |it| (it.partition, vec![it.offset])))
        } else {
            let handed = self.handout.poll_batch(session, now);
            handed.map(|handed| {
                given(handed, |it| {
                    let offsets = it.records().flatten().map(|record| record.offset);
                    (it.partition(), offsets.collect())
                })
            })
        };
        self.take_notices(ledger);
        match handed {
            Ok(Handed::Given((partition, offsets))) => self.work(partition, offsets, ledger, now),
            Ok(Handed::Again) => {}
            Ok(Handed::Wait) => return false,
            Ok(Handed::Withdrawn(_)) => {
                self.commit(now);
                if matches!(self.step, Step::Asks) {
                    self.begin_asking(now);
                }
            }
            Err(error) => self.hear(&error, ledger, now),
        }
        true
    }

    fn take_notices(&mut self, ledger: &mut Ledger) {
        for notice in self.handout.notices() {
            match notice {
                GroupEvent::Revoked { partitions, .. } | GroupEvent::Lost { partitions, .. } => {
                    self.done.retain(|partition, _| !partitions.contains(partition));
                    self.handed.retain(|partition, _| !partitions.contains(partition));
                }
                GroupEvent::Missed { partition, wanted, next, .. } => {
                    let place = Place { topic: self.topic, partition };
                    let group = self.group;
                    ledger
                        .remark(|| format!("group {group}: {place:?}: {wanted} to {next} missed"));
                    match self.on_removed {
                        OnRemoved::Start => ledger.saw_start(place, next, Offset::ZERO),
                        _ => ledger.saw_missing(place, wanted),
                    }
                    if self.handed.get(&partition) > Some(&wanted) {
                        let text = format!("{partition}: {wanted} is missed, and was handed out");
                        ledger.of_group(self.group, Err(text));
                    }
                    ledger.groups[self.group].miss(partition, wanted..next);
                    ledger.meet(Met::Missed);
                }
                _ => {}
            }
        }
    }

    /// An application that wants to be told has been told: it goes on at what is left.
    fn skip_to(&mut self, partition: u32, start: Offset, ledger: &mut Ledger, now: Instant) {
        let place = Place { topic: self.topic, partition };
        ledger.meet(Met::Missed);
        ledger.saw_start(place, start, Offset::ZERO);
        ledger.groups[self.group].skip_to(partition, start);
        let id = self.session.commit_offsets(&[(partition, start, "")], true, now);
        self.step = Step::Waits(id);
        self.begins_again = true;
    }

    fn hear(&mut self, error: &GroupError, ledger: &mut Ledger, now: Instant) {
        match error {
            GroupError::Removed { partition, start, .. } if self.on_removed == OnRemoved::Error => {
                return self.skip_to(*partition, *start, ledger, now);
            }
            GroupError::Partition { .. } => self.has_failed = true,
            GroupError::Unreadable { .. } | GroupError::Removed { .. } => {
                let outcome = Err(format!("a member hears: {error}"));
                ledger.of_group(self.group, outcome);
            }
            _ => {}
        }
        self.step = Step::Rests(now + RETRY);
    }

    /// The application works on what it was handed.
    fn work(&mut self, partition: u32, offsets: Vec<Offset>, ledger: &mut Ledger, now: Instant) {
        let book = &ledger.groups[self.group];
        if book.plan.begins_at_end && !self.hearing.committed.contains_key(&partition) {
            let text =
                format!("partition {partition}: {offsets:?} before it is safe where it began");
            ledger.of_group(self.group, Err(text));
        }
        for offset in &offsets {
            let handed = ledger.groups[self.group].hand_out(partition, *offset);
            ledger.of_group(self.group, handed);
            self.handed.insert(partition, Offset::new(offset.value() + 1));
        }
        let group = self.group;
        ledger.remark(|| format!("group {group}: {partition} {offsets:?} are worked on"));
        // Once in a while it takes longer than the session waits.
        let work_us = match self.random.below(60) {
            0 if self.plan.work_us > 1_000 => 1_200_000,
            _ => self.random.below(u64::from(self.plan.work_us) + 1),
        };
        let until = now + Duration::from_micros(work_us);
        self.step = Step::Works { until, partition, offsets };
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
        self.commit_less(&open, &note, now);
        true
    }

    /// Where several hands work on a partition, one that is behind commits after the others now and
    /// then; nobody waits for that.
    fn commit_less(&mut self, open: &[(u32, Offset)], note: &str, now: Instant) {
        if !self.random.chance(250) {
            return;
        }
        let (partition, done) = open[self.random.below(open.len() as u64) as usize];
        let less = Offset::new(self.random.below(done.value()));
        self.session.commit_offsets(&[(partition, less, note)], false, now);
    }
}

/// What the application is told to be committed, the server has said to be. The rest is tried
/// again.
fn check(report: &CommitReport, committed: &BTreeMap<u32, Offset>) -> Result<(), String> {
    for PartitionCommit { partition, result, .. } in &report.partitions {
        if let Ok(offset) = result
            && committed.get(partition) < Some(offset)
        {
            return Err(format!(
                "partition {partition}: {offset} is said to be taken, and was not"
            ));
        }
    }
    Ok(())
}

fn given<T, U>(handed: Handed<T>, given: impl FnOnce(T) -> U) -> Handed<U> {
    match handed {
        Handed::Given(it) => Handed::Given(given(it)),
        Handed::Again => Handed::Again,
        Handed::Wait => Handed::Wait,
        Handed::Withdrawn(partitions) => Handed::Withdrawn(partitions),
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
