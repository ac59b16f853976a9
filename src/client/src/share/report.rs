//! What a member tells its application beside the records.
//!
//! What a newcomer gets wrong: a verdict that was not taken is no loss. The record is handed out
//! again, to whomever; the work may be done twice.

use crate::{DeliveryError, ServerError};
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use plimsoll_wire::{ErrorCode, Offset};

/// What the application says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The work is done: nobody gets the record again.
    Accept,
    /// Somebody is to try again, not before the delay is over.
    Release {
        /// Counted by the server, from when it takes the verdict.
        delay: Duration,
    },
    /// Nobody can do anything with it: it goes to the dead-letter topic, or is dropped if there is
    /// none.
    Reject {
        /// For people: it stands in a header of the copy.
        reason: &'a str,
    },
}

/// A verdict that was not taken, or of which nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// The topic of the record.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u32,
    /// Its place there.
    pub offset: Offset,
    /// Why.
    pub fault: SettleFault,
}

/// Why a verdict was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettleFault {
    /// The record was not this member's any more, or had its verdict already: it comes again, or
    /// somebody else has it.
    LockLost,
    /// It was sent and not answered before the membership ended: taken or not.
    Unknown,
    /// The server refused it.
    Refused(ErrorCode),
}

impl fmt::Display for SettleFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettleFault::LockLost => formatter.write_str("its lock was lost, it comes again"),
            SettleFault::Unknown => {
                formatter.write_str("the server did not say whether it took the verdict")
            }
            SettleFault::Refused(code) => write!(formatter, "the server refused: {code}"),
        }
    }
}

/// What a member hears. Nothing of it needs an answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ShareNotice {
    /// Records that the application is at work on are not this member's any more: they are handed
    /// out again.
    LocksLost {
        /// How many.
        records: u32,
    },
    /// The group's dead-letter topic was deleted. What is rejected, or was handed out too often,
    /// waits until it exists again; everything else goes on.
    DeadLetterTopicMissing,
    /// A record could not be copied to the dead-letter topic. It is tried again.
    NotDeadLettered {
        /// The topic of the record.
        topic: Arc<str>,
        /// Its partition.
        partition: u32,
        /// Its place there.
        offset: Offset,
    },
    /// A batch is whole and cannot be read: what its producer wrote is at fault. Its records are
    /// released, and go to the dead-letter topic without key and value in the end.
    Unreadable {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
        /// The first of its records that this member was handed.
        offset: Offset,
        /// Why.
        error: DeliveryError,
    },
    /// Records could not be fetched. They are handed out again later, and no delivery is counted.
    Unfetched {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
        /// Where.
        offset: Offset,
        /// Why.
        error: ServerError,
    },
}

impl fmt::Display for ShareNotice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShareNotice::LocksLost { records } => {
                write!(
                    formatter,
                    "the locks of {records} records at work were lost: they come again"
                )
            }
            ShareNotice::DeadLetterTopicMissing => formatter.write_str(
                "the dead-letter topic does not exist any more: dead records wait until it does; \
                 create it with `plimsoll topic create`",
            ),
            ShareNotice::NotDeadLettered { topic, partition, offset } => write!(
                formatter,
                "{topic}/{partition} at {offset}: not copied to the dead-letter topic, tried again"
            ),
            ShareNotice::Unreadable { topic, partition, offset, error } => {
                write!(formatter, "{topic}/{partition} from {offset} on cannot be read: {error}")
            }
            ShareNotice::Unfetched { topic, partition, offset, error } => {
                write!(formatter, "{topic}/{partition} at {offset}: {error}")
            }
        }
    }
}
