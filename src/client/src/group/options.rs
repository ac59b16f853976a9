//! The choices of a member of a group.
//!
//! Nothing here is checked before the server is asked. What a newcomer gets wrong: `from` counts
//! only for a partition of which the group has not committed an offset yet.

use crate::consumer::IfGone;
use crate::{LinkOptions, StartAt};
use alloc::string::String;
use core::time::Duration;
use plimsoll_wire::{Assignor, Visible};

/// The choices of a member of a group. The default commits nothing by itself and begins, where the
/// group has no committed offset, at the oldest record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupOptions {
    /// When an offset is committed.
    pub commit: CommitPolicy,
    /// Where to begin in a partition of which the group has not committed an offset. The end counts
    /// once: the member commits where that is before anything of the partition is handed out, so
    /// that the group goes on from there whatever happens to the member.
    pub from: StartAt,
    /// What to do where records were removed that the group has not consumed.
    pub on_removed: OnRemoved,
    /// A name that outlives a restart of the application: who comes back under it within the
    /// session timeout finds its partitions where they were. No two members may have the same.
    pub instance: String,
    /// How partitions are shared out. All members of a group must ask for the same.
    pub assignor: Assignor,
    /// Without a sign of life for so long the server gives the partitions to others.
    pub session_timeout: Duration,
    /// An application that does not ask for records for so long has left the group. When it asks
    /// again it hears [`NotPolled`](crate::GroupError::NotPolled) once, and joins again.
    pub max_poll_interval: Duration,
    /// A partition that is withdrawn while records of it are handed out and not committed is let go
    /// of after this, whatever the application does. The server allows twice as much.
    pub let_go_timeout: Duration,
    /// A commit that is not answered within this has failed; it may still be taken.
    pub commit_timeout: Duration,
    /// Up to which level to see: never a record that a failure survived by it can take back.
    pub visible: Visible,
    /// How many bytes may wait in this client, over all partitions.
    pub credit_bytes: u32,
    /// How connections are treated.
    pub link: LinkOptions,
}

impl Default for GroupOptions {
    fn default() -> GroupOptions {
        GroupOptions {
            commit: CommitPolicy::Manual,
            from: StartAt::Beginning,
            on_removed: OnRemoved::Start,
            instance: String::new(),
            assignor: Assignor::Sticky,
            session_timeout: Duration::from_secs(10),
            max_poll_interval: Duration::from_secs(300),
            let_go_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(30),
            visible: Visible::Disk,
            credit_bytes: 16 << 20,
            link: LinkOptions::default(),
        }
    }
}

/// What a member does where records were removed, by retention or by hand, before the group had
/// consumed them: its committed offset is not in the partition any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnRemoved {
    /// Goes on at the first record that is left, and tells how many were missed.
    #[default]
    Start,
    /// Goes on after the last record that there is then, and tells how many were missed.
    End,
    /// Hands out nothing of the partition, and tells the application with an error. Others go on.
    Error,
}

impl OnRemoved {
    pub(super) fn if_gone(self) -> IfGone {
        match self {
            OnRemoved::Start => IfGone::Beginning,
            OnRemoved::End => IfGone::End,
            OnRemoved::Error => IfGone::Fail,
        }
    }
}

/// When the offset of a record is committed.
///
/// `Manual` is the default because only the application knows when a record is worked off. What it
/// commits after the work is done is never ahead of the work, so that a crash at any moment repeats
/// records and loses none. The other two decide by the calls for records: that is right only for an
/// application which works off a record before it asks for the next, or which may lose some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitPolicy {
    /// When the application says so: at least once.
    #[default]
    Manual,
    /// On an interval, when partitions go to others, and at the end: what was handed out before the
    /// last call for records. At least once, if a record is worked off before that call.
    Auto {
        /// How often.
        interval: Duration,
    },
    /// Before a batch is handed out: at most once. What was handed out and not worked off when the
    /// application dies is lost.
    Before,
}

impl CommitPolicy {
    /// `Auto` every 5 seconds.
    pub const AUTO: CommitPolicy = CommitPolicy::Auto { interval: Duration::from_secs(5) };

    pub(super) fn is_auto(self) -> bool {
        matches!(self, CommitPolicy::Auto { .. })
    }
}
