//! `bind`: ties a topic and partition to a handle, so that later frames need only name that.
//!
//! What a newcomer gets wrong: handles belong to a connection. A new connection begins without any,
//! and another one may use the same numbers for other partitions.

use alloc::vec::Vec;

use super::describe::PartitionState;
use crate::body::{Body, begin, finish, put_string, put_u16, put_u32};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle, PartitionIndex, ShardIndex};
use crate::level::AckLevel;
use crate::opcode::Opcode;
use crate::watermarks::Watermarks;

/// Asks that a handle stand for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The client's choice, below `handles_max` and not in use.
    pub handle: Handle,
    /// The partition within the topic.
    pub partition: PartitionIndex,
    /// The topic, as sent.
    pub topic: &'a str,
}

impl<'a> Bind<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Bind, Flags::REQUEST, correlation, out);
        put_u32(self.handle.0, out);
        put_u32(self.partition.0, out);
        put_string(self.topic, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<Bind<'a>, FrameError> {
        let handle = body.handle()?;
        let partition = PartitionIndex(body.u32("partition")?);
        Ok(Bind { handle, partition, topic: body.string("topic")? })
    }
}

/// The handle is bound; where its partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindResponse {
    /// The shard that owns the partition: a connection to it saves a hop.
    pub shard: ShardIndex,
    /// What a producer gets that does not say.
    pub default_durability: AckLevel,
    /// Whether the partition takes appends.
    pub state: PartitionState,
    /// The largest batch that it takes.
    pub max_batch_bytes: u32,
    /// Its start and watermarks.
    pub watermarks: Watermarks,
}

impl BindResponse {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Bind, Flags::RESPONSE, correlation, out);
        put_u16(self.shard.0, out);
        out.extend_from_slice(&[self.default_durability as u8, self.state as u8]);
        put_u32(self.max_batch_bytes, out);
        self.watermarks.put(out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<BindResponse, FrameError> {
        Ok(BindResponse {
            shard: ShardIndex(body.u16("shard")?),
            default_durability: body.choice("default durability", AckLevel::from_byte)?,
            state: body.choice("state", PartitionState::from_byte)?,
            max_batch_bytes: body.u32("max_batch_bytes")?,
            watermarks: Watermarks::take(body)?,
        })
    }
}
