//! The numbers by which a connection names things.
//!
//! Newtypes, so that a handle is never taken for a partition. They carry no promise of validity: a
//! number from the network may name nothing.

use core::fmt;

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
