//! From received bytes to frames, and from there to the next receive.
//!
//! It knows frames, not requests. What a newcomer gets wrong: a connection that is held keeps its
//! undecoded bytes and receives nothing more, which is how one slow client is slowed down and
//! nobody else.

use core::time::Duration;

use plimsoll_device::SocketOp;
use plimsoll_wire::decode_frame;
use plimsoll_wire::{CorrelationId, Decoded, ErrorResponse, FRAME_TIMEOUT_MS, FrameError, Opcode};

use super::{Phase, Shard};
use crate::connection::{Connection, ConnectionId, Hold, State};
use crate::inbound::{Held, Target};

/// What to do after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It was dealt with.
    Next,
    /// It was not: look at it again when the connection is resumed.
    Hold(Hold),
    /// The connection is closing or has moved; nothing more of it is wanted here.
    Gone,
}

impl Shard {
    /// Decodes a pooled receive, where it lies if nothing came before.
    pub(super) fn take_pooled(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        if !matches!(connection.inbound.held, Held::Nothing) {
            connection.inbound.collect(bytes);
            return self.go_on(id);
        }
        let decoded_bytes = self.decode(id, bytes);
        let rest = bytes.get(decoded_bytes..).unwrap_or_default();
        if let Some(connection) = self.open(id) {
            connection.inbound.held = Held::collected(rest);
        }
        self.receive(id);
    }

    /// Decodes what the connection holds, then receives more if it may.
    pub(super) fn go_on(&mut self, id: ConnectionId) {
        let Some(connection) = self.open(id) else { return };
        if connection.inbound.is_receiving {
            // What is held has been looked at, and is half a frame.
            return;
        }
        let held = core::mem::take(&mut connection.inbound.held);
        let decoded_bytes = self.decode(id, held.bytes());
        let held = held.consume(decoded_bytes);
        match self.open(id) {
            Some(connection) => connection.inbound.held = held,
            None => {
                if let Held::Own { buffer, .. } = held {
                    self.memory.give_back(buffer);
                    self.work.note_memory_freed();
                }
            }
        }
        self.receive(id);
    }

    fn open(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connection(id).filter(|connection| connection.is_open())
    }

    /// Handles the frames at the front of `bytes`; gives the number of bytes that are done with.
    fn decode(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        let frame_bytes_max = self.config.limits.frame_bytes_max;
        let backlog_bytes_max = self.config.limits.send_backlog_bytes_max;
        let mut at = 0;
        loop {
            let Some(connection) = self.connections.at_mut(id.0) else { return at };
            if !connection.is_decoding() {
                return at;
            }
            if connection.outbound.backlog_bytes() > backlog_bytes_max {
                self.hold(id, Hold::Backlog);
                return at;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            match decode_frame(rest, frame_bytes_max) {
                Ok(Decoded::Frame(frame)) => {
                    let after = rest.get(frame.frame_bytes..).unwrap_or_default();
                    match self.handle_frame(id, &frame, after) {
                        Flow::Next => at += frame.frame_bytes,
                        Flow::Gone => return bytes.len(),
                        Flow::Hold(hold) => {
                            self.hold(id, hold);
                            return at;
                        }
                    }
                }
                Ok(Decoded::Incomplete { frame_bytes }) => {
                    connection.frame_bytes = frame_bytes;
                    self.expect_rest(id, !rest.is_empty(), at > 0);
                    return at;
                }
                Err(error) => {
                    self.fail_frame(id, Opcode::Connection, CorrelationId::NONE, &error);
                    return bytes.len();
                }
            }
        }
    }

    /// A half frame has half a minute from its first byte on.
    fn expect_rest(&mut self, id: ConnectionId, has_rest: bool, is_new: bool) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        if connection.state != State::Open || self.phase == Phase::Draining {
            return;
        }
        if !has_rest {
            connection.deadline = None;
        } else if is_new || connection.deadline.is_none() {
            self.set_deadline(id, Duration::from_millis(FRAME_TIMEOUT_MS));
        }
    }

    /// Sends a receive off, unless there is one or the connection is held.
    pub(super) fn receive(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        let may_receive = connection.is_decoding() && !connection.has_ended;
        if !may_receive || connection.inbound.is_receiving {
            return;
        }
        let socket = connection.socket;
        let frame_bytes = connection.frame_bytes;
        match connection.inbound.target(frame_bytes, &mut self.memory) {
            Target::Receive(into) => self.ops.push_back(SocketOp::Receive { socket, into }),
            Target::NoMemory => self.hold(id, Hold::Memory),
        }
    }

    /// Ends a connection whose bytes are no frame or no request.
    pub(super) fn fail_frame(
        &mut self,
        id: ConnectionId,
        opcode: Opcode,
        correlation: CorrelationId,
        error: &FrameError,
    ) {
        let message = alloc::format!("{error}");
        self.fail(id, correlation, &ErrorResponse::of_frame(opcode, error, &message));
    }
}
