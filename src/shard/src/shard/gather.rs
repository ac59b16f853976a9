//! Answers to which every shard has a share: `describe` and `stats`.
//!
//! No shard reads another's counters: each sends its share. What a newcomer gets wrong: the shares
//! are of slightly different moments, so that sums over shards are no snapshot.

use alloc::vec::Vec;

use plimsoll_wire::{
    CorrelationId, DESCRIBE_PARTITIONS_MAX, Describe, DescribeResponse, ErrorCode, GroupMode,
    ListGroupsResponse, ListedGroup, Opcode, PartitionDescription, PartitionIndex, Stat,
    StatsResponse,
};

use super::Shard;
use super::answers::Problem;
use super::decoding::Flow;
use crate::connection::{ConnectionId, Hold};
use crate::groups::Group;
use crate::level;
use crate::mail::{Ended, Gathered, GroupInShort, Letter, Share};

/// Answers that wait for other shards; each may take some megabytes.
const GATHERS_MAX: usize = 32;

/// An answer that is not yet complete.
#[derive(Debug)]
pub(super) struct Gather {
    id: ConnectionId,
    correlation: CorrelationId,
    share: Share,
    missing: u16,
}

impl Shard {
    pub(super) fn describe(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        describe: &Describe<'_>,
    ) -> Flow {
        let problem = match self.catalog.named(describe.topic) {
            None => self.no_topic(),
            Some(topic) if describe.first.0 >= topic.partitions => Problem {
                detail_a: u64::from(describe.first.0),
                detail_b: u64::from(topic.partitions),
                ..Problem::new(ErrorCode::PartitionNotFound, "the topic has fewer partitions")
            },
            Some(topic) => {
                let first = describe.first.0;
                let count = describe.count.min(DESCRIBE_PARTITIONS_MAX);
                let count = count.min(topic.partitions - first);
                let what = Gathered::Partitions { topic: topic.id, first, count };
                return self.gather(id, correlation, what);
            }
        };
        let client = self.client(id);
        self.answer_problem(client, Ended::NOTHING, Opcode::Describe, correlation, problem);
        Flow::Next
    }

    /// Asks all shards for their share.
    pub(super) fn gather(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        what: Gathered,
    ) -> Flow {
        if self.config.shards > 1 && self.outbox.len() >= self.config.limits.outbox_max {
            return Flow::Hold(Hold::Outbox);
        }
        if self.gathers.len() >= GATHERS_MAX {
            let opcode = match what {
                Gathered::Stats => Opcode::Stats,
                Gathered::Groups { .. } => Opcode::ListGroups,
                Gathered::Partitions { .. } => Opcode::Describe,
            };
            let text = "too many answers of all shards are being put together";
            let problem = Problem::new(ErrorCode::Overloaded, text);
            let client = self.client(id);
            self.answer_problem(client, Ended::NOTHING, opcode, correlation, problem);
            return Flow::Next;
        }
        if !self.begin_request(id) {
            return Flow::Hold(Hold::InFlight);
        }
        let gather = self.gathers_begun;
        self.gathers_begun += 1;
        for shard in self.other_shards() {
            let from = self.config.index;
            self.post(shard, Letter::Gather { from, gather, what });
        }
        let share = self.share_of(what);
        let missing = self.config.shards - 1;
        self.gathers.insert(gather, Gather { id, correlation, share, missing });
        self.finish_gather(gather);
        Flow::Next
    }

    pub(super) fn share_of(&self, what: Gathered) -> Share {
        match what {
            Gathered::Stats => Share::Stats(self.stats()),
            Gathered::Groups { with_mode } => Share::Groups(self.own_groups(with_mode)),
            Gathered::Partitions { topic, first, count } => {
                Share::Partitions(self.describe_own(topic, first, count))
            }
        }
    }

    fn own_groups(&self, with_mode: bool) -> Vec<GroupInShort> {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let in_short = |group: &Group| GroupInShort {
            group: group.name(),
            state: group.state(),
            mode: if with_mode { group.mode() } else { GroupMode::Classic },
            members: narrow(group.members.len()),
            offsets: narrow(group.committed().count()),
        };
        self.groups.iter().map(in_short).collect()
    }

    fn describe_own(&self, topic: u32, first: u32, count: u32) -> Vec<PartitionDescription> {
        let Some(topic) = self.catalog.with_id(topic) else { return Vec::new() };
        let ids = (first..first.saturating_add(count)).filter_map(|index| topic.partition(index));
        let own = ids.filter(|id| id.owner(self.config.shards) == self.config.index.0);
        let described = own.filter_map(|id| {
            let description = self.storage.describe(self.storage.slot(id)?);
            Some(PartitionDescription {
                partition: PartitionIndex(id.partition),
                shard: self.config.index,
                state: level::state(&description.state),
                watermarks: level::watermarks(description.watermarks),
                bytes: description.bytes,
                segments: description.segments,
            })
        });
        described.collect()
    }

    pub(super) fn take_share(&mut self, gather: u64, share: Share) {
        let Some(entry) = self.gathers.get_mut(&gather) else { return };
        entry.missing -= 1;
        match (&mut entry.share, share) {
            (Share::Stats(sums), Share::Stats(stats)) => {
                // The same list in the same order on every shard.
                for (sum, (_, value)) in sums.iter_mut().zip(stats) {
                    sum.1 += value;
                }
            }
            (Share::Groups(all), Share::Groups(groups)) => all.extend(groups),
            (Share::Partitions(all), Share::Partitions(partitions)) => all.extend(partitions),
            _ => unreachable!("a share is of the kind that was asked for"),
        }
        self.finish_gather(gather);
    }

    fn finish_gather(&mut self, gather: u64) {
        if self.gathers.get(&gather).is_none_or(|entry| entry.missing > 0) {
            return;
        }
        let Some(entry) = self.gathers.remove(&gather) else { return };
        let client = self.client(entry.id);
        let correlation = entry.correlation;
        self.answer(client, Ended::REQUEST, |out| match entry.share {
            Share::Stats(stats) => {
                let stats = stats.into_iter().map(|(name, value)| Stat { name, value }).collect();
                StatsResponse { stats }.encode(correlation, out);
            }
            Share::Groups(mut groups) => {
                groups.sort_unstable_by(|one, other| one.group.cmp(&other.group));
                let groups = groups.iter().map(|it| {
                    let &GroupInShort { state, mode, members, offsets, .. } = it;
                    ListedGroup { group: &it.group, state, mode, members, offsets }
                });
                ListGroupsResponse { groups: groups.collect() }.encode(correlation, out);
            }
            Share::Partitions(mut partitions) => {
                partitions.sort_unstable_by_key(|description| description.partition);
                DescribeResponse { partitions }.encode(correlation, out);
            }
        });
    }
}
