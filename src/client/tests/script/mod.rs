//! A scripted server for the sessions: what it says is encoded with `plimsoll-wire`, what it is
//! told is decoded with it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use plimsoll_batch::{BatchBuilder, BatchHeader, Codec, ProducerStamp, assign};
use plimsoll_client::{
    AckLevel, ConnectionFault, IncomingFrames, Instant, LinkId, Session, ShardIndex, Topic,
    Watermarks,
};
use plimsoll_wire::{
    AckEntry, AcksEncoder, BindResponse, CorrelationId, Decoded, Delivery, ErrorCode,
    ErrorResponse, FRAME_BYTES_MAX, Fate, Handle, HelloResponse, InitProducerResponse, Offset,
    OffsetsResponse, Opcode, PartitionState, Request, Subscribed, decode_frame,
};
use std::time::Duration;

pub(crate) const LINK: LinkId = LinkId(0);

/// All partitions on shard 0.
pub(crate) fn topic(partitions: usize) -> Topic {
    Topic {
        name: "orders".to_owned(),
        id: 1,
        durability: AckLevel::Disk,
        flush_interval: Duration::from_millis(100),
        segment_bytes: 1 << 30,
        retention: Default::default(),
        cleanup: Default::default(),
        batch_bytes_max: 1 << 20,
        shards: vec![ShardIndex(0); partitions],
    }
}

pub(crate) fn at_ms(ms: u64) -> Instant {
    Instant::after_origin(Duration::from_millis(ms))
}

/// What a test looks at in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Hello,
    Bind {
        partition: u32,
    },
    Produce {
        correlation: u32,
        records: u32,
        first_value: Vec<u8>,
    },
    /// As `Produce`, of an idempotent producer.
    Stamped {
        correlation: u32,
        records: u32,
        first_value: Vec<u8>,
        id: i64,
        sequence: i32,
    },
    Subscribe {
        offset: u64,
        credit_bytes: u32,
    },
    Credit {
        bytes: u32,
    },
    InitProducer {
        correlation: u32,
    },
    Other,
}

/// Everything that the session wants to write now.
pub(crate) fn told<S: Session>(session: &mut S, now: Instant) -> Vec<Told> {
    let mut told = Vec::new();
    while let Some(chunk) = session.poll_transmit(LINK, now) {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let Decoded::Frame(frame) = decode_frame(rest, FRAME_BYTES_MAX).unwrap() else {
                panic!("a chunk holds whole frames");
            };
            rest = &rest[frame.frame_bytes..];
            told.push(match Request::decode(&frame).unwrap() {
                Request::Hello(_) => Told::Hello,
                Request::Bind(bind) => Told::Bind { partition: bind.partition.0 },
                Request::Produce(produce) => produced(frame.correlation, produce.batch),
                Request::Subscribe(subscribe) => Told::Subscribe {
                    offset: subscribe.offset.value(),
                    credit_bytes: subscribe.credit_bytes,
                },
                Request::Credit(credit) => Told::Credit { bytes: credit.bytes },
                Request::InitProducer => Told::InitProducer { correlation: frame.correlation.0 },
                _ => Told::Other,
            });
        }
    }
    told
}

fn produced(correlation: CorrelationId, bytes: &[u8]) -> Told {
    let batch = plimsoll_batch::Batch::validate(bytes, &Default::default()).unwrap();
    let first_value = match batch.records() {
        Ok(mut records) => records.next().unwrap().unwrap().value.unwrap().to_vec(),
        Err(_) => Vec::new(),
    };
    let records = batch.header().record_count;
    let correlation = correlation.0;
    match batch.header().producer() {
        None => Told::Produce { correlation, records, first_value },
        Some(ProducerStamp { id, base_sequence: sequence, .. }) => {
            Told::Stamped { correlation, records, first_value, id, sequence }
        }
    }
}

/// Feeds bytes from the server.
pub(crate) fn hear<S: Session>(
    session: &mut S,
    bytes: &[u8],
    now: Instant,
) -> Result<(), ConnectionFault> {
    let mut incoming = IncomingFrames::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[incoming.take_from(rest)..];
        while let Some(frame) = incoming.next_frame()? {
            session.handle_frame(LINK, frame, now)?;
        }
    }
    Ok(())
}

pub(crate) fn hello() -> Vec<u8> {
    let mut out = Vec::new();
    HelloResponse {
        version: 1,
        shard: ShardIndex(0),
        shards: 1,
        epoch: 1,
        frame_bytes_max: FRAME_BYTES_MAX as u32,
        in_flight_max: 8,
        handles_max: 64,
        server: "script",
    }
    .encode(CorrelationId(1), &mut out);
    out
}

/// Answers the request with this correlation.
pub(crate) fn bound(correlation: u32) -> Vec<u8> {
    let mut out = Vec::new();
    BindResponse {
        shard: ShardIndex(0),
        default_durability: AckLevel::Disk,
        state: PartitionState::Healthy,
        max_batch_bytes: 1 << 20,
        watermarks: watermarks(100),
    }
    .encode(CorrelationId(correlation), &mut out);
    out
}

/// Gives an identity.
pub(crate) fn identity(correlation: u32, producer_id: u64) -> Vec<u8> {
    let mut out = Vec::new();
    InitProducerResponse { producer_id, epoch: 0, batches_max: 5 }
        .encode(CorrelationId(correlation), &mut out);
    out
}

pub(crate) fn watermarks(end: u64) -> Watermarks {
    let end = Offset::new(end);
    Watermarks { start: Offset::new(5), memory: end, page_cache: end, disk: end }
}

pub(crate) fn ack(first: u32, frames: u32, level: AckLevel, base_offset: u64) -> Vec<u8> {
    let (mut acks, mut out) = (AcksEncoder::new(), Vec::new());
    let base_offset = Offset::new(base_offset);
    let first = CorrelationId(first);
    acks.push(AckEntry { handle: Handle(0), level, first, frames, base_offset }, base_offset);
    acks.finish_into(&mut out);
    out
}

pub(crate) fn error(opcode: Opcode, correlation: u32, code: ErrorCode, fate: Fate) -> Vec<u8> {
    let mut out = Vec::new();
    let (handle, detail_a, detail_b, message) = (Some(Handle(0)), 5, 100, "scripted");
    ErrorResponse { opcode, code, fate, handle, detail_a, detail_b, message }
        .encode(CorrelationId(correlation), &mut out);
    out
}

pub(crate) fn subscribed(correlation: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Subscribed { handle: Handle(0), watermarks: watermarks(100) }
        .encode(CorrelationId(correlation), &mut out);
    out
}

/// A batch of `records`, each with its number as value and `padding` bytes of key.
pub(crate) fn batch(base_offset: u64, records: u8, padding: usize) -> Vec<u8> {
    let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
    for number in 0..records {
        builder.append(1000, Some(&vec![b'k'; padding]), Some(&[number]), &[]).unwrap();
    }
    builder.finish_into(&mut bytes);
    assign(&mut bytes, Offset::new(base_offset), 0);
    bytes
}

/// A batch of a record for each of these times.
pub(crate) fn batch_at(base_offset: u64, times_ms: &[i64]) -> Vec<u8> {
    let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
    for time_ms in times_ms {
        builder.append(*time_ms, None, Some(b"x"), &[]).unwrap();
    }
    builder.finish_into(&mut bytes);
    assign(&mut bytes, Offset::new(base_offset), 0);
    bytes
}

/// Answers where a time lies.
pub(crate) fn located(correlation: u32, offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let offset = Offset::new(offset);
    OffsetsResponse { offset }.encode(CorrelationId(correlation), &mut out);
    out
}

/// The same batch with its records replaced by `compressed`.
pub(crate) fn compressed(
    base_offset: u64,
    codec: Codec,
    compress: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
    for number in 0..50_u8 {
        builder.append(1000, Some(&[b'k'; 50]), Some(&[number]), &[]).unwrap();
    }
    let payload = compress(builder.records_payload());
    builder.finish_compressed_into(codec, &payload, &mut bytes);
    assert_eq!(BatchHeader::decode(&bytes).unwrap().codec(), Some(codec));
    assign(&mut bytes, Offset::new(base_offset), 0);
    bytes
}

pub(crate) fn delivery(batches: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Delivery { handle: Handle(0), watermarks: watermarks(100), batches }
        .encode(CorrelationId(3), &mut out)
        .unwrap();
    out
}
