//! One frame: header, checks, and the incremental decoder.
//!
//! [`decode_frame`] looks at the front of whatever has arrived. It decides about the length as soon
//! as four bytes are there and about the header as soon as sixteen are, so that garbage is not
//! waited for; only then about the CRC. It allocates nothing and panics on no input.

use crate::checksum::{Layout, frame_crc};
use crate::frame_error::FrameError;
use crate::identity::CorrelationId;
use crate::limits::FRAME_HEADER_BYTES;
use crate::opcode::Opcode;

/// The outcome of looking at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// More bytes are needed.
    Incomplete {
        /// The length of the whole frame, known once four bytes are there, and within the limit.
        frame_bytes: Option<usize>,
    },
    /// A whole frame whose CRC matches. `frame_bytes` bytes of the input belong to it.
    Frame(Frame<'a>),
}

/// A frame whose header and CRC have been checked; its body has not been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is about.
    pub opcode: Opcode,
    /// Request, response or error.
    pub flags: Flags,
    /// Ties response to request.
    pub correlation: CorrelationId,
    /// Everything after the header.
    pub body: &'a [u8],
    /// The length of the whole frame.
    pub frame_bytes: usize,
}

/// Takes the first frame from the front of `bytes`, if it is complete.
///
/// A frame longer than `frame_bytes_max` is refused as soon as its length is known.
///
/// # Errors
///
/// The bytes cannot become a frame, however many follow: answer with [`FrameError::code`] and
/// close.
#[inline]
pub fn decode_frame(bytes: &[u8], frame_bytes_max: usize) -> Result<Decoded<'_>, FrameError> {
    let Some(length) = bytes.first_chunk::<4>() else {
        return Ok(Decoded::Incomplete { frame_bytes: None });
    };
    let frame_bytes = u32::from_le_bytes(*length) as usize;
    if frame_bytes > frame_bytes_max {
        return Err(FrameError::TooLarge { frame_bytes, frame_bytes_max });
    }
    if frame_bytes < FRAME_HEADER_BYTES {
        return Err(FrameError::TooSmall { frame_bytes });
    }
    let Some((header, _)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return Ok(Decoded::Incomplete { frame_bytes: Some(frame_bytes) });
    };
    let &[_, _, _, _, crc0, crc1, crc2, crc3, opcode, flags, zero0, zero1, id0, id1, id2, id3] =
        header;
    let opcode = Opcode::try_from(opcode).map_err(|opcode| FrameError::UnknownOpcode { opcode })?;
    let flags = Flags::from_bits(flags).ok_or(FrameError::Flags { bits: flags })?;
    if zero0 != 0 || zero1 != 0 {
        return Err(FrameError::ReservedBytesSet);
    }
    let Some(frame) = bytes.get(..frame_bytes) else {
        return Ok(Decoded::Incomplete { frame_bytes: Some(frame_bytes) });
    };
    let stored = u32::from_le_bytes([crc0, crc1, crc2, crc3]);
    let computed = frame_crc(layout(opcode, flags), frame)?;
    if stored != computed {
        return Err(FrameError::Checksum { stored, computed });
    }
    Ok(Decoded::Frame(Frame {
        opcode,
        flags,
        correlation: CorrelationId(u32::from_le_bytes([id0, id1, id2, id3])),
        body: frame.get(FRAME_HEADER_BYTES..).unwrap_or_default(),
        frame_bytes,
    }))
}

fn layout(opcode: Opcode, flags: Flags) -> Layout {
    match (opcode, flags) {
        (Opcode::Produce, Flags::REQUEST) => Layout::OneBatch,
        (Opcode::Fetch | Opcode::Delivery, Flags::RESPONSE) => Layout::ManyBatches,
        _ => Layout::Control,
    }
}

/// Who sends a frame, and whether it tells of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// From client to server.
    pub const REQUEST: Flags = Flags(0);
    /// From server to client; also of frames that answer no request.
    pub const RESPONSE: Flags = Flags(1);
    /// From server to client: an error.
    pub const ERROR: Flags = Flags(3);

    /// The byte in the header.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Only the three combinations above exist.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Flags> {
        match bits {
            0 | 1 | 3 => Some(Flags(bits)),
            _ => None,
        }
    }

    /// Whether the frame comes from the server.
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether the frame tells of an error.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 & 2 != 0
    }
}
