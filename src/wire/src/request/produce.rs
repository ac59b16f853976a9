//! `produce`: one record batch for a handle.
//!
//! The hot path: [`encode_produce_head`] writes everything but the batch, so that the batch can
//! follow from where it lies. What a newcomer gets wrong: decoding does not look at the batch.
//! Whoever appends it validates it, and a bad batch costs the client that batch and not its
//! connection.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish_head, put_u32};
use crate::checksum::produce_crc;
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::level::{AckLevel, Durability, DurabilityWanted};
use crate::opcode::Opcode;

/// One record batch to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produce<'a> {
    /// The partition's handle.
    pub handle: Handle,
    /// When the (last) ack is wanted.
    pub durability: DurabilityWanted,
    /// A second level of which an ack is wanted.
    pub also: Option<AckLevel>,
    /// The rest of the body, meant to be one record batch with base offset 0, not yet validated.
    pub batch: &'a [u8],
}

impl<'a> Produce<'a> {
    /// Appends the frame, batch included.
    ///
    /// # Errors
    ///
    /// As [`encode_produce_head`].
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let Produce { handle, durability, also, batch } = *self;
        encode_produce(handle, durability, also, correlation, batch, out)
    }

    #[inline]
    pub(crate) fn take(body: &mut Body<'a>) -> Result<Produce<'a>, FrameError> {
        let handle = body.handle()?;
        let durability = body.choice("durability", DurabilityWanted::from_byte)?;
        let also = body.choice("also", |byte| match byte {
            0 => Some(None),
            _ => AckLevel::from_byte(byte).map(Some),
        })?;
        body.reserved::<2>()?;
        if let (DurabilityWanted::Level(Durability::None), Some(level)) = (durability, also) {
            return Err(FrameError::OutOfBounds { what: "also", value: level as u64 });
        }
        Ok(Produce { handle, durability, also, batch: body.rest() })
    }
}

/// Appends a produce frame, batch included.
///
/// # Errors
///
/// As [`encode_produce_head`].
pub fn encode_produce(
    handle: Handle,
    durability: DurabilityWanted,
    also: Option<AckLevel>,
    correlation: CorrelationId,
    batch: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    encode_produce_head(handle, durability, also, correlation, batch, out)?;
    out.extend_from_slice(batch);
    Ok(())
}

/// Appends the [`PRODUCE_HEAD_BYTES`](crate::PRODUCE_HEAD_BYTES) that stand before the batch. The
/// batch itself must be sent right behind them.
///
/// # Errors
///
/// `batch` is shorter than the prefix of a record batch; `out` is then as it was.
#[inline]
pub fn encode_produce_head(
    handle: Handle,
    durability: DurabilityWanted,
    also: Option<AckLevel>,
    correlation: CorrelationId,
    batch: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let start = begin(Opcode::Produce, Flags::REQUEST, correlation, out);
    put_u32(handle.0, out);
    out.extend_from_slice(&[durability.to_byte(), also.map_or(0, |level| level as u8), 0, 0]);
    finish_head(start, batch, produce_crc, out)
}
