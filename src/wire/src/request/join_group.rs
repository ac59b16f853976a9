//! `join_group`: a consumer becomes a member of a group, and hears what it is to consume.
//!
//! What a newcomer gets wrong: the answer is not yet all that the member will get. Partitions that
//! others still hold follow in `assignment` frames, when those have let go of them.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::body::{Body, begin, finish, put_count, put_string, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{
    CorrelationId, Generation, MemberId, PartitionIndex, TopicId, TopicPartition,
};
use crate::limits::{GROUP_PARTITIONS_MAX, GROUP_TOPICS_MAX};
use crate::opcode::Opcode;
use crate::request::{GroupMode, ShareSettings};

/// Asks to be a member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroup<'a> {
    /// The group; it exists from its first member or committed offset on.
    pub group: &'a str,
    /// Who this was in the group before, or [`MemberId::NONE`].
    pub member: MemberId,
    /// A name that outlives a restart of the consumer, or empty.
    pub instance: &'a str,
    /// What the server shows for this member.
    pub client: &'a str,
    /// Without a sign of life for so long the member is declared dead; 0 takes the server's value.
    pub session_timeout_ms: u32,
    /// How long it may take to let go of partitions; 0 takes the server's value.
    pub rebalance_timeout_ms: u32,
    /// How partitions are shared out. All members of a group ask for the same.
    pub assignor: Assignor,
    /// What it wants to consume.
    pub topics: Vec<&'a str>,
    /// What it holds from an earlier membership: it keeps what nobody else has.
    pub owned: Vec<TopicPartition>,
    /// The group hands each record to one member, in this way; `None` for a classic group.
    pub share: Option<ShareSettings<'a>>,
}

impl<'a> JoinGroup<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::JoinGroup, Flags::REQUEST, correlation, out);
        put_string(self.group, out);
        put_u64(self.member.0, out);
        put_string(self.instance, out);
        put_string(self.client, out);
        put_u32(self.session_timeout_ms, out);
        put_u32(self.rebalance_timeout_ms, out);
        out.extend_from_slice(&[self.assignor as u8, self.mode() as u8, 0, 0]);
        put_count(self.topics.len(), out);
        for topic in &self.topics {
            put_string(topic, out);
        }
        put_count(self.owned.len(), out);
        for partition in &self.owned {
            partition.put(out);
        }
        if let Some(share) = &self.share {
            share.put(out);
        }
        finish(start, out);
    }

    const fn mode(&self) -> GroupMode {
        if self.share.is_some() { GroupMode::Share } else { GroupMode::Classic }
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<JoinGroup<'a>, FrameError> {
        let group = body.string("group")?;
        let member = MemberId(body.u64("member")?);
        let instance = body.string("instance")?;
        let client = body.string("client")?;
        let session_timeout_ms = body.u32("session_timeout_ms")?;
        let rebalance_timeout_ms = body.u32("rebalance_timeout_ms")?;
        let assignor = body.choice("assignor", Assignor::from_byte)?;
        let mode = body.choice("mode", GroupMode::from_byte)?;
        body.reserved::<2>()?;
        Ok(JoinGroup {
            group,
            member,
            instance,
            client,
            session_timeout_ms,
            rebalance_timeout_ms,
            assignor,
            topics: body.list(GROUP_TOPICS_MAX, |body| body.string("topic"))?,
            owned: body.list(GROUP_PARTITIONS_MAX, TopicPartition::take)?,
            share: match mode {
                GroupMode::Classic => None,
                GroupMode::Share => Some(ShareSettings::take(body)?),
            },
        })
    }
}

/// How the partitions of a group are shared out among its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Assignor {
    /// Even shares; as few partitions as possible move.
    #[default]
    Sticky = 1,
    /// Of each topic every member gets a run of neighbours, in the order of the members.
    Range = 2,
}

impl Assignor {
    /// Every assignor.
    pub const ALL: [Assignor; 2] = [Assignor::Sticky, Assignor::Range];

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Assignor::Sticky => "sticky",
            Assignor::Range => "range",
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Assignor> {
        match byte {
            1 => Some(Assignor::Sticky),
            2 => Some(Assignor::Range),
            _ => None,
        }
    }
}

/// What a member is to consume: the answer to `join_group` and `heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership<'a> {
    /// Who the member is.
    pub member: MemberId,
    /// Which assignment this is.
    pub generation: Generation,
    /// How often the server wants to hear from the member.
    pub heartbeat_interval_ms: u32,
    /// The whole assignment; `None` where it is as the member said that it knows it.
    pub topics: Option<Vec<AssignedTopic<'a>>>,
}

/// What a member is to consume of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedTopic<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its number.
    pub id: TopicId,
    /// The partitions.
    pub partitions: Vec<AssignedPartition>,
}

/// A partition of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssignedPartition {
    /// Which one.
    pub partition: PartitionIndex,
    /// What the group has committed of it when the assignment was made.
    pub committed: Option<Offset>,
}

impl<'a> Membership<'a> {
    /// Appends the answer to `opcode`, which is `join_group` or `heartbeat`.
    pub fn encode(&self, opcode: Opcode, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(opcode, Flags::RESPONSE, correlation, out);
        self.put(out);
        finish(start, out);
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_u64(self.member.0, out);
        put_u64(self.generation.0, out);
        put_u32(self.heartbeat_interval_ms, out);
        out.extend_from_slice(&[u8::from(self.topics.is_some()), 0, 0, 0]);
        let topics = self.topics.as_deref().unwrap_or_default();
        put_count(topics.len(), out);
        for topic in topics {
            put_string(topic.topic, out);
            put_u32(topic.id.0, out);
            put_count(topic.partitions.len(), out);
            for partition in &topic.partitions {
                put_u32(partition.partition.0, out);
                put_u32(0, out);
                put_offset(partition.committed, out);
            }
        }
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<Membership<'a>, FrameError> {
        let member = MemberId(body.u64("member")?);
        let generation = Generation(body.u64("generation")?);
        let heartbeat_interval_ms = body.u32("heartbeat_interval_ms")?;
        let has_topics = body.choice("complete", |byte| (byte < 2).then_some(byte == 1))?;
        body.reserved::<3>()?;
        let topics = body.list(GROUP_TOPICS_MAX, AssignedTopic::take)?;
        if !has_topics && !topics.is_empty() {
            return Err(FrameError::OutOfBounds { what: "topics", value: topics.len() as u64 });
        }
        let topics = has_topics.then_some(topics);
        Ok(Membership { member, generation, heartbeat_interval_ms, topics })
    }
}

impl<'a> AssignedTopic<'a> {
    fn take(body: &mut Body<'a>) -> Result<AssignedTopic<'a>, FrameError> {
        Ok(AssignedTopic {
            topic: body.string("topic")?,
            id: TopicId(body.u32("topic id")?),
            partitions: body.list(GROUP_PARTITIONS_MAX, AssignedPartition::take)?,
        })
    }
}

impl AssignedPartition {
    fn take(body: &mut Body<'_>) -> Result<AssignedPartition, FrameError> {
        let partition = PartitionIndex(body.u32("partition")?);
        body.reserved::<4>()?;
        Ok(AssignedPartition { partition, committed: take_offset(body)? })
    }
}

/// No offset, where there may be one.
const NO_OFFSET: u64 = u64::MAX;

pub(crate) fn put_offset(offset: Option<Offset>, out: &mut Vec<u8>) {
    put_u64(offset.map_or(NO_OFFSET, Offset::value), out);
}

pub(crate) fn take_offset(body: &mut Body<'_>) -> Result<Option<Offset>, FrameError> {
    let value = body.u64("offset")?;
    Ok((value != NO_OFFSET).then_some(Offset::new(value)))
}
