//! Why bytes from a peer are not a frame, a request or a response.
//!
//! Every one of these ends the connection: after it, nobody knows where the next frame begins or
//! what the peer believes. A request that is well formed but cannot be served is not a
//! [`FrameError`]; the server answers it with an [`ErrorCode`] of its own choice.

use core::{error, fmt};

use crate::error_code::ErrorCode;
use crate::limits::FRAME_HEADER_BYTES;
use crate::opcode::Opcode;

/// Why bytes from a peer are not a frame, a request or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is smaller than a header.
    TooSmall {
        /// The length that the frame claims.
        frame_bytes: usize,
    },
    /// The length is beyond the limit.
    TooLarge {
        /// The length that the frame claims.
        frame_bytes: usize,
        /// The limit of the side that reads.
        frame_bytes_max: usize,
    },
    /// No opcode of this version.
    UnknownOpcode {
        /// What stands in its place.
        opcode: u8,
    },
    /// A flag that this version does not know, or an error that is no response.
    Flags {
        /// The flags.
        bits: u8,
    },
    /// Bytes that must be zero are not.
    ReservedBytesSet,
    /// The frame CRC does not match.
    Checksum {
        /// What the frame says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A request where only responses come, or a response where only requests come.
    WrongDirection {
        /// The opcode of the frame.
        opcode: Opcode,
    },
    /// The body ends before a field does.
    BodyTooShort {
        /// The field.
        what: &'static str,
    },
    /// The body goes on after its last field.
    BodyTooLong {
        /// How many bytes too many.
        left_bytes: usize,
    },
    /// A field has a value that does not exist.
    OutOfBounds {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A string is not UTF-8.
    NotUtf8 {
        /// The field.
        what: &'static str,
    },
    /// The record batches do not end where the frame does.
    BatchesUneven,
}

impl FrameError {
    /// The code with which a server answers before it closes the connection.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            FrameError::TooLarge { .. } => ErrorCode::FrameTooLarge,
            FrameError::UnknownOpcode { .. } => ErrorCode::UnknownOpcode,
            FrameError::Checksum { .. } => ErrorCode::Checksum,
            _ => ErrorCode::MalformedFrame,
        }
    }

    /// Detail a of the error response.
    #[must_use]
    pub const fn detail_a(&self) -> u64 {
        match self {
            FrameError::TooLarge { frame_bytes, .. } => *frame_bytes as u64,
            FrameError::UnknownOpcode { opcode } => *opcode as u64,
            _ => 0,
        }
    }

    /// Detail b of the error response.
    #[must_use]
    pub const fn detail_b(&self) -> u64 {
        match self {
            FrameError::TooLarge { frame_bytes_max, .. } => *frame_bytes_max as u64,
            _ => 0,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooSmall { frame_bytes } => {
                write!(f, "a frame of {frame_bytes} bytes, less than {FRAME_HEADER_BYTES}")
            }
            FrameError::TooLarge { frame_bytes, frame_bytes_max } => {
                write!(f, "a frame of {frame_bytes} bytes, more than {frame_bytes_max}")
            }
            FrameError::UnknownOpcode { opcode } => write!(f, "unknown opcode {opcode}"),
            FrameError::Flags { bits } => write!(f, "impossible flags {bits:#04x}"),
            FrameError::ReservedBytesSet => f.write_str("reserved bytes are not zero"),
            FrameError::Checksum { stored, computed } => {
                write!(f, "frame CRC is {stored:#010x}, its bytes give {computed:#010x}")
            }
            FrameError::WrongDirection { opcode } => {
                write!(f, "a frame of opcode {opcode:?} in the wrong direction")
            }
            FrameError::BodyTooShort { what } => write!(f, "the body ends within: {what}"),
            FrameError::BodyTooLong { left_bytes } => {
                write!(f, "the body has {left_bytes} bytes after its last field")
            }
            FrameError::OutOfBounds { what, value } => {
                write!(f, "{what} has the impossible value {value}")
            }
            FrameError::NotUtf8 { what } => write!(f, "{what} is not UTF-8"),
            FrameError::BatchesUneven => f.write_str("batches do not end where the frame does"),
        }
    }
}

impl error::Error for FrameError {}
