//! `delete_group`: a group's committed offsets are durably gone when the (empty) answer is sent.
//!
//! What a newcomer gets wrong: a group with members is not deleted. They would go on from the
//! beginning without being asked.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_string};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::CorrelationId;
use crate::opcode::Opcode;

/// Asks that a group be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteGroup<'a> {
    /// The group.
    pub group: &'a str,
}

impl<'a> DeleteGroup<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::DeleteGroup, Flags::REQUEST, correlation, out);
        put_string(self.group, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<DeleteGroup<'a>, FrameError> {
        Ok(DeleteGroup { group: body.string("group")? })
    }
}
