//! Bytes from the server become frames.
//!
//! A driver reads into [`space`](IncomingFrames::space), says how much arrived, and takes frames
//! until there are none. Small frames are decoded where they lie; a large one gets memory of its
//! own, which the rest of it is read into and which a delivery then keeps: what a consumer reads
//! is copied by nobody but the kernel.
//!
//! This is apart from the session so that a driver can check the checksums of deliveries without
//! holding the session's lock. What a newcomer gets wrong: one read may hold many frames, or a
//! part of one.

use crate::{ConnectionFault, Delivery};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use plimsoll_wire::{
    CorrelationId, Decoded, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Frame, FrameError, Opcode,
    Response, decode_frame,
};

/// A frame from the server, checked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming<'a> {
    /// A response, or acks.
    Response {
        /// Of the request that it answers.
        correlation: CorrelationId,
        /// What it says.
        response: Response<'a>,
    },
    /// Record batches of a subscription, each proven whole.
    Delivery(Delivery),
}

/// The bytes of one connection that have arrived and are not yet frames.
#[derive(Debug)]
pub struct IncomingFrames {
    small: Vec<u8>,
    start: usize,
    end: usize,
    /// A frame that is too large for `small`, and how much of it is there.
    large: Option<(Vec<u8>, usize)>,
    /// The large frame that was given out last: a response borrows it.
    decoded: Vec<u8>,
}

/// Frames up to a quarter of this are decoded in place.
const SMALL_BYTES: usize = 64 << 10;

impl IncomingFrames {
    /// For a new connection.
    #[must_use]
    pub fn new() -> IncomingFrames {
        IncomingFrames {
            small: alloc::vec![0; SMALL_BYTES],
            start: 0,
            end: 0,
            large: None,
            decoded: Vec::new(),
        }
    }

    /// Where the next bytes from the connection belong; never empty once
    /// [`next_frame`](IncomingFrames::next_frame) has given everything that it has.
    pub fn space(&mut self) -> &mut [u8] {
        match &mut self.large {
            Some((bytes, filled)) => &mut bytes[*filled..],
            None => {
                if self.start > 0 {
                    self.small.copy_within(self.start..self.end, 0);
                    self.end -= self.start;
                    self.start = 0;
                }
                &mut self.small[self.end..]
            }
        }
    }

    /// So many bytes of [`space`](IncomingFrames::space) were filled.
    ///
    /// # Panics
    ///
    /// If that is more than there was.
    pub fn filled(&mut self, bytes: usize) {
        let (end, limit) = match &mut self.large {
            Some((large, filled)) => (filled, large.len()),
            None => (&mut self.end, self.small.len()),
        };
        *end += bytes;
        assert!(*end <= limit, "more was filled than there was space");
    }

    /// For drivers that own their buffers: takes as much of the front of `bytes` as there is space
    /// for, and says how much that was.
    pub fn take_from(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let taken = bytes.len().min(space.len());
        space[..taken].copy_from_slice(&bytes[..taken]);
        self.filled(taken);
        taken
    }

    /// The next whole frame, if it has arrived.
    ///
    /// # Errors
    ///
    /// What arrived is not the protocol, or a delivered batch is damaged: close the connection.
    pub fn next_frame(&mut self) -> Result<Option<Incoming<'_>>, ConnectionFault> {
        if let Some((bytes, filled)) = &mut self.large {
            if *filled < bytes.len() {
                return Ok(None);
            }
            self.decoded = mem::take(bytes);
            self.large = None;
            return self.decode_large().map(Some);
        }
        let arrived = &self.small[self.start..self.end];
        let frame_bytes = match arrived.first_chunk::<4>() {
            Some(length) => u32::from_le_bytes(*length) as usize,
            None => return Ok(None),
        };
        if frame_bytes > arrived.len() || frame_bytes < FRAME_HEADER_BYTES {
            self.begin_large()?;
            return Ok(None);
        }
        let start = self.start;
        self.start += frame_bytes;
        let frame = whole_frame(&self.small[start..self.end])?;
        let correlation = frame.correlation;
        match Response::decode(&frame)? {
            Response::Delivery(delivery) => {
                let batches = Arc::new(delivery.batches.to_vec());
                let delivery = Delivery::checked(&delivery, frame.frame_bytes, batches, 0)?;
                Ok(Some(Incoming::Delivery(delivery)))
            }
            response => Ok(Some(Incoming::Response { correlation, response })),
        }
    }

    fn decode_large(&mut self) -> Result<Incoming<'_>, ConnectionFault> {
        if self.decoded.get(8) == Some(&(Opcode::Delivery as u8)) {
            let bytes = Arc::new(mem::take(&mut self.decoded));
            let frame = whole_frame(&bytes)?;
            let Response::Delivery(delivery) = Response::decode(&frame)? else {
                return Err(ConnectionFault::Unexpected("a large error"));
            };
            let (kept, batches_at) = (Arc::clone(&bytes), bytes.len() - delivery.batches.len());
            let delivery = Delivery::checked(&delivery, frame.frame_bytes, kept, batches_at)?;
            return Ok(Incoming::Delivery(delivery));
        }
        let frame = whole_frame(&self.decoded)?;
        let response = Response::decode(&frame)?;
        Ok(Incoming::Response { correlation: frame.correlation, response })
    }

    /// Checks what has arrived of an incomplete frame; moves it to memory of its own if it would
    /// crowd the small one.
    fn begin_large(&mut self) -> Result<(), ConnectionFault> {
        let arrived = &self.small[self.start..self.end];
        match decode_frame(arrived, FRAME_BYTES_MAX)? {
            Decoded::Incomplete { frame_bytes: Some(frame_bytes) }
                if frame_bytes > SMALL_BYTES / 4 =>
            {
                let mut bytes = alloc::vec![0; frame_bytes];
                bytes[..arrived.len()].copy_from_slice(arrived);
                self.large = Some((bytes, arrived.len()));
                (self.start, self.end) = (0, 0);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Default for IncomingFrames {
    fn default() -> IncomingFrames {
        IncomingFrames::new()
    }
}

fn whole_frame(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    match decode_frame(bytes, FRAME_BYTES_MAX)? {
        Decoded::Frame(frame) => Ok(frame),
        Decoded::Incomplete { .. } => Err(FrameError::BodyTooShort { what: "frame" }),
    }
}
