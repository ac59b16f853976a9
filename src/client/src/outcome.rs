//! The three ways in which an append ends, and the fourth for those who did not ask.
//!
//! What a newcomer gets wrong: *unknown* is not *failed*. The record may be there, now or after a
//! restart of the server; to send it again may store it twice. Only *refused* means that it is
//! surely not there.

use crate::{ConnectionFault, ServerError};
use core::time::Duration;
use core::{error, fmt};
use plimsoll_wire::{AckLevel, Offset};

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendOutcome {
    /// The record has reached `level`.
    Acked {
        /// Its partition.
        partition: u32,
        /// Its place there.
        offset: Offset,
        /// How deep it sits.
        level: AckLevel,
    },
    /// Handed to the connection with durability `none`: nobody will say what became of it.
    Sent {
        /// Its partition.
        partition: u32,
    },
    /// Surely not written.
    Refused {
        /// Its partition.
        partition: u32,
        /// Why.
        refusal: Refusal,
    },
    /// It may or may not be there.
    Unknown {
        /// Its partition.
        partition: u32,
        /// Why nobody knows.
        doubt: Doubt,
    },
}

impl AppendOutcome {
    /// Partition, offset and level of an acked record; every other outcome as an error.
    ///
    /// # Errors
    ///
    /// The record was not acked.
    pub fn acked(self) -> Result<(u32, Offset, AckLevel), AppendError> {
        match self {
            AppendOutcome::Acked { partition, offset, level } => Ok((partition, offset, level)),
            AppendOutcome::Sent { partition } => Err(AppendError::NoAckAsked { partition }),
            AppendOutcome::Refused { partition, refusal } => {
                Err(AppendError::Refused { partition, refusal })
            }
            AppendOutcome::Unknown { partition, doubt } => {
                Err(AppendError::Unknown { partition, doubt })
            }
        }
    }
}

/// What became of a whole batch; [`of_record`](BatchOutcome::of_record) tells it for one record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchOutcome {
    /// The batch has reached a level.
    Acked {
        /// The offset of its first record.
        base_offset: Offset,
        /// How deep it sits.
        level: AckLevel,
    },
    /// Handed to the connection; no ack was asked for.
    Sent,
    /// Surely not written.
    Refused(Refusal),
    /// It may or may not be there.
    Unknown(Doubt),
}

impl BatchOutcome {
    /// The same for the record at `index` of the batch.
    #[must_use]
    pub fn of_record(&self, partition: u32, index: u32) -> AppendOutcome {
        match self {
            &BatchOutcome::Acked { base_offset, level } => {
                let offset = Offset::new(base_offset.value().saturating_add(u64::from(index)));
                AppendOutcome::Acked { partition, offset, level }
            }
            BatchOutcome::Sent => AppendOutcome::Sent { partition },
            BatchOutcome::Refused(refusal) => {
                AppendOutcome::Refused { partition, refusal: refusal.clone() }
            }
            BatchOutcome::Unknown(doubt) => {
                AppendOutcome::Unknown { partition, doubt: doubt.clone() }
            }
        }
    }
}

/// Why a batch was surely not written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The server refused it.
    Server(ServerError),
    /// It was not sent within the producer's `delivery_timeout`.
    Expired {
        /// The timeout.
        after: Duration,
        /// Why the server could not be reached, if it could not.
        fault: Option<ConnectionFault>,
    },
    /// The producer was closed before it was sent.
    Closed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Server(error) => error.fmt(formatter),
            Refusal::Expired { after, fault } => {
                write!(formatter, "not sent within {} ms", after.as_millis())?;
                match fault {
                    Some(fault) => write!(formatter, " ({fault}); is the server running?"),
                    None => Ok(()),
                }
            }
            Refusal::Closed => formatter.write_str("the producer was closed before it was sent"),
        }
    }
}

/// Why nobody knows whether a batch was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// The server said so.
    Server(ServerError),
    /// The connection was lost after the batch was sent and before it was acked.
    ConnectionLost(ConnectionFault),
}

impl fmt::Display for Doubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Server(error) => error.fmt(formatter),
            Doubt::ConnectionLost(fault) => {
                write!(formatter, "the connection was lost before the ack: {fault}")
            }
        }
    }
}

/// An append that did not end in an ack.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// Surely not written.
    Refused {
        /// The partition.
        partition: u32,
        /// Why.
        refusal: Refusal,
    },
    /// It may or may not be there.
    Unknown {
        /// The partition.
        partition: u32,
        /// Why nobody knows.
        doubt: Doubt,
    },
    /// The producer's durability is `none`: there is no ack to wait for.
    NoAckAsked {
        /// The partition.
        partition: u32,
    },
    /// An ack of this level was not asked for.
    LevelNotAsked {
        /// The level.
        level: AckLevel,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Refused { partition, refusal } => {
                write!(formatter, "append to partition {partition} was refused: {refusal}")
            }
            AppendError::Unknown { partition, doubt } => write!(
                formatter,
                "append to partition {partition} has an unknown fate (it may be there, now or \
                 after a restart of the server): {doubt}"
            ),
            AppendError::NoAckAsked { partition } => write!(
                formatter,
                "append to partition {partition} has no ack: the producer's durability is none"
            ),
            AppendError::LevelNotAsked { level } => write!(
                formatter,
                "no ack at level {level} was asked for: set it as the producer's durability or also"
            ),
        }
    }
}

impl error::Error for AppendError {}
