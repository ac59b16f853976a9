//! One frame of every kind, made from whatever numbers and words a test has drawn.
//!
//! Requests and responses borrow from the frame that they came from, so a test draws [`Parts`],
//! which own everything, and gets all kinds of frames built on them.

use plimsoll_batch::{BatchBuilder, assign};
use plimsoll_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// What frames are made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) numbers: [u64; 6],
    pub(crate) words: Vec<String>,
    pub(crate) level: AckLevel,
    pub(crate) also: Option<AckLevel>,
    /// One batch with base offset 0.
    pub(crate) batch: Vec<u8>,
    /// Batches laid end to end.
    pub(crate) batches: Vec<u8>,
}

/// Any parts: the whole range of each number, words of any characters.
pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let level = prop::sample::select(&AckLevel::ALL[..]);
    let also = prop::option::of(level.clone());
    let values = vec(vec(any::<u8>(), 0..200), 0..4);
    (any::<[u64; 6]>(), vec(any::<String>(), 0..5), level, also, values).prop_map(
        |(numbers, words, level, also, values)| {
            let mut batches = Vec::new();
            for (index, value) in values.iter().enumerate() {
                batches.extend_from_slice(&batch(value, index as u64));
            }
            Parts { numbers, words, level, also, batch: batch(b"one", 0), batches }
        },
    )
}

/// The same parts each time, for tests that go through every bit.
pub(crate) fn fixed_parts() -> Parts {
    Parts {
        numbers: [1, 2, 3 << 40, 4, 5, 6],
        words: vec!["orders".into(), "größe".into()],
        level: AckLevel::PageCache,
        also: Some(AckLevel::Disk),
        batch: batch(b"hello", 0),
        batches: [batch(b"first", 7), batch(b"second", 8)].concat(),
    }
}

fn batch(value: &[u8], base_offset: u64) -> Vec<u8> {
    let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
    builder.append(1_700_000_000_000, None, Some(value), &[]).unwrap();
    builder.finish_into(&mut bytes);
    assign(&mut bytes, Offset::new(base_offset), 0);
    bytes
}

impl Parts {
    pub(crate) fn word(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub(crate) fn u32(&self, index: usize) -> u32 {
        self.numbers[index] as u32
    }

    fn u16(&self, index: usize) -> u16 {
        self.numbers[index] as u16
    }

    fn handle(&self) -> Handle {
        Handle(self.u32(0))
    }

    pub(crate) fn correlation(&self) -> CorrelationId {
        CorrelationId(self.u32(5))
    }

    fn watermarks(&self) -> Watermarks {
        let [start, disk, page_cache, memory, ..] = self.numbers.map(Offset::new);
        Watermarks { start, memory, page_cache, disk }
    }

    /// One request of every kind.
    pub(crate) fn requests(&self) -> Vec<Request<'_>> {
        let (handle, visible, offset) =
            (self.handle(), self.level.visible(), Offset::new(self.numbers[1]));
        let timestamp = OffsetsWhat::Timestamp { unix_ms: self.numbers[2].cast_signed() };
        let mut requests = vec![
            Request::Hello(Hello {
                version_min: self.u16(0),
                version_max: self.u16(1),
                shard: ShardIndex(self.u16(2)),
                client: self.word(),
            }),
            Request::Ping,
            Request::DeleteTopic(DeleteTopic { name: self.word() }),
            Request::DeleteRecords(DeleteRecords {
                topic: self.word(),
                partition: PartitionIndex(self.u32(1)),
                to: offset,
            }),
            Request::Describe(Describe {
                topic: self.word(),
                first: PartitionIndex(self.u32(1)),
                count: self.u32(2),
            }),
            Request::Bind(Bind {
                handle,
                partition: PartitionIndex(self.u32(1)),
                topic: self.word(),
            }),
            Request::Unbind(Unbind { handle }),
            self.produce(self.level.durability().into(), self.also),
            self.produce(DurabilityWanted::TopicDefault, self.also),
            self.produce(Durability::None.into(), None),
            Request::Fetch(Fetch {
                handle,
                visible,
                offset,
                max_bytes: self.u32(2),
                min_bytes: self.u32(3),
                max_wait_ms: self.u32(4),
            }),
            Request::Subscribe(Subscribe { handle, visible, offset, credit_bytes: self.u32(2) }),
            Request::Credit(Credit { handle, bytes: self.u32(1) }),
            Request::Unsubscribe(Unsubscribe { handle }),
            Request::Offsets(Offsets { handle, what: OffsetsWhat::Beginning, visible }),
            Request::Offsets(Offsets { handle, what: OffsetsWhat::End, visible }),
            Request::Offsets(Offsets { handle, what: timestamp, visible }),
            Request::Stats,
            Request::InitProducer,
        ];
        requests.extend(self.topic_requests());
        requests.extend(self.group_requests());
        requests.extend(self.share_requests());
        requests
    }

    /// Of topics and their settings, with and without what was added later.
    fn topic_requests(&self) -> Vec<Request<'_>> {
        vec![
            self.metadata(false, false),
            self.metadata(true, false),
            self.metadata(true, true),
            self.create_topic(TopicRetention::UNLIMITED, TopicCleanup::DEFAULT),
            self.create_topic(self.retention(), TopicCleanup::DEFAULT),
            self.create_topic(TopicRetention::UNLIMITED, self.cleanup()),
            Request::AlterTopic(AlterTopic { name: self.word(), ..AlterTopic::default() }),
            Request::AlterTopic(AlterTopic {
                name: self.word(),
                retention_ms: Some(self.numbers[4]),
                retention_bytes: Some(self.numbers[3]),
                flush_interval_ms: Some(self.u32(1)),
                segment_bytes: Some(self.numbers[2]),
                default_durability: self.also,
                ..AlterTopic::default()
            }),
            Request::AlterTopic(AlterTopic {
                name: self.word(),
                cleanup: Some(CleanupPolicy::Compact),
                compaction_lag_ms: Some(self.numbers[1]),
                tombstone_retention_ms: Some(self.numbers[0]),
                ..AlterTopic::default()
            }),
        ]
    }

    fn metadata(&self, with_retention: bool, with_cleanup: bool) -> Request<'_> {
        let topics = self.words.iter().map(String::as_str).collect();
        Request::Metadata(MetadataRequest { topics, with_retention, with_cleanup })
    }

    fn create_topic(&self, retention: TopicRetention, cleanup: TopicCleanup) -> Request<'_> {
        Request::CreateTopic(CreateTopic {
            name: self.word(),
            partitions: self.u32(0),
            default_durability: self.also,
            flush_interval_ms: self.u32(1),
            segment_bytes: self.numbers[2],
            max_batch_bytes: self.u32(3),
            retention,
            cleanup,
        })
    }

    fn cleanup(&self) -> TopicCleanup {
        TopicCleanup {
            policy: CleanupPolicy::CompactDelete,
            compaction_lag_ms: self.numbers[4],
            tombstone_retention_ms: self.numbers[3],
        }
    }

    fn retention(&self) -> TopicRetention {
        TopicRetention { age_ms: self.numbers[4], bytes: self.numbers[3] }
    }

    fn group_requests(&self) -> Vec<Request<'_>> {
        vec![
            Request::JoinGroup(self.join_group(Assignor::Sticky)),
            Request::JoinGroup(self.join_group(Assignor::Range)),
            Request::Heartbeat(Heartbeat {
                group: self.word(),
                member: self.member(),
                generation: self.generation(),
            }),
            Request::LeaveGroup(LeaveGroup { group: self.word(), member: self.member() }),
            self.commit_offsets(CommitMode::Forward),
            self.commit_offsets(CommitMode::Exact),
            Request::DescribeGroup(DescribeGroup { group: self.word(), with_share: false }),
            Request::DescribeGroup(DescribeGroup { group: self.word(), with_share: true }),
            Request::ListGroups(ListGroups { with_mode: false }),
            Request::ListGroups(ListGroups { with_mode: true }),
            Request::DeleteGroup(DeleteGroup { group: self.word() }),
        ]
    }

    pub(crate) fn member(&self) -> MemberId {
        MemberId(self.numbers[0])
    }

    fn generation(&self) -> Generation {
        Generation(self.numbers[3])
    }

    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        let of = |number: &u64| TopicPartition {
            topic: TopicId(*number as u32),
            partition: PartitionIndex((*number >> 32) as u32),
        };
        self.numbers.iter().map(of).collect()
    }

    /// Every number as an offset; the last is none.
    fn offsets(&self) -> Vec<Option<Offset>> {
        let some = |number: &u64| (*number != u64::MAX).then(|| Offset::new(*number));
        self.numbers.iter().map(some).take(5).chain([None]).collect()
    }

    pub(crate) fn join_group(&self, assignor: Assignor) -> JoinGroup<'_> {
        JoinGroup {
            group: self.word(),
            member: self.member(),
            instance: self.words.last().map_or("", String::as_str),
            client: self.word(),
            session_timeout_ms: self.u32(1),
            rebalance_timeout_ms: self.u32(2),
            assignor,
            topics: self.words.iter().map(String::as_str).collect(),
            owned: self.partitions(),
            share: None,
        }
    }

    fn commit_offsets(&self, mode: CommitMode) -> Request<'_> {
        let pairs = self.partitions().into_iter().zip(self.offsets());
        let offsets = pairs
            .map(|(partition, offset)| OffsetToCommit { partition, offset, metadata: self.word() })
            .collect();
        let (group, member, generation) = (self.word(), self.member(), self.generation());
        Request::CommitOffsets(CommitOffsets { group, member, generation, mode, offsets })
    }

    fn membership(&self, is_complete: bool) -> Membership<'_> {
        let partitions: Vec<AssignedPartition> = (0..)
            .zip(self.offsets())
            .map(|(index, committed)| AssignedPartition {
                partition: PartitionIndex(index),
                committed,
            })
            .collect();
        let topic = |topic| AssignedTopic {
            topic,
            id: TopicId(self.u32(4)),
            partitions: partitions.clone(),
        };
        Membership {
            member: self.member(),
            generation: self.generation(),
            heartbeat_interval_ms: self.u32(1),
            topics: is_complete.then(|| self.words.iter().map(String::as_str).map(topic).collect()),
        }
    }

    fn error_response(&self) -> Response<'_> {
        Response::Error(ErrorResponse {
            opcode: Opcode::Produce,
            code: ErrorCode::from_number(self.u16(0)),
            fate: Fate::Unknown,
            handle: Some(self.handle()).filter(|handle| handle.0 != u32::MAX),
            detail_a: self.numbers[1],
            detail_b: self.numbers[2],
            message: self.word(),
        })
    }

    fn group_responses(&self) -> Vec<Response<'_>> {
        let pairs = || self.partitions().into_iter().zip(self.offsets());
        let error = Some(ErrorCode::NotAssigned);
        let committed = |(partition, committed): (_, Option<Offset>)| CommittedOffset {
            partition,
            error: error.filter(|_| committed.is_none()),
            committed,
        };
        let described = |(partition, offset): (_, Option<Offset>)| OffsetDescription {
            partition,
            offset: offset.unwrap_or(Offset::ZERO),
            unix_ms: self.numbers[2].cast_signed(),
            metadata: self.word(),
        };
        let member = |client| MemberDescription {
            member: self.member(),
            instance: self.word(),
            client,
            idle_ms: self.u32(3),
            partitions: self.partitions(),
        };
        let words = || self.words.iter().map(String::as_str);
        let states = [GroupState::Empty, GroupState::Stable, GroupState::Rebalancing];
        let listed = |state| ListedGroup {
            group: self.word(),
            state,
            mode: GroupMode::Share,
            members: self.u32(0),
            offsets: self.u32(1),
        };
        let assignment = Assignment { group: self.word(), membership: self.membership(true) };
        vec![
            Response::JoinGroup(self.membership(true)),
            Response::Heartbeat(self.membership(false)),
            Response::Assignment(assignment),
            Response::LeaveGroup,
            Response::CommitOffsets(CommitOffsetsResponse {
                offsets: pairs().map(committed).collect(),
            }),
            Response::DescribeGroup(GroupDescription {
                state: GroupState::Rebalancing,
                mode: GroupMode::Classic,
                assignor: Assignor::Range,
                generation: self.generation(),
                members: words().map(member).collect(),
                offsets: pairs().map(described).collect(),
                share: Vec::new(),
            }),
            Response::ListGroups(ListGroupsResponse { groups: states.map(listed).to_vec() }),
            Response::DeleteGroup,
        ]
    }

    fn produce(&self, durability: DurabilityWanted, also: Option<AckLevel>) -> Request<'_> {
        Request::Produce(Produce { handle: self.handle(), durability, also, batch: &self.batch })
    }

    /// One response of every kind, but for acks, which have an encoder of their own.
    pub(crate) fn responses(&self) -> Vec<Response<'_>> {
        let (handle, watermarks, batches) = (self.handle(), self.watermarks(), &self.batches[..]);
        let partition = |state| PartitionDescription {
            partition: PartitionIndex(self.u32(0)),
            shard: ShardIndex(self.u16(1)),
            state,
            watermarks,
            bytes: self.numbers[4],
            segments: self.u32(5),
        };
        let states = [PartitionState::Healthy, PartitionState::Damaged, PartitionState::Failed];
        let stat = |name| Stat { name, value: self.numbers[3] };
        let words = || self.words.iter().map(String::as_str);
        let mut responses = vec![
            Response::Hello(HelloResponse {
                version: self.u16(0),
                shard: ShardIndex(self.u16(1)),
                shards: self.u16(2),
                epoch: self.numbers[3],
                frame_bytes_max: self.u32(4),
                in_flight_max: self.u32(5),
                handles_max: self.u32(0),
                server: self.word(),
            }),
            Response::Ping,
            Response::AlterTopic,
            Response::CreateTopic(CreateTopicResponse { id: TopicId(self.u32(3)) }),
            Response::DeleteTopic,
            Response::DeleteRecords(DeleteRecordsResponse { start: Offset::new(self.numbers[2]) }),
            Response::Describe(DescribeResponse { partitions: states.map(partition).to_vec() }),
            Response::Bind(BindResponse {
                shard: ShardIndex(self.u16(0)),
                default_durability: self.level,
                state: PartitionState::Damaged,
                max_batch_bytes: self.u32(1),
                watermarks,
            }),
            Response::Unbind,
            Response::Fetched(Fetched { handle, watermarks, batches }),
            Response::Subscribed(Subscribed { handle, watermarks }),
            Response::Delivery(Delivery { handle, watermarks, batches }),
            Response::Unsubscribe,
            Response::Offsets(OffsetsResponse { offset: Offset::new(self.numbers[0]) }),
            Response::Stats(StatsResponse { stats: words().map(stat).collect() }),
            Response::InitProducer(InitProducerResponse {
                producer_id: self.numbers[4],
                epoch: self.u16(2),
                batches_max: self.u16(3),
            }),
            self.error_response(),
        ];
        responses.extend(self.metadata_responses());
        responses.extend(self.group_responses());
        responses.extend(self.share_responses());
        responses
    }

    /// Topics with and without what was added later.
    fn metadata_responses(&self) -> Vec<Response<'_>> {
        let shards = self.numbers.map(|number| ShardIndex(number as u16)).to_vec();
        let topic = |name| TopicMetadata {
            name,
            id: TopicId(self.u32(0)),
            default_durability: self.level,
            flush_interval_ms: self.u32(1),
            segment_bytes: self.numbers[2],
            max_batch_bytes: self.u32(3),
            retention: None,
            cleanup: None,
            shards: shards.clone(),
        };
        let in_full = |name| TopicMetadata { retention: Some(self.retention()), ..topic(name) };
        let compacted = |name| TopicMetadata { cleanup: Some(self.cleanup()), ..in_full(name) };
        let words = || self.words.iter().map(String::as_str);
        let topics = [
            words().map(topic).collect(),
            words().map(in_full).collect(),
            words().map(compacted).collect(),
        ];
        topics.map(|topics| Response::Metadata(MetadataResponse { topics })).into()
    }

    /// The frame of every request and response, acks included.
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        let correlation = self.correlation();
        let requests = self.requests();
        let mut frames: Vec<_> =
            requests.iter().map(|request| encode_request(request, correlation)).collect();
        for response in self.responses() {
            frames.push(encode_response(&response, correlation));
        }
        let mut acks = AcksEncoder::new();
        for level in AckLevel::ALL {
            let (first, base_offset) = (correlation, Offset::new(self.numbers[1]));
            let entry = AckEntry { handle: self.handle(), level, first, frames: 1, base_offset };
            acks.push(entry, base_offset);
        }
        let mut frame = Vec::new();
        acks.finish_into(&mut frame);
        frames.push(frame);
        frames
    }
}

pub(crate) fn encode_request(request: &Request<'_>, correlation: CorrelationId) -> Vec<u8> {
    let mut out = Vec::new();
    match request {
        Request::Hello(request) => request.encode(correlation, &mut out),
        Request::Ping => Ping.encode(correlation, &mut out),
        Request::Metadata(request) => request.encode(correlation, &mut out),
        Request::CreateTopic(request) => request.encode(correlation, &mut out),
        Request::DeleteTopic(request) => request.encode(correlation, &mut out),
        Request::DeleteRecords(request) => request.encode(correlation, &mut out),
        Request::AlterTopic(request) => request.encode(correlation, &mut out),
        Request::Describe(request) => request.encode(correlation, &mut out),
        Request::Bind(request) => request.encode(correlation, &mut out),
        Request::Unbind(request) => request.encode(correlation, &mut out),
        Request::Produce(request) => request.encode(correlation, &mut out).unwrap(),
        Request::Fetch(request) => request.encode(correlation, &mut out),
        Request::Subscribe(request) => request.encode(correlation, &mut out),
        Request::Credit(request) => request.encode(correlation, &mut out),
        Request::Unsubscribe(request) => request.encode(correlation, &mut out),
        Request::Offsets(request) => request.encode(correlation, &mut out),
        Request::Stats => Stats.encode(correlation, &mut out),
        Request::JoinGroup(request) => request.encode(correlation, &mut out),
        Request::Heartbeat(request) => request.encode(correlation, &mut out),
        Request::LeaveGroup(request) => request.encode(correlation, &mut out),
        Request::CommitOffsets(request) => request.encode(correlation, &mut out),
        Request::DescribeGroup(request) => request.encode(correlation, &mut out),
        Request::ListGroups(request) => request.encode(correlation, &mut out),
        Request::DeleteGroup(request) => request.encode(correlation, &mut out),
        Request::InitProducer => InitProducer.encode(correlation, &mut out),
        Request::ShareAcquire(request) => request.encode(correlation, &mut out),
        Request::ShareSettle(request) => request.encode(correlation, &mut out),
    }
    out
}

pub(crate) fn encode_response(response: &Response<'_>, correlation: CorrelationId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut empty = |opcode| encode_empty_response(opcode, correlation, &mut out);
    match response {
        Response::Ping => empty(Opcode::Ping),
        Response::DeleteTopic => empty(Opcode::DeleteTopic),
        Response::AlterTopic => empty(Opcode::AlterTopic),
        Response::Unbind => empty(Opcode::Unbind),
        Response::Unsubscribe => empty(Opcode::Unsubscribe),
        Response::Hello(response) => response.encode(correlation, &mut out),
        Response::Metadata(response) => response.encode(correlation, &mut out),
        Response::CreateTopic(response) => response.encode(correlation, &mut out),
        Response::DeleteRecords(response) => response.encode(correlation, &mut out),
        Response::Describe(response) => response.encode(correlation, &mut out),
        Response::Bind(response) => response.encode(correlation, &mut out),
        Response::Acks(_) => panic!("acks are written by their encoder"),
        Response::Fetched(response) => response.encode(correlation, &mut out).unwrap(),
        Response::Subscribed(response) => response.encode(correlation, &mut out),
        Response::Delivery(response) => response.encode(correlation, &mut out).unwrap(),
        Response::Offsets(response) => response.encode(correlation, &mut out),
        Response::Stats(response) => response.encode(correlation, &mut out),
        Response::JoinGroup(response) => response.encode(Opcode::JoinGroup, correlation, &mut out),
        Response::Heartbeat(response) => response.encode(Opcode::Heartbeat, correlation, &mut out),
        Response::Assignment(response) => response.encode(&mut out),
        Response::LeaveGroup => empty(Opcode::LeaveGroup),
        Response::CommitOffsets(response) => response.encode(correlation, &mut out),
        Response::DescribeGroup(response) => response.encode(correlation, &mut out),
        Response::ListGroups(response) => response.encode(correlation, &mut out),
        Response::DeleteGroup => empty(Opcode::DeleteGroup),
        Response::ShareAcquired(response) => response.encode(correlation, &mut out),
        Response::ShareSettled(response) => response.encode(correlation, &mut out),
        Response::InitProducer(response) => response.encode(correlation, &mut out),
        Response::Error(response) => response.encode(correlation, &mut out),
    }
    out
}

/// The one frame that `bytes` are.
pub(crate) fn whole_frame(bytes: &[u8]) -> Frame<'_> {
    match decode_frame(bytes, FRAME_BYTES_MAX) {
        Ok(Decoded::Frame(frame)) if frame.frame_bytes == bytes.len() => frame,
        other => panic!("{bytes:02x?} is not one frame: {other:?}"),
    }
}
