//! Ends that come within a compaction; and that compaction comes to an end.
//!
//! The files on the disk say how far one is. What a newcomer gets wrong: a compacted file that is
//! there counts for nothing until the journal says so, and the one whose place it takes stays until
//! then.

use core::time::Duration;
use std::collections::BTreeSet;

use plimsoll_sim::Disk;
use plimsoll_storage::SegmentName;

use super::World;
use crate::client::Task;
use crate::ledger::Violation;
use crate::met::Met;
use crate::scenario::{CompactionCut, TopicPlan};

/// A lag beyond this is not waited for.
const LAG_MS_MAX: u64 = 10_000;
/// Times are rounded up to seconds, and passes take their own.
const PASSES_MS: u64 = 3_500;
/// What is appended to a partition behind the last compaction, at most.
const LAST_BYTES: u64 = 1_000;
/// Data that gets no older than this hardly has the time to be compacted.
const AGE_MS_MIN: u64 = 8_000;

/// Watches for compacted files that are begun.
#[derive(Default)]
pub(super) struct CompactionWatch {
    changes: u64,
    begun: BTreeSet<String>,
    /// Fronts of names that two files of one segment have had.
    twins: BTreeSet<String>,
    alone: usize,
    since: Option<u64>,
}

impl CompactionWatch {
    /// Whether the end is to come now.
    pub(super) fn is_time(&mut self, cut: CompactionCut, disk: &Disk) -> bool {
        let counts = disk.counts();
        let operations = counts.writes + counts.reads + counts.syncs + counts.names;
        let changes = operations + counts.opens;
        if self.since.is_none() && self.changes != changes {
            self.changes = changes;
            self.look(disk);
            let files = if cut.alone { self.alone } else { self.begun.len() };
            self.since = (files >= cut.files).then_some(operations);
        }
        self.since.is_some_and(|since| operations - since >= cut.operations)
    }

    fn look(&mut self, disk: &Disk) {
        let twins = twins(disk);
        self.alone += self.twins.difference(&twins).count();
        self.twins = twins;
        self.begun.extend(disk.files().into_iter().filter(|path| generation(path) > Some(0)));
    }
}

/// Which of its segment's files it is.
fn generation(path: &str) -> Option<u32> {
    let (_, name) = path.rsplit_once('/').filter(|_| path.ends_with(".segment"))?;
    SegmentName::of_file(name).map(|name| name.generation)
}

/// Where there are two files of one segment: what their paths have in front.
fn twins(disk: &Disk) -> BTreeSet<String> {
    let files = disk.files();
    let compacted = files.iter().filter(|path| generation(path) > Some(0));
    let fronts = compacted.filter_map(|path| path.rsplit_once('-'));
    let of_it = |front: &str| files.iter().filter(|path| is_of_segment(path, front)).count();
    fronts.filter(|(front, _)| of_it(front) > 1).map(|(front, _)| front.to_string()).collect()
}

impl World<'_> {
    fn has_twins(&self) -> bool {
        !twins(&self.disk).is_empty()
    }

    pub(super) fn note_cut_in_compaction(&mut self) {
        if self.scenario.compacts() && self.process.is_some() && self.has_twins() {
            self.ledger.meet(Met::CutInCompaction);
        }
    }

    /// Where nothing was damaged or told to fail, nothing stops a compaction.
    pub(super) fn check_compaction_goes_on(&self) -> Result<(), Violation> {
        let stopped = self.process.as_ref().and_then(|process| process.compaction_stopped.as_ref());
        match stopped {
            Some(text) if !self.has_faults && !self.ledger.is_damaged => {
                Err(Violation(format!("nothing fails, and a compaction stops: {text}")))
            }
            _ => Ok(()),
        }
    }

    /// Lets so much time pass that what is old enough to be compacted is, and its old files gone.
    pub(super) fn let_compaction_rest(&mut self) -> Result<(), Violation> {
        if !self.scenario.compacts() {
            return Ok(());
        }
        // What is altered once more says nothing of what the server kept of the last time.
        for (number, topic) in self.scenario.topics.iter().enumerate() {
            let Some(plan) = topic.compaction else { continue };
            let cleanup = plan.cleanup(true, plan.ages);
            if self.ledger.compactions.answered(number) != Some(cleanup) {
                self.admins.tasks.push_back(Task::AlterCleanup(number, cleanup));
            }
        }
        self.wait_for("topics to be compacted", |world| world.admins.tasks.is_empty())?;
        let mut most_ms = 0;
        for (number, topic) in self.scenario.topics.iter().enumerate() {
            let Some(rest_ms) = rest_ms(topic) else { continue };
            most_ms = rest_ms.max(most_ms);
            let ages = topic.retention.age_ms > 0;
            let active_bytes = if ages { LAST_BYTES } else { self.slack(number) };
            // Of a clock that has leapt nobody knows when it comes to what has to be old.
            if self.ledger.met[Met::ClockLeapt as usize] == 0 {
                self.ledger.compactions.rested.insert(number, active_bytes);
            }
        }
        self.pass(Duration::from_millis(most_ms))?;
        self.wait_for("files that were compacted to go", |world| !world.has_twins())
    }
}

fn is_of_segment(path: &str, front: &str) -> bool {
    let rest = path.strip_prefix(front).filter(|_| path.ends_with(".segment"));
    rest.is_some_and(|rest| rest.starts_with(['-', '.']))
}

/// How long until all of a topic is sealed and compacted, if that is soon.
fn rest_ms(topic: &TopicPlan) -> Option<u64> {
    let plan = topic.compaction.filter(|plan| plan.ages.lag_ms <= LAG_MS_MAX)?;
    let age_ms = topic.retention.age_ms;
    let sealed_ms = age_ms / 4;
    let has_time = age_ms == 0 || (age_ms >= AGE_MS_MIN && sealed_ms <= LAG_MS_MAX);
    has_time.then_some(plan.ages.lag_ms.max(sealed_ms) + PASSES_MS)
}
