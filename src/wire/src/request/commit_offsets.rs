//! `commit_offsets`: up to where a group has consumed. Durable on disk when it is answered.
//!
//! What a newcomer gets wrong: a committed offset is the one *after* the last record that was
//! worked off, and it never goes back. A commit that comes late is answered with what stands.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use super::join_group::{put_offset, take_offset};
use crate::body::{Body, begin, finish, put_count, put_string, put_u16, put_u64};
use crate::error_code::ErrorCode;
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Generation, MemberId, TopicPartition};
use crate::limits::COMMIT_OFFSETS_MAX;
use crate::opcode::Opcode;

/// Offsets to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffsets<'a> {
    /// The group.
    pub group: &'a str,
    /// Whose work it is; [`MemberId::NONE`] for a group without members.
    pub member: MemberId,
    /// The assignment by which the member consumed; 0 without one.
    pub generation: Generation,
    /// Forward only, or to exactly this place.
    pub mode: CommitMode,
    /// One for each partition.
    pub offsets: Vec<OffsetToCommit<'a>>,
}

/// Whether a committed offset may go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CommitMode {
    /// An offset below the committed one changes nothing.
    #[default]
    Forward = 0,
    /// The offset takes the place of the committed one, or removes it: for a group without members.
    Exact = 1,
}

impl CommitMode {
    const fn from_byte(byte: u8) -> Option<CommitMode> {
        match byte {
            0 => Some(CommitMode::Forward),
            1 => Some(CommitMode::Exact),
            _ => None,
        }
    }
}

/// The offset of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetToCommit<'a> {
    /// Which partition.
    pub partition: TopicPartition,
    /// After the last record that was worked off; none removes what is committed.
    pub offset: Option<Offset>,
    /// A note of the consumer's, kept beside it.
    pub metadata: &'a str,
}

impl<'a> CommitOffsets<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::CommitOffsets, Flags::REQUEST, correlation, out);
        put_string(self.group, out);
        put_u64(self.member.0, out);
        put_u64(self.generation.0, out);
        out.extend_from_slice(&[self.mode as u8, 0, 0, 0]);
        put_count(self.offsets.len(), out);
        for offset in &self.offsets {
            offset.partition.put(out);
            put_offset(offset.offset, out);
            put_string(offset.metadata, out);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<CommitOffsets<'a>, FrameError> {
        let group = body.string("group")?;
        let member = MemberId(body.u64("member")?);
        let generation = Generation(body.u64("generation")?);
        let mode = body.choice("mode", CommitMode::from_byte)?;
        body.reserved::<3>()?;
        let offsets = body.list(COMMIT_OFFSETS_MAX, |body| {
            Ok(OffsetToCommit {
                partition: TopicPartition::take(body)?,
                offset: take_offset(body)?,
                metadata: body.string("metadata")?,
            })
        })?;
        Ok(CommitOffsets { group, member, generation, mode, offsets })
    }
}

/// What became of each offset, in the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitOffsetsResponse {
    /// One for each partition.
    pub offsets: Vec<CommittedOffset>,
}

/// What became of the offset of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Which partition.
    pub partition: TopicPartition,
    /// Why the offset was not taken.
    pub error: Option<ErrorCode>,
    /// What is committed now, durably.
    pub committed: Option<Offset>,
}

impl CommitOffsetsResponse {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::CommitOffsets, Flags::RESPONSE, correlation, out);
        put_count(self.offsets.len(), out);
        for offset in &self.offsets {
            offset.partition.put(out);
            put_u16(offset.error.map_or(0, ErrorCode::number), out);
            put_u16(0, out);
            put_offset(offset.committed, out);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<CommitOffsetsResponse, FrameError> {
        let offsets = body.list(COMMIT_OFFSETS_MAX, |body| {
            let partition = TopicPartition::take(body)?;
            let number = body.u16("error code")?;
            body.reserved::<2>()?;
            let error = (number != 0).then(|| ErrorCode::from_number(number));
            Ok(CommittedOffset { partition, error, committed: take_offset(body)? })
        })?;
        Ok(CommitOffsetsResponse { offsets })
    }
}
