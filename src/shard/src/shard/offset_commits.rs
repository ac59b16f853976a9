//! Committing offsets: checked, appended to the offsets topic at `disk`, and answered when there.
//!
//! A commit rides the same group commit as data. What a newcomer gets wrong: an offset is checked
//! against the end of its partition, which may be another shard's; that shard is asked first. The
//! order of two commits does not matter, because an offset only goes forward.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec::Vec;

use plimsoll_batch::{Batch, BatchBuilder, BatchLimits, Offset};
use plimsoll_storage::{AppendError, Level, PartitionId, Slot};
use plimsoll_wire::{
    COMMIT_METADATA_BYTES_MAX, CommitMode, CommitOffsetsResponse, CommittedOffset, CorrelationId,
    ErrorCode, Handle, Opcode, ShardIndex, ShareSettled, TopicPartition, encode_empty_response,
};

use super::Shard;
use super::answers::Problem;
use super::groups::{group_not_found, of_group, storage_id};
use super::offset_log::{BATCH_BYTES_MAX, OffsetAnswer, OffsetAnswerKind, PendingOffsets};
use crate::groups::{
    CommitRequest, Committed, Group, GroupName, OffsetChange, Place, Share, partition_of,
};
use crate::mail::{Client, Ended, Letter};

/// Commits that wait for what other shards say.
const CHECKS_MAX: usize = 4_096;

/// Where partitions end; none for those that do not exist.
pub(crate) type Ends = Vec<(PartitionId, Option<Offset>)>;

/// A commit that waits for the ends of partitions of other shards.
#[derive(Debug)]
pub(super) struct EndsCheck {
    client: Client,
    correlation: CorrelationId,
    commit: CommitRequest,
    missing: usize,
    ends: BTreeMap<PartitionId, Offset>,
}

type Change = (TopicPartition, Option<Committed>);

impl Shard {
    pub(super) fn serve_commit(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        commit: CommitRequest,
    ) -> Result<(), Problem> {
        let mut asked: BTreeMap<u16, Vec<PartitionId>> = BTreeMap::new();
        for (partition, offset, _) in &commit.offsets {
            let id = storage_id(*partition);
            let owner = id.owner(self.config.shards);
            if offset.is_some() && owner != self.config.index.0 {
                asked.entry(owner).or_default().push(id);
            }
        }
        if asked.is_empty() {
            return self.commit_offsets(client, correlation, &commit, &BTreeMap::new());
        }
        if self.ends_checks.len() >= CHECKS_MAX {
            return Err(Problem::new(ErrorCode::Overloaded, "too many commits are under way"));
        }
        let check = self.ends_checks_begun;
        self.ends_checks_begun += 1;
        let (missing, ends) = (asked.len(), BTreeMap::new());
        let waiting = EndsCheck { client, correlation, commit, missing, ends };
        self.ends_checks.insert(check, waiting);
        for (owner, partitions) in asked {
            self.post(ShardIndex(owner), Letter::EndsWanted { check, partitions });
        }
        Ok(())
    }

    /// Where partitions of this shard end.
    pub(super) fn ends_of(&self, partitions: &[PartitionId]) -> Ends {
        let end = |id: &PartitionId| {
            let slot = self.storage.slot(*id)?;
            Some(self.storage.watermarks(slot).memory)
        };
        partitions.iter().map(|id| (*id, end(id))).collect()
    }

    /// Another shard says where its partitions end.
    pub(super) fn take_ends(&mut self, check: u64, ends: Ends) {
        let Some(waiting) = self.ends_checks.get_mut(&check) else { return };
        let known = ends.into_iter().filter_map(|(id, end)| Some((id, end?)));
        waiting.ends.extend(known);
        waiting.missing -= 1;
        if waiting.missing > 0 {
            return;
        }
        let Some(waiting) = self.ends_checks.remove(&check) else { return };
        let EndsCheck { client, correlation, commit, ends, .. } = waiting;
        if let Err(problem) = self.commit_offsets(client, correlation, &commit, &ends) {
            let opcode = Opcode::CommitOffsets;
            self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
        }
    }

    fn commit_offsets(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        commit: &CommitRequest,
        ends: &BTreeMap<PartitionId, Offset>,
    ) -> Result<(), Problem> {
        self.check_committer(commit)?;
        self.check_groups(&commit.group)?;
        if self.groups.share(&commit.group).is_some() {
            let check = |shard: &Self, partition, offset| {
                shard.refusal(commit, partition, (offset, ""), ends).err()
            };
            let what = OffsetAnswerKind::Committed(self.reset_share(commit, check)?);
            return self.log_changes(&commit.group, Vec::new(), (client, correlation, what));
        }
        let mut results = Vec::with_capacity(commit.offsets.len());
        let mut changes = Vec::new();
        for (partition, offset, metadata) in &commit.offsets {
            let error = self.refusal(commit, *partition, (*offset, metadata), ends).err();
            results.push(CommittedOffset { partition: *partition, error, committed: None });
            let place = self.groups.group(&commit.group).and_then(|it| it.places.get(partition));
            let is_change = match (commit.mode, offset) {
                (CommitMode::Forward, Some(offset)) => {
                    place.is_none_or(|place| place.is_behind(*offset))
                }
                (CommitMode::Exact, offset) => place.and_then(Place::written_offset) != *offset,
                (CommitMode::Forward, None) => false,
            };
            if error.is_none() && is_change {
                let unix_ms = self.now.unix_ms;
                let committed =
                    offset.map(|offset| Committed { offset, unix_ms, metadata: metadata.clone() });
                changes.push((*partition, committed));
            }
        }
        let places = self.groups.group(&commit.group).map(|group| &group.places);
        let is_new = |(at, _): &&Change| places.is_none_or(|places| !places.contains_key(at));
        let more = changes.iter().filter(is_new).count();
        let limit = self.config.limits.committed_offsets_max;
        if more > 0 && self.committed_offsets() + more > limit {
            let text = "the shard's limit of committed offsets is reached: delete groups";
            return Err(Problem::new(ErrorCode::Overloaded, text));
        }
        let what = OffsetAnswerKind::Committed(results);
        self.log_changes(&commit.group, changes, (client, correlation, what))
    }

    fn check_committer(&self, commit: &CommitRequest) -> Result<(), Problem> {
        let Some(group) = self.groups.group(&commit.group) else {
            // The first commit makes the group, unless a member is named, which it cannot have.
            return if commit.member == plimsoll_wire::MemberId::NONE {
                Ok(())
            } else {
                Err(of_group(&crate::groups::GroupProblem::MemberUnknown))
            };
        };
        let checked = group.check_committer(commit.member, commit.mode);
        checked.map(|_| ()).map_err(|problem| of_group(&problem))
    }

    /// Why the offset of one partition is not taken.
    fn refusal(
        &self,
        commit: &CommitRequest,
        partition: TopicPartition,
        (offset, metadata): (Option<Offset>, &str),
        ends: &BTreeMap<PartitionId, Offset>,
    ) -> Result<(), ErrorCode> {
        if metadata.len() > COMMIT_METADATA_BYTES_MAX {
            return Err(ErrorCode::InvalidRequest);
        }
        if offset.is_none() {
            let removes = commit.mode == CommitMode::Exact;
            return if removes { Ok(()) } else { Err(ErrorCode::InvalidRequest) };
        }
        let topic = self.catalog.with_id(partition.topic.0).ok_or(ErrorCode::TopicNotFound)?;
        if partition.partition.0 >= topic.partitions {
            return Err(ErrorCode::PartitionNotFound);
        }
        let group = self.groups.group(&commit.group);
        let member = group.and_then(|group| group.member(commit.member).ok());
        if member.is_some_and(|member| !member.may_commit(partition, commit.generation)) {
            return Err(ErrorCode::NotAssigned);
        }
        let id = storage_id(partition);
        let local = self.storage.slot(id).map(|slot| self.storage.watermarks(slot).memory);
        let end = local.or_else(|| ends.get(&id).copied());
        if end.is_none_or(|end| offset.is_some_and(|offset| offset > end)) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok(())
    }

    /// How many places groups have in partitions.
    pub(super) fn committed_offsets(&self) -> usize {
        let places =
            |group: &Group| group.places.len() + group.share.as_ref().map_or(0, Share::partitions);
        self.groups.iter().map(places).sum()
    }

    pub(super) fn serve_delete_group(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        name: &str,
    ) -> Result<(), Problem> {
        let group = self.groups.group(name).ok_or_else(|| group_not_found(name))?;
        let checked = group.check_committer(plimsoll_wire::MemberId::NONE, CommitMode::Exact);
        checked.map_err(|problem| of_group(&problem))?;
        let written = group.places.iter().filter(|(_, place)| place.written.is_some());
        let changes = written.map(|(partition, _)| (*partition, None)).collect();
        self.groups.with_share(name, Share::end_all);
        self.log_changes(name, changes, (client, correlation, OffsetAnswerKind::Deleted))
    }

    /// Appends changes of a group, and answers when they are on disk.
    fn log_changes(
        &mut self,
        group: &str,
        changes: Vec<Change>,
        (client, correlation, what): (Client, CorrelationId, OffsetAnswerKind),
    ) -> Result<(), Problem> {
        let partition = partition_of(group).partition;
        if let Some(failure) = self.storage.failure() {
            // Also where nothing is to be written: what was written before may never be on disk.
            return Err(Problem::new(ErrorCode::DiskFailed, failure.to_string()));
        }
        let name = self.groups.ensure(group).name();
        let appended = self.append_changes((&name, partition), changes);
        let appended = appended.and_then(|()| self.flush_share(&name));
        if let Err(problem) = appended {
            self.groups.drop_if_void(&name);
            return Err(problem);
        }
        self.answer_when_durable(&name, (client, correlation, what))
    }

    /// Answers when everything that was appended for a group is on disk.
    pub(super) fn answer_when_durable(
        &mut self,
        name: &GroupName,
        (client, correlation, what): (Client, CorrelationId, OffsetAnswerKind),
    ) -> Result<(), Problem> {
        let partition = partition_of(name).partition;
        let slot = self.offset_logs.get(&partition).ok_or_else(closed)?.slot;
        // What was written before counts as this commit's too: it may be what made it needless.
        let next = self.storage.watermarks(slot).memory;
        let last = self.offset_logs.get(&partition).and_then(|log| log.pending.back());
        let next = last.map_or(next, |last| last.next);
        let group = GroupName::clone(name);
        let answer = Some(OffsetAnswer { client, correlation, group, what });
        if let Some(log) = self.offset_logs.get_mut(&partition) {
            log.pending.push_back(PendingOffsets { answer, ..PendingOffsets::at(next) });
        }
        self.offsets_advanced(slot);
        self.shorten_offset_log(partition);
        Ok(())
    }

    pub(super) fn append_changes(
        &mut self,
        (name, partition): (&GroupName, u32),
        changes: Vec<Change>,
    ) -> Result<(), Problem> {
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let mut builder = BatchBuilder::with_limit(BATCH_BYTES_MAX + (64 << 10));
            let (mut taken, mut batch_bytes) = (Vec::new(), 0);
            while batch_bytes < BATCH_BYTES_MAX
                && let Some((partition, committed)) = changes.next()
            {
                let change = OffsetChange { group: name, partition, committed };
                let (key, value) = (change.encode_key(), change.encode_value());
                batch_bytes += key.len() + value.as_ref().map_or(0, Vec::len) + 32;
                let appended = builder.append(self.now.unix_ms, Some(&key), value.as_deref(), &[]);
                appended.map_err(|_| overloaded())?;
                taken.push((partition, change.committed));
            }
            let next = self.append_to_offset_log(partition, builder)?;
            if let Some(group) = self.groups.group_mut(name) {
                for (partition, committed) in &taken {
                    let place = group.places.entry(*partition).or_default();
                    place.write(committed.clone());
                }
            }
            self.counters.offsets_committed += taken.len() as u64;
            let named = taken
                .into_iter()
                .map(|(partition, committed)| (GroupName::clone(name), partition, committed));
            let changes = named.collect();
            if let Some(log) = self.offset_logs.get_mut(&partition) {
                log.pending.push_back(PendingOffsets { changes, ..PendingOffsets::at(next) });
            }
        }
        Ok(())
    }

    /// Appends a batch of records. Gives where the log goes on.
    pub(super) fn append_to_offset_log(
        &mut self,
        partition: u32,
        mut builder: BatchBuilder,
    ) -> Result<Offset, Problem> {
        let log = self.offset_logs.get_mut(&partition).ok_or_else(closed)?;
        let mut bytes = Vec::new();
        builder.finish_into(&mut bytes);
        let limits = BatchLimits { batch_bytes_max: bytes.len() };
        let batch = Batch::validate(&bytes, &limits).map_err(|_| overloaded())?;
        let appended = self.storage.append(log.slot, &batch, Level::Disk, self.now);
        let next = appended.map_err(|error| problem_of(&error))?.next;
        log.fresh_bytes += bytes.len() as u64;
        Ok(next)
    }

    /// Puts changes into effect that have reached the disk, and answers.
    pub(super) fn offsets_advanced(&mut self, slot: Slot) {
        let Some(partition) = self
            .offset_logs
            .iter()
            .find_map(|(partition, log)| (log.slot == slot).then_some(*partition))
        else {
            return;
        };
        let disk = self.storage.watermarks(slot).disk;
        let (mut names, mut opened) = (BTreeSet::new(), BTreeSet::new());
        while let Some(log) = self.offset_logs.get_mut(&partition)
            && let Some(settled) = log.pending.pop_front_if(|front| front.next <= disk)
        {
            for (name, partition, committed) in settled.changes {
                if let Some(group) = self.groups.group_mut(&name) {
                    group.settle_place(partition, committed);
                }
                names.insert(name);
            }
            if let Some(name) = settled.share
                && self.groups.with_share(&name, |share| share.note_durable(disk)) == Some(true)
            {
                opened.insert(name);
            }
            if let Some(answer) = settled.answer {
                self.answer_offsets(answer);
            }
        }
        names.iter().for_each(|name| self.give_awaited(name));
        opened.iter().for_each(|name| self.serve_waiters(name));
        self.drop_old_offsets(partition, disk);
    }

    /// Gives the partitions that waited for commits.
    fn give_awaited(&mut self, name: &GroupName) {
        let now = self.now.monotonic;
        let Some(group) = self.groups.group_mut(name) else { return };
        let changed = group.settle_awaited(now);
        self.tell_members(name, &changed, None);
    }

    pub(super) fn answer_offsets(&mut self, answer: OffsetAnswer) {
        let OffsetAnswer { client, correlation, group: name, what } = answer;
        let group = self.groups.group(&name);
        let committed = |partition: &TopicPartition| {
            let place: Option<&Place> = group.and_then(|group| group.places.get(partition));
            let start = group.and_then(|group| group.share.as_ref()?.start_of(*partition));
            place.and_then(|place| place.durable.as_ref()).map(|it| it.offset).or(start)
        };
        match what {
            OffsetAnswerKind::Committed(mut offsets) => {
                for offset in &mut offsets {
                    offset.committed = committed(&offset.partition);
                }
                self.answer(client, Ended::REQUEST, |out| {
                    CommitOffsetsResponse { offsets }.encode(correlation, out);
                });
            }
            OffsetAnswerKind::Settled(errors) => self.answer(client, Ended::REQUEST, |out| {
                ShareSettled { errors }.encode(correlation, out);
            }),
            OffsetAnswerKind::Deleted => self.answer(client, Ended::REQUEST, |out| {
                encode_empty_response(Opcode::DeleteGroup, correlation, out);
            }),
        }
        self.groups.drop_if_void(&name);
    }

    /// The disk has failed: whether the commits on their way survive shows after a restart.
    pub(super) fn fail_commits(&mut self, text: &str) {
        let logs = self.offset_logs.values_mut();
        let pending: Vec<PendingOffsets> = logs.flat_map(|log| log.pending.drain(..)).collect();
        for (name, partition, _) in pending.iter().flat_map(|pending| &pending.changes) {
            if let Some(group) = self.groups.group_mut(name)
                && let Some(place) = group.places.get_mut(partition)
            {
                place.give_up();
            }
            self.give_awaited(name);
        }
        for answer in pending.into_iter().filter_map(|pending| pending.answer) {
            let opcode = match answer.what {
                OffsetAnswerKind::Committed(_) => Opcode::CommitOffsets,
                OffsetAnswerKind::Deleted => Opcode::DeleteGroup,
                OffsetAnswerKind::Settled(_) => Opcode::ShareSettle,
            };
            let problem = Problem::new(ErrorCode::DiskFailed, alloc::string::String::from(text));
            let (client, correlation) = (answer.client, answer.correlation);
            self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
        }
    }
}

fn closed() -> Problem {
    Problem::new(ErrorCode::Overloaded, "the offsets are not open here")
}

fn overloaded() -> Problem {
    Problem::new(ErrorCode::Overloaded, "no memory for the commit; try again")
}

fn problem_of(error: &AppendError) -> Problem {
    if matches!(error, AppendError::NoRoom) {
        return overloaded();
    }
    let problem = Problem::of_append(Handle::default(), error);
    Problem { handle: None, fate: plimsoll_wire::Fate::NotAppend, ..problem }
}
