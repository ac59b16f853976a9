//! Reading and writing the fields of a body.
//!
//! [`Body`] takes fields from the front and never reads past the end; [`begin`] and [`finish`]
//! bracket the writing of a frame. Neither knows what the fields mean.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::checksum::control_crc;
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::limits::FRAME_HEADER_BYTES;
use crate::opcode::Opcode;

/// What is left of a body. `what` names the field in the error.
#[derive(Clone, Debug)]
pub(crate) struct Body<'a> {
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Body<'a> {
        Body { rest: bytes }
    }

    fn array<const BYTES: usize>(&mut self, what: &'static str) -> Result<[u8; BYTES], FrameError> {
        let Some((field, rest)) = self.rest.split_first_chunk() else {
            return Err(FrameError::BodyTooShort { what });
        };
        self.rest = rest;
        Ok(*field)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, FrameError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, FrameError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FrameError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, FrameError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, FrameError> {
        self.array(what).map(i64::from_le_bytes)
    }

    pub(crate) fn offset(&mut self, what: &'static str) -> Result<Offset, FrameError> {
        self.u64(what).map(Offset::new)
    }

    pub(crate) fn handle(&mut self) -> Result<Handle, FrameError> {
        self.u32("handle").map(Handle)
    }

    /// A byte that stands for one of a few things.
    pub(crate) fn choice<T>(
        &mut self,
        what: &'static str,
        from_byte: impl FnOnce(u8) -> Option<T>,
    ) -> Result<T, FrameError> {
        let byte = self.u8(what)?;
        from_byte(byte).ok_or(FrameError::OutOfBounds { what, value: u64::from(byte) })
    }

    pub(crate) fn string(&mut self, what: &'static str) -> Result<&'a str, FrameError> {
        let string_bytes = usize::from(self.u16(what)?);
        let Some((string, rest)) = self.rest.split_at_checked(string_bytes) else {
            return Err(FrameError::BodyTooShort { what });
        };
        self.rest = rest;
        core::str::from_utf8(string).map_err(|_| FrameError::NotUtf8 { what })
    }

    /// Bytes for later versions, which this one sends as zero.
    pub(crate) fn reserved<const BYTES: usize>(&mut self) -> Result<(), FrameError> {
        let bytes = self.array::<BYTES>("reserved")?;
        if bytes == [0; BYTES] { Ok(()) } else { Err(FrameError::ReservedBytesSet) }
    }

    /// As many things as a count says. Nothing is set aside for a count that the body cannot hold:
    /// a thing takes at least one byte of it.
    pub(crate) fn list<T>(
        &mut self,
        count_max: u32,
        mut take: impl FnMut(&mut Body<'a>) -> Result<T, FrameError>,
    ) -> Result<Vec<T>, FrameError> {
        let count = self.u32("count")?;
        if count > count_max {
            return Err(FrameError::OutOfBounds { what: "count", value: u64::from(count) });
        }
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(take(self)?);
        }
        Ok(list)
    }

    /// Whether nothing is left: fields that a later version appended are not there.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A byte at the end of a request that asks for what older clients do not know.
    pub(crate) fn asks_for_more(&mut self) -> Result<bool, FrameError> {
        if self.is_empty() {
            return Ok(false);
        }
        self.choice("what else", |byte| (byte == 1).then_some(true))
    }

    pub(crate) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    pub(crate) const fn end(&self) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FrameError::BodyTooLong { left_bytes: self.rest.len() })
        }
    }
}

/// Appends a frame header whose length and CRC are not yet known, and says where the frame begins.
pub(crate) fn begin(
    opcode: Opcode,
    flags: Flags,
    correlation: CorrelationId,
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    let [c0, c1, c2, c3] = correlation.0.to_le_bytes();
    let header: [u8; FRAME_HEADER_BYTES] =
        [0, 0, 0, 0, 0, 0, 0, 0, opcode as u8, flags.bits(), 0, 0, c0, c1, c2, c3];
    out.extend_from_slice(&header);
    start
}

/// Completes a frame without batches that began at `start` and ends at the end of `out`.
pub(crate) fn finish(start: usize, out: &mut [u8]) {
    let frame = out.get_mut(start..).unwrap_or_default();
    fill_length(frame, frame.len());
    fill_crc(frame, control_crc(frame));
}

/// Completes the head of a frame, given the bytes that will follow it and the sum over both. The
/// head goes away again if what follows cannot be summed.
pub(crate) fn finish_head(
    start: usize,
    following: &[u8],
    crc: impl FnOnce(&[u8], &[u8]) -> Result<u32, FrameError>,
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let head = out.get_mut(start..).unwrap_or_default();
    fill_length(head, head.len() + following.len());
    match crc(head, following) {
        Ok(crc) => {
            fill_crc(head, crc);
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// A length beyond 32 bits saturates, which every peer refuses.
fn fill_length(frame: &mut [u8], frame_bytes: usize) {
    if let Some(field) = frame.first_chunk_mut() {
        *field = u32::try_from(frame_bytes).unwrap_or(u32::MAX).to_le_bytes();
    }
}

fn fill_crc(frame: &mut [u8], crc: u32) {
    if let Some(field) = frame.get_mut(4..).and_then(<[u8]>::first_chunk_mut) {
        *field = crc.to_le_bytes();
    }
}

pub(crate) fn put_u16(value: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u32(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// The length of a list. One that does not fit in 32 bits could not fit in a frame either.
pub(crate) fn put_count(count: usize, out: &mut Vec<u8>) {
    put_u32(u32::try_from(count).unwrap_or(u32::MAX), out);
}

/// A string, cut at a character's boundary if its length does not fit in 16 bits.
pub(crate) fn put_string(string: &str, out: &mut Vec<u8>) {
    let string_bytes = string.floor_char_boundary(usize::from(u16::MAX));
    let (kept, _) = string.split_at(string_bytes);
    put_u16(u16::try_from(kept.len()).unwrap_or(u16::MAX), out);
    out.extend_from_slice(kept.as_bytes());
}
