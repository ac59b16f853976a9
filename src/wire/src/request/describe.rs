//! `describe`: state, watermarks and size of a topic's partitions.
//!
//! What a newcomer gets wrong: the answer may be shorter than the count that was asked for, and its
//! entries are only as old as the shard that gave them.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_count, put_string, put_u16, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, PartitionIndex, ShardIndex};
use crate::limits::DESCRIBE_PARTITIONS_MAX;
use crate::opcode::Opcode;
use crate::watermarks::Watermarks;

/// Asks about a run of a topic's partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Describe<'a> {
    /// The topic, as sent.
    pub topic: &'a str,
    /// The first partition.
    pub first: PartitionIndex,
    /// How many; the answer is cut at the topic's end.
    pub count: u32,
}

impl<'a> Describe<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Describe, Flags::REQUEST, correlation, out);
        put_string(self.topic, out);
        put_u32(self.first.0, out);
        put_u32(self.count, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<Describe<'a>, FrameError> {
        Ok(Describe {
            topic: body.string("topic")?,
            first: PartitionIndex(body.u32("first partition")?),
            count: body.u32("count")?,
        })
    }
}

/// The partitions that were asked for and exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeResponse {
    /// One for each partition.
    pub partitions: Vec<PartitionDescription>,
}

impl DescribeResponse {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Describe, Flags::RESPONSE, correlation, out);
        put_count(self.partitions.len(), out);
        for partition in &self.partitions {
            partition.put(out);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<DescribeResponse, FrameError> {
        let partitions = body.list(DESCRIBE_PARTITIONS_MAX, PartitionDescription::take)?;
        Ok(DescribeResponse { partitions })
    }
}

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Which one.
    pub partition: PartitionIndex,
    /// The shard that owns it.
    pub shard: ShardIndex,
    /// Whether it takes appends.
    pub state: PartitionState,
    /// Its start and watermarks.
    pub watermarks: Watermarks,
    /// The record batches that it keeps, in bytes.
    pub bytes: u64,
    /// Its segment files.
    pub segments: u32,
}

impl PartitionDescription {
    fn put(&self, out: &mut Vec<u8>) {
        put_u32(self.partition.0, out);
        put_u16(self.shard.0, out);
        out.extend_from_slice(&[self.state as u8, 0]);
        self.watermarks.put(out);
        put_u64(self.bytes, out);
        put_u32(self.segments, out);
        out.extend_from_slice(&[0; 12]);
    }

    fn take(body: &mut Body<'_>) -> Result<PartitionDescription, FrameError> {
        let partition = PartitionIndex(body.u32("partition")?);
        let shard = ShardIndex(body.u16("shard")?);
        let state = body.choice("state", PartitionState::from_byte)?;
        body.reserved::<1>()?;
        let watermarks = Watermarks::take(body)?;
        let bytes = body.u64("bytes")?;
        let segments = body.u32("segments")?;
        body.reserved::<12>()?;
        Ok(PartitionDescription { partition, shard, state, watermarks, bytes, segments })
    }
}

/// Whether a partition takes appends, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PartitionState {
    /// It takes appends.
    Healthy = 0,
    /// Stored bytes are damaged: reads only.
    Damaged = 1,
    /// A write or a flush failed: reads only, until a restart.
    Failed = 2,
}

impl PartitionState {
    pub(crate) const fn from_byte(byte: u8) -> Option<PartitionState> {
        match byte {
            0 => Some(PartitionState::Healthy),
            1 => Some(PartitionState::Damaged),
            2 => Some(PartitionState::Failed),
            _ => None,
        }
    }
}
