//! What a member of a group hears.
//!
//! What a newcomer gets wrong: partitions that were *revoked* went in order, with their commits
//! taken; partitions that were *lost* may have been consumed by others already.

use super::CommitReport;
use crate::{DeliveredBatches, ServerError};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use plimsoll_wire::Offset;

/// What a member of a group hears.
#[derive(Debug)]
#[non_exhaustive]
pub enum GroupEvent {
    /// Records. Give the credit back when they are consumed.
    Delivered(DeliveredBatches),
    /// These partitions are the member's from now on.
    Assigned {
        /// Of which topic.
        topic: Arc<str>,
        /// Which ones.
        partitions: Vec<u32>,
    },
    /// These partitions go to others. Nothing more of them is handed out.
    ///
    /// Under `manual` what was handed out of them can still be committed, until the application
    /// asks for records again, or for [`let_go_timeout`](super::GroupOptions::let_go_timeout). Only
    /// then the next member gets them.
    Revoked {
        /// Of which topic.
        topic: Arc<str>,
        /// Which ones.
        partitions: Vec<u32>,
    },
    /// These partitions went without the member being asked. Nothing more of them is handed out,
    /// and what was not committed is handed out again to whoever has them.
    Lost {
        /// Of which topic.
        topic: Arc<str>,
        /// Which ones.
        partitions: Vec<u32>,
        /// How that came.
        reason: LossReason,
    },
    /// Records that the group has not consumed were removed, by retention or by hand. It goes on
    /// where [`OnRemoved`](super::OnRemoved) says.
    Missed {
        /// Of which topic.
        topic: Arc<str>,
        /// Which partition.
        partition: u32,
        /// The next record that the group would have consumed.
        wanted: Offset,
        /// Where it goes on. The difference is how many records were missed.
        next: Offset,
    },
    /// The same under [`OnRemoved::Error`](super::OnRemoved::Error): the partition delivers
    /// nothing.
    Removed {
        /// Of which topic.
        topic: Arc<str>,
        /// Which partition.
        partition: u32,
        /// The next record that the group would have consumed.
        wanted: Offset,
        /// The first record that is left.
        beginning: Offset,
    },
    /// A commit that nobody awaits was not taken in full.
    CommitFailed(CommitReport),
    /// The partition delivers nothing more.
    Failed {
        /// Of which topic.
        topic: Arc<str>,
        /// Which one.
        partition: u32,
        /// Why.
        error: ServerError,
    },
    /// The membership has ended for good: another member has the same instance name
    /// (`MEMBER_FENCED`), or the group does not take this one.
    Ended(ServerError),
}

/// How a member lost its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// The server had not heard of the member for its session timeout. It has joined again.
    Forgotten,
    /// Nobody asked for records for so long. It joins again with the next call.
    NotPolled(Duration),
}

impl fmt::Display for LossReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossReason::Forgotten => {
                formatter.write_str("the server had not heard of the member for too long")
            }
            LossReason::NotPolled(limit) => {
                write!(formatter, "no record was asked for within {} ms", limit.as_millis())
            }
        }
    }
}
