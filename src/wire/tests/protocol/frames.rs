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
    fn word(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn u32(&self, index: usize) -> u32 {
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
        vec![
            Request::Hello(Hello {
                version_min: self.u16(0),
                version_max: self.u16(1),
                shard: ShardIndex(self.u16(2)),
                client: self.word(),
            }),
            Request::Ping,
            Request::Metadata(MetadataRequest {
                topics: self.words.iter().map(String::as_str).collect(),
            }),
            Request::CreateTopic(CreateTopic {
                name: self.word(),
                partitions: self.u32(0),
                default_durability: self.also,
                flush_interval_ms: self.u32(1),
                segment_bytes: self.numbers[2],
                max_batch_bytes: self.u32(3),
            }),
            Request::DeleteTopic(DeleteTopic { name: self.word() }),
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
        ]
    }

    fn produce(&self, durability: DurabilityWanted, also: Option<AckLevel>) -> Request<'_> {
        Request::Produce(Produce { handle: self.handle(), durability, also, batch: &self.batch })
    }

    /// One response of every kind, but for acks, which have an encoder of their own.
    pub(crate) fn responses(&self) -> Vec<Response<'_>> {
        let (handle, watermarks, batches) = (self.handle(), self.watermarks(), &self.batches[..]);
        let shards = self.numbers.map(|number| ShardIndex(number as u16)).to_vec();
        let topic = |name| TopicMetadata {
            name,
            id: TopicId(self.u32(0)),
            default_durability: self.level,
            flush_interval_ms: self.u32(1),
            segment_bytes: self.numbers[2],
            max_batch_bytes: self.u32(3),
            shards: shards.clone(),
        };
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
        vec![
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
            Response::Metadata(MetadataResponse { topics: words().map(topic).collect() }),
            Response::CreateTopic(CreateTopicResponse { id: TopicId(self.u32(3)) }),
            Response::DeleteTopic,
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
            Response::Error(ErrorResponse {
                opcode: Opcode::Produce,
                code: ErrorCode::from_number(self.u16(0)),
                fate: Fate::Unknown,
                handle: Some(handle).filter(|handle| handle.0 != u32::MAX),
                detail_a: self.numbers[1],
                detail_b: self.numbers[2],
                message: self.word(),
            }),
        ]
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
        Request::InitProducer => InitProducer.encode(correlation, &mut out),
    }
    out
}

pub(crate) fn encode_response(response: &Response<'_>, correlation: CorrelationId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut empty = |opcode| encode_empty_response(opcode, correlation, &mut out);
    match response {
        Response::Ping => empty(Opcode::Ping),
        Response::DeleteTopic => empty(Opcode::DeleteTopic),
        Response::Unbind => empty(Opcode::Unbind),
        Response::Unsubscribe => empty(Opcode::Unsubscribe),
        Response::Hello(response) => response.encode(correlation, &mut out),
        Response::Metadata(response) => response.encode(correlation, &mut out),
        Response::CreateTopic(response) => response.encode(correlation, &mut out),
        Response::Describe(response) => response.encode(correlation, &mut out),
        Response::Bind(response) => response.encode(correlation, &mut out),
        Response::Acks(_) => panic!("acks are written by their encoder"),
        Response::Fetched(response) => response.encode(correlation, &mut out).unwrap(),
        Response::Subscribed(response) => response.encode(correlation, &mut out),
        Response::Delivery(response) => response.encode(correlation, &mut out).unwrap(),
        Response::Offsets(response) => response.encode(correlation, &mut out),
        Response::Stats(response) => response.encode(correlation, &mut out),
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
