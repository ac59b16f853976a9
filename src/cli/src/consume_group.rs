//! `plimsoll consume --group`: a member of a consumer group whose work is the output.
//!
//! Under `manual` a batch is committed when its lines were written and flushed, so that a crash at
//! any moment repeats lines and loses none. SIGINT and SIGTERM end it cleanly: the batch in work is
//! finished, and the member leaves, so that others go on at once.

use std::io::Write;
use std::time::Duration;

use plimsoll_client_blocking::{
    CommitPolicy, CommitReport, DeliveredBatch, GroupConsumer, GroupError, GroupEvent,
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
    let done = Work { format, left, policy }.run(&mut member, signals);
    let closed = member.close();
    done?;
    closed.map_err(Failure::new)
}

struct Work {
    format: Format,
    left: u64,
    policy: CommitPolicy,
}

impl Work {
    fn run(&mut self, member: &mut GroupConsumer, signals: &Signals) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        while self.left > 0 {
            if signals.wait_timeout(Duration::ZERO).map_err(Failure::new)?.is_some() {
                // All that was handed out is written: auto need not hold back the last batch.
                return match self.policy {
                    CommitPolicy::Auto { .. } => committed(member.commit()),
                    _ => Ok(()),
                };
            }
            let batch = match member.next_batch(WAIT) {
                Ok(batch) => batch,
                // It goes on trying by itself; so does a pipeline that must survive a restart.
                Err(GroupError::Disconnected { .. }) => continue,
                Err(error) => return Err(Failure::new(error)),
            };
            member.notices().for_each(|notice| tell(&notice));
            if let Some(batch) = batch {
                self.write(member, &batch, &mut bytes)?;
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
            _ => committed(member.commit_offset(partition, next, "")),
        }
    }
}

/// A commit that was not taken is no failure: the lines may come again, here or elsewhere.
fn committed(done: Result<CommitReport, GroupError>) -> Result<(), Failure> {
    match done {
        Ok(_) => Ok(()),
        Err(error @ GroupError::NotCommitted(_)) => {
            eprintln!("plimsoll: {error}");
            Ok(())
        }
        Err(error) => Err(Failure::new(error)),
    }
}

/// Tells on stderr what a person who reads the lines should know.
fn tell(notice: &GroupEvent) {
    match notice {
        GroupEvent::Missed { partition, wanted, beginning } => {
            let missed = beginning.value().saturating_sub(wanted.value());
            eprintln!(
                "plimsoll: partition {partition} goes on at its beginning {beginning}: {missed} \
                 records from {wanted} on were removed before the group had consumed them"
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
