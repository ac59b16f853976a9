//! `PROTOCOL.md` against the code: its numbers, its names, and the bytes of its example.
//!
//! When the example is out of date the failing test prints the one that is right.

use std::fmt::Write as _;

use plimsoll_batch::BatchBuilder;
use plimsoll_wire::*;

use crate::frames::whole_frame;

const DOCUMENT: &str = include_str!("../../PROTOCOL.md");

#[test]
fn every_opcode_has_its_section() {
    let headings = DOCUMENT.lines().filter_map(|line| line.strip_prefix("### "));
    let numbers: Vec<(u8, String)> = headings
        .map(|heading| {
            let mut words = heading.split(' ');
            let number = words.next().unwrap().parse().unwrap();
            (number, words.next().unwrap().replace('_', ""))
        })
        .collect();
    let opcodes = Opcode::ALL.iter().filter(|&&opcode| opcode != Opcode::Connection);
    let expected: Vec<(u8, String)> =
        opcodes.map(|&opcode| (opcode.into(), format!("{opcode:?}").to_lowercase())).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn every_error_code_is_in_the_table_with_its_name_and_end() {
    let mut rows = 0;
    for line in DOCUMENT.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, name, _, connection @ ("closed" | "stays")] = cells[..] else { continue };
        let code = ErrorCode::from_number(number.parse().unwrap());
        assert_eq!(code.name(), name);
        assert_eq!(format!("{code:?}").to_uppercase(), name.replace('_', ""));
        assert_eq!(code.closes_connection(), connection == "closed", "{name}");
        rows += 1;
    }
    let known = (0..=u16::MAX).filter(|&number| {
        assert_eq!(ErrorCode::from_number(number).number(), number);
        ErrorCode::from_number(number) != ErrorCode::Other(number)
    });
    assert_eq!(rows, known.count());
}

#[test]
fn limits_and_levels_of_the_document_are_those_of_the_code() {
    let contains = |text: &str| assert!(DOCUMENT.contains(text), "missing: {text}");
    contains(&format!("`0x{HELLO_MAGIC:08X}`"));
    contains(&format!("1 to {TOPIC_NAME_BYTES_MAX} of"));
    contains(&format!("partitions (1 to {TOPIC_PARTITIONS_MAX})"));
    contains(&format!("`u32` count (at most {METADATA_NAMES_MAX})"));
    contains(&format!("`u32` count (at most {DESCRIBE_PARTITIONS_MAX};"));
    contains(&format!("max_wait_ms (at most {FETCH_WAIT_MS_MAX})"));
    contains(&format!("complete {} s after", FRAME_TIMEOUT_MS / 1000));
    contains(&format!("first frame {} s after", HELLO_TIMEOUT_MS / 1000));
    contains(&format!("string group (1 to {GROUP_NAME_BYTES_MAX} bytes)"));
    contains(&format!("({SESSION_TIMEOUT_MS_MIN} to {SESSION_TIMEOUT_MS_MAX}, 0: 10000)"));
    contains(&format!("`u32` count (1 to {GROUP_TOPICS_MAX})"));
    contains(&format!("`u32` count (at most {COMMIT_OFFSETS_MAX}), then for each"));
    contains(&format!("metadata (at most {COMMIT_METADATA_BYTES_MAX} bytes)"));
    contains(&format!("max_records (1 to {SHARE_RECORDS_MAX})"));
    contains(&format!("wait_ms (at most {SHARE_WAIT_MS_MAX})"));
    contains(&format!("`u32` count (at most {SHARE_RANGES_MAX}), then 40 bytes each"));
    contains(&format!("lock_ms ({SHARE_LOCK_MS_MIN} to {SHARE_LOCK_MS_MAX}, 0: 30000)"));
    for level in AckLevel::ALL {
        contains(&format!("| {} | {} |", level as u8, level.name().replace('-', "_")));
    }
}

#[test]
fn the_example_is_what_the_encoder_writes() {
    let example = example();
    let (_, written) = DOCUMENT.split_once("## Example\n").unwrap();
    assert!(written.ends_with(&example), "the example should be:\n\n{example}");
}

/// The example as it stands in the document.
fn example() -> String {
    let mut text = String::new();
    for (title, bytes, fields) in frames() {
        whole_frame(&bytes);
        write!(text, "**{title}**, {} bytes\n\n```text\n", bytes.len()).unwrap();
        let mut at = 0;
        for &(field_bytes, meaning) in fields {
            let hex: Vec<String> =
                bytes[at..at + field_bytes].iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{at:>3}: {:<23}  {meaning}", hex.join(" ")).unwrap();
            at += field_bytes;
        }
        assert_eq!(at, bytes.len(), "{title}: every byte is explained");
        text.push_str("```\n\n");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

type Fields = &'static [(usize, &'static str)];

fn frames() -> [(&'static str, Vec<u8>, Fields); 6] {
    let (handle, shard) = (Handle(0), ShardIndex(1));
    let mut hello = Vec::new();
    Hello::new(ShardIndex::ANY, "demo").encode(CorrelationId(1), &mut hello);
    let mut hello_response = Vec::new();
    let response = HelloResponse {
        version: VERSION,
        shard,
        shards: 2,
        epoch: 7,
        frame_bytes_max: FRAME_BYTES_MAX as u32,
        in_flight_max: IN_FLIGHT_MAX,
        handles_max: HANDLES_MAX,
        server: "plimsoll",
    };
    response.encode(CorrelationId(1), &mut hello_response);
    let mut bind = Vec::new();
    let partition = PartitionIndex(3);
    Bind { handle, partition, topic: "orders" }.encode(CorrelationId(2), &mut bind);
    let mut bind_response = Vec::new();
    let next = Offset::new(42);
    let start = Offset::ZERO;
    BindResponse {
        shard,
        default_durability: AckLevel::Disk,
        state: PartitionState::Healthy,
        max_batch_bytes: 1 << 20,
        watermarks: Watermarks { start, memory: next, page_cache: next, disk: next },
    }
    .encode(CorrelationId(2), &mut bind_response);
    let (mut builder, mut batch, mut produce) = (BatchBuilder::new(), Vec::new(), Vec::new());
    builder.append(1_700_000_000_000, Some(b"k"), Some(b"hello"), &[]).unwrap();
    builder.finish_into(&mut batch);
    let (durability, also) = (DurabilityWanted::from(Durability::Disk), Some(AckLevel::Memory));
    let first = CorrelationId(100);
    encode_produce(handle, durability, also, first, &batch, &mut produce).unwrap();
    let mut acks = Vec::new();
    let mut encoder = AcksEncoder::new();
    for level in [AckLevel::Memory, AckLevel::Disk] {
        let entry = AckEntry { handle, level, first, frames: 1, base_offset: next };
        encoder.push(entry, next.advance(1));
    }
    encoder.finish_into(&mut acks);
    [
        ("hello", hello, HELLO),
        ("hello response", hello_response, HELLO_RESPONSE),
        ("bind", bind, BIND),
        ("bind response", bind_response, BIND_RESPONSE),
        ("produce", produce, PRODUCE),
        ("acks", acks, ACKS),
    ]
}

const HELLO: Fields = &[
    (4, "length"),
    (4, "CRC-32C"),
    (1, "opcode 1"),
    (1, "flags: request"),
    (2, "reserved"),
    (4, "correlation id 1"),
    (4, "magic"),
    (2, "lowest version 1"),
    (2, "highest version 1"),
    (2, "shard: any"),
    (2, "reserved"),
    (2, "client name: 4 bytes"),
    (4, "demo"),
];

const HELLO_RESPONSE: Fields = &[
    (4, "length"),
    (4, "CRC-32C"),
    (1, "opcode 1"),
    (1, "flags: response"),
    (2, "reserved"),
    (4, "correlation id 1"),
    (2, "version 1"),
    (2, "shard 1"),
    (2, "2 shards"),
    (2, "reserved"),
    (8, "server epoch 7"),
    (4, "frame_bytes_max 16 MiB + 4 KiB"),
    (4, "in_flight_max 4096"),
    (4, "handles_max 65536"),
    (4, "reserved"),
    (2, "server name: 8 bytes"),
    (8, "plimsoll"),
];

const BIND: Fields = &[
    (4, "length"),
    (4, "CRC-32C"),
    (1, "opcode 7"),
    (1, "flags: request"),
    (2, "reserved"),
    (4, "correlation id 2"),
    (4, "handle 0"),
    (4, "partition 3"),
    (2, "topic: 6 bytes"),
    (6, "orders"),
];

const BIND_RESPONSE: Fields = &[
    (4, "length"),
    (4, "CRC-32C"),
    (1, "opcode 7"),
    (1, "flags: response"),
    (2, "reserved"),
    (4, "correlation id 2"),
    (2, "shard 1"),
    (1, "default durability: disk"),
    (1, "state: healthy"),
    (4, "max_batch_bytes 1 MiB"),
    (8, "start offset 0"),
    (8, "memory watermark 42"),
    (8, "page_cache watermark 42"),
    (8, "disk watermark 42"),
];

const PRODUCE: Fields = &[
    (4, "length"),
    (4, "CRC-32C: of bytes 0 to 3 and 8 to 44"),
    (1, "opcode 9"),
    (1, "flags: request"),
    (2, "reserved"),
    (4, "correlation id 100"),
    (4, "handle 0"),
    (1, "durability: disk"),
    (1, "also: memory"),
    (2, "reserved"),
    (8, "the batch (big-endian from here on): base offset 0"),
    (4, "batch length: what follows it"),
    (4, "leader epoch: none"),
    (1, "magic 2"),
    (4, "the batch's CRC-32C: of byte 45 to the end"),
    (2, "attributes: no compression"),
    (4, "last offset delta 0"),
    (8, "base timestamp 1700000000000"),
    (8, "maximum timestamp"),
    (8, "producer id: none"),
    (2, "producer epoch: none"),
    (4, "base sequence: none"),
    (4, "1 record"),
    (1, "record: 12 bytes follow (zigzag varint)"),
    (1, "record attributes"),
    (1, "timestamp delta 0"),
    (1, "offset delta 0"),
    (1, "key: 1 byte"),
    (1, "k"),
    (1, "value: 5 bytes"),
    (5, "hello"),
    (1, "0 headers"),
];

const ACKS: Fields = &[
    (4, "length"),
    (4, "CRC-32C"),
    (1, "opcode 10"),
    (1, "flags: response"),
    (2, "reserved"),
    (4, "correlation id 0: answers no single request"),
    (4, "2 entries"),
    (4, "reserved"),
    (4, "handle 0"),
    (1, "level: memory"),
    (3, "reserved"),
    (4, "first correlation id 100"),
    (4, "1 frame"),
    (8, "base offset 42"),
    (4, "handle 0"),
    (1, "level: disk"),
    (3, "reserved"),
    (4, "first correlation id 100"),
    (4, "1 frame"),
    (8, "base offset 42"),
];
