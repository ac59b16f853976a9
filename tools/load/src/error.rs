//! Why a load could not be carried out: what, where, and what to do, in one sentence.

use std::{error, fmt, io};

use plimsoll_batch::{BatchError, RecordError};
use plimsoll_client_blocking::{AdminError, ConnectError};
use plimsoll_wire::FrameError;

/// Why a load ended before its time.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no server.
    Connect(ConnectError),
    /// A question that the run depends on was refused.
    Admin(AdminError),
    /// A connection failed.
    Io {
        /// What was being done.
        what: &'static str,
        /// Which server.
        server: String,
        /// The operating system's reason.
        error: io::Error,
    },
    /// The server closed a connection, or said why it does.
    Closed {
        /// Which server.
        server: String,
        /// Its reason, if it gave one.
        reason: String,
    },
    /// What the server sent is not the protocol.
    Frame(FrameError),
    /// A delivered batch does not check.
    Batch {
        /// Of which partition.
        partition: u32,
        /// What is wrong with it.
        error: BatchError,
    },
    /// The records of a delivered batch do not decode.
    Record {
        /// Of which partition.
        partition: u32,
        /// What is wrong with them.
        error: RecordError,
    },
    /// A consumer of the shipped client failed.
    Consumer(String),
    /// The wishes do not go together.
    Usage(String),
    /// The server was killed and did not come back, or could not be killed.
    Restart(String),
    /// Something that was to come did not come in time.
    Silent {
        /// What was awaited.
        what: String,
        /// For how long, in seconds.
        seconds: u64,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Connect(error) => error.fmt(formatter),
            LoadError::Admin(error) => error.fmt(formatter),
            LoadError::Io { what, server, error } => {
                write!(formatter, "{what} {server}: {error}; is the server running?")
            }
            LoadError::Closed { server, reason } => {
                write!(formatter, "{server} closed a connection: {reason}; see the server's log")
            }
            LoadError::Frame(error) => {
                write!(formatter, "what arrived is not the Plimsoll protocol: {error}")
            }
            LoadError::Batch { partition, error } => {
                write!(formatter, "partition {partition} delivered a damaged batch: {error}")
            }
            LoadError::Record { partition, error } => {
                write!(formatter, "partition {partition} delivered undecodable records: {error}")
            }
            LoadError::Consumer(reason) => write!(formatter, "a consumer failed: {reason}"),
            LoadError::Usage(sentence) | LoadError::Restart(sentence) => {
                formatter.write_str(sentence)
            }
            LoadError::Silent { what, seconds } => {
                write!(formatter, "{what} did not come within {seconds} s; see the server's log")
            }
        }
    }
}

impl error::Error for LoadError {}

impl From<ConnectError> for LoadError {
    fn from(error: ConnectError) -> LoadError {
        LoadError::Connect(error)
    }
}

impl From<AdminError> for LoadError {
    fn from(error: AdminError) -> LoadError {
        LoadError::Admin(error)
    }
}

impl From<FrameError> for LoadError {
    fn from(error: FrameError) -> LoadError {
        LoadError::Frame(error)
    }
}

impl LoadError {
    /// Whether the server or the connection to it is gone, as after a kill.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, LoadError::Io { .. } | LoadError::Closed { .. })
    }
}
