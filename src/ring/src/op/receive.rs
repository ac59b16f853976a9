//! Receives bytes: into a buffer of the logic, or into one that the kernel picks from the pool.
//!
//! A connection that is mostly idle holds no buffer: the pool's is picked when bytes are there.
//! What a newcomer gets wrong: bytes in the pool are gone after the completion was handled, while
//! the buffer that a receive brought comes back to whoever brought it.

use std::os::fd::RawFd;

use io_uring::cqueue;
use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types::Fd};
use plimsoll_device::{Buffer, RECEIVE_POOLED_BYTES, SocketId};

use crate::errno::Errno;
use crate::pool::POOL_GROUP;

/// IORING_RECVSEND_POLL_FIRST: do not try before there is something.
const POLL_FIRST: u16 = 1;

pub(crate) struct Receive {
    pub(crate) socket: SocketId,
    pub(crate) into: Option<(Buffer, usize)>,
}

/// What a completion means.
pub(crate) enum ReceiveEnd {
    /// Nothing: to be submitted again.
    Again(Receive),
    /// Bytes in this buffer of the pool.
    Pooled { buffer: u16, length_bytes: usize },
    /// The other side sends no more; no buffer was taken for that.
    Finished,
    /// Bytes in the buffer that the receive brought.
    Owned(Buffer, usize),
    /// It failed.
    Failed(Option<Buffer>, Errno),
}

impl Receive {
    /// What is wrong with it before the kernel is asked.
    pub(crate) fn check(&self) -> Result<(), Errno> {
        match &self.into {
            Some((buffer, from)) if *from >= buffer.len() => Err(Errno(libc::ENOBUFS)),
            _ => Ok(()),
        }
    }

    pub(crate) fn entry(&mut self) -> Entry {
        let fd = Fd(self.socket.0 as RawFd);
        match &mut self.into {
            Some((buffer, from)) => {
                let rest = &mut buffer[*from..];
                let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
                opcode::Recv::new(fd, rest.as_mut_ptr(), length).build()
            }
            None => opcode::Recv::new(fd, std::ptr::null_mut(), RECEIVE_POOLED_BYTES as u32)
                .buf_group(POOL_GROUP)
                .ioprio(POLL_FIRST)
                .build()
                .flags(Flags::BUFFER_SELECT),
        }
    }

    pub(crate) fn advance(self, result: i32, flags: u32) -> ReceiveEnd {
        match (Errno::check(result), self.into) {
            // No buffer was left in the pool: they all come back within this turn.
            (Err(Errno(libc::ENOBUFS)), None) => {
                ReceiveEnd::Again(Self { socket: self.socket, into: None })
            }
            (Err(errno), into) if errno.is_transient() => {
                ReceiveEnd::Again(Self { socket: self.socket, into })
            }
            (Err(errno), into) => ReceiveEnd::Failed(into.map(|(buffer, _)| buffer), errno),
            (Ok(length_bytes), Some((buffer, _))) => ReceiveEnd::Owned(buffer, length_bytes),
            (Ok(length_bytes), None) => match cqueue::buffer_select(flags) {
                Some(buffer) => ReceiveEnd::Pooled { buffer, length_bytes },
                None => ReceiveEnd::Finished,
            },
        }
    }
}
