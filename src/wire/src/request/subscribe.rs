//! `subscribe`: deliveries from an offset on, as far as the credit goes.
//!
//! What a newcomer gets wrong: without `credit` frames the deliveries stop when the first credit is
//! used up, which looks like the end of the partition.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use super::batches_head::BatchesHead;
use crate::body::{Body, begin, finish, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::level::Visible;
use crate::opcode::Opcode;
use crate::watermarks::Watermarks;

/// Asks for deliveries. One subscription a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The partition's handle.
    pub handle: Handle,
    /// Up to where to see.
    pub visible: Visible,
    /// The first record that is wanted.
    pub offset: Offset,
    /// How much may be delivered at first, in bytes of whole frames.
    pub credit_bytes: u32,
}

impl Subscribe {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Subscribe, Flags::REQUEST, correlation, out);
        put_u32(self.handle.0, out);
        out.extend_from_slice(&[self.visible as u8, 0, 0, 0]);
        put_u64(self.offset.value(), out);
        put_u32(self.credit_bytes, out);
        put_u32(0, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<Subscribe, FrameError> {
        let handle = body.handle()?;
        let visible = body.choice("visible", Visible::from_byte)?;
        body.reserved::<3>()?;
        let offset = body.offset("offset")?;
        let credit_bytes = body.u32("credit")?;
        body.reserved::<4>()?;
        Ok(Subscribe { handle, visible, offset, credit_bytes })
    }
}

/// The subscription stands; deliveries follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The subscription's handle.
    pub handle: Handle,
    /// Where the partition stood when this was sent.
    pub watermarks: Watermarks,
}

impl Subscribed {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Subscribe, Flags::RESPONSE, correlation, out);
        BatchesHead { handle: self.handle, watermarks: self.watermarks }.put(out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<Subscribed, FrameError> {
        let BatchesHead { handle, watermarks } = BatchesHead::take(body)?;
        Ok(Subscribed { handle, watermarks })
    }
}
