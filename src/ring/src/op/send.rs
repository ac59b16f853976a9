//! Sends a head and a body, all of both, however many steps the kernel takes.
//!
//! A part that went out is followed by the rest here, so that the logic never sees a short send.
//! What a newcomer gets wrong: sent means that the kernel has it; neither that the other side has,
//! nor that its connection lives.

use std::os::fd::RawFd;

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::{Memory, SocketId};

use crate::errno::Errno;
use crate::span::Span;

/// Wait in the kernel for room rather than come back with a part; no signal for a broken pipe.
const FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

pub(crate) struct Send {
    pub(crate) socket: SocketId,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Memory,
    /// Where the body lies.
    span: Span,
    sent_bytes: usize,
    /// Needed while both parts have bytes to go; on the heap, because the kernel is given its
    /// address.
    message: Option<Box<Message>>,
}

/// What the kernel reads to find two parts.
pub(crate) struct Message {
    header: libc::msghdr,
    parts: [libc::iovec; 2],
}

impl Message {
    pub(crate) fn empty() -> Box<Self> {
        let part = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: integers and pointers only; zero is "no name, no parts, no control data".
        let header = unsafe { std::mem::zeroed::<libc::msghdr>() };
        Box::new(Self { header, parts: [part; 2] })
    }
}

impl Send {
    pub(crate) fn new(socket: SocketId, head: Vec<u8>, body: Memory, span: Span) -> Self {
        Self { socket, head, body, span, sent_bytes: 0, message: None }
    }

    pub(crate) fn is_all_sent(&self) -> bool {
        self.sent_bytes >= self.head.len() + self.span.length_bytes as usize
    }

    /// A `Message` has to be lent before `entry`.
    pub(crate) fn needs_message(&self) -> bool {
        self.message.is_none() && self.span.length_bytes > 0 && self.sent_bytes < self.head.len()
    }

    pub(crate) fn lend_message(&mut self, message: Box<Message>) {
        self.message = Some(message);
    }

    pub(crate) fn take_message(&mut self) -> Option<Box<Message>> {
        self.message.take()
    }

    pub(crate) fn entry(&mut self) -> Entry {
        let fd = Fd(self.socket.0 as RawFd);
        let of_head = self.sent_bytes.min(self.head.len());
        let of_body = self.sent_bytes - of_head;
        let head = &self.head[of_head..];
        let body = self.span.start.wrapping_add(of_body);
        let body_bytes = self.span.length_bytes - of_body as u32;
        match &mut self.message {
            Some(message) if !head.is_empty() => {
                message.parts = [
                    libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() },
                    libc::iovec { iov_base: body.cast(), iov_len: body_bytes as usize },
                ];
                message.header.msg_iov = message.parts.as_mut_ptr();
                message.header.msg_iovlen = message.parts.len();
                opcode::SendMsg::new(fd, &raw const message.header).flags(FLAGS as u32).build()
            }
            _ if head.is_empty() => {
                opcode::Send::new(fd, body.cast_const(), body_bytes).flags(FLAGS).build()
            }
            _ => {
                let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
                opcode::Send::new(fd, head.as_ptr(), length).flags(FLAGS).build()
            }
        }
    }

    /// Takes the kernel's answer. `None`: there is more to send.
    pub(crate) fn advance(&mut self, result: i32) -> Option<Result<(), Errno>> {
        match Errno::check(result) {
            Err(errno) if errno.is_transient() => None,
            Err(errno) => Some(Err(errno)),
            Ok(0) => Some(Err(Errno(libc::EPIPE))),
            Ok(sent) => {
                self.sent_bytes += sent;
                self.is_all_sent().then_some(Ok(()))
            }
        }
    }
}
