//! `plimsoll consume --group`: a member of a consumer group whose work is the output.
//!
//! Under `manual` a batch is committed when its lines were written and flushed, so that a crash at
//! any moment repeats lines and loses none. SIGINT and SIGTERM end it cleanly: the batch in work is
//! finished, and the member leaves, so that others go on at once.

use std::io::Write;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    CommitPolicy, CommitReport, DeliveredBatch, GroupConsumer, GroupError, GroupEvent, OnRemoved,
};
use plimsoll_ring::Signals;

use crate::consume_format::Format;
use crate::failure::Failure;

/// When the group's offsets are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Commit {
    /// After the lines of a batch were written and flushed: every line at least once.
    Manual,
    /// Every 5 s, what was written before the last look for records: at least once.
    Auto,
    /// Before the lines of a batch are written: at most once. What --max-records cuts off is not
    /// written later.
    Before,
}

impl Commit {
    pub(crate) fn policy(self) -> CommitPolicy {
        match self {
            Commit::Manual => CommitPolicy::Manual,
            Commit::Auto => CommitPolicy::AUTO,
            Commit::Before => CommitPolicy::Before,
        }
    }
}

/// What to do where records were removed that the group has not consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Removed {
    /// Go on at the first record that is left, and say on stderr how many were missed.
    Start,
    /// Go on after the last record, and say the same.
    End,
    /// End with an error that says what was removed.
    Error,
}

impl Removed {
    pub(crate) fn choice(self) -> OnRemoved {
        match self {
            Removed::Start => OnRemoved::Start,
            Removed::End => OnRemoved::End,
            Removed::Error => OnRemoved::Error,
        }
    }
}

/// How long to wait for records before looking whether a signal has come.
const WAIT: Duration = Duration::from_millis(200);

/// Consumes until `left` records were written or a signal comes.
pub(crate) fn run(
    mut member: GroupConsumer,
    signals: &Signals,
    format: Format,
    left: u64,
) -> Result<(), Failure> {
    let policy = member.commit_policy();
    let trouble = Trouble::default();
    let done = Work { format, left, policy, trouble }.run(&mut member, signals);
    let closed = member.close();
    done?;
    closed.map_err(Failure::new)
}

struct Work {
    format: Format,
    left: u64,
    policy: CommitPolicy,
    trouble: Trouble,
}

/// A time without the server or without commits: told when it begins and when it is over, not with
/// each batch in between. A pipeline that must survive a restart goes on through it.
#[derive(Debug, Default)]
struct Trouble {
    since: Option<Instant>,
    /// Commits that were not taken since then: their lines may come again, here or elsewhere.
    untaken: u64,
}

impl Trouble {
    fn goes_on(&mut self, error: &GroupError) {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            eprintln!("plimsoll: {error}");
        }
    }

    fn is_over(&mut self) {
        let Some(since) = self.since.take() else { return };
        let (seconds, untaken) = (since.elapsed().as_secs_f32(), std::mem::take(&mut self.untaken));
        eprintln!("plimsoll: goes on after {seconds:.1} s; commits that were not taken: {untaken}");
    }

    /// A commit that was not taken is no failure.
    fn committed(&mut self, done: Result<CommitReport, GroupError>) -> Result<(), Failure> {
        match done {
            Ok(_) => self.is_over(),
            Err(error @ GroupError::NotCommitted(_)) => {
                self.goes_on(&error);
                self.untaken += 1;
            }
            Err(error) => return Err(Failure::new(error)),
        }
        Ok(())
    }
}

impl Work {
    fn run(&mut self, member: &mut GroupConsumer, signals: &Signals) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        while self.left > 0 {
            if signals.wait_timeout(Duration::ZERO).map_err(Failure::new)?.is_some() {
                // All that was handed out is written: auto need not hold back the last batch.
                return match self.policy {
                    CommitPolicy::Auto { .. } => self.trouble.committed(member.commit()),
                    _ => Ok(()),
                };
            }
            let taken = member.next_batch(WAIT);
            member.notices().for_each(|notice| tell(&notice));
            match taken {
                Ok(Some(batch)) => self.write(member, &batch, &mut bytes)?,
                Ok(None) => self.trouble.is_over(),
                // It goes on trying by itself.
                Err(error @ GroupError::Disconnected { .. }) => self.trouble.goes_on(&error),
                Err(error) => return Err(Failure::new(error)),
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        member: &mut GroupConsumer,
        batch: &DeliveredBatch,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let partition = batch.partition();
        let mut next = batch.header().next_offset();
        bytes.clear();
        for record in batch.records() {
            let record = record.map_err(|error| {
                let base_offset = batch.header().base_offset;
                Failure::Failed(format!(
                    "partition {partition}, batch at offset {base_offset}: {error}; its producer \
                     wrote it so, skip it with `plimsoll group reset`"
                ))
            })?;
            if self.left == 0 {
                next = record.offset;
                break;
            }
            self.format.write(partition, &record, bytes);
            self.left -= 1;
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(|error| Failure::of_output(&error))?;
        let is_cut = self.left == 0;
        match self.policy {
            CommitPolicy::Before => Ok(()),
            CommitPolicy::Auto { .. } if !is_cut => Ok(()),
            _ => self.trouble.committed(member.commit_offset(partition, next, "")),
        }
    }
}

/// Tells on stderr what a person who reads the lines should know.
fn tell(notice: &GroupEvent) {
    match notice {
        GroupEvent::Missed { partition, wanted, next } => {
            let missed = next.value().saturating_sub(wanted.value());
            eprintln!(
                "plimsoll: partition {partition} goes on at {next}: {missed} records from {wanted} \
                 on were removed, or passed over, before the group had consumed them"
            );
        }
        GroupEvent::Lost { partitions, reason } => {
            eprintln!("plimsoll: lost partitions {partitions:?}: {reason}");
        }
        GroupEvent::CommitFailed(report) => {
            eprintln!("plimsoll: {}", GroupError::NotCommitted(report.clone()));
        }
        _ => {}
    }
}
