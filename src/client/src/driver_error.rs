//! The errors that a user of a driver sees, one for each operation: what, where, and what to do.
//!
//! They are here so that all drivers fail in the same words. A session does not know its server's
//! address; these do.

use crate::{
    AppendRejected, ConnectionFault, DeliveryError, NoSuchPartition, RequestError, ServerError,
};
use alloc::string::String;
use core::{error, fmt};

/// Why a client could not be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is not `HOST:PORT`, or the host has no address.
    Resolve {
        /// The address as it was given.
        address: String,
        /// What the resolver said.
        text: String,
    },
    /// Nothing answers there, or something else than a Plimsoll server.
    Connection {
        /// The address as it was given.
        address: String,
        /// What happened.
        fault: ConnectionFault,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Resolve { address, text } => write!(
                formatter,
                "cannot find {address}: {text}; a server's address is HOST:PORT, 127.0.0.1:7420 say"
            ),
            ConnectError::Connection { address, fault } => write!(
                formatter,
                "cannot connect to {address}: {fault}; is the server running? \
                 `plimsoll serve --data-dir DIR --listen {address}`"
            ),
        }
    }
}

impl error::Error for ConnectError {}

/// Why a request about topics, offsets or counters failed.
#[derive(Clone, Debug)]
pub struct AdminError {
    /// The server.
    pub address: String,
    /// What happened.
    pub error: RequestError,
}

impl AdminError {
    /// The server's error, if it was the server who refused.
    #[must_use]
    pub fn server_error(&self) -> Option<&ServerError> {
        match &self.error {
            RequestError::Server(error) => Some(error),
            _ => None,
        }
    }
}

impl AdminError {
    /// The same as the failure to make a client.
    #[must_use]
    pub fn into_connect_error(self) -> ConnectError {
        let AdminError { address, error } = self;
        let fault = match error {
            RequestError::Connection(fault) => fault,
            RequestError::Server(error) => ConnectionFault::Server(error),
            _ => ConnectionFault::Unexpected("an answer to a ping"),
        };
        ConnectError::Connection { address, fault }
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdminError { address, error } = self;
        match error {
            RequestError::Connection(_) => write!(
                formatter,
                "{address}: {error}; is the server running? \
                 `plimsoll serve --data-dir DIR --listen {address}`"
            ),
            error => write!(formatter, "{address}: {error}"),
        }
    }
}

impl error::Error for AdminError {}

/// Why a record was not taken. It is surely not written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The record cannot be sent at all: too large, or to a partition that does not exist.
    Rejected(AppendRejected),
    /// The producer was closed.
    Closed,
}

impl fmt::Display for SendError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Rejected(rejected) => rejected.fmt(formatter),
            SendError::Closed => formatter.write_str("the producer is closed"),
        }
    }
}

impl error::Error for SendError {}

/// Why no record can be given.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The server ended the subscription of a partition; the others go on.
    Partition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Why.
        error: ServerError,
    },
    /// A batch is whole and cannot be read: what its producer wrote is at fault. It is left out.
    Unreadable {
        /// The partition.
        partition: u32,
        /// Why.
        error: DeliveryError,
    },
    /// Nothing came, and the server is not reachable. The consumer goes on trying.
    Disconnected {
        /// The server.
        address: String,
        /// What happened last.
        fault: ConnectionFault,
    },
    /// The options name a partition that the topic does not have.
    NoSuchPartition {
        /// The one that was asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The topic could not be looked up.
    Lookup(AdminError),
}

impl fmt::Display for ConsumeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConsumeError::Partition { topic, partition, error } => {
                write!(formatter, "{topic}/{partition}: {error}")
            }
            ConsumeError::Unreadable { partition, error } => {
                write!(formatter, "a batch of partition {partition} cannot be read: {error}")
            }
            ConsumeError::Disconnected { address, fault } => write!(
                formatter,
                "no connection to {address}: {fault}; is the server running? \
                 `plimsoll serve --data-dir DIR --listen {address}`"
            ),
            ConsumeError::NoSuchPartition { partition, partitions } => {
                write!(formatter, "no partition {partition}: the topic has {partitions}")
            }
            ConsumeError::Lookup(error) => error.fmt(formatter),
        }
    }
}

impl error::Error for ConsumeError {}

impl From<NoSuchPartition> for ConsumeError {
    fn from(NoSuchPartition { partition, partitions }: NoSuchPartition) -> ConsumeError {
        ConsumeError::NoSuchPartition { partition, partitions }
    }
}

impl From<AdminError> for ConsumeError {
    fn from(error: AdminError) -> ConsumeError {
        ConsumeError::Lookup(error)
    }
}
