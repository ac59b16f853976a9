//! `leave_group`: a member goes, and others may have its partitions at once.
//!
//! What a newcomer gets wrong: whoever leaves has committed before, because nothing of it is taken
//! afterwards.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_string, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, MemberId};
use crate::opcode::Opcode;

/// Says that a member goes. The answer is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaveGroup<'a> {
    /// The group.
    pub group: &'a str,
    /// Who goes.
    pub member: MemberId,
}

impl<'a> LeaveGroup<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::LeaveGroup, Flags::REQUEST, correlation, out);
        put_string(self.group, out);
        put_u64(self.member.0, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<LeaveGroup<'a>, FrameError> {
        Ok(LeaveGroup { group: body.string("group")?, member: MemberId(body.u64("member")?) })
    }
}
