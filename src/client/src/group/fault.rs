//! Why a member of a group has no record to give, or could not commit.
//!
//! The words are here so that all drivers fail in the same ones.

use super::CommitReport;
use crate::{AdminError, ConnectionFault, DeliveryError, ServerError};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use core::{error, fmt};
use plimsoll_wire::Offset;

/// Why a member of a group has no record to give, or could not commit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum GroupError {
    /// The server ended the subscription of a partition; the others go on.
    Partition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Why.
        error: ServerError,
    },
    /// Records were removed that the group has not consumed, and the member was told to take that
    /// for an error. The partition delivers nothing more to it; the others go on.
    Removed {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The next record that the group would have consumed: its committed offset.
        committed: Offset,
        /// The first record that is left.
        start: Offset,
    },
    /// A batch is whole and cannot be read: what its producer wrote is at fault. It is left out.
    Unreadable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Why.
        error: DeliveryError,
    },
    /// Nothing came, and the server is not reachable. The member goes on trying.
    Disconnected {
        /// The server.
        address: String,
        /// What happened last.
        fault: ConnectionFault,
    },
    /// No failure: while the application waited, these partitions went to other members, and of
    /// what it was handed of them something is not committed. What is worked off can be committed
    /// now; the next call for records lets go of them.
    Withdrawn {
        /// Which ones.
        partitions: Vec<(String, u32)>,
    },
    /// The application did not ask for records for so long that its partitions went to others, and
    /// with them what it had not committed. The member has joined again: ask again.
    NotPolled {
        /// How long it may take: [`max_poll_interval`](super::GroupOptions::max_poll_interval).
        limit: Duration,
    },
    /// Not every offset was committed; the report says which.
    NotCommitted(CommitReport),
    /// The membership has ended for good.
    Ended {
        /// The group.
        group: String,
        /// Why.
        error: ServerError,
    },
    /// The topic could not be looked up.
    Lookup(AdminError),
}

impl fmt::Display for GroupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupError::Partition { topic, partition, error } => {
                write!(formatter, "{topic}/{partition}: {error}")
            }
            GroupError::Removed { topic, partition, committed, start } => write!(
                formatter,
                "{topic}/{partition}: the group would go on at {committed}, which was removed; \
                 what is left begins at {start}; \
                 choose with `plimsoll group reset` where it goes on"
            ),
            GroupError::Unreadable { topic, partition, error } => {
                write!(formatter, "a batch of {topic}/{partition} cannot be read: {error}")
            }
            GroupError::Disconnected { address, fault } => write!(
                formatter,
                "no connection to {address}: {fault}; is the server running? \
                 `plimsoll serve --data-dir DIR --listen {address}`"
            ),
            GroupError::Withdrawn { partitions } => {
                formatter.write_str("partitions go to other members:")?;
                for (topic, partition) in partitions {
                    write!(formatter, " {topic}/{partition}")?;
                }
                formatter.write_str("; commit what is worked off of them")
            }
            GroupError::NotPolled { limit } => write!(
                formatter,
                "no record was asked for within {} ms: the partitions went to others, and what was \
                 not committed comes again",
                limit.as_millis()
            ),
            GroupError::NotCommitted(report) => match report.first_fault() {
                Some((partition, fault)) => write!(
                    formatter,
                    "the offset of partition {partition} was not committed: {fault}; its records \
                     may come again"
                ),
                None => formatter.write_str("offsets were not committed"),
            },
            GroupError::Ended { group, error } => {
                write!(formatter, "no member of group {group}: {error}")
            }
            GroupError::Lookup(error) => error.fmt(formatter),
        }
    }
}

impl error::Error for GroupError {}

impl From<AdminError> for GroupError {
    fn from(error: AdminError) -> GroupError {
        GroupError::Lookup(error)
    }
}
