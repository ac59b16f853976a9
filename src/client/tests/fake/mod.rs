//! A server in a thread that speaks just enough of the protocol for a driver to be tested over
//! loopback.
//!
//! It keeps batches in memory, acks every level at once, and delivers to subscriptions. The tests
//! of all drivers include this file; the real server has tests of its own.

#![allow(dead_code, reason = "each test program uses a part of it")]

use plimsoll_batch::{BatchHeader, Offset, assign};
use plimsoll_wire::{
    AckEntry, AckLevel, AcksEncoder, BindResponse, CorrelationId, CreateTopicResponse, Decoded,
    Delivery, DescribeResponse, Durability, DurabilityWanted, ErrorCode, ErrorResponse,
    FRAME_BYTES_MAX, Fate, Handle, HelloResponse, InitProducerResponse, MetadataResponse,
    OffsetsResponse, OffsetsWhat, Opcode, PartitionDescription, PartitionIndex, PartitionState,
    Produce, Request, ShardIndex, Stat, StatsResponse, Subscribed, TopicId, TopicMetadata,
    Watermarks, decode_frame, encode_empty_response,
};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The topic that exists.
pub(crate) const TOPIC: &str = "orders";

/// What the server does wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mischief {
    /// Answers this many produce frames with `DISK_FULL`, refused.
    pub(crate) refuse: u32,
    /// Closes the connection of the n-th produce frame instead of acking it; what it brings is
    /// kept if the server `keeps` it.
    pub(crate) hang_up_at: Option<u32>,
    pub(crate) keeps: bool,
    /// Takes batches and throws them away: for throughput.
    pub(crate) forgets: bool,
}

pub(crate) struct FakeServer {
    pub(crate) address: String,
    pub(crate) state: Arc<Mutex<State>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) partitions: Vec<Partition>,
    pub(crate) mischief: Mischief,
    pub(crate) produced: u32,
    pub(crate) connections: u32,
    pub(crate) identities: u64,
    pub(crate) hellos: Vec<ShardIndex>,
}

#[derive(Debug, Default)]
pub(crate) struct Partition {
    pub(crate) batches: Vec<Vec<u8>>,
    pub(crate) end: u64,
}

impl FakeServer {
    pub(crate) fn start(partitions: u32, mischief: Mischief) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        let state = Arc::new(Mutex::new(State {
            partitions,
            mischief,
            produced: 0,
            connections: 0,
            identities: 0,
            hellos: Vec::new(),
        }));
        let for_thread = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&for_thread);
                state.lock().unwrap().connections += 1;
                thread::spawn(move || Connection::new(stream.unwrap(), state).serve());
            }
        });
        FakeServer { address, state }
    }
}

struct Connection {
    stream: TcpStream,
    state: Arc<Mutex<State>>,
    number: u32,
    handles: BTreeMap<Handle, usize>,
    subscriptions: BTreeMap<Handle, Subscription>,
    out: Vec<u8>,
    acks: AcksEncoder,
    is_over: bool,
}

struct Subscription {
    correlation: CorrelationId,
    next: u64,
    credit: i64,
}

impl Connection {
    fn new(stream: TcpStream, state: Arc<Mutex<State>>) -> Connection {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let number = state.lock().unwrap().connections;
        Connection {
            stream,
            state,
            number,
            handles: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            out: Vec::new(),
            acks: AcksEncoder::new(),
            is_over: false,
        }
    }

    fn serve(mut self) {
        let mut arrived = vec![0; 4 << 20];
        let mut end = 0;
        while !self.is_over {
            match self.stream.read(&mut arrived[end..]) {
                Ok(0) => return,
                Ok(bytes) => end += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            let mut start = 0;
            while let Decoded::Frame(frame) =
                decode_frame(&arrived[start..end], FRAME_BYTES_MAX).unwrap()
            {
                let request = Request::decode(&frame).unwrap();
                self.answer(frame.correlation, &request);
                start += frame.frame_bytes;
            }
            arrived.copy_within(start..end, 0);
            end -= start;
            self.acks.finish_into(&mut self.out);
            self.deliver();
            if self.stream.write_all(&self.out).is_err() {
                return;
            }
            self.out.clear();
        }
    }

    fn answer(&mut self, correlation: CorrelationId, request: &Request<'_>) {
        match request {
            Request::Hello(hello) => {
                self.state.lock().unwrap().hellos.push(hello.shard);
                self.hello(correlation, hello.shard);
            }
            Request::Ping => encode_empty_response(Opcode::Ping, correlation, &mut self.out),
            Request::Metadata(_) => self.metadata(correlation),
            Request::CreateTopic(topic) if topic.name == TOPIC => {
                self.error(Opcode::CreateTopic, correlation, ErrorCode::TopicExists, None);
            }
            Request::CreateTopic(_) => {
                CreateTopicResponse { id: TopicId(2) }.encode(correlation, &mut self.out);
            }
            Request::DeleteTopic(_) => {
                encode_empty_response(Opcode::DeleteTopic, correlation, &mut self.out);
            }
            Request::Describe(_) => self.describe(correlation),
            Request::Bind(bind) => {
                let partition = bind.partition.0 as usize;
                self.handles.insert(bind.handle, partition);
                let watermarks = self.watermarks(partition);
                BindResponse {
                    shard: ShardIndex(bind.partition.0 as u16 % 2),
                    default_durability: AckLevel::Disk,
                    state: PartitionState::Healthy,
                    max_batch_bytes: 4 << 20,
                    watermarks,
                }
                .encode(correlation, &mut self.out);
            }
            Request::Unbind(unbind) => {
                self.handles.remove(&unbind.handle);
                encode_empty_response(Opcode::Unbind, correlation, &mut self.out);
            }
            Request::Produce(produce) => self.produce(correlation, produce),
            Request::Subscribe(subscribe) => {
                let subscription = Subscription {
                    correlation,
                    next: subscribe.offset.value(),
                    credit: i64::from(subscribe.credit_bytes),
                };
                self.subscriptions.insert(subscribe.handle, subscription);
                let watermarks = self.watermarks(self.handles[&subscribe.handle]);
                Subscribed { handle: subscribe.handle, watermarks }
                    .encode(correlation, &mut self.out);
            }
            Request::Credit(credit) => {
                self.subscriptions.get_mut(&credit.handle).unwrap().credit +=
                    i64::from(credit.bytes);
            }
            Request::Offsets(offsets) => {
                let end = self.watermarks(self.handles[&offsets.handle]).disk;
                let offset = if offsets.what == OffsetsWhat::End { end } else { Offset::ZERO };
                OffsetsResponse { offset }.encode(correlation, &mut self.out);
            }
            Request::Stats => {
                let stats = vec![Stat { name: "commits", value: 7 }];
                StatsResponse { stats }.encode(correlation, &mut self.out);
            }
            Request::InitProducer => {
                let mut state = self.state.lock().unwrap();
                state.identities += 1;
                let producer_id = state.identities;
                InitProducerResponse { producer_id, epoch: 0, batches_max: 5 }
                    .encode(correlation, &mut self.out);
            }
            _ => unreachable!("no test asks this of the fake"),
        }
    }

    fn hello(&mut self, correlation: CorrelationId, shard: ShardIndex) {
        HelloResponse {
            version: 1,
            shard,
            shards: 2,
            epoch: 1,
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            in_flight_max: 64,
            handles_max: 64,
            server: "fake",
        }
        .encode(correlation, &mut self.out);
    }

    fn metadata(&mut self, correlation: CorrelationId) {
        let partitions = self.state.lock().unwrap().partitions.len();
        let topic = TopicMetadata {
            name: TOPIC,
            id: TopicId(1),
            default_durability: AckLevel::Disk,
            flush_interval_ms: 100,
            segment_bytes: 1 << 30,
            max_batch_bytes: 4 << 20,
            retention: None,
            cleanup: None,
            shards: (0..partitions).map(|partition| ShardIndex(partition as u16 % 2)).collect(),
        };
        MetadataResponse { topics: vec![topic] }.encode(correlation, &mut self.out);
    }

    fn describe(&mut self, correlation: CorrelationId) {
        let count = self.state.lock().unwrap().partitions.len();
        let partitions = (0..count).map(|partition| PartitionDescription {
            partition: PartitionIndex(partition as u32),
            shard: ShardIndex(partition as u16 % 2),
            state: PartitionState::Healthy,
            watermarks: self.watermarks(partition),
            bytes: 0,
            segments: 1,
        });
        let response = DescribeResponse { partitions: partitions.collect() };
        response.encode(correlation, &mut self.out);
    }

    fn produce(&mut self, correlation: CorrelationId, produce: &Produce<'_>) {
        let state = Arc::clone(&self.state);
        let mut state = state.lock().unwrap();
        state.produced += 1;
        if state.mischief.refuse > 0 {
            state.mischief.refuse -= 1;
            let handle = Some(produce.handle);
            self.error(Opcode::Produce, correlation, ErrorCode::DiskFull, handle);
            return;
        }
        if state.mischief.hang_up_at == Some(state.produced) {
            self.is_over = true;
            if !state.mischief.keeps {
                return;
            }
        }
        let header = BatchHeader::decode(produce.batch).unwrap();
        let forgets = state.mischief.forgets;
        let partition = &mut state.partitions[self.handles[&produce.handle]];
        let known = header.producer().and_then(|stamp| {
            let batches = partition.batches.iter().map(|batch| BatchHeader::decode(batch).unwrap());
            batches.into_iter().find(|batch| batch.producer() == Some(stamp))
        });
        let base_offset = known.map_or(Offset::new(partition.end), |batch| batch.base_offset);
        if known.is_none() {
            partition.end += u64::from(header.record_count);
        }
        if !forgets && known.is_none() {
            let mut batch = produce.batch.to_vec();
            assign(&mut batch, base_offset, 0);
            partition.batches.push(batch);
        }
        let DurabilityWanted::Level(durability) = produce.durability else { unreachable!() };
        let mut levels = vec![durability, produce.also.map_or(Durability::None, Into::into)];
        levels.sort();
        for level in levels.into_iter().filter_map(Durability::ack_level) {
            let (handle, first) = (produce.handle, correlation);
            let entry = AckEntry { handle, level, first, frames: 1, base_offset };
            let next = base_offset.value() + u64::from(header.record_count);
            if !self.is_over {
                self.acks.push(entry, Offset::new(next));
            }
        }
    }

    fn deliver(&mut self) {
        let Connection { handles, subscriptions, state, out, .. } = self;
        let state = state.lock().unwrap();
        for (handle, subscription) in subscriptions {
            let partition = &state.partitions[handles[handle]];
            for batch in &partition.batches {
                let next = BatchHeader::decode(batch).unwrap().next_offset().value();
                if next <= subscription.next || subscription.credit <= 0 {
                    continue;
                }
                let before = out.len();
                let watermarks = watermarks(partition.end);
                Delivery { handle: *handle, watermarks, batches: batch }
                    .encode(subscription.correlation, out)
                    .unwrap();
                subscription.next = next;
                subscription.credit -= (out.len() - before) as i64;
            }
        }
    }

    fn watermarks(&self, partition: usize) -> Watermarks {
        watermarks(self.state.lock().unwrap().partitions[partition].end)
    }

    fn error(
        &mut self,
        opcode: Opcode,
        correlation: CorrelationId,
        code: ErrorCode,
        handle: Option<Handle>,
    ) {
        let fate = if opcode == Opcode::Produce { Fate::Refused } else { Fate::NotAppend };
        let (detail_a, detail_b, message) = (0, 0, "as the test wants it");
        ErrorResponse { opcode, code, fate, handle, detail_a, detail_b, message }
            .encode(correlation, &mut self.out);
    }
}

fn watermarks(end: u64) -> Watermarks {
    let end = Offset::new(end);
    Watermarks { start: Offset::ZERO, memory: end, page_cache: end, disk: end }
}
