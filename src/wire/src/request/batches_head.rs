//! What stands before the batches in a `fetch` response and in a `delivery`.
//!
//! The batches themselves are never copied here: the head is written with a look at them, and they
//! are sent right behind it from where they lie.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish_head, put_u32};
use crate::checksum::batches_crc;
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::opcode::Opcode;
use crate::watermarks::Watermarks;

/// Which of the two frames. The correlation id is that of the `fetch` or of the `subscribe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchesKind {
    /// Answers a `fetch`.
    Fetched {
        /// Of the `fetch`.
        correlation: CorrelationId,
    },
    /// Belongs to a subscription.
    Delivery {
        /// Of the `subscribe`.
        correlation: CorrelationId,
    },
}

/// Appends the [`BATCHES_HEAD_BYTES`](crate::BATCHES_HEAD_BYTES) that stand before `batches`, which
/// must be sent right behind them, laid end to end as they are here.
///
/// # Errors
///
/// `batches` does not consist of whole batches; `out` is then as it was.
pub fn encode_batches_head(
    kind: BatchesKind,
    watermarks: &Watermarks,
    handle: Handle,
    batches: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let (opcode, correlation) = match kind {
        BatchesKind::Fetched { correlation } => (Opcode::Fetch, correlation),
        BatchesKind::Delivery { correlation } => (Opcode::Delivery, correlation),
    };
    let start = begin(opcode, Flags::RESPONSE, correlation, out);
    BatchesHead { handle, watermarks: *watermarks }.put(out);
    finish_head(start, batches, batches_crc, out)
}

/// The fields that three answers have in common: those to `fetch` and `subscribe`, and `delivery`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchesHead {
    /// The partition's handle.
    pub(crate) handle: Handle,
    /// Where the partition stood when this was sent.
    pub(crate) watermarks: Watermarks,
}

impl BatchesHead {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_u32(self.handle.0, out);
        put_u32(0, out);
        self.watermarks.put(out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<BatchesHead, FrameError> {
        let handle = body.handle()?;
        body.reserved::<4>()?;
        Ok(BatchesHead { handle, watermarks: Watermarks::take(body)? })
    }
}
