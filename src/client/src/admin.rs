//! Requests that are asked one at a time: topics, offsets, counters.
//!
//! An [`Admin`] is one connection's worth of it. The driver asks, writes what
//! [`poll_transmit`](Admin::poll_transmit) gives, feeds frames, and takes the reply. What a
//! newcomer gets wrong: an offset is asked of a *handle*, so that request is a `bind`, the
//! question and an `unbind` in one go. And an answer may lead to another question: where a time
//! begins the server knows the batch, which is fetched to find the record.

use crate::sought_time::{SoughtTime, ask_offset};
use crate::{Chunk, ConnectionFault, Incoming, ProducerIdentity, ServerError, Topic};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use core::{error, fmt, mem};
use plimsoll_wire::{
    AckLevel, AlterTopic, Assignor, CommitMode, CommitOffsets, CommittedOffset, CorrelationId,
    CreateTopic, DeleteGroup, DeleteRecords, DeleteTopic, Describe, DescribeGroup, ErrorResponse,
    Generation, GroupDescription, GroupMode, GroupState, Hello, InitProducer, ListGroups,
    ListedGroup, MemberDescription, MemberId, MetadataRequest, Offset, OffsetDescription,
    OffsetToCommit, OffsetsWhat, Opcode, PartitionDescription, PartitionIndex, Ping, Response,
    ShardIndex, ShareDescription, Stats, TopicCleanup, TopicMetadata, TopicPartition,
    TopicRetention, Visible,
};

/// Something to ask.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AdminRequest<'a> {
    /// Is the server there?
    Ping,
    /// These topics, or all.
    Metadata {
        /// Their names; none asks for all.
        topics: Vec<&'a str>,
    },
    /// A new topic.
    CreateTopic(NewTopic<'a>),
    /// Other settings for a topic.
    AlterTopic(AlterTopic<'a>),
    /// A topic and its records are to go.
    DeleteTopic {
        /// Its name.
        topic: &'a str,
    },
    /// The records of a partition below an offset are to go.
    DeleteRecords {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: u32,
        /// The first offset that is to stay.
        to: Offset,
    },
    /// State and watermarks of partitions.
    Describe {
        /// The topic.
        topic: &'a str,
        /// The first partition.
        first: u32,
        /// How many.
        count: u32,
    },
    /// An offset of a partition. Of a time: that of the first record of that time or later, or of
    /// its batch if that cannot be read.
    Offsets {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: u32,
        /// Which place.
        what: OffsetsWhat,
        /// As seen at this level.
        visible: Visible,
    },
    /// The server's counters.
    Stats,
    /// An identity for an idempotent producer, which nobody else has.
    NewIdentity,
    /// All consumer groups.
    ListGroups,
    /// Members and committed offsets of a group.
    DescribeGroup {
        /// Its name.
        group: &'a str,
    },
    /// Sets or removes committed offsets of a group without members.
    ResetOffsets {
        /// Its name.
        group: &'a str,
        /// For each partition the offset; none removes it.
        offsets: Vec<(TopicPartition, Option<Offset>)>,
    },
    /// A group without members and its committed offsets are to go.
    DeleteGroup {
        /// Its name.
        group: &'a str,
    },
}

impl AdminRequest<'_> {
    /// Whether it must not be asked again when its connection was lost before the answer: asked
    /// twice, it may be told of what it did itself.
    #[must_use]
    pub fn is_asked_once(&self) -> bool {
        matches!(
            self,
            AdminRequest::CreateTopic(_)
                | AdminRequest::DeleteTopic { .. }
                | AdminRequest::ResetOffsets { .. }
                | AdminRequest::DeleteGroup { .. }
        )
    }
}

/// A topic to create. Zero and `None` take the server's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions, at least 1.
    pub partitions: u32,
    /// The level of an ack where a producer does not ask for one.
    pub durability: Option<AckLevel>,
    /// How soon what sits in the page cache is on disk.
    pub flush_interval_ms: u32,
    /// The size of its segments.
    pub segment_bytes: u64,
    /// The largest batch that it takes.
    pub batch_bytes_max: u32,
    /// How long its records stay; by default for ever.
    pub retention: TopicRetention,
    /// How old records go; by default only as the retention says.
    pub cleanup: TopicCleanup,
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AdminReply {
    /// It is done: ping, alter, delete.
    Done,
    /// The topics that exist of those asked for.
    Topics(Vec<Topic>),
    /// The number of the new topic.
    Created {
        /// The number.
        topic_id: u32,
    },
    /// State and watermarks.
    Partitions(Vec<PartitionDescription>),
    /// The offset asked for.
    Offset(Offset),
    /// The counters, by name.
    Stats(Vec<(String, u64)>),
    /// The new identity.
    Identity(ProducerIdentity),
    /// All groups.
    Groups(Vec<GroupSummary>),
    /// One group.
    Group(GroupInfo),
    /// What became of each offset.
    Committed(Vec<CommittedOffset>),
}

/// The session of one connection for administration.
#[derive(Debug)]
pub struct Admin {
    out: Vec<u8>,
    correlation: CorrelationId,
    /// A time is asked for.
    sought: Option<SoughtTime>,
    reply: Option<Result<AdminReply, ServerError>>,
}

impl Admin {
    /// For a new connection: greets the server.
    #[must_use]
    pub fn new(client_name: &str) -> Admin {
        let (out, correlation) = (Vec::new(), CorrelationId(1));
        let mut admin = Admin { out, correlation, sought: None, reply: None };
        Hello::new(ShardIndex::ANY, client_name).encode(admin.correlation, &mut admin.out);
        admin
    }

    /// Asks. The reply to what was asked before is forgotten.
    pub fn ask(&mut self, request: &AdminRequest<'_>) {
        (self.reply, self.sought) = (None, None);
        self.correlation = self.correlation.advance(1);
        let (correlation, out) = (self.correlation, &mut self.out);
        match request {
            AdminRequest::Ping => Ping.encode(correlation, out),
            AdminRequest::Metadata { topics } => {
                let request = MetadataRequest {
                    topics: topics.clone(),
                    with_retention: true,
                    with_cleanup: true,
                };
                request.encode(correlation, out);
            }
            AdminRequest::CreateTopic(topic) => CreateTopic {
                name: topic.name,
                partitions: topic.partitions,
                default_durability: topic.durability,
                flush_interval_ms: topic.flush_interval_ms,
                segment_bytes: topic.segment_bytes,
                max_batch_bytes: topic.batch_bytes_max,
                retention: topic.retention,
                cleanup: topic.cleanup,
            }
            .encode(correlation, out),
            AdminRequest::AlterTopic(changes) => changes.encode(correlation, out),
            AdminRequest::DeleteTopic { topic } => {
                DeleteTopic { name: topic }.encode(correlation, out);
            }
            &AdminRequest::DeleteRecords { topic, partition, to } => {
                let partition = PartitionIndex(partition);
                DeleteRecords { topic, partition, to }.encode(correlation, out);
            }
            &AdminRequest::Describe { topic, first, count } => {
                Describe { topic, first: PartitionIndex(first), count }.encode(correlation, out);
            }
            &AdminRequest::Offsets { topic, partition, what, visible } => {
                self.sought = SoughtTime::new(topic, partition, what, visible);
                ask_offset((topic, partition), (what, visible), correlation, out);
            }
            AdminRequest::Stats => Stats.encode(correlation, out),
            AdminRequest::ListGroups => ListGroups { with_mode: true }.encode(correlation, out),
            AdminRequest::NewIdentity => InitProducer.encode(correlation, out),
            &AdminRequest::DescribeGroup { group } => {
                DescribeGroup { group, with_share: true }.encode(correlation, out);
            }
            AdminRequest::ResetOffsets { group, offsets } => {
                exactly(group, offsets).encode(correlation, out);
            }
            &AdminRequest::DeleteGroup { group } => DeleteGroup { group }.encode(correlation, out),
        }
    }

    /// Whole frames to write.
    pub fn poll_transmit(&mut self) -> Option<Chunk> {
        (!self.out.is_empty()).then(|| Chunk::new(mem::take(&mut self.out)))
    }

    /// A frame arrived.
    ///
    /// # Errors
    ///
    /// The connection is to be closed.
    pub fn handle_frame(&mut self, frame: Incoming<'_>) -> Result<(), ConnectionFault> {
        let Incoming::Response { correlation, response } = frame else {
            return Err(ConnectionFault::Unexpected("a delivery"));
        };
        if let Response::Error(error) = response {
            return self.handle_error(correlation, &error);
        }
        if correlation != self.correlation {
            // The answer to the hello, or to a question that nobody waits for any more.
            return Ok(());
        }
        let reply = match response {
            Response::Bind(_) | Response::Unbind | Response::Hello(_) => return Ok(()),
            Response::Ping
            | Response::AlterTopic
            | Response::DeleteTopic
            | Response::DeleteGroup => AdminReply::Done,
            Response::Metadata(metadata) => {
                AdminReply::Topics(metadata.topics.into_iter().map(owned).collect())
            }
            Response::CreateTopic(created) => AdminReply::Created { topic_id: created.id.0 },
            Response::Describe(described) => AdminReply::Partitions(described.partitions),
            Response::DeleteRecords(deleted) => AdminReply::Offset(deleted.start),
            Response::Offsets(offsets) => match &mut self.sought {
                Some(sought) => {
                    sought.base = Some(offsets.offset);
                    self.correlation = correlation.advance(1);
                    sought.fetch(offsets.offset, self.correlation, &mut self.out);
                    return Ok(());
                }
                None => AdminReply::Offset(offsets.offset),
            },
            Response::Fetched(fetched) => match self.sought_from() {
                Some((sought, base)) => {
                    let offset = sought.first_of(base, fetched.batches);
                    SoughtTime::end(correlation, &mut self.out);
                    AdminReply::Offset(offset)
                }
                None => return Err(ConnectionFault::Unexpected("batches")),
            },
            Response::Stats(stats) => {
                let pair = |stat: plimsoll_wire::Stat<'_>| (String::from(stat.name), stat.value);
                AdminReply::Stats(stats.stats.into_iter().map(pair).collect())
            }
            Response::InitProducer(given) => {
                let (id, epoch) = (given.producer_id, given.epoch);
                AdminReply::Identity(ProducerIdentity { id, epoch })
            }
            Response::ListGroups(listed) => {
                AdminReply::Groups(listed.groups.iter().map(GroupSummary::new).collect())
            }
            Response::DescribeGroup(described) => AdminReply::Group(GroupInfo::new(described)),
            Response::CommitOffsets(committed) => AdminReply::Committed(committed.offsets),
            _ => return Err(ConnectionFault::Unexpected("a response of another kind")),
        };
        self.reply.get_or_insert(Ok(reply));
        Ok(())
    }

    /// The batch from which a time begins is known, and is being asked for.
    fn sought_from(&self) -> Option<(&SoughtTime, Offset)> {
        let sought = self.sought.as_ref()?;
        Some((sought, sought.base?))
    }

    /// The reply to what was asked last, once it is there.
    pub fn poll_reply(&mut self) -> Option<Result<AdminReply, ServerError>> {
        self.reply.take()
    }

    /// Of a bind, a question and an unbind that all fail, the first error is the reason.
    fn handle_error(
        &mut self,
        correlation: CorrelationId,
        error: &ErrorResponse<'_>,
    ) -> Result<(), ConnectionFault> {
        let answer = ServerError::new(error);
        if error.code.closes_connection() || error.opcode == Opcode::Hello {
            return Err(ConnectionFault::Server(answer));
        }
        if correlation == self.correlation && error.opcode != Opcode::Unbind {
            // A batch that cannot be had is where the time begins all the same.
            let base = self.sought_from().map(|(_, base)| AdminReply::Offset(base));
            if base.is_some() && error.opcode == Opcode::Fetch {
                SoughtTime::end(correlation, &mut self.out);
            }
            self.reply.get_or_insert(base.ok_or(answer));
        }
        Ok(())
    }
}

fn owned(topic: TopicMetadata<'_>) -> Topic {
    Topic {
        name: String::from(topic.name),
        id: topic.id.0,
        durability: topic.default_durability,
        flush_interval: Duration::from_millis(u64::from(topic.flush_interval_ms)),
        segment_bytes: topic.segment_bytes,
        batch_bytes_max: topic.max_batch_bytes,
        retention: topic.retention.unwrap_or_default(),
        cleanup: topic.cleanup.unwrap_or_default(),
        shards: topic.shards,
    }
}

/// Why a request was not answered as hoped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The server refused it.
    Server(ServerError),
    /// The connection failed; whether the request was carried out is not known.
    Connection(ConnectionFault),
    /// The topic does not exist.
    TopicNotFound {
        /// Its name.
        topic: String,
    },
    /// The server answered something else.
    UnexpectedReply,
}

impl fmt::Display for RequestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Server(error) => error.fmt(formatter),
            RequestError::Connection(fault) => fault.fmt(formatter),
            RequestError::TopicNotFound { topic } => write!(
                formatter,
                "topic {topic} does not exist; create it with `plimsoll topic create {topic}`"
            ),
            RequestError::UnexpectedReply => {
                formatter.write_str("the server answered another question")
            }
        }
    }
}

impl error::Error for RequestError {}

/// A consumer group in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub group: String,
    /// Whether it consumes.
    pub state: GroupState,
    /// How many members it has.
    pub members: u32,
    /// Of how many partitions it has committed an offset.
    pub offsets: u32,
    /// How it hands out its records.
    pub mode: GroupMode,
}

/// A consumer group as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Whether it consumes.
    pub state: GroupState,
    /// How its partitions are shared out.
    pub assignor: Assignor,
    /// The number of its newest assignment.
    pub generation: u64,
    /// Who consumes.
    pub members: Vec<GroupMember>,
    /// Up to where it has consumed.
    pub offsets: Vec<GroupOffset>,
    /// How it hands out its records.
    pub mode: GroupMode,
    /// In share mode: how far it is in each partition.
    pub share: Vec<ShareDescription>,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its number.
    pub member: u64,
    /// Its static name, or empty.
    pub instance: String,
    /// What it calls itself.
    pub client: String,
    /// Since when nothing was heard of it.
    pub idle: Duration,
    /// What it holds.
    pub partitions: Vec<TopicPartition>,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// Of which partition.
    pub partition: TopicPartition,
    /// After the last record that was worked off.
    pub offset: Offset,
    /// When it was committed, in milliseconds since 1970.
    pub unix_ms: i64,
    /// The consumer's note.
    pub metadata: String,
}

impl GroupSummary {
    fn new(listed: &ListedGroup<'_>) -> GroupSummary {
        let &ListedGroup { group, state, mode, members, offsets } = listed;
        GroupSummary { group: String::from(group), state, members, offsets, mode }
    }
}

impl GroupInfo {
    fn new(described: GroupDescription<'_>) -> GroupInfo {
        let member = |of: MemberDescription<'_>| GroupMember {
            member: of.member.0,
            instance: String::from(of.instance),
            client: String::from(of.client),
            idle: Duration::from_millis(u64::from(of.idle_ms)),
            partitions: of.partitions,
        };
        let offset = |of: OffsetDescription<'_>| GroupOffset {
            partition: of.partition,
            offset: of.offset,
            unix_ms: of.unix_ms,
            metadata: String::from(of.metadata),
        };
        GroupInfo {
            state: described.state,
            assignor: described.assignor,
            generation: described.generation.0,
            members: described.members.into_iter().map(member).collect(),
            offsets: described.offsets.into_iter().map(offset).collect(),
            mode: described.mode,
            share: described.share,
        }
    }
}

/// To exactly these offsets, for a group without members.
fn exactly<'a>(group: &'a str, offsets: &[(TopicPartition, Option<Offset>)]) -> CommitOffsets<'a> {
    let of_one = |&(partition, offset): &_| OffsetToCommit { partition, offset, metadata: "" };
    CommitOffsets {
        group,
        member: MemberId::NONE,
        generation: Generation(0),
        mode: CommitMode::Exact,
        offsets: offsets.iter().map(of_one).collect(),
    }
}
