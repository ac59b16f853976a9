//! The ring's sockets: what is begun, what a completion means, and when a close may happen.
//!
//! It knows no frames and no clients. What a newcomer gets wrong: `Closed` follows the ends of
//! everything that was in flight on the socket, because its number must not mean another connection
//! before that.

use io_uring::cqueue;
use plimsoll_device::{
    Buffer, Completion, IoError, Memory, Received, SocketCompletion, SocketId, SocketOp,
};

use super::{Ready, Ring, SPARE_MESSAGES_MAX};
use crate::clock::monotonic;
use crate::errno::Errno;
use crate::op::{Accept, Accepted, InFlight, Receive, ReceiveEnd, Send};
use crate::sockets::Direction;
use crate::span::Span;

impl Ring {
    pub(super) fn start_on_socket(&mut self, op: SocketOp) {
        match op {
            SocketOp::Accept => self.accept(),
            SocketOp::Receive { socket, into } => self.receive(socket, into),
            SocketOp::Send { socket, head, body } => self.send(socket, head, body),
            SocketOp::Close { socket } => {
                if self.sockets.close(socket) {
                    self.ready.push_back(Ready::Socket(SocketCompletion::Closed { socket }));
                }
            }
        }
    }

    fn accept(&mut self) {
        if let Some(listener) = &self.listener {
            let accept = Accept::of(listener);
            self.launch(InFlight::Accept(accept));
        }
    }

    pub(super) fn accept_again(&mut self) {
        if self.accept_again_at.is_some_and(|at| at <= monotonic()) {
            self.accept_again_at = None;
            self.accept();
        }
    }

    fn receive(&mut self, socket: SocketId, into: Option<(Buffer, usize)>) {
        let receive = Receive { socket, into };
        let begun = receive.check().and_then(|()| self.sockets.begin(socket, Direction::Receive));
        match begun {
            Ok(()) => self.launch(InFlight::Receive(receive)),
            Err(errno) => {
                let buffer = receive.into.map(|(buffer, _)| buffer);
                let data = Received::Failed(buffer, errno.into());
                let failed = SocketCompletion::Received { socket, data };
                self.ready.push_back(Ready::Socket(failed));
            }
        }
    }

    fn send(&mut self, socket: SocketId, head: Vec<u8>, mut body: Memory) {
        let ready = Span::of(&mut body, self.disk.arena.as_ref())
            .and_then(|span| self.sockets.begin(socket, Direction::Send).map(|()| span));
        match ready {
            Ok(span) => {
                let send = Send::new(socket, head, body, span);
                if send.is_all_sent() {
                    // Nothing to send at all.
                    self.sent(send, Ok(()));
                } else {
                    self.launch(InFlight::Send(send));
                }
            }
            Err(errno) => {
                let result = Err(errno.into());
                let failed = SocketCompletion::Sent { socket, head, body, result };
                self.ready.push_back(Ready::Socket(failed));
            }
        }
    }

    pub(super) fn sent(&mut self, mut send: Send, result: Result<(), Errno>) {
        if let Some(message) = send.take_message()
            && self.spare_messages.len() < SPARE_MESSAGES_MAX
        {
            self.spare_messages.push(message);
        }
        let Send { socket, head, body, .. } = send;
        let result = result.map_err(IoError::from);
        self.ready.push_back(Ready::Socket(SocketCompletion::Sent { socket, head, body, result }));
        self.end(socket, Direction::Send);
    }

    fn end(&mut self, socket: SocketId, direction: Direction) {
        if self.sockets.end(socket, direction) {
            self.ready.push_back(Ready::Socket(SocketCompletion::Closed { socket }));
        }
    }

    pub(super) fn accepted(
        &mut self,
        result: i32,
        stands: bool,
        handle: &mut impl FnMut(Completion<'_>),
    ) {
        match Accepted::of(result, self.now.monotonic) {
            Accepted::Socket(socket) => {
                handle(Completion::Socket(SocketCompletion::Accepted { socket }));
            }
            Accepted::Lost => {}
            Accepted::Exhausted(until) if !stands => {
                self.accept_again_at = Some(until);
                return;
            }
            Accepted::Exhausted(_) => {}
        }
        if !stands {
            self.accept();
        }
    }

    pub(super) fn received(
        &mut self,
        op: Receive,
        result: i32,
        flags: u32,
        handle: &mut impl FnMut(Completion<'_>),
    ) {
        let socket = op.socket;
        let taken = cqueue::buffer_select(flags);
        let data = match op.advance(result, flags) {
            ReceiveEnd::Again(op) => return self.launch(InFlight::Receive(op)),
            ReceiveEnd::Pooled { buffer, length_bytes } => {
                Received::Pooled(self.pool.bytes(buffer, length_bytes))
            }
            ReceiveEnd::Finished => Received::Pooled(&[]),
            ReceiveEnd::Owned(buffer, length_bytes) => Received::Owned(buffer, length_bytes),
            ReceiveEnd::Failed(buffer, errno) => Received::Failed(buffer, errno.into()),
        };
        handle(Completion::Socket(SocketCompletion::Received { socket, data }));
        if let Some(buffer) = taken {
            self.pool.give_back(buffer);
        }
        self.end(socket, Direction::Receive);
    }
}
