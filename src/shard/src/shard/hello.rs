//! The first frame of a connection, and the move to the shard that it asks for.
//!
//! What a newcomer gets wrong: the hello is not always answered where it arrived. The socket moves
//! first, together with the bytes received behind the hello, and the shard that takes it over
//! answers; nothing may be in flight on the socket then.

use alloc::vec::Vec;

use plimsoll_device::SocketId;
use plimsoll_wire::{
    CorrelationId, ErrorCode, ErrorResponse, Fate, Hello, HelloResponse, Opcode, VERSION,
};

use super::Shard;
use super::decoding::Flow;
use crate::connection::{ConnectionId, State};
use crate::inbound::Held;
use crate::mail::Letter;
use crate::timers::Timer;

impl Shard {
    pub(super) fn hello(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        hello: &Hello<'_>,
        after: &[u8],
    ) -> Flow {
        let Some(connection) = self.connections.at(id.0) else { return Flow::Gone };
        if connection.state != State::AwaitingHello {
            let text = "a second hello on one connection";
            let (opcode, code) = (Opcode::Hello, ErrorCode::HelloExpected);
            self.fail_plainly(id, opcode, correlation, code, text);
            return Flow::Gone;
        }
        if hello.version_in_common().is_none() {
            self.fail(
                id,
                correlation,
                &ErrorResponse {
                    opcode: Opcode::Hello,
                    code: ErrorCode::ProtocolVersion,
                    fate: Fate::NotAppend,
                    handle: None,
                    detail_a: u64::from(VERSION),
                    detail_b: u64::from(VERSION),
                    message: "no protocol version in common",
                },
            );
            return Flow::Gone;
        }
        if hello.shard == self.config.index || hello.shard.0 >= self.config.shards {
            self.welcome(id, correlation);
            return Flow::Next;
        }
        self.hand_over(id, correlation, hello, after);
        Flow::Gone
    }

    fn welcome(&mut self, id: ConnectionId, correlation: CorrelationId) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        connection.state = State::Open;
        connection.deadline = None;
        let limits = &self.config.limits;
        let response = HelloResponse {
            version: VERSION,
            shard: self.config.index,
            shards: self.config.shards,
            epoch: self.config.epoch,
            frame_bytes_max: u32::try_from(limits.frame_bytes_max).unwrap_or(u32::MAX),
            in_flight_max: limits.in_flight_frames_max,
            handles_max: limits.handles_per_connection_max,
            server: &self.config.server_name,
        };
        response.encode(correlation, &mut connection.outbound.open);
        self.mark_dirty(id);
    }

    /// Gives the socket away. Nothing is in flight on it: the receive that brought the hello has
    /// ended, and nothing was sent.
    fn hand_over(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        hello: &Hello<'_>,
        after: &[u8],
    ) {
        let Some(mut connection) = self.connections.remove(id.0) else { return };
        assert!(!connection.inbound.is_receiving && connection.outbound.is_empty());
        if let Some(at) = connection.timer {
            self.timers.disarm(at, Timer::Connection(id));
        }
        connection.inbound.release(&mut self.memory);
        self.work.note_memory_freed();
        let socket = connection.socket;
        self.sockets.remove(&socket);
        let unread = after.to_vec();
        self.post(hello.shard, Letter::Connection { socket, correlation, unread });
    }

    /// Takes over a connection from the shard that accepted it.
    pub(super) fn adopt(&mut self, socket: SocketId, correlation: CorrelationId, unread: Vec<u8>) {
        let opened = self.open_connection(socket, Opcode::Hello, correlation);
        let Some(id) = opened else { return };
        self.welcome(id, correlation);
        if let Some(connection) = self.connections.at_mut(id.0)
            && !unread.is_empty()
        {
            connection.inbound.held = Held::Collected(unread);
        }
        self.go_on(id);
    }
}
