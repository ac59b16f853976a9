//! `plimsoll consume --group`: a member of a consumer group whose work is the output.
//!
//! Under `manual` a batch is committed when its lines were written and flushed, so that a crash at
//! any moment repeats lines and loses none. SIGINT and SIGTERM end it cleanly: the batch in work is
//! finished, and the member leaves, so that others go on at once.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    Client, CommitPolicy, DeliveredBatch, GroupConsumer, GroupError, GroupEvent, Offset, OnRemoved,
    Topic,
};
use plimsoll_ring::Signals;

use crate::consume_format::Format;
use crate::consume_until::Ends;
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

/// How often to look how far the group has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long to wait for records before looking whether a signal has come. An outage that is shorter
/// is none: everything goes on as if nothing had been, and nothing is told.
const WAIT: Duration = Duration::from_millis(200);

/// How long a commit may take before it is told, and tried again later. Until then a signal waits.
pub(crate) const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A member at its work.
pub(crate) struct Work {
    member: GroupConsumer,
    goal: Goal,
    format: Format,
    left: u64,
    policy: CommitPolicy,
    trouble: Trouble,
}

/// What the whole group is to reach. It is the group's commits that count, so that every member
/// ends when the work is done, and none while the work of one that died is left.
pub(crate) struct Goal {
    client: Client,
    group: String,
    topics: Vec<(Topic, Ends)>,
    looked_at: Option<Instant>,
}

/// A time without the server or without commits: told when it begins and when it is over, not with
/// each batch in between. A pipeline that must survive a restart goes on through it.
#[derive(Debug, Default)]
struct Trouble {
    is_told: bool,
    /// How many commits were not taken since it began.
    untaken: u64,
    /// What is written and not committed because of it: each partition's last.
    owed: BTreeMap<(String, u32), Offset>,
}

impl Trouble {
    fn begins(&mut self, error: &GroupError) {
        if !self.is_told {
            self.is_told = true;
            eprintln!("plimsoll: {error}");
        }
    }

    fn is_over(&mut self) {
        if self.is_told {
            let untaken = self.untaken;
            eprintln!("plimsoll: it goes on; commits that were not taken meanwhile: {untaken}");
            (self.is_told, self.untaken) = (false, 0);
        }
    }

    /// Commits what is written. Whether it was taken: it is no failure if not.
    fn commit(
        &mut self,
        member: &mut GroupConsumer,
        place: (String, u32),
        next: Offset,
    ) -> Result<bool, Failure> {
        self.owed.remove(&place);
        match member.commit_offset((&*place.0, place.1), next, "") {
            Ok(_) => {
                self.is_over();
                Ok(true)
            }
            Err(error @ GroupError::NotCommitted(_)) => {
                self.begins(&error);
                self.untaken += 1;
                self.owed.insert(place, next);
                Ok(false)
            }
            Err(error) => Err(Failure::new(error)),
        }
    }

    /// Nothing comes: commits what is owed, unless others have the partition now, who write its
    /// lines again.
    fn settle(&mut self, member: &mut GroupConsumer) -> Result<(), Failure> {
        let assigned = member.assigned();
        self.owed.retain(|place, _| assigned.contains(place));
        while let Some((place, next)) = self.owed.pop_first() {
            if !self.commit(member, place, next)? {
                return Ok(());
            }
        }
        self.is_over();
        Ok(())
    }

    /// The last chance of what is owed. What is not taken now comes again, which is told.
    fn end(&mut self, member: &mut GroupConsumer) -> Result<(), Failure> {
        self.settle(member)?;
        for ((topic, partition), next) in &self.owed {
            eprintln!(
                "plimsoll: {topic}/{partition} is written up to {next}, which is not committed: \
                 some of it comes again"
            );
        }
        Ok(())
    }
}

impl Goal {
    pub(crate) fn new(client: Client, group: &str) -> Goal {
        Goal { client, group: group.to_owned(), topics: Vec::new(), looked_at: None }
    }

    pub(crate) fn add(&mut self, topic: Topic, ends: Ends) {
        self.topics.push((topic, ends));
    }

    /// Looks, now and then, what the group has committed and what of the topics is left.
    fn is_reached(&mut self) -> bool {
        let is_due = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL);
        if self.topics.iter().any(|(_, ends)| ends.is_awaited()) && is_due {
            self.looked_at = Some(Instant::now());
            // Before its first member it does not exist; and a server that is away comes back.
            let offsets = self.client.describe_group(&self.group).map(|group| group.offsets);
            let offsets = offsets.unwrap_or_default();
            for (topic, ends) in &mut self.topics {
                for of in offsets.iter().filter(|of| of.partition.topic.0 == topic.id) {
                    ends.reached(of.partition.partition.0, of.offset);
                }
                for of in self.client.describe(&topic.name).unwrap_or_default() {
                    ends.reached(of.partition.0, of.watermarks.start);
                }
            }
        }
        self.topics.iter().all(|(_, ends)| ends.is_reached())
    }

    /// Where to stop in a topic.
    fn ends(&mut self, topic: &str) -> Option<&mut Ends> {
        self.topics.iter_mut().find(|(of, _)| of.name == topic).map(|(_, ends)| ends)
    }

    fn is_before(&mut self, topic: &str, partition: u32, offset: Offset) -> bool {
        self.ends(topic).is_none_or(|ends| ends.is_before(partition, offset))
    }

    fn reached(&mut self, topic: &str, partition: u32, next: Offset) {
        if let Some(ends) = self.ends(topic) {
            ends.reached(partition, next);
        }
    }
}

impl Work {
    pub(crate) fn new(member: GroupConsumer, goal: Goal, format: Format, left: u64) -> Work {
        let policy = member.commit_policy();
        Work { member, goal, format, left, policy, trouble: Trouble::default() }
    }

    /// Consumes until all that was asked for is written, or a signal comes.
    pub(crate) fn run(mut self, signals: &Signals) -> Result<(), Failure> {
        let done = self.consume(signals);
        let closed = self.member.close();
        done?;
        closed.map_err(Failure::new)
    }

    fn consume(&mut self, signals: &Signals) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        while self.left > 0 && !self.goal.is_reached() {
            if signals.wait_timeout(Duration::ZERO).map_err(Failure::new)?.is_some() {
                // All that was handed out is written: auto need not hold back the last batch.
                if let CommitPolicy::Auto { .. } = self.policy {
                    match self.member.commit() {
                        Ok(_) => {}
                        Err(error @ GroupError::NotCommitted(_)) => eprintln!("plimsoll: {error}"),
                        Err(error) => return Err(Failure::new(error)),
                    }
                }
                return self.trouble.end(&mut self.member);
            }
            let taken = self.member.next_batch(WAIT);
            self.member.notices().for_each(|notice| tell(&notice));
            match taken {
                Ok(Some(batch)) => self.write(&batch, &mut bytes)?,
                Ok(None) => self.trouble.settle(&mut self.member)?,
                // It goes on by itself when the server, or who reads the output, is back.
                Err(error @ (GroupError::Disconnected { .. } | GroupError::NotPolled { .. })) => {
                    self.trouble.begins(&error);
                }
                Err(error) => return Err(Failure::new(error)),
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: &DeliveredBatch, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let (topic, partition) = (batch.topic(), batch.partition());
        let shown = (topic, self.goal.topics.len() > 1);
        let mut next = batch.header().next_offset();
        bytes.clear();
        for record in batch.records() {
            let record = record.map_err(|error| {
                let base_offset = batch.header().base_offset;
                Failure::Failed(format!(
                    "{topic}/{partition}, batch at offset {base_offset}: {error}; its producer \
                     wrote it so, skip it with `plimsoll group reset`"
                ))
            })?;
            if self.left == 0 || !self.goal.is_before(topic, partition, record.offset) {
                next = record.offset;
                break;
            }
            self.format.write(shown, partition, &record, bytes);
            self.left -= 1;
        }
        let is_cut = next < batch.header().next_offset();
        if is_cut && bytes.is_empty() {
            // All of it lies behind the end.
            self.goal.reached(topic, partition, next);
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(|error| Failure::of_output(&error))?;
        let is_taken = match self.policy {
            CommitPolicy::Before => true,
            CommitPolicy::Auto { .. } if !is_cut => true,
            _ => self.trouble.commit(&mut self.member, (topic.to_owned(), partition), next)?,
        };
        if is_taken {
            self.goal.reached(topic, partition, next);
        }
        Ok(())
    }
}

/// Tells on stderr what a person who reads the lines should know.
fn tell(notice: &GroupEvent) {
    match notice {
        GroupEvent::Missed { topic, partition, wanted, next } => {
            let missed = next.value().saturating_sub(wanted.value());
            eprintln!(
                "plimsoll: {topic}/{partition} goes on at {next}: {missed} records from {wanted} \
                 on were removed, or passed over, before the group had consumed them"
            );
        }
        GroupEvent::Lost { topic, partitions, reason } => {
            eprintln!("plimsoll: lost partitions {partitions:?} of {topic}: {reason}");
        }
        GroupEvent::CommitFailed(report) => {
            eprintln!("plimsoll: {}", GroupError::NotCommitted(report.clone()));
        }
        _ => {}
    }
}
