//! The numbers by which a connection names things.
//!
//! Newtypes, so that a handle is never taken for a partition. They carry no promise of validity: a
//! number from the network may name nothing.

use alloc::vec::Vec;
use core::fmt;

use crate::body::{Body, put_u32};
use crate::frame_error::FrameError;

/// Ties a response to its request. Chosen by the client; 0 in frames that answer no request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CorrelationId(pub u32);

impl CorrelationId {
    /// What a frame carries that answers no request.
    pub const NONE: CorrelationId = CorrelationId(0);

    /// The id `frames` further on. Produce frames count modulo 2^32.
    #[must_use]
    pub const fn advance(self, frames: u32) -> CorrelationId {
        CorrelationId(self.0.wrapping_add(frames))
    }

    /// How many frames lie from `earlier` up to this one, modulo 2^32.
    #[must_use]
    pub const fn distance_from(self, earlier: CorrelationId) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// The client's number for a topic and partition that it has bound on this connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

/// A partition's number within its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionIndex(pub u32);

/// A topic's number. A topic that is deleted and created again gets another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

/// A partition of any topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition within it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        put_u32(self.topic.0, out);
        put_u32(self.partition.0, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<TopicPartition, FrameError> {
        let topic = TopicId(body.u32("topic id")?);
        Ok(TopicPartition { topic, partition: PartitionIndex(body.u32("partition")?) })
    }
}

/// A member of a group. The server chooses it and gives it to nobody else, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl MemberId {
    /// Not a member, or not yet.
    pub const NONE: MemberId = MemberId(0);
}

/// Counts the assignments of a group. It only goes up, also across restarts of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// A shard's number within its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u16);

impl ShardIndex {
    /// In `hello`: any shard will do.
    pub const ANY: ShardIndex = ShardIndex(u16::MAX);
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}", self.0)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for PartitionIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for ShardIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
