//! `delivery`: the next batches of a subscription. Server to client only.
//!
//! What a newcomer gets wrong: the batches have not been checked when this is decoded, and the
//! first may begin before the offset that was asked for.

use alloc::vec::Vec;

use super::batches_head::{BatchesHead, BatchesKind, encode_batches_head};
use crate::body::Body;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::watermarks::Watermarks;

/// The next batches of a subscription, in order and without holes. The whole frame's length is
/// taken from the credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The subscription's handle.
    pub handle: Handle,
    /// Where the partition stood when this was sent.
    pub watermarks: Watermarks,
    /// Record batches end to end, at least one; only their lengths are checked.
    /// `plimsoll_batch::Batches` reads them.
    pub batches: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// Appends the frame, batches included. The correlation id is that of the `subscribe`.
    ///
    /// # Errors
    ///
    /// As [`encode_batches_head`].
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let kind = BatchesKind::Delivery { correlation };
        encode_batches_head(kind, &self.watermarks, self.handle, self.batches, out)?;
        out.extend_from_slice(self.batches);
        Ok(())
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<Delivery<'a>, FrameError> {
        let BatchesHead { handle, watermarks } = BatchesHead::take(body)?;
        Ok(Delivery { handle, watermarks, batches: body.rest() })
    }
}
