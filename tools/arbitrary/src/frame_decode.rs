//! Bytes from the network: no frame, request or response panics, however malformed, and what the
//! decoder calls a frame lies within the bytes that it was given.
//!
//! A random frame hardly ever carries the right checksum, so each input is tried twice: as it is,
//! and with its length and CRC made right, which opens the way to the bodies.

use plimsoll_wire::{
    Decoded, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameError, Request, Response, decode_frame,
};

/// A frame, decoded as a request and as a response.
///
/// # Panics
///
/// When what the module promises is broken.
pub fn frame_decode(bytes: &[u8]) {
    decode(bytes);
    if let Some(repaired) = repair(bytes) {
        decode(&repaired);
    }
}

fn decode(bytes: &[u8]) -> Option<FrameError> {
    match decode_frame(bytes, FRAME_BYTES_MAX) {
        Ok(Decoded::Frame(frame)) => {
            assert!(frame.frame_bytes <= bytes.len());
            assert_eq!(frame.body.len() + FRAME_HEADER_BYTES, frame.frame_bytes);
            // Either may refuse; neither may panic.
            drop(Request::decode(&frame));
            drop(Response::decode(&frame));
            None
        }
        Ok(Decoded::Incomplete { frame_bytes }) => {
            assert!(frame_bytes.is_none_or(|needed| needed > bytes.len()));
            None
        }
        Err(error) => Some(error),
    }
}

/// The same bytes as one whole frame: the length field set, and the CRC that the decoder computed.
fn repair(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.get(..bytes.len().min(FRAME_BYTES_MAX))?.to_vec();
    let length = u32::try_from(bytes.len()).ok()?;
    bytes.get_mut(..4)?.copy_from_slice(&length.to_le_bytes());
    let Some(FrameError::Checksum { computed, .. }) = decode(&bytes) else { return None };
    bytes.get_mut(4..8)?.copy_from_slice(&computed.to_le_bytes());
    Some(bytes)
}
