//! What the machine tells the logic.
//!
//! Memory that an operation took comes back with its end, whether it failed or not. What a newcomer
//! gets wrong: a completed write is not a durable one, and it may be shorter than asked.

use alloc::string::String;
use alloc::vec::Vec;

use crate::buffer::Buffer;
use crate::error::IoError;
use crate::op::{Memory, SocketId, Token};

/// The end of an operation, or news from the network. Handled once, in the order of delivery.
#[derive(Debug)]
pub enum Completion<'a> {
    /// A disk operation ended.
    Disk(DiskCompletion),
    /// A socket operation ended.
    Socket(SocketCompletion<'a>),
}

/// The end of a disk operation.
#[derive(Debug)]
pub struct DiskCompletion {
    /// The operation's token.
    pub token: Token,
    /// How it ended.
    pub result: DiskResult,
}

/// How a disk operation ended, by kind of operation.
#[derive(Debug)]
pub enum DiskResult {
    /// `Open`: the file's length in bytes.
    Opened(Result<u64, IoError>),
    /// `Write`: the memory, and how many bytes were written (maybe fewer than asked).
    Written(Memory, Result<usize, IoError>),
    /// `Read`: the memory, and how many bytes were read (fewer than asked at the end of the file).
    Read(Memory, Result<usize, IoError>),
    /// `List`: the names.
    Listed(Result<Vec<String>, IoError>),
    /// Every other operation.
    Done(Result<(), IoError>),
}

/// The end of a socket operation.
#[derive(Debug)]
pub enum SocketCompletion<'a> {
    /// A connection came in.
    Accepted {
        /// The new socket; nothing is in flight on it.
        socket: SocketId,
    },
    /// Bytes arrived. Zero bytes: the other side sends no more.
    Received {
        /// Which socket.
        socket: SocketId,
        /// Where the bytes are.
        data: Received<'a>,
    },
    /// A send ended. On an error an unknown part was sent, and the socket is of no more use.
    Sent {
        /// Which socket.
        socket: SocketId,
        /// The operation's head, for use again.
        head: Vec<u8>,
        /// The operation's body.
        body: Memory,
        /// Whether all of it was handed to the kernel.
        result: Result<(), IoError>,
    },
    /// The socket is closed, nothing of it is in flight, and its number may appear again.
    Closed {
        /// Which socket.
        socket: SocketId,
    },
}

/// The outcome of a receive.
#[derive(Debug)]
pub enum Received<'a> {
    /// Bytes in one of the machine's own buffers; gone when the completion has been handled.
    Pooled(&'a [u8]),
    /// The buffer that the receive brought, and how many bytes were added to it.
    Owned(Buffer, usize),
    /// The receive failed; the buffer that it brought, if it brought one.
    Failed(Option<Buffer>, IoError),
}
