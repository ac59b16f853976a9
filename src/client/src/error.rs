//! What went wrong with a connection, or at the server.
//!
//! [`ServerError`] is an answer: the server spoke, and one request failed. [`ConnectionFault`]
//! ends a connection, and whether what was not answered on it was carried out is unknown.

use alloc::sync::Arc;
use core::time::Duration;
use core::{error, fmt};
use plimsoll_batch::BatchError;
use plimsoll_wire::{ErrorCode, ErrorResponse, Fate, FrameError};

/// An error that the server answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// What kind of error.
    pub code: ErrorCode,
    /// What became of the append, if it was one.
    pub fate: Fate,
    /// The first number that belongs to the code (PROTOCOL.md, "Errors").
    pub detail_a: u64,
    /// The second number.
    pub detail_b: u64,
    /// What happened, in the server's words.
    pub text: Arc<str>,
}

impl ServerError {
    pub(crate) fn new(error: &ErrorResponse<'_>) -> ServerError {
        ServerError {
            code: error.code,
            fate: error.fate,
            detail_a: error.detail_a,
            detail_b: error.detail_b,
            text: Arc::from(error.message),
        }
    }

    /// Whether the same request may succeed later: it was surely not carried out, and the reason
    /// passes by itself.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.fate != Fate::Unknown
            && matches!(self.code, ErrorCode::DiskFull | ErrorCode::Overloaded)
    }

    fn remedy(&self) -> &'static str {
        match self.code {
            ErrorCode::TopicNotFound => "; create it with `plimsoll topic create`",
            ErrorCode::DiskFull => "; appends resume by themselves when there is room",
            ErrorCode::DiskFailed => "; the server must be restarted, see its log",
            ErrorCode::DataDamaged => "; run `plimsoll verify` on the data directory",
            ErrorCode::Overloaded => "; try again later",
            ErrorCode::ProtocolVersion => "; use a client of the server's version",
            _ => "",
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}{}", self.code, self.text, self.remedy())
    }
}

impl error::Error for ServerError {}

/// Why a connection ended, or never came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionFault {
    /// The driver could not connect, read or write; the text is the operating system's.
    Io(Arc<str>),
    /// The server closed the connection.
    ClosedByServer,
    /// The server sent bytes that are not a frame of the protocol. Is it a Plimsoll server?
    Frame(FrameError),
    /// A delivered batch does not match its checksum.
    Batch(BatchError),
    /// The server answered something that was not asked.
    Unexpected(&'static str),
    /// The server ended the connection with this error.
    Server(ServerError),
    /// The server did not answer for this long.
    Silent(Duration),
    /// The client closed the connection.
    ClosedByClient,
}

impl fmt::Display for ConnectionFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectionFault::Io(text) => formatter.write_str(text),
            ConnectionFault::ClosedByServer => {
                formatter.write_str("the server closed the connection")
            }
            ConnectionFault::Frame(error) => {
                write!(formatter, "what arrived is not the Plimsoll protocol: {error}")
            }
            ConnectionFault::Batch(error) => write!(formatter, "a delivered {error}"),
            ConnectionFault::Unexpected(what) => {
                write!(formatter, "the server sent {what}, which was not asked for")
            }
            ConnectionFault::Server(error) => error.fmt(formatter),
            ConnectionFault::Silent(duration) => {
                write!(formatter, "the server did not answer for {} ms", duration.as_millis())
            }
            ConnectionFault::ClosedByClient => formatter.write_str("the client was closed"),
        }
    }
}

impl error::Error for ConnectionFault {}

impl From<FrameError> for ConnectionFault {
    fn from(error: FrameError) -> ConnectionFault {
        ConnectionFault::Frame(error)
    }
}
