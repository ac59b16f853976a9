//! `assignment`: the server tells a member, unasked, that its partitions have changed.
//!
//! What a newcomer gets wrong: a connection may be lost with it. The answer to the next `heartbeat`
//! says the same, as long as the member has not named the new generation.

use alloc::vec::Vec;

use super::join_group::Membership;
use crate::body::{Body, begin, finish, put_string};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::CorrelationId;
use crate::opcode::Opcode;

/// A member's whole assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// The group.
    pub group: &'a str,
    /// Member, generation and partitions.
    pub membership: Membership<'a>,
}

impl<'a> Assignment<'a> {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(Opcode::Assignment, Flags::RESPONSE, CorrelationId::NONE, out);
        put_string(self.group, out);
        self.membership.put(out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<Assignment<'a>, FrameError> {
        let group = body.string("group")?;
        Ok(Assignment { group, membership: Membership::take(body)? })
    }
}
