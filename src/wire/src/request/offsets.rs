//! `offsets`: where a partition begins or ends, or where a time lies in it.
//!
//! What a newcomer gets wrong: the answer for a time is a place to begin from. Records with an
//! earlier time may follow it, because producers choose their times.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::body::{Body, begin, finish, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::level::Visible;
use crate::opcode::Opcode;

/// Asks for one offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// The partition's handle.
    pub handle: Handle,
    /// Which place is wanted.
    pub what: OffsetsWhat,
    /// As seen by a consumer at this level.
    pub visible: Visible,
}

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetsWhat {
    /// The first record that can still be read.
    Beginning,
    /// After the last record that is visible.
    End,
    /// From where on every record with this time or later will be seen.
    Timestamp {
        /// Milliseconds since 1970.
        unix_ms: i64,
    },
}

impl Offsets {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Offsets, Flags::REQUEST, correlation, out);
        put_u32(self.handle.0, out);
        let (what, unix_ms) = match self.what {
            OffsetsWhat::Beginning => (0, 0),
            OffsetsWhat::End => (1, 0),
            OffsetsWhat::Timestamp { unix_ms } => (2, unix_ms),
        };
        out.extend_from_slice(&[what, self.visible as u8, 0, 0]);
        out.extend_from_slice(&unix_ms.to_le_bytes());
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<Offsets, FrameError> {
        let handle = body.handle()?;
        let what = body.u8("what")?;
        let visible = body.choice("visible", Visible::from_byte)?;
        body.reserved::<2>()?;
        let unix_ms = body.i64("timestamp")?;
        let what = match what {
            0 => OffsetsWhat::Beginning,
            1 => OffsetsWhat::End,
            2 => OffsetsWhat::Timestamp { unix_ms },
            _ => return Err(FrameError::OutOfBounds { what: "what", value: u64::from(what) }),
        };
        Ok(Offsets { handle, what, visible })
    }
}

/// The offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetsResponse {
    /// It.
    pub offset: Offset,
}

impl OffsetsResponse {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Offsets, Flags::RESPONSE, correlation, out);
        put_u64(self.offset.value(), out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<OffsetsResponse, FrameError> {
        Ok(OffsetsResponse { offset: body.offset("offset")? })
    }
}
