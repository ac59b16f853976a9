//! What the machine says about sockets, and the life and death of a connection.
//!
//! What a newcomer gets wrong: closing takes three steps. The client is told why, what waits is
//! sent or times out, the socket is closed; only the machine's `Closed` frees the connection, since
//! memory may be in flight until then.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_device::{Buffer, IoError, Received, SocketCompletion, SocketId, SocketOp};
use plimsoll_storage::Lent;
use plimsoll_wire::{CorrelationId, ErrorCode, ErrorResponse, Fate, HELLO_TIMEOUT_MS, Opcode};

use super::{Phase, Shard};
use crate::connection::{Connection, ConnectionId, Hold, State};
use crate::mail::Letter;
use crate::report::Report;
use crate::timers::Timer;

/// How long a connection that is being closed may take to read the reason.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections beyond the limit that are being told so, at a time. Telling takes one small send
/// into an empty socket, so that a flood of connects seldom has more of them waiting.
const BEING_REFUSED_MAX: usize = 64;

const SPARE_HEADS_MAX: usize = 64;
const SPARE_HEAD_BYTES_MAX: usize = 256 << 10;

impl Shard {
    pub(super) fn handle_socket(&mut self, completion: SocketCompletion<'_>) {
        match completion {
            SocketCompletion::Accepted { socket } => self.accepted(socket),
            SocketCompletion::Received { socket, data } => self.received(socket, data),
            SocketCompletion::Sent { socket, head, result, .. } => self.sent(socket, head, result),
            SocketCompletion::Closed { socket } => self.closed(socket),
        }
    }

    fn accepted(&mut self, socket: SocketId) {
        if let Some(id) = self.open_connection(socket, Opcode::Connection, CorrelationId::NONE) {
            self.receive(id);
        }
    }

    /// Takes a socket on which nothing is in flight, unless there is no place for it: then the
    /// client is told so, in answer to the frame that is named, and the socket closed.
    pub(super) fn open_connection(
        &mut self,
        socket: SocketId,
        opcode: Opcode,
        correlation: CorrelationId,
    ) -> Option<ConnectionId> {
        let is_full = self.connections.len() >= self.config.limits.connections_max;
        if is_full || self.phase != Phase::Serving {
            self.refuse_connection(socket, opcode, correlation, is_full);
            return None;
        }
        self.counters.connections_opened += 1;
        let id = self.add_connection(socket);
        self.set_deadline(id, Duration::from_millis(HELLO_TIMEOUT_MS));
        Some(id)
    }

    fn add_connection(&mut self, socket: SocketId) -> ConnectionId {
        let id = ConnectionId(self.connections.insert(Connection::new(socket)));
        self.sockets.insert(socket, id);
        id
    }

    /// Turns a client away, with the reason. Nothing is ever received from it. When very many are
    /// being told at once, or the server is about to end, it is closed without a word.
    fn refuse_connection(
        &mut self,
        socket: SocketId,
        opcode: Opcode,
        correlation: CorrelationId,
        is_full: bool,
    ) {
        let connections_max = self.config.limits.connections_max;
        let reason = if is_full { "too many connections" } else { "the server is stopping" };
        self.counters.connections_refused += 1;
        self.reports.push_back(Report::ConnectionRefused { reason });
        let being_told = self.connections.len().saturating_sub(connections_max);
        let may_tell = matches!(self.phase, Phase::Serving | Phase::Stopping);
        if being_told >= BEING_REFUSED_MAX || !may_tell {
            self.ops.push_back(SocketOp::Close { socket });
            return;
        }
        let id = self.add_connection(socket);
        let code = if is_full { ErrorCode::TooManyConnections } else { ErrorCode::ShuttingDown };
        let message = if is_full {
            format!("this shard has {connections_max} connections, the most that it takes")
        } else {
            reason.to_string()
        };
        let detail_a = if is_full { connections_max as u64 } else { 0 };
        let error = ErrorResponse {
            opcode,
            code,
            fate: Fate::NotAppend,
            handle: None,
            detail_a,
            detail_b: 0,
            message: &message,
        };
        self.tell_and_close(id, correlation, &error);
    }

    fn received(&mut self, socket: SocketId, data: Received<'_>) {
        let Some(&id) = self.sockets.get(&socket) else { return };
        let is_open = self.connections.at(id.0).is_some_and(Connection::is_open);
        match data {
            Received::Failed(buffer, _) => {
                self.give_back(buffer);
                self.lose(id);
            }
            Received::Owned(buffer, _) if !is_open => self.give_back(Some(buffer)),
            Received::Pooled(_) if !is_open => {}
            Received::Pooled([]) => self.ended(id),
            Received::Pooled(bytes) => {
                self.note_received(id, bytes.len());
                self.take_pooled(id, bytes);
            }
            Received::Owned(buffer, bytes) => {
                self.note_received(id, bytes);
                if let Some(connection) = self.connection(id) {
                    connection.inbound.restore(buffer, bytes);
                }
                if bytes == 0 { self.ended(id) } else { self.go_on(id) }
            }
        }
    }

    fn note_received(&mut self, id: ConnectionId, bytes: usize) {
        self.counters.received_bytes += bytes as u64;
        if let Some(connection) = self.connection(id) {
            connection.inbound.note_received(bytes);
        }
    }

    fn give_back(&mut self, buffer: Option<Buffer>) {
        if let Some(buffer) = buffer {
            self.memory.give_back(buffer);
            self.work.note_memory_freed();
        }
    }

    /// The client sends no more. What it has in flight is still answered.
    fn ended(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        connection.inbound.note_received(0);
        connection.has_ended = true;
        connection.deadline = None;
        self.mark_dirty(id);
    }

    fn sent(&mut self, socket: SocketId, mut head: Vec<u8>, result: Result<(), IoError>) {
        self.counters.sent_bytes += head.len() as u64;
        if head.capacity() <= SPARE_HEAD_BYTES_MAX && self.spare_heads.len() < SPARE_HEADS_MAX {
            head.clear();
            self.spare_heads.push(head);
        }
        let Some(&id) = self.sockets.get(&socket) else { return };
        let backlog_bytes_max = self.config.limits.send_backlog_bytes_max;
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        let body = connection.outbound.sent();
        let is_held = connection.hold == Some(Hold::Backlog);
        let has_drained = connection.outbound.backlog_bytes() <= backlog_bytes_max / 2;
        if let Some(lent) = body {
            connection.deliveries -= 1;
            self.counters.sent_bytes += lent.range.length_bytes as u64;
            self.release_lent(lent);
        }
        if result.is_err() {
            self.lose(id);
            return;
        }
        if is_held && has_drained {
            self.resume(id);
        }
        self.mark_dirty(id);
        self.activate(self.client(id));
        if has_drained {
            self.tell_picked_up(id);
        }
    }

    pub(super) fn release_lent(&mut self, lent: Lent) {
        self.lent_bytes -= lent.range.length_bytes;
        self.storage.release(lent);
    }

    fn closed(&mut self, socket: SocketId) {
        let Some(id) = self.sockets.remove(&socket) else { return };
        let Some(mut connection) = self.connections.remove(id.0) else { return };
        if let Some(at) = connection.timer {
            self.timers.disarm(at, Timer::Connection(id));
        }
        connection.inbound.release(&mut self.memory);
        self.work.note_memory_freed();
    }

    /// Tells the client why, and closes when it has been told.
    pub(super) fn fail(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        error: &ErrorResponse<'_>,
    ) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        if !connection.is_open() {
            return;
        }
        if error.code != ErrorCode::ShuttingDown {
            self.counters.protocol_errors += 1;
            let (socket, text) = (connection.socket, error.message.to_string());
            self.reports.push_back(Report::ProtocolError { socket, code: error.code, text });
        }
        self.tell_and_close(id, correlation, error);
    }

    fn tell_and_close(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        error: &ErrorResponse<'_>,
    ) {
        if let Some(connection) = self.connections.at_mut(id.0) {
            error.encode(correlation, &mut connection.outbound.open);
        }
        self.begin_close(id);
    }

    /// As [`Shard::fail`], for errors that no request caused and that have no details.
    pub(super) fn fail_connection(&mut self, id: ConnectionId, code: ErrorCode, message: &str) {
        self.fail_plainly(id, Opcode::Connection, CorrelationId::NONE, code, message);
    }

    /// As [`Shard::fail`], for errors that have no details.
    pub(super) fn fail_plainly(
        &mut self,
        id: ConnectionId,
        opcode: Opcode,
        correlation: CorrelationId,
        code: ErrorCode,
        message: &str,
    ) {
        let error = ErrorResponse {
            opcode,
            code,
            fate: Fate::NotAppend,
            handle: None,
            detail_a: 0,
            detail_b: 0,
            message,
        };
        self.fail(id, correlation, &error);
    }

    /// Stops serving the connection; it closes when what it has to say has been said.
    pub(super) fn begin_close(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        if !connection.is_open() {
            return;
        }
        connection.state = State::Closing;
        connection.owed = Vec::new();
        connection.inbound.release(&mut self.memory);
        self.work.note_memory_freed();
        self.set_deadline(id, CLOSING_TIMEOUT);
        self.forget_client(id);
        self.mark_dirty(id);
    }

    /// Closes without saying anything more.
    pub(super) fn lose(&mut self, id: ConnectionId) {
        self.begin_close(id);
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        if connection.state == State::Closed {
            return;
        }
        connection.state = State::Closed;
        connection.deadline = None;
        let socket = connection.socket;
        let mut freed = Vec::new();
        while let Some(lent) = connection.outbound.discard() {
            freed.push(lent);
        }
        for lent in freed {
            self.release_lent(lent);
        }
        self.ops.push_back(SocketOp::Close { socket });
    }

    fn forget_client(&mut self, id: ConnectionId) {
        let client = self.client(id);
        self.remove_readers_of(client);
        let is_forwarding =
            self.connections.at(id.0).is_some_and(|connection| connection.is_forwarding);
        if is_forwarding {
            for shard in self.other_shards() {
                self.post(shard, Letter::Closed { client });
            }
        }
    }

    pub(super) fn set_deadline(&mut self, id: ConnectionId, after: Duration) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        let at = self.now.monotonic + after;
        connection.deadline = Some(at);
        // An earlier timer finds the later deadline when it goes off.
        if connection.timer.is_none_or(|timer| timer > at) {
            if let Some(timer) = connection.timer {
                self.timers.disarm(timer, Timer::Connection(id));
            }
            connection.timer = Some(at);
            self.timers.arm(at, Timer::Connection(id));
        }
    }

    pub(super) fn expire_timers(&mut self) {
        while let Some(timer) = self.timers.expire(self.now.monotonic) {
            match timer {
                Timer::Reader(id) => self.fetch_is_due(id),
                Timer::Connection(id) => self.connection_timer(id),
            }
        }
    }

    fn connection_timer(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        connection.timer = None;
        let Some(deadline) = connection.deadline else { return };
        if deadline > self.now.monotonic {
            connection.timer = Some(deadline);
            self.timers.arm(deadline, Timer::Connection(id));
        } else if connection.state == State::Closing {
            self.lose(id);
        } else if self.phase == Phase::Draining {
            self.fail_connection(id, ErrorCode::ShuttingDown, "the server is stopping");
        } else {
            let what = match connection.state {
                State::AwaitingHello => "hello",
                _ => "the rest of a frame",
            };
            let text = String::from(what) + " did not come in time";
            self.fail_connection(id, ErrorCode::FrameTimeout, &text);
        }
    }
}
