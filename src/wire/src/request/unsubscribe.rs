//! `unsubscribe`: ends a subscription. Its answer is empty; no delivery follows it.
//!
//! What a newcomer gets wrong: deliveries that were already on their way come before the answer,
//! and must be read.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_u32};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::opcode::Opcode;

/// Ends the subscription of a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Which one.
    pub handle: Handle,
}

impl Unsubscribe {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Unsubscribe, Flags::REQUEST, correlation, out);
        put_u32(self.handle.0, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<Unsubscribe, FrameError> {
        Ok(Unsubscribe { handle: body.handle()? })
    }
}
