//! Commits under way: sent, answered partition by partition, sent again where that is safe.
//!
//! It decides nothing about what is committed. What a newcomer gets wrong: a commit belongs to the
//! membership that made it. One that a lost membership leaves behind is never sent by the next,
//! which may hold the same partition after somebody else has consumed it.
//!
//! Of commits that nobody awaits one is under way at a time; those that come meanwhile are gathered
//! into the next, so that to commit after every batch costs a request for each turn of the disk.

use super::GroupError;
use crate::consumer::Place;
use crate::{Instant, ServerError};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::{error, fmt, mem};
use plimsoll_wire::{CommittedOffset, ErrorCode, Offset};

/// One call that commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// What became of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// One for each partition, in no order.
    pub partitions: Vec<PartitionCommit>,
}

/// What became of the commit of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCommit {
    /// Of which topic.
    pub topic: Arc<str>,
    /// Which one.
    pub partition: u32,
    /// The offset that was to be committed.
    pub offset: Offset,
    /// What is committed now, durably: never less than was asked for.
    pub result: Result<Offset, CommitFault>,
}

/// Why an offset was not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitFault {
    /// The server refused it: `NOT_ASSIGNED` where the partition has gone to somebody else.
    Refused(ErrorCode),
    /// The membership ended before the answer. The records are handed out again to whoever has the
    /// partition now.
    MembershipLost,
    /// There was no answer in time: it may be committed or not.
    NoAnswer,
}

impl fmt::Display for CommitFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitFault::Refused(ErrorCode::NotAssigned) => {
                formatter.write_str("the partition is another member's now")
            }
            CommitFault::Refused(code) => code.fmt(formatter),
            CommitFault::MembershipLost => formatter.write_str("the membership has ended"),
            CommitFault::NoAnswer => formatter.write_str("there was no answer in time"),
        }
    }
}

impl error::Error for CommitFault {}

impl CommitReport {
    /// The first partition whose offset was not committed.
    #[must_use]
    pub fn first_fault(&self) -> Option<(u32, CommitFault)> {
        let fault = |of: &PartitionCommit| of.result.err().map(|fault| (of.partition, fault));
        self.partitions.iter().find_map(fault)
    }

    /// The report of a commit that is whole.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotCommitted`] with the report, if a partition was not committed.
    pub fn judged(self) -> Result<CommitReport, GroupError> {
        match self.first_fault() {
            None => Ok(self),
            Some(_) => Err(GroupError::NotCommitted(self)),
        }
    }
}

/// All commits of a member that have not ended.
#[derive(Debug)]
pub(super) struct Commits {
    /// The names of the topics.
    names: Vec<Arc<str>>,
    last: u64,
    open: BTreeMap<CommitId, Commit>,
}

#[derive(Debug)]
pub(super) struct Commit {
    /// What is not decided yet.
    pub(super) offsets: Vec<(Place, Offset, String)>,
    /// Whether somebody takes the report.
    is_awaited: bool,
    send: Send,
    expires_at: Instant,
    report: CommitReport,
}

/// A commit that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: CommitId,
    pub(super) is_awaited: bool,
    pub(super) report: CommitReport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Send {
    Due,
    At(Instant),
    Sent,
}

impl Commits {
    pub(super) fn new(names: Vec<Arc<str>>) -> Commits {
        Commits { names, last: 0, open: BTreeMap::new() }
    }

    pub(super) fn open(
        &mut self,
        offsets: Vec<(Place, Offset, String)>,
        is_awaited: bool,
        expires_at: Instant,
    ) -> CommitId {
        if !is_awaited
            && !offsets.is_empty()
            && let Some(gathered) = self.gather(&offsets)
        {
            return gathered;
        }
        self.last += 1;
        let id = CommitId(self.last);
        let (send, report) = (Send::Due, CommitReport::default());
        self.open.insert(id, Commit { offsets, is_awaited, send, expires_at, report });
        id
    }

    /// Puts offsets into a commit that waits to be sent, if there is one that nobody awaits.
    fn gather(&mut self, offsets: &[(Place, Offset, String)]) -> Option<CommitId> {
        let waits = |commit: &Commit| !commit.is_awaited && commit.send == Send::Due;
        let (id, commit) = self.open.iter_mut().rev().find(|(_, commit)| waits(commit))?;
        for (place, offset, metadata) in offsets {
            match commit.offsets.iter_mut().find(|(of, ..)| of == place) {
                Some((_, earlier, _)) if *earlier >= *offset => {}
                Some(earlier) => (earlier.1, earlier.2) = (*offset, metadata.clone()),
                None => commit.offsets.push((*place, *offset, metadata.clone())),
            }
        }
        Some(*id)
    }

    /// The number of one that has ended before it was open.
    pub(super) fn skip(&mut self) -> CommitId {
        self.last += 1;
        CommitId(self.last)
    }

    /// The last one so far.
    pub(super) fn last(&self) -> CommitId {
        CommitId(self.last)
    }

    /// Whether this one and all before it have ended.
    pub(super) fn has_ended(&self, id: CommitId) -> bool {
        self.open.keys().next().is_none_or(|oldest| *oldest > id)
    }

    /// A commit that is to be sent now, each once.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<(CommitId, &Commit)> {
        let under_way = |commit: &Commit| !commit.is_awaited && commit.send == Send::Sent;
        let is_under_way = self.open.values().any(under_way);
        let is_due = |commit: &Commit| match commit.send {
            Send::Due => commit.is_awaited || !is_under_way,
            Send::At(at) => at <= now,
            Send::Sent => false,
        };
        let (id, commit) = self.open.iter_mut().find(|(_, commit)| is_due(commit))?;
        commit.send = Send::Sent;
        Some((*id, commit))
    }

    /// The connection is lost: what was sent is sent again. An offset that is taken twice is taken
    /// once.
    pub(super) fn send_again(&mut self) {
        self.open.values_mut().for_each(|commit| commit.send = Send::Due);
    }

    /// These topics were made anew: an offset that waits to be sent would be committed of records
    /// that it does not mean.
    pub(super) fn forget_topics(&mut self, renewed: &[usize]) -> Vec<Ended> {
        let ids: Vec<CommitId> = self.open.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.forget_topics_in(id, renewed)).collect()
    }

    fn forget_topics_in(&mut self, id: CommitId, renewed: &[usize]) -> Option<Ended> {
        let commit = self.open.get_mut(&id)?;
        let is_of_old = |(place, ..): &mut (Place, Offset, String)| renewed.contains(&place.topic);
        let gone: Vec<_> = commit.offsets.extract_if(.., is_of_old).collect();
        if gone.is_empty() {
            return None;
        }
        for (place, offset, _) in gone {
            let result = Err(CommitFault::Refused(ErrorCode::TopicNotFound));
            let (topic, partition) = (Arc::clone(&self.names[place.topic]), place.partition);
            commit.report.partitions.push(PartitionCommit { topic, partition, offset, result });
        }
        if commit.offsets.is_empty() { self.close(id) } else { None }
    }

    pub(super) fn answered(
        &mut self,
        id: CommitId,
        answers: &[(Place, CommittedOffset)],
        retry_at: Instant,
    ) -> Option<Ended> {
        let commit = self.open.get_mut(&id)?;
        for (place, offset, metadata) in mem::take(&mut commit.offsets) {
            let answer = answers.iter().find(|(of, _)| *of == place);
            let result = match answer.map(|(_, answer)| (answer.error, answer.committed)) {
                Some((Some(ErrorCode::Overloaded | ErrorCode::DiskFull), _)) => {
                    commit.offsets.push((place, offset, metadata));
                    continue;
                }
                Some((Some(code), _)) => Err(CommitFault::Refused(code)),
                Some((None, Some(committed))) => Ok(committed),
                Some((None, None)) | None => Err(CommitFault::NoAnswer),
            };
            let (topic, partition) = (Arc::clone(&self.names[place.topic]), place.partition);
            commit.report.partitions.push(PartitionCommit { topic, partition, offset, result });
        }
        commit.send = Send::At(retry_at);
        if commit.offsets.is_empty() { self.close(id) } else { None }
    }

    /// The server refused the whole commit.
    pub(super) fn refused(
        &mut self,
        id: CommitId,
        error: &ServerError,
        retry_at: Instant,
    ) -> Option<Ended> {
        if error.is_retriable() {
            self.open.get_mut(&id)?.send = Send::At(retry_at);
            return None;
        }
        self.fail(id, CommitFault::Refused(error.code))
    }

    /// Nobody takes the report any more.
    pub(super) fn abandon(&mut self, id: CommitId) {
        if let Some(commit) = self.open.get_mut(&id) {
            commit.is_awaited = false;
        }
    }

    /// Ends the oldest one with a fault.
    pub(super) fn fail_first(&mut self, fault: CommitFault) -> Option<Ended> {
        let id = *self.open.keys().next()?;
        self.fail(id, fault)
    }

    /// Ends one that has waited too long.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Ended> {
        let is_over = |commit: &Commit| commit.expires_at <= now;
        let (id, _) = self.open.iter().find(|(_, commit)| is_over(commit))?;
        let id = *id;
        self.fail(id, CommitFault::NoAnswer)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let of_one = |commit: &Commit| match commit.send {
            Send::At(at) => at.min(commit.expires_at),
            Send::Due | Send::Sent => commit.expires_at,
        };
        self.open.values().map(of_one).min()
    }

    pub(super) fn fail(&mut self, id: CommitId, fault: CommitFault) -> Option<Ended> {
        let commit = self.open.get_mut(&id)?;
        for (place, offset, _) in mem::take(&mut commit.offsets) {
            let result = Err(fault);
            let (topic, partition) = (Arc::clone(&self.names[place.topic]), place.partition);
            commit.report.partitions.push(PartitionCommit { topic, partition, offset, result });
        }
        self.close(id)
    }

    fn close(&mut self, id: CommitId) -> Option<Ended> {
        let Commit { is_awaited, report, .. } = self.open.remove(&id)?;
        Some(Ended { id, is_awaited, report })
    }
}
