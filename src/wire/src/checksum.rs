//! What the frame CRC covers, and the walk over the batches at the end of a frame.
//!
//! A record batch carries its own CRC over all but its first 21 bytes, so the frame CRC leaves out
//! what that one covers: each byte is summed once. Where a frame has one batch by definition
//! (`produce`) its length field plays no part, so that a batch that lies about its length is that
//! batch's error and not the end of the connection.

use crc32c::{crc32c, crc32c_append};
use plimsoll_batch::{PREFIX_BYTES, batch_length_bytes};

use crate::frame_error::FrameError;
use crate::limits::{BATCHES_HEAD_BYTES, PRODUCE_HEAD_BYTES};

/// How the batches lie in a frame, which is what decides about its CRC.
#[derive(Clone, Copy)]
pub(crate) enum Layout {
    /// No batches: everything is covered.
    Control,
    /// `produce`: one batch to the end of the frame.
    OneBatch,
    /// `fetch` response and `delivery`: batches laid end to end.
    ManyBatches,
}

/// The CRC of a whole frame.
pub(crate) fn frame_crc(layout: Layout, frame: &[u8]) -> Result<u32, FrameError> {
    match layout {
        Layout::Control => Ok(control_crc(frame)),
        Layout::OneBatch => {
            let Some(covered) = frame.get(..PRODUCE_HEAD_BYTES + PREFIX_BYTES) else {
                return Err(FrameError::BodyTooShort { what: "record batch" });
            };
            Ok(control_crc(covered))
        }
        Layout::ManyBatches => {
            let Some((head, batches)) = frame.split_at_checked(BATCHES_HEAD_BYTES) else {
                return Err(FrameError::BodyTooShort { what: "watermarks" });
            };
            batches_crc(head, batches)
        }
    }
}

/// The CRC of a frame without batches, whose length is already filled in: of the length and of what
/// follows the CRC field. Without the length, a flipped bit in it would go unseen in `produce`.
pub(crate) fn control_crc(frame: &[u8]) -> u32 {
    let length = frame.get(..4).unwrap_or_default();
    crc32c_append(crc32c(length), frame.get(8..).unwrap_or_default())
}

/// The CRC of a produce frame, given what stands before the batch, and the batch.
pub(crate) fn produce_crc(head: &[u8], batch: &[u8]) -> Result<u32, FrameError> {
    let Some(prefix) = batch.first_chunk::<PREFIX_BYTES>() else {
        return Err(FrameError::BodyTooShort { what: "record batch" });
    };
    Ok(crc32c_append(control_crc(head), prefix))
}

/// The CRC of a frame with any number of batches, given what stands before them.
pub(crate) fn batches_crc(head: &[u8], batches: &[u8]) -> Result<u32, FrameError> {
    let mut crc = control_crc(head);
    let mut walk = LengthWalk { rest: batches };
    for batch in &mut walk {
        crc = crc32c_append(crc, batch.get(..PREFIX_BYTES).unwrap_or(batch));
    }
    if walk.rest.is_empty() { Ok(crc) } else { Err(FrameError::BatchesUneven) }
}

/// A walk over batches that lie end to end, by their lengths alone. It ends early at a batch that
/// is cut off. To check or read them there is `plimsoll_batch::Batches`.
struct LengthWalk<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for LengthWalk<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let Some(Ok(batch_bytes)) = batch_length_bytes(self.rest) else {
            return None;
        };
        let (batch, rest) = self.rest.split_at_checked(batch_bytes)?;
        self.rest = rest;
        Some(batch)
    }
}
