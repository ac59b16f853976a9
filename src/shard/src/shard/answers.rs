//! Answers: written to the connection if it is here, gathered for its shard if it is not; and the
//! sends at the end of the turn.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;

use plimsoll_batch::BatchError;
use plimsoll_device::SocketOp;
use plimsoll_storage::{AppendError, ReadError};
use plimsoll_wire::{CorrelationId, ErrorCode, ErrorResponse, Fate, Handle, Opcode};

use super::Shard;
use crate::connection::{ConnectionId, Hold, State};
use crate::mail::{Client, Ended, Letter};

/// An error to tell a client.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) code: ErrorCode,
    pub(super) fate: Fate,
    pub(super) handle: Option<Handle>,
    pub(super) detail_a: u64,
    pub(super) detail_b: u64,
    pub(super) text: Cow<'static, str>,
}

impl Problem {
    pub(super) fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        let (fate, text) = (Fate::NotAppend, text.into());
        Self { code, fate, handle: None, detail_a: 0, detail_b: 0, text }
    }

    /// What is wrong with a handle, or with the partition that it stands for.
    pub(super) fn of_handle(code: ErrorCode, handle: Handle) -> Self {
        let text = match code {
            ErrorCode::HandleUnknown => "the handle is not bound",
            ErrorCode::HandleInUse => "the handle is bound",
            ErrorCode::TopicNotFound => "the topic does not exist, or no longer",
            ErrorCode::NotSubscribed => "the handle has no subscription",
            ErrorCode::AlreadySubscribed => "the handle has a subscription",
            _ => "",
        };
        Self { handle: Some(handle), ..Self::new(code, text) }
    }

    pub(super) fn of_batch(handle: Handle, error: &BatchError) -> Self {
        let response = ErrorResponse::of_batch(handle, error, "");
        Self {
            code: response.code,
            fate: response.fate,
            handle: response.handle,
            detail_a: response.detail_a,
            detail_b: response.detail_b,
            text: format!("{error}").into(),
        }
    }

    /// An append that surely was not written.
    pub(super) fn of_append(handle: Handle, error: &AppendError) -> Self {
        let sequence = |sequence: i32| u64::from(sequence.cast_unsigned());
        let (code, detail_a, detail_b) = match *error {
            AppendError::Batch(error) => return Self::of_batch(handle, &error),
            AppendError::DiskFull => (ErrorCode::DiskFull, 0, 0),
            AppendError::Failed(_) => (ErrorCode::DiskFailed, 0, 0),
            AppendError::Damaged(ref damage) => (ErrorCode::DataDamaged, damage.position_bytes, 0),
            AppendError::Stopping => (ErrorCode::ShuttingDown, 0, 0),
            AppendError::OutOfSequence { expected, got } => {
                (ErrorCode::OutOfSequence, sequence(expected), sequence(got))
            }
            AppendError::ProducerFenced { epoch } => {
                (ErrorCode::ProducerFenced, u64::from(epoch.cast_unsigned()), 0)
            }
            AppendError::ProducerUnknown => (ErrorCode::ProducerUnknown, 0, 0),
            AppendError::Compressed { codec } => (ErrorCode::BatchCompressed, codec as u64, 0),
            _ => (ErrorCode::Overloaded, 0, 0),
        };
        let problem = Self::new(code, format!("{error}"));
        Self { fate: Fate::Refused, handle: Some(handle), detail_a, detail_b, ..problem }
    }

    pub(super) fn of_read(handle: Handle, error: &ReadError) -> Self {
        let (code, detail_a, detail_b) = match error {
            ReadError::OutOfRange { start, end, .. } => {
                (ErrorCode::OffsetOutOfRange, start.value(), end.value())
            }
            ReadError::Damaged(damage) => (ErrorCode::DataDamaged, damage.position_bytes, 0),
            ReadError::Failed(_) => (ErrorCode::DiskFailed, 0, 0),
            _ => (ErrorCode::Overloaded, 0, 0),
        };
        let problem = Self::new(code, format!("{error}"));
        Self { handle: Some(handle), detail_a, detail_b, ..problem }
    }
}

impl Shard {
    /// Writes to a client, wherever it is, and counts what has ended for it. A client that is gone
    /// gets nothing.
    pub(super) fn answer(
        &mut self,
        client: Client,
        ended: Ended,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.is_local(client) {
            let Some(connection) = self.connections.at_mut(client.connection.0) else { return };
            if connection.state != State::Closed {
                encode(&mut connection.outbound.open);
            }
            self.end(client.connection, ended);
            self.mark_dirty(client.connection);
        } else if let Some(peer) = self.peers.get_mut(&client) {
            encode(&mut peer.out);
            peer.ended.add(ended);
            self.mark_peer_dirty(client);
        } else if ended.taken_bytes > 0 {
            // The connection is gone, but its shard still counts the batch as on its way.
            let (connection, frames) = (client.connection, Vec::new());
            let wants_pickup = false;
            self.post(client.shard, Letter::Frames { connection, frames, ended, wants_pickup });
        }
    }

    pub(super) fn answer_problem(
        &mut self,
        client: Client,
        ended: Ended,
        opcode: Opcode,
        correlation: CorrelationId,
        problem: Problem,
    ) {
        let Problem { code, fate, handle, detail_a, detail_b, text } = problem;
        match fate {
            Fate::Refused => self.counters.refused += 1,
            Fate::Unknown => {
                self.counters.unknown += 1;
                self.finish_acks(client);
            }
            Fate::NotAppend => {}
        }
        let response =
            ErrorResponse { opcode, code, fate, handle, detail_a, detail_b, message: &text };
        self.answer(client, ended, |out| response.encode(correlation, out));
    }

    /// What was acked in this turn goes ahead of what is said next: an error settles its frame, and
    /// the ack of a weaker level of that frame may not come after it.
    fn finish_acks(&mut self, client: Client) {
        if !self.is_local(client) {
            if let Some(peer) = self.peers.get_mut(&client) {
                peer.acks.finish_into(&mut peer.out);
            }
        } else if let Some(connection) = self.connections.at_mut(client.connection.0)
            && connection.state != State::Closed
        {
            connection.acks.finish_into(&mut connection.outbound.open);
        }
    }

    /// Takes off what has ended, and lets the connection go on if it was held for that.
    pub(super) fn end(&mut self, id: ConnectionId, ended: Ended) {
        if ended.taken_bytes > 0 {
            self.forwarded_bytes -= ended.taken_bytes;
            self.work.note_outbox_drained();
        }
        let in_flight_max = self.config.limits.in_flight_frames_max;
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        connection.in_flight -= ended.produces;
        connection.requests -= ended.requests;
        if connection.hold == Some(Hold::InFlight)
            && connection.in_flight < in_flight_max
            && connection.requests < in_flight_max
        {
            self.resume(id);
        }
    }

    /// Counts a request that is answered later, unless the connection has too many.
    pub(super) fn begin_request(&mut self, id: ConnectionId) -> bool {
        let requests_max = self.config.limits.in_flight_frames_max;
        let Some(connection) = self.connections.at_mut(id.0) else { return false };
        if connection.requests >= requests_max {
            return false;
        }
        connection.requests += 1;
        true
    }

    pub(super) fn mark_dirty(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.at_mut(id.0)
            && !core::mem::replace(&mut connection.is_dirty, true)
        {
            self.work.dirty.push(id);
        }
    }

    pub(super) fn mark_peer_dirty(&mut self, client: Client) {
        if let Some(peer) = self.peers.get_mut(&client)
            && !core::mem::replace(&mut peer.is_dirty, true)
        {
            self.work.dirty_peers.push(client);
        }
    }

    /// Sends what this turn has brought.
    pub(super) fn flush(&mut self) {
        while let Some(id) = self.work.dirty.pop() {
            self.flush_connection(id);
        }
        while let Some(client) = self.work.dirty_peers.pop() {
            self.flush_peer(client);
        }
    }

    fn flush_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        connection.is_dirty = false;
        if connection.state == State::Closed {
            return;
        }
        connection.acks.finish_into(&mut connection.outbound.open);
        let has_left =
            connection.has_ended && connection.in_flight == 0 && connection.requests == 0;
        if has_left {
            self.begin_close(id);
        }
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        let socket = connection.socket;
        if let Some((head, body)) = connection.outbound.next_send() {
            if connection.outbound.open.capacity() == 0
                && let Some(spare) = self.spare_heads.pop_if(|_| connection.in_flight > 0)
            {
                connection.outbound.open = spare;
            }
            self.ops.push_back(SocketOp::Send { socket, head, body });
        } else if connection.state == State::Closing && connection.outbound.is_empty() {
            self.lose(id);
        }
    }

    pub(super) fn flush_peer(&mut self, client: Client) {
        let Some(peer) = self.peers.get_mut(&client) else { return };
        peer.is_dirty = false;
        peer.acks.finish_into(&mut peer.out);
        let frames = core::mem::take(&mut peer.out);
        let ended = core::mem::take(&mut peer.ended);
        let wants_pickup = core::mem::take(&mut peer.wants_pickup);
        let connection = client.connection;
        self.post(client.shard, Letter::Frames { connection, frames, ended, wants_pickup });
    }
}
