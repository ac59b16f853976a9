//! The log of groups in share mode: their part of the offsets topic.
//!
//! What memory says is appended before anybody hears of it, in the order in which it happened. What
//! a newcomer gets wrong: where an append is refused, the facts stay with the group, and nothing
//! more is handed out or answered until they are written.

use alloc::vec::Vec;

use plimsoll_batch::{BatchBuilder, Offset};
use plimsoll_wire::{CommitMode, CommittedOffset, ErrorCode, MemberId, TopicPartition};

use super::Shard;
use super::answers::Problem;
use super::groups::of_group;
use super::offset_log::{BATCH_BYTES_MAX, PendingOffsets};
use crate::groups::{
    CommitRequest, GroupName, GroupProblem, Share, ShareFact, ShareRecord, partition_of,
};

impl Shard {
    /// Appends what a group has not written yet.
    pub(super) fn flush_share(&mut self, name: &GroupName) -> Result<(), Problem> {
        if !self.groups.share(name).is_some_and(Share::has_unwritten) {
            return Ok(());
        }
        let facts = self.groups.with_share(name, Share::take_unwritten);
        self.append_facts(name, &facts.unwrap_or_default())?;
        self.shorten_offset_log(partition_of(name).partition);
        Ok(())
    }

    /// Appends facts of a group. Those that are refused stay with it.
    fn append_facts(
        &mut self,
        name: &GroupName,
        facts: &[(TopicPartition, ShareFact)],
    ) -> Result<(), Problem> {
        let mut written = 0;
        while written < facts.len() {
            let rest = facts.get(written..).unwrap_or_default();
            match self.append_fact_batch(name, rest) {
                Ok((count, next)) => {
                    written += count;
                    let batch = rest.get(..count).unwrap_or_default();
                    self.groups.with_share(name, |share| share.note_written(batch, next));
                }
                Err(problem) => {
                    let rest = rest.to_vec();
                    self.groups.with_share(name, |share| share.put_back(rest));
                    return Err(problem);
                }
            }
        }
        Ok(())
    }

    /// Appends a batch of the first of some facts. How many, and where the log goes on.
    fn append_fact_batch(
        &mut self,
        name: &GroupName,
        facts: &[(TopicPartition, ShareFact)],
    ) -> Result<(usize, Offset), Problem> {
        let overloaded = || Problem::new(ErrorCode::Overloaded, "no memory; try again");
        let mut builder = BatchBuilder::with_limit(BATCH_BYTES_MAX + (64 << 10));
        let (mut count, mut batch_bytes) = (0, 0);
        for (partition, fact) in facts {
            if batch_bytes >= BATCH_BYTES_MAX {
                break;
            }
            let record = ShareRecord { group: name, partition: *partition, fact: *fact };
            let (key, value) = (record.encode_key(), record.encode_value());
            batch_bytes += key.len() + value.as_ref().map_or(0, Vec::len) + 32;
            let appended = builder.append(self.now.unix_ms, Some(&key), value.as_deref(), &[]);
            appended.map_err(|_| overloaded())?;
            count += 1;
        }
        let partition = partition_of(name).partition;
        let next = self.append_to_offset_log(partition, builder)?;
        let group = GroupName::clone(name);
        if let Some(log) = self.offset_logs.get_mut(&partition) {
            let share = Some(group);
            log.pending.push_back(PendingOffsets { share, ..PendingOffsets::at(next) });
        }
        Ok((count, next))
    }

    /// Appends everything of a group that a start has to find. Whether that went well.
    pub(super) fn rewrite_share(&mut self, name: &GroupName) -> bool {
        // What is not written yet is in there, too, but must not come after it.
        let unwritten = self.groups.with_share(name, Share::take_unwritten);
        let is_flushed = self.append_facts(name, &unwritten.unwrap_or_default()).is_ok();
        let Some(kept) = self.groups.share(name).map(Share::kept) else {
            return true;
        };
        is_flushed && self.append_again(name, &kept)
    }

    /// As `append_facts`, for what is in the log already: what is refused may be left out.
    fn append_again(&mut self, name: &GroupName, kept: &[(TopicPartition, ShareFact)]) -> bool {
        let mut written = 0;
        while written < kept.len() {
            let rest = kept.get(written..).unwrap_or_default();
            match self.append_fact_batch(name, rest) {
                Ok((count, _)) => written += count,
                Err(_) => return false,
            }
        }
        true
    }

    /// Sets where a group without members begins, partition by partition.
    pub(super) fn reset_share(
        &mut self,
        commit: &CommitRequest,
        check: impl Fn(&Self, TopicPartition, Option<Offset>) -> Option<ErrorCode>,
    ) -> Result<Vec<CommittedOffset>, Problem> {
        if commit.mode != CommitMode::Exact || commit.member != MemberId::NONE {
            let mode = plimsoll_wire::GroupMode::Share;
            return Err(of_group(&GroupProblem::OtherMode(mode)));
        }
        let mut results = Vec::with_capacity(commit.offsets.len());
        for (partition, offset, _) in &commit.offsets {
            let error = check(self, *partition, *offset);
            results.push(CommittedOffset { partition: *partition, error, committed: None });
            if error.is_some() {
                continue;
            }
            let incarnation = self.groups.next_incarnation(self.config.epoch);
            self.groups.with_share(&commit.group, |share| match offset {
                Some(offset) => share.begin_at(*partition, *offset, incarnation),
                None => share.end_partition(*partition),
            });
        }
        Ok(results)
    }
}
