//! What a client asks of a group, in owned form: it may travel to the shard that keeps the group.
//!
//! Nothing is checked here. What a newcomer gets wrong: even where connection and group are on one
//! shard, a commit may outlive its frame, because other shards are asked first.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_wire::{
    Assignor, CommitMode, CommitOffsets, Generation, JoinGroup, MemberId, Opcode, RangeToSettle,
    Request, TopicPartition,
};

use super::share::SharePolicy;

#[derive(Clone, Debug)]
pub(crate) enum GroupRequest {
    Join(JoinRequest),
    Heartbeat { group: String, member: MemberId, generation: Generation },
    Leave { group: String, member: MemberId },
    Commit(CommitRequest),
    Describe { group: String, with_share: bool },
    Delete { group: String },
    Acquire(ShareAcquireRequest),
    Settle(ShareSettleRequest),
}

/// Who wants to be a member, as sent.
#[derive(Clone, Debug)]
pub(crate) struct JoinRequest {
    pub(crate) group: String,
    pub(crate) member: MemberId,
    pub(crate) instance: String,
    pub(crate) client: String,
    pub(crate) session_timeout_ms: u32,
    pub(crate) rebalance_timeout_ms: u32,
    pub(crate) assignor: Assignor,
    pub(crate) topics: Vec<String>,
    pub(crate) owned: Vec<TopicPartition>,
    pub(crate) share: Option<SharePolicy>,
}

/// Offsets to commit, as sent.
#[derive(Clone, Debug)]
pub(crate) struct CommitRequest {
    pub(crate) group: String,
    pub(crate) member: MemberId,
    pub(crate) generation: Generation,
    pub(crate) mode: CommitMode,
    pub(crate) offsets: Vec<(TopicPartition, Option<Offset>, String)>,
}

/// Who wants records, as sent.
#[derive(Clone, Debug)]
pub(crate) struct ShareAcquireRequest {
    pub(crate) group: String,
    pub(crate) member: MemberId,
    pub(crate) records_max: u32,
    pub(crate) wait_ms: u32,
}

/// Verdicts, as sent.
#[derive(Clone, Debug)]
pub(crate) struct ShareSettleRequest {
    pub(crate) group: String,
    pub(crate) member: MemberId,
    pub(crate) ranges: Vec<RangeToSettle>,
}

impl GroupRequest {
    /// What a frame asks of a group; none if it asks something else.
    pub(crate) fn of(request: &Request<'_>) -> Option<Self> {
        Some(match request {
            Request::JoinGroup(join) => Self::Join(JoinRequest::of(join)),
            Request::CommitOffsets(commit) => Self::Commit(CommitRequest::of(commit)),
            Request::Heartbeat(it) => {
                let (group, member, generation) = (it.group.to_owned(), it.member, it.generation);
                Self::Heartbeat { group, member, generation }
            }
            Request::LeaveGroup(it) => {
                Self::Leave { group: it.group.to_owned(), member: it.member }
            }
            Request::DescribeGroup(it) => {
                Self::Describe { group: it.group.to_owned(), with_share: it.with_share }
            }
            Request::ShareAcquire(it) => Self::Acquire(ShareAcquireRequest {
                group: it.group.to_owned(),
                member: it.member,
                records_max: it.max_records,
                wait_ms: it.wait_ms,
            }),
            Request::ShareSettle(it) => Self::Settle(ShareSettleRequest {
                group: it.group.to_owned(),
                member: it.member,
                ranges: it.ranges.clone(),
            }),
            Request::DeleteGroup(it) => Self::Delete { group: it.group.to_owned() },
            _ => return None,
        })
    }

    pub(crate) fn group(&self) -> &str {
        match self {
            Self::Join(JoinRequest { group, .. })
            | Self::Commit(CommitRequest { group, .. })
            | Self::Heartbeat { group, .. }
            | Self::Leave { group, .. }
            | Self::Describe { group, .. }
            | Self::Acquire(ShareAcquireRequest { group, .. })
            | Self::Settle(ShareSettleRequest { group, .. })
            | Self::Delete { group } => group,
        }
    }

    pub(crate) fn opcode(&self) -> Opcode {
        match self {
            Self::Join(_) => Opcode::JoinGroup,
            Self::Heartbeat { .. } => Opcode::Heartbeat,
            Self::Leave { .. } => Opcode::LeaveGroup,
            Self::Commit(_) => Opcode::CommitOffsets,
            Self::Describe { .. } => Opcode::DescribeGroup,
            Self::Delete { .. } => Opcode::DeleteGroup,
            Self::Acquire(_) => Opcode::ShareAcquire,
            Self::Settle(_) => Opcode::ShareSettle,
        }
    }
}

impl JoinRequest {
    fn of(request: &JoinGroup<'_>) -> Self {
        Self {
            group: request.group.to_owned(),
            member: request.member,
            instance: request.instance.to_owned(),
            client: request.client.to_owned(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            assignor: request.assignor,
            topics: request.topics.iter().map(ToString::to_string).collect(),
            owned: request.owned.clone(),
            share: request.share.as_ref().map(SharePolicy::of),
        }
    }
}

impl CommitRequest {
    fn of(request: &CommitOffsets<'_>) -> Self {
        let owned = |it: &plimsoll_wire::OffsetToCommit<'_>| {
            (it.partition, it.offset, it.metadata.to_owned())
        };
        Self {
            group: request.group.to_owned(),
            member: request.member,
            generation: request.generation,
            mode: request.mode,
            offsets: request.offsets.iter().map(owned).collect(),
        }
    }
}
