//! `share_acquire`: a member of a group in share mode asks for records to work on.
//!
//! What a newcomer gets wrong: the answer has no records, only where they are. The member fetches
//! them from their partitions, and has them to itself until its lock ends.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::body::{Body, begin, finish, put_count, put_string, put_u16, put_u32, put_u64};
use crate::error_code::ErrorCode;
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, MemberId, TopicPartition};
use crate::limits::SHARE_RANGES_MAX;
use crate::opcode::Opcode;

/// Asks for records. A member has one such request at a time: a second one ends the first, which is
/// answered without records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareAcquire<'a> {
    /// The group.
    pub group: &'a str,
    /// Who is to have them.
    pub member: MemberId,
    /// How many it takes at most.
    pub max_records: u32,
    /// How long the server may wait until there are any.
    pub wait_ms: u32,
}

impl<'a> ShareAcquire<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::ShareAcquire, Flags::REQUEST, correlation, out);
        put_string(self.group, out);
        put_u64(self.member.0, out);
        put_u32(self.max_records, out);
        put_u32(self.wait_ms, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<ShareAcquire<'a>, FrameError> {
        Ok(ShareAcquire {
            group: body.string("group")?,
            member: MemberId(body.u64("member")?),
            max_records: body.u32("max_records")?,
            wait_ms: body.u32("wait_ms")?,
        })
    }
}

/// What the member has to itself from now on; maybe nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShareAcquired {
    /// For how long, from when this was sent.
    pub lock_ms: u32,
    /// What keeps records of the group from going on:
    /// [`ErrorCode::DeadLetterTopicNotFound`].
    pub warning: Option<ErrorCode>,
    /// The server's clock when this was sent, in milliseconds since 1970: it alone says whether the
    /// time of a record has come.
    pub unix_ms: i64,
    /// Runs of offsets. Not every offset needs to have a record.
    pub ranges: Vec<AcquiredRange>,
}

/// A run of offsets that a member has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquiredRange {
    /// Of which partition.
    pub partition: TopicPartition,
    /// The first offset.
    pub first: Offset,
    /// The last one, which belongs to it.
    pub last: Offset,
    /// How often its records were handed out, this time included.
    pub deliveries: u32,
    /// Not for the application: to be copied to the dead-letter topic.
    pub dead: Option<DeadReason>,
}

/// Why records go to the dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DeadReason {
    /// A member has said that nobody can do anything with them.
    Rejected = 1,
    /// They were handed out as often as the group allows, and not accepted.
    TooManyDeliveries = 2,
}

impl DeadReason {
    /// What people call it, and what stands in the header of the copy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DeadReason::Rejected => "rejected",
            DeadReason::TooManyDeliveries => "too many deliveries",
        }
    }

    fn from_byte(byte: u8) -> Option<Option<DeadReason>> {
        match byte {
            0 => Some(None),
            1 => Some(Some(DeadReason::Rejected)),
            2 => Some(Some(DeadReason::TooManyDeliveries)),
            _ => None,
        }
    }
}

impl ShareAcquired {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::ShareAcquire, Flags::RESPONSE, correlation, out);
        put_u32(self.lock_ms, out);
        put_u16(self.warning.map_or(0, ErrorCode::number), out);
        put_u16(0, out);
        put_u64(self.unix_ms.cast_unsigned(), out);
        put_count(self.ranges.len(), out);
        for range in &self.ranges {
            range.partition.put(out);
            put_u64(range.first.value(), out);
            put_u64(range.last.value(), out);
            put_u32(range.deliveries, out);
            out.extend_from_slice(&[range.dead.map_or(0, |reason| reason as u8), 0, 0, 0]);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<ShareAcquired, FrameError> {
        let lock_ms = body.u32("lock_ms")?;
        let number = body.u16("warning")?;
        body.reserved::<2>()?;
        let unix_ms = body.i64("server's time")?;
        let ranges = body.list(SHARE_RANGES_MAX, AcquiredRange::take)?;
        let warning = (number != 0).then(|| ErrorCode::from_number(number));
        Ok(ShareAcquired { lock_ms, warning, unix_ms, ranges })
    }
}

impl AcquiredRange {
    fn take(body: &mut Body<'_>) -> Result<AcquiredRange, FrameError> {
        let partition = TopicPartition::take(body)?;
        let (first, last) = (body.offset("first offset")?, body.offset("last offset")?);
        let deliveries = body.u32("deliveries")?;
        let dead = body.choice("reason", DeadReason::from_byte)?;
        body.reserved::<3>()?;
        Ok(AcquiredRange { partition, first, last, deliveries, dead })
    }
}
