//! What shards say to each other.
//!
//! Owned data only: a mail crosses threads. Mail from one shard to another arrives in the order in
//! which it was sent; everything here relies on that. A client's request travels to the shard that
//! owns the partition, and what comes back are finished frames for the client's connection.

use alloc::sync::Arc;
use alloc::vec::Vec;

use plimsoll_device::SocketId;
use plimsoll_storage::PartitionId;
use plimsoll_wire::{
    CorrelationId, Credit, Fetch, GroupMode, GroupState, Handle, Offset, Offsets,
    PartitionDescription, ShardIndex, Subscribe,
};

use crate::catalog::{Topic, TopicRequest};
use crate::connection::ConnectionId;
use crate::groups::{GroupName, GroupRequest};
use crate::level::Wanted;
use crate::shard::Ends;

/// A connection, as every shard can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client {
    pub(crate) shard: ShardIndex,
    pub(crate) connection: ConnectionId,
}

#[cfg(test)]
impl Client {
    pub(crate) const NOBODY: Self =
        Self { shard: ShardIndex::ANY, connection: ConnectionId(crate::slab::Key::LOWEST) };
}

/// From one shard to another. The server carries it and does not look inside.
#[derive(Debug)]
pub struct Mail(pub(crate) Letter);

#[derive(Debug)]
pub(crate) enum Letter {
    /// A connection that wants to be served here. Nothing is in flight on its socket.
    Connection { socket: SocketId, correlation: CorrelationId, unread: Vec<u8> },
    /// A request about a partition of this shard.
    Request {
        client: Client,
        correlation: CorrelationId,
        partition: PartitionId,
        request: Forwarded,
    },
    /// Frames for a connection of this shard, and how many of its requests they end.
    Frames { connection: ConnectionId, frames: Vec<u8>, ended: Ended, wants_pickup: bool },
    /// The connection had room for the delivery before: the next one may come.
    PickedUp { client: Client },
    /// The connection is gone, and with it all that it asked for.
    Closed { client: Client },
    /// To shard 0: a topic is to be created, altered or deleted.
    TopicRequest { client: Client, correlation: CorrelationId, request: TopicRequest },
    /// To the shard that keeps the group.
    GroupRequest { client: Client, correlation: CorrelationId, request: GroupRequest },
    /// Asks where partitions end, before offsets of them are committed.
    EndsWanted { check: u64, partitions: Vec<PartitionId> },
    /// Where they end.
    EndsAre { check: u64, ends: Ends },
    /// Between who keeps groups in share mode and who owns the partitions.
    Marks(MarksLetter),
    /// From shard 0, at the start: all topics.
    Topics {
        topics: Arc<Vec<Arc<Topic>>>,
        /// There may be more, and why.
        incomplete: Option<Arc<str>>,
    },
    /// From shard 0: the topic exists, durably.
    TopicOpened(Arc<Topic>),
    /// From shard 0: the topic has these settings, durably.
    TopicAltered(Arc<Topic>),
    /// From shard 0: the topic is gone, durably.
    TopicRemoved { topic: u32 },
    /// To shard 0: the last `TopicOpened`, `TopicAltered` or `TopicRemoved` of this topic has been
    /// carried out.
    TopicSettled { topic: u32 },
    /// To shard 0: recovery's findings are durable in this shard's journal.
    Seeded,
    /// From shard 0: every shard has seeded.
    AllSeeded,
    /// Asks for a share of an answer that all shards give together.
    Gather { from: ShardIndex, gather: u64, what: Gathered },
    /// The share.
    Share { gather: u64, share: Share },
}

/// A request about one partition, on its way to the owner.
#[derive(Debug)]
pub(crate) enum Forwarded {
    Produce { handle: Handle, wanted: Wanted, batch: Vec<u8> },
    Bind { handle: Handle },
    Fetch(Fetch),
    Subscribe(Subscribe),
    Credit(Credit),
    Unsubscribe { handle: Handle, is_answered: bool },
    Offsets(Offsets),
    DeleteRecords { to: Offset },
}

/// What came to an end for a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Produce frames, by their last ack or an error.
    pub(crate) produces: u32,
    /// Other requests.
    pub(crate) requests: u32,
    /// Bytes of forwarded batches that were taken or refused.
    pub(crate) taken_bytes: usize,
}

impl Ended {
    pub(crate) const NOTHING: Self = Self { produces: 0, requests: 0, taken_bytes: 0 };
    pub(crate) const PRODUCE: Self = Self { produces: 1, requests: 0, taken_bytes: 0 };
    pub(crate) const REQUEST: Self = Self { produces: 0, requests: 1, taken_bytes: 0 };

    pub(crate) fn add(&mut self, other: Self) {
        self.produces += other.produces;
        self.requests += other.requests;
        self.taken_bytes += other.taken_bytes;
    }
}

/// How far partitions go.
#[derive(Debug)]
pub(crate) enum MarksLetter {
    /// Asks to be told, once, as soon as a partition is on disk beyond the offset, or at once where
    /// there is none.
    Wanted(Vec<(PartitionId, Option<Offset>)>),
    /// Where they begin, and up to where they are on disk; none for one that is gone.
    Are(Vec<(PartitionId, Option<Marks>)>),
    /// Asks where a group begins that begins with this time.
    Seek { partition: PartitionId, group: GroupName, unix_ms: i64 },
    /// Where it begins; none if that could not be found out.
    Sought { partition: PartitionId, group: GroupName, start: Option<Offset> },
}

/// How far a partition goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// There are no records before it.
    pub(crate) start: Offset,
    /// Everything before it is on disk.
    pub(crate) disk: Offset,
}

/// What a gathered answer is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gathered {
    /// Counters.
    Stats,
    /// The partitions `first .. first + count` of a topic, as far as this shard owns them.
    Partitions { topic: u32, first: u32, count: u32 },
    /// The groups that this shard keeps; whether their modes are wanted.
    Groups { with_mode: bool },
}

/// One shard's share of a gathered answer.
#[derive(Debug)]
pub(crate) enum Share {
    Stats(Vec<(&'static str, u64)>),
    Partitions(Vec<PartitionDescription>),
    Groups(Vec<GroupInShort>),
}

/// A group, as `list_groups` shows it.
#[derive(Clone, Debug)]
pub(crate) struct GroupInShort {
    pub(crate) group: Arc<str>,
    pub(crate) state: GroupState,
    pub(crate) mode: GroupMode,
    pub(crate) members: u32,
    pub(crate) offsets: u32,
}

impl Mail {
    /// One word for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &self.0 {
            Letter::Connection { .. } => "connection",
            Letter::Request { .. } => "request",
            Letter::Frames { .. } => "frames",
            Letter::PickedUp { .. } => "picked up",
            Letter::Closed { .. } => "closed",
            Letter::TopicRequest { .. } => "topic request",
            Letter::GroupRequest { .. } => "group request",
            Letter::EndsWanted { .. } => "ends wanted",
            Letter::EndsAre { .. } => "ends",
            Letter::Marks(_) => "marks",
            Letter::Topics { .. } => "topics",
            Letter::TopicOpened(_) => "topic opened",
            Letter::TopicAltered(_) => "topic altered",
            Letter::TopicRemoved { .. } => "topic removed",
            Letter::TopicSettled { .. } => "topic settled",
            Letter::Seeded => "seeded",
            Letter::AllSeeded => "all seeded",
            Letter::Gather { .. } => "gather",
            Letter::Share { .. } => "share",
        }
    }
}

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Mail>();
