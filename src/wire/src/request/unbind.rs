//! `unbind`: frees a handle. Its answer is empty.
//!
//! What a newcomer gets wrong: acks for the handle may still come after the answer, so its number
//! is best not used again at once.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_u32};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::opcode::Opcode;

/// Frees a handle. Produce frames of it that are not yet acked are still answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbind {
    /// Which one.
    pub handle: Handle,
}

impl Unbind {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Unbind, Flags::REQUEST, correlation, out);
        put_u32(self.handle.0, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<Unbind, FrameError> {
        Ok(Unbind { handle: body.handle()? })
    }
}
