//! The client's side: requests as bytes, and what came back.

use plimsoll_batch::{BatchBuilder, Offset};
use plimsoll_device::SocketId;
use plimsoll_wire::{
    AckEntry, AckLevel, Bind, CommittedOffset, CorrelationId, CreateTopic, Decoded, Durability,
    DurabilityWanted, ErrorCode, Fate, Fetch, Generation, GroupMode, GroupState, Handle, Hello,
    MemberId, Membership, PartitionIndex, Response, ShardIndex, ShareAcquired, ShareDescription,
    Subscribe, TopicId, TopicPartition, Visible, Watermarks, decode_frame, encode_produce,
};

use super::World;

/// A response with its own memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Hello {
        shard: u16,
    },
    Created(TopicId),
    Bound(Watermarks),
    Acks(Vec<AckEntry>),
    Fetched {
        watermarks: Watermarks,
        batches: Vec<u8>,
    },
    Subscribed(Watermarks),
    Delivery {
        correlation: u32,
        watermarks: Watermarks,
        batches: Vec<u8>,
        frame_bytes: usize,
    },
    Offset(Offset),
    Described(Vec<(u32, u16)>),
    Metadata(Vec<(String, usize)>),
    Stats(Vec<(String, u64)>),
    Identity {
        producer_id: u64,
        batches_max: u16,
    },
    Error {
        code: ErrorCode,
        fate: Fate,
        handle: Option<Handle>,
        detail_a: u64,
        detail_b: u64,
    },
    Member(Member),
    Committed(Vec<(TopicPartition, Option<ErrorCode>, Option<u64>)>),
    Group {
        state: GroupState,
        members: usize,
        offsets: Vec<(TopicPartition, u64, String)>,
    },
    Groups(Vec<(String, u32, u32)>),
    Modes(Vec<(String, GroupMode, u32)>),
    Acquired(ShareAcquired),
    Settled(Vec<Option<ErrorCode>>),
    /// A group in share mode.
    Shared(Vec<ShareDescription>),
    Empty,
}

/// What a member was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub id: MemberId,
    pub generation: Generation,
    /// Partitions with their committed offsets, if all were told.
    pub assigned: Option<Vec<(u32, Option<u64>)>>,
}

/// Everything that `bytes` hold, in order, with the correlation ids.
pub fn answers(bytes: &[u8]) -> Vec<(u32, Answer)> {
    let (mut answers, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let Decoded::Frame(frame) = decode_frame(rest, 32 << 20).unwrap() else {
            panic!("the server sends whole frames");
        };
        let correlation = frame.correlation.0;
        let response = Response::decode(&frame).unwrap();
        answers.push((correlation, answer(&response, correlation, frame.frame_bytes)));
        rest = &rest[frame.frame_bytes..];
    }
    answers
}

fn answer(response: &Response<'_>, correlation: u32, frame_bytes: usize) -> Answer {
    match response {
        Response::Hello(hello) => Answer::Hello { shard: hello.shard.0 },
        Response::CreateTopic(created) => Answer::Created(created.id),
        Response::Bind(bound) => Answer::Bound(bound.watermarks),
        Response::Acks(acks) => Answer::Acks(acks.iter().collect()),
        Response::Fetched(fetched) => {
            Answer::Fetched { watermarks: fetched.watermarks, batches: fetched.batches.to_vec() }
        }
        Response::Subscribed(subscribed) => Answer::Subscribed(subscribed.watermarks),
        Response::Delivery(delivery) => Answer::Delivery {
            correlation,
            watermarks: delivery.watermarks,
            batches: delivery.batches.to_vec(),
            frame_bytes,
        },
        Response::DeleteRecords(deleted) => Answer::Offset(deleted.start),
        Response::Offsets(offsets) => Answer::Offset(offsets.offset),
        Response::Describe(described) => {
            let partitions = described.partitions.iter();
            Answer::Described(partitions.map(|it| (it.partition.0, it.shard.0)).collect())
        }
        Response::Metadata(metadata) => {
            let topics = metadata.topics.iter();
            Answer::Metadata(topics.map(|it| (it.name.to_string(), it.shards.len())).collect())
        }
        Response::Stats(stats) => {
            let stats = stats.stats.iter();
            Answer::Stats(stats.map(|it| (it.name.to_string(), it.value)).collect())
        }
        Response::InitProducer(given) => {
            let (producer_id, batches_max) = (given.producer_id, given.batches_max);
            Answer::Identity { producer_id, batches_max }
        }
        Response::Error(error) => Answer::Error {
            code: error.code,
            fate: error.fate,
            handle: error.handle,
            detail_a: error.detail_a,
            detail_b: error.detail_b,
        },
        response => group_answer(response),
    }
}

fn group_answer(response: &Response<'_>) -> Answer {
    match response {
        Response::JoinGroup(membership) | Response::Heartbeat(membership) => {
            Answer::Member(member(membership))
        }
        Response::Assignment(assignment) => Answer::Member(member(&assignment.membership)),
        Response::CommitOffsets(committed) => {
            let offsets = committed.offsets.iter();
            let value = |it: &CommittedOffset| it.committed.map(Offset::value);
            Answer::Committed(offsets.map(|it| (it.partition, it.error, value(it))).collect())
        }
        Response::ShareAcquired(acquired) => Answer::Acquired(acquired.clone()),
        Response::ShareSettled(settled) => Answer::Settled(settled.errors.clone()),
        Response::DescribeGroup(group) if group.mode == GroupMode::Share => {
            Answer::Shared(group.share.clone())
        }
        Response::DescribeGroup(group) => {
            let offsets = group.offsets.iter();
            let owned =
                offsets.map(|it| (it.partition, it.offset.value(), it.metadata.to_string()));
            let (state, members) = (group.state, group.members.len());
            Answer::Group { state, members, offsets: owned.collect() }
        }
        Response::ListGroups(listed)
            if listed.groups.iter().any(|it| it.mode == GroupMode::Share) =>
        {
            let groups = listed.groups.iter();
            Answer::Modes(groups.map(|it| (it.group.to_string(), it.mode, it.offsets)).collect())
        }
        Response::ListGroups(listed) => {
            let groups = listed.groups.iter();
            Answer::Groups(
                groups.map(|it| (it.group.to_string(), it.members, it.offsets)).collect(),
            )
        }
        _ => Answer::Empty,
    }
}

fn member(membership: &Membership<'_>) -> Member {
    let topics = membership.topics.as_ref();
    let partitions = topics.map(|topics| {
        let all = topics.iter().flat_map(|topic| &topic.partitions);
        all.map(|it| (it.partition.0, it.committed.map(Offset::value))).collect()
    });
    Member { id: membership.member, generation: membership.generation, assigned: partitions }
}

pub fn batch(records: u32, value: &[u8]) -> Vec<u8> {
    let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
    for record in 0..records {
        builder.append(1_000 + i64::from(record), None, Some(value), &[]).unwrap();
    }
    builder.finish_into(&mut bytes);
    bytes
}

/// A batch of one record of that time.
pub fn batch_at(unix_ms: i64, value: &[u8]) -> Vec<u8> {
    let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
    builder.append(unix_ms, None, Some(value), &[]).unwrap();
    builder.finish_into(&mut bytes);
    bytes
}

/// The offsets and values of all records in batches that lie end to end.
pub fn records(batches: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    for batch in plimsoll_batch::Batches::new(batches) {
        for record in batch.unwrap().records().unwrap() {
            let record = record.unwrap();
            records.push((record.offset.value(), record.value.unwrap().to_vec()));
        }
    }
    records
}

pub fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

pub fn produce_frame(
    handle: u32,
    correlation: u32,
    durability: Durability,
    also: Option<AckLevel>,
    batch: &[u8],
) -> Vec<u8> {
    let wanted = DurabilityWanted::Level(durability);
    encoded(|out| {
        encode_produce(Handle(handle), wanted, also, CorrelationId(correlation), batch, out)
            .unwrap();
    })
}

pub fn fetch(offset: u64, min_bytes: u32, max_wait_ms: u32) -> Fetch {
    Fetch {
        handle: Handle(0),
        visible: Visible::Memory,
        offset: Offset::new(offset),
        max_bytes: 1 << 20,
        min_bytes,
        max_wait_ms,
    }
}

impl World {
    pub fn hello(&mut self, shard: u16) -> SocketId {
        let socket = self.connect();
        let hello = Hello::new(ShardIndex(shard), "test");
        self.send(socket, &encoded(|out| hello.encode(CorrelationId(1), out)));
        let answers = self.answers(socket);
        assert_eq!(answers, [(1, Answer::Hello { shard })]);
        socket
    }

    pub fn answers(&mut self, socket: SocketId) -> Vec<(u32, Answer)> {
        answers(&self.take(socket))
    }

    /// Sends, and gives the one answer.
    pub fn ask(&mut self, socket: SocketId, encode: impl FnOnce(&mut Vec<u8>)) -> Answer {
        self.send(socket, &encoded(encode));
        let mut answers = self.answers(socket);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0).1
    }

    pub fn create(&mut self, socket: SocketId, name: &str, partitions: u32) -> Answer {
        let request = CreateTopic {
            name,
            partitions,
            default_durability: None,
            flush_interval_ms: 0,
            segment_bytes: 0,
            max_batch_bytes: 0,
            retention: plimsoll_wire::TopicRetention::UNLIMITED,
            cleanup: plimsoll_wire::TopicCleanup::DEFAULT,
        };
        self.ask(socket, |out| request.encode(CorrelationId(2), out))
    }

    pub fn bind(&mut self, socket: SocketId, handle: u32, name: &str, partition: u32) -> Answer {
        let (handle, partition) = (Handle(handle), PartitionIndex(partition));
        let bind = Bind { handle, partition, topic: name };
        self.ask(socket, |out| bind.encode(CorrelationId(3), out))
    }

    /// A connection to shard 0 with handle 0 on partition 0 of a new topic of one partition.
    pub fn bound(&mut self) -> SocketId {
        let socket = self.hello(0);
        assert!(matches!(self.create(socket, "t", 1), Answer::Created(TopicId(1))));
        assert!(matches!(self.bind(socket, 0, "t", 0), Answer::Bound(_)));
        socket
    }

    pub fn produce(
        &mut self,
        socket: SocketId,
        correlation: u32,
        durability: Durability,
        also: Option<AckLevel>,
        batch: &[u8],
    ) {
        self.send(socket, &produce_frame(0, correlation, durability, also, batch));
    }

    /// Appends one record, whose commit also lets the partition show what is in memory only.
    pub fn lease(&mut self, socket: SocketId, correlation: u32) {
        self.produce(socket, correlation, Durability::Disk, None, &batch(1, b"first"));
        assert_eq!(self.acks(socket), [(AckLevel::Disk, correlation, 1, 0)]);
    }

    /// All acks that have arrived, and nothing else.
    pub fn acks(&mut self, socket: SocketId) -> Vec<(AckLevel, u32, u32, u64)> {
        let mut acks = Vec::new();
        for (_, answer) in self.answers(socket) {
            let Answer::Acks(entries) = answer else { panic!("not acks: {answer:?}") };
            acks.extend(
                entries
                    .iter()
                    .map(|ack| (ack.level, ack.first.0, ack.frames, ack.base_offset.value())),
            );
        }
        acks
    }

    pub fn subscribe(&mut self, socket: SocketId, visible: Visible, credit_bytes: u32) {
        let offset = Offset::ZERO;
        let subscribe = Subscribe { handle: Handle(0), visible, offset, credit_bytes };
        self.send(socket, &encoded(|out| subscribe.encode(CorrelationId(50), out)));
    }
}
