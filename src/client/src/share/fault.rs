//! Why a member of a group in share mode has no records to give, or could not settle.
//!
//! The words are here so that all drivers fail in the same ones.

use super::Unsettled;
use crate::{AdminError, ConnectionFault, ServerError};
use alloc::string::String;
use alloc::vec::Vec;
use core::{error, fmt};

/// Why a member of a group in share mode has no records to give, or could not settle.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ShareError {
    /// The dead-letter topic does not exist.
    DeadLetterTopicNotFound {
        /// Its name.
        topic: String,
    },
    /// Nothing came, and the server is not reachable. The member goes on trying.
    Disconnected {
        /// The server.
        address: String,
        /// What happened last.
        fault: ConnectionFault,
    },
    /// Some verdicts were not taken, or nobody knows; all others are durable.
    NotSettled(Vec<Unsettled>),
    /// The server did not answer in time. The verdicts are not given up: wait again.
    Pending {
        /// How many.
        verdicts: usize,
    },
    /// The membership has ended for good.
    Ended {
        /// The group.
        group: String,
        /// Why.
        error: ServerError,
    },
    /// A topic could not be looked up.
    Lookup(AdminError),
}

impl fmt::Display for ShareError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShareError::DeadLetterTopicNotFound { topic } => write!(
                formatter,
                "the dead-letter topic {topic} does not exist; create it with \
                 `plimsoll topic create {topic}`"
            ),
            ShareError::Disconnected { address, fault } => write!(
                formatter,
                "no connection to {address}: {fault}; is the server running? \
                 `plimsoll serve --data-dir DIR --listen {address}`"
            ),
            ShareError::NotSettled(unsettled) => match unsettled.first() {
                Some(Unsettled { topic, partition, offset, fault }) => write!(
                    formatter,
                    "{} verdicts were not taken; {topic}/{partition} at {offset}: {fault}",
                    unsettled.len()
                ),
                None => formatter.write_str("verdicts were not taken"),
            },
            ShareError::Pending { verdicts } => write!(
                formatter,
                "the server did not answer in time: {verdicts} verdicts are on their way"
            ),
            ShareError::Ended { group, error } => {
                write!(formatter, "no member of group {group}: {error}")
            }
            ShareError::Lookup(error) => error.fmt(formatter),
        }
    }
}

impl error::Error for ShareError {}

impl From<AdminError> for ShareError {
    fn from(error: AdminError) -> ShareError {
        ShareError::Lookup(error)
    }
}
