//! `credit`: how much more a subscription may deliver. It has no answer.
//!
//! What a newcomer gets wrong: credit counts whole frames, headers included, and not records or the
//! bytes of batches.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_u32};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::opcode::Opcode;

/// Adds to the credit of a handle's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// The subscription's handle.
    pub handle: Handle,
    /// How much to add, in bytes of whole frames.
    pub bytes: u32,
}

impl Credit {
    /// Appends the frame. There is no answer, so that the correlation id only marks an error.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Credit, Flags::REQUEST, correlation, out);
        put_u32(self.handle.0, out);
        put_u32(self.bytes, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<Credit, FrameError> {
        Ok(Credit { handle: body.handle()?, bytes: body.u32("credit")? })
    }
}
