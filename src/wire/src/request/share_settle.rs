//! `share_settle`: what became of records that a member has acquired. Durable on disk when it is
//! answered.
//!
//! What a newcomer gets wrong: only whoever holds the lock of a record may say what became of it. A
//! verdict that comes after the lock has ended changes nothing, and is told so.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::body::{Body, begin, finish, put_count, put_string, put_u16, put_u64};
use crate::error_code::ErrorCode;
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, MemberId, TopicPartition};
use crate::limits::SHARE_RANGES_MAX;
use crate::opcode::Opcode;

/// Verdicts of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareSettle<'a> {
    /// The group.
    pub group: &'a str,
    /// Who has worked on the records.
    pub member: MemberId,
    /// One for each run of offsets.
    pub ranges: Vec<RangeToSettle>,
}

/// What became of a run of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeToSettle {
    /// Of which partition.
    pub partition: TopicPartition,
    /// The first offset.
    pub first: Offset,
    /// The last one, which belongs to it.
    pub last: Offset,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The work is done.
    Accept,
    /// Somebody is to try again, not before the delay is over.
    Release {
        /// From now on, by the server's clock.
        delay_ms: u64,
    },
    /// Nobody can do anything with them.
    Reject,
    /// Their time has not come. They are handed out again then, and this time does not count.
    Defer {
        /// When it comes, in milliseconds since 1970.
        until_unix_ms: i64,
    },
    /// The member is still at work: its lock begins anew.
    Renew,
    /// There are no such records: they were deleted, or there never were any.
    Gone,
    /// They were copied to the dead-letter topic.
    DeadLettered,
}

impl Verdict {
    fn number(self) -> (u8, u64) {
        match self {
            Verdict::Accept => (1, 0),
            Verdict::Release { delay_ms } => (2, delay_ms),
            Verdict::Reject => (3, 0),
            Verdict::Defer { until_unix_ms } => (4, until_unix_ms.cast_unsigned()),
            Verdict::Renew => (5, 0),
            Verdict::Gone => (6, 0),
            Verdict::DeadLettered => (7, 0),
        }
    }

    fn from_number(number: u8, argument: u64) -> Option<Verdict> {
        let verdict = match number {
            1 => Verdict::Accept,
            2 => Verdict::Release { delay_ms: argument },
            3 => Verdict::Reject,
            4 => Verdict::Defer { until_unix_ms: argument.cast_signed() },
            5 => Verdict::Renew,
            6 => Verdict::Gone,
            7 => Verdict::DeadLettered,
            _ => return None,
        };
        (verdict.number().1 == argument).then_some(verdict)
    }
}

impl<'a> ShareSettle<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::ShareSettle, Flags::REQUEST, correlation, out);
        put_string(self.group, out);
        put_u64(self.member.0, out);
        put_count(self.ranges.len(), out);
        for range in &self.ranges {
            let (number, argument) = range.verdict.number();
            range.partition.put(out);
            put_u64(range.first.value(), out);
            put_u64(range.last.value(), out);
            out.extend_from_slice(&[number, 0, 0, 0, 0, 0, 0, 0]);
            put_u64(argument, out);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<ShareSettle<'a>, FrameError> {
        let group = body.string("group")?;
        let member = MemberId(body.u64("member")?);
        let ranges = body.list(SHARE_RANGES_MAX, RangeToSettle::take)?;
        Ok(ShareSettle { group, member, ranges })
    }
}

impl RangeToSettle {
    fn take(body: &mut Body<'_>) -> Result<RangeToSettle, FrameError> {
        let partition = TopicPartition::take(body)?;
        let (first, last) = (body.offset("first offset")?, body.offset("last offset")?);
        let number = body.u8("verdict")?;
        body.reserved::<7>()?;
        let argument = body.u64("argument")?;
        let unknown = FrameError::OutOfBounds { what: "verdict", value: u64::from(number) };
        let verdict = Verdict::from_number(number, argument).ok_or(unknown)?;
        Ok(RangeToSettle { partition, first, last, verdict })
    }
}

/// Whether each verdict counts, in the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShareSettled {
    /// For each run of offsets why it was not settled, or not in full; what of it the member held
    /// is settled all the same.
    pub errors: Vec<Option<ErrorCode>>,
}

impl ShareSettled {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::ShareSettle, Flags::RESPONSE, correlation, out);
        put_count(self.errors.len(), out);
        for error in &self.errors {
            put_u16(error.map_or(0, ErrorCode::number), out);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<ShareSettled, FrameError> {
        let errors = body.list(SHARE_RANGES_MAX, |body| {
            let number = body.u16("error code")?;
            Ok((number != 0).then(|| ErrorCode::from_number(number)))
        })?;
        Ok(ShareSettled { errors })
    }
}
