//! `heartbeat`: a member lives, and has taken in the assignment of a generation.
//!
//! What a newcomer gets wrong: the generation is a promise. Whoever names it has let go of all that
//! the assignment of that generation does not hold, and others may have it from now on.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_string, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Generation, MemberId};
use crate::opcode::Opcode;

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// The group.
    pub group: &'a str,
    /// Who lives.
    pub member: MemberId,
    /// The assignment that the member goes by; it holds nothing beyond that.
    pub generation: Generation,
}

impl<'a> Heartbeat<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Heartbeat, Flags::REQUEST, correlation, out);
        put_string(self.group, out);
        put_u64(self.member.0, out);
        put_u64(self.generation.0, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<Heartbeat<'a>, FrameError> {
        Ok(Heartbeat {
            group: body.string("group")?,
            member: MemberId(body.u64("member")?),
            generation: Generation(body.u64("generation")?),
        })
    }
}
