//! `describe_group`: members, assignment and committed offsets of a group.
//!
//! What a newcomer gets wrong: a group without members is not gone. It is its committed offsets.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use super::join_group::Assignor;
use crate::body::{Body, begin, finish, put_count, put_string, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Generation, MemberId, TopicPartition};
use crate::limits::{GROUP_MEMBERS_MAX, GROUP_PARTITIONS_MAX};
use crate::opcode::Opcode;
use crate::request::GroupMode;

/// Asks about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribeGroup<'a> {
    /// The group.
    pub group: &'a str,
    /// The answer is to say the mode, and what share mode needs. Older servers do not know the
    /// question.
    pub with_share: bool,
}

impl<'a> DescribeGroup<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::DescribeGroup, Flags::REQUEST, correlation, out);
        put_string(self.group, out);
        if self.with_share {
            out.push(1);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<DescribeGroup<'a>, FrameError> {
        let group = body.string("group")?;
        Ok(DescribeGroup { group, with_share: body.asks_for_more()? })
    }
}

/// Whether a group consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum GroupState {
    /// It has no members.
    Empty = 0,
    /// Every member holds what it is to have.
    Stable = 1,
    /// Partitions are on their way from member to member.
    Rebalancing = 2,
}

impl GroupState {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "empty",
            GroupState::Stable => "stable",
            GroupState::Rebalancing => "rebalancing",
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<GroupState> {
        match byte {
            0 => Some(GroupState::Empty),
            1 => Some(GroupState::Stable),
            2 => Some(GroupState::Rebalancing),
            _ => None,
        }
    }
}

/// A group as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription<'a> {
    /// Whether it consumes.
    pub state: GroupState,
    /// How it hands out its records; `Classic` if that was not asked for.
    pub mode: GroupMode,
    /// How its partitions are shared out.
    pub assignor: Assignor,
    /// Its newest assignment.
    pub generation: Generation,
    /// Who consumes.
    pub members: Vec<MemberDescription<'a>>,
    /// Up to where it has consumed.
    pub offsets: Vec<OffsetDescription<'a>>,
    /// In share mode: how far it is in each partition.
    pub share: Vec<ShareDescription>,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription<'a> {
    /// Its number.
    pub member: MemberId,
    /// Its static name, or empty.
    pub instance: &'a str,
    /// What it calls itself.
    pub client: &'a str,
    /// Since when nothing was heard of it.
    pub idle_ms: u32,
    /// What it holds.
    pub partitions: Vec<TopicPartition>,
}

/// A committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetDescription<'a> {
    /// Of which partition.
    pub partition: TopicPartition,
    /// After the last record that was worked off.
    pub offset: Offset,
    /// When it was committed, in milliseconds since 1970.
    pub unix_ms: i64,
    /// The consumer's note.
    pub metadata: &'a str,
}

/// How far a group in share mode is in a partition. Counts are of offsets; not every one has a
/// record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShareDescription {
    /// Which partition.
    pub partition: TopicPartition,
    /// Everything before it is done.
    pub start: Offset,
    /// Everything from there on was never handed out.
    pub end: Offset,
    /// Members have them to themselves.
    pub in_flight: u64,
    /// Their time has not come.
    pub delayed: u64,
    /// They were handed out before and may be again, as soon as somebody asks.
    pub waiting: u64,
    /// On their way to the dead-letter topic, in whatever state.
    pub dead: u64,
    /// Copied to the dead-letter topic since the server's start.
    pub dead_lettered: u64,
    /// Rejected, or handed out too often, without a dead-letter topic, since the server's start.
    pub dropped: u64,
}

impl<'a> GroupDescription<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::DescribeGroup, Flags::RESPONSE, correlation, out);
        out.extend_from_slice(&[self.state as u8, self.assignor as u8, self.mode as u8, 0]);
        put_u64(self.generation.0, out);
        put_count(self.members.len(), out);
        for member in &self.members {
            member.put(out);
        }
        put_count(self.offsets.len(), out);
        for offset in &self.offsets {
            offset.put(out);
        }
        if self.mode == GroupMode::Share {
            put_count(self.share.len(), out);
            for share in &self.share {
                share.put(out);
            }
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<GroupDescription<'a>, FrameError> {
        let state = body.choice("state", GroupState::from_byte)?;
        let assignor = body.choice("assignor", Assignor::from_byte)?;
        let mode = body.choice("mode", GroupMode::from_byte)?;
        body.reserved::<1>()?;
        let generation = Generation(body.u64("generation")?);
        let members = body.list(GROUP_MEMBERS_MAX, MemberDescription::take)?;
        let offsets = body.list(u32::MAX, OffsetDescription::take)?;
        let share = match mode {
            GroupMode::Classic => Vec::new(),
            GroupMode::Share => body.list(u32::MAX, ShareDescription::take)?,
        };
        Ok(GroupDescription { state, mode, assignor, generation, members, offsets, share })
    }
}

impl<'a> MemberDescription<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(self.member.0, out);
        put_string(self.instance, out);
        put_string(self.client, out);
        put_u32(self.idle_ms, out);
        put_count(self.partitions.len(), out);
        for partition in &self.partitions {
            partition.put(out);
        }
    }

    fn take(body: &mut Body<'a>) -> Result<MemberDescription<'a>, FrameError> {
        Ok(MemberDescription {
            member: MemberId(body.u64("member")?),
            instance: body.string("instance")?,
            client: body.string("client")?,
            idle_ms: body.u32("idle_ms")?,
            partitions: body.list(GROUP_PARTITIONS_MAX, TopicPartition::take)?,
        })
    }
}

impl<'a> OffsetDescription<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        self.partition.put(out);
        put_u64(self.offset.value(), out);
        out.extend_from_slice(&self.unix_ms.to_le_bytes());
        put_string(self.metadata, out);
    }

    fn take(body: &mut Body<'a>) -> Result<OffsetDescription<'a>, FrameError> {
        Ok(OffsetDescription {
            partition: TopicPartition::take(body)?,
            offset: body.offset("offset")?,
            unix_ms: body.i64("time of commit")?,
            metadata: body.string("metadata")?,
        })
    }
}

impl ShareDescription {
    fn put(&self, out: &mut Vec<u8>) {
        self.partition.put(out);
        let numbers = [self.start.value(), self.end.value(), self.in_flight, self.delayed];
        let more = [self.waiting, self.dead, self.dead_lettered, self.dropped];
        for number in numbers.into_iter().chain(more) {
            put_u64(number, out);
        }
    }

    fn take(body: &mut Body<'_>) -> Result<ShareDescription, FrameError> {
        Ok(ShareDescription {
            partition: TopicPartition::take(body)?,
            start: body.offset("start offset")?,
            end: body.offset("end offset")?,
            in_flight: body.u64("in flight")?,
            delayed: body.u64("delayed")?,
            waiting: body.u64("waiting")?,
            dead: body.u64("dead")?,
            dead_lettered: body.u64("dead-lettered")?,
            dropped: body.u64("dropped")?,
        })
    }
}
