//! `fetch`: a long poll for the batches from an offset on.
//!
//! What a newcomer gets wrong: the first batch may begin before the offset that was asked for, and
//! one batch comes even if it is larger than `max_bytes`.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use super::batches_head::{BatchesHead, BatchesKind, encode_batches_head};
use crate::body::{Body, begin, finish, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::level::Visible;
use crate::opcode::Opcode;
use crate::watermarks::Watermarks;

/// Asks for batches, and waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The partition's handle.
    pub handle: Handle,
    /// Up to where to see.
    pub visible: Visible,
    /// The first record that is wanted.
    pub offset: Offset,
    /// How much is wanted at most; one batch may be larger.
    pub max_bytes: u32,
    /// With how much the answer need wait no longer.
    pub min_bytes: u32,
    /// How long the answer may wait.
    pub max_wait_ms: u32,
}

impl Fetch {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Fetch, Flags::REQUEST, correlation, out);
        put_u32(self.handle.0, out);
        out.extend_from_slice(&[self.visible as u8, 0, 0, 0]);
        put_u64(self.offset.value(), out);
        put_u32(self.max_bytes, out);
        put_u32(self.min_bytes, out);
        put_u32(self.max_wait_ms, out);
        put_u32(0, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<Fetch, FrameError> {
        let handle = body.handle()?;
        let visible = body.choice("visible", Visible::from_byte)?;
        body.reserved::<3>()?;
        let offset = body.offset("offset")?;
        let max_bytes = body.u32("max_bytes")?;
        let min_bytes = body.u32("min_bytes")?;
        let max_wait_ms = body.u32("max_wait_ms")?;
        body.reserved::<4>()?;
        Ok(Fetch { handle, visible, offset, max_bytes, min_bytes, max_wait_ms })
    }
}

/// The batches, maybe none, and where the partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched<'a> {
    /// The handle of the request.
    pub handle: Handle,
    /// Where the partition stood when this was sent.
    pub watermarks: Watermarks,
    /// Record batches end to end; only their lengths are checked. `plimsoll_batch::Batches` reads
    /// them.
    pub batches: &'a [u8],
}

impl<'a> Fetched<'a> {
    /// Appends the frame, batches included.
    ///
    /// # Errors
    ///
    /// As [`encode_batches_head`].
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let kind = BatchesKind::Fetched { correlation };
        encode_batches_head(kind, &self.watermarks, self.handle, self.batches, out)?;
        out.extend_from_slice(self.batches);
        Ok(())
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<Fetched<'a>, FrameError> {
        let BatchesHead { handle, watermarks } = BatchesHead::take(body)?;
        Ok(Fetched { handle, watermarks, batches: body.rest() })
    }
}
