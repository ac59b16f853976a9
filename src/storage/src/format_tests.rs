//! `FORMAT.md` against the code: the bytes of its example, its numbers, its length.
//!
//! When the example is out of date the failing test prints the one that is right.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;

use plimsoll_batch::{BatchBuilder, Offset, assign};
use plimsoll_device::BLOCK_BYTES;

use crate::anchor::ANCHOR_BYTES;
use crate::encoding::crc;
use crate::entry::{
    APPEND_BYTES, AppendEntry, LEASE_BYTES, SEALED_BYTES, SNAPSHOT_BYTES, append_bytes,
    encode_append, encode_lease,
};
use crate::limits::{INDEX_ENTRIES_MAX, LEASE_OFFSETS};
use crate::origin::marked_epoch;
use crate::written::Written;
use crate::{
    DataDirId, FORMAT_VERSION, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, PartitionId,
    Sequence,
};

const DOCUMENT: &str = include_str!("../FORMAT.md");
const ID: PartitionId = PartitionId { topic: 1, partition: 0 };

const FIELDS: &[(usize, &str)] = &[
    (4, "magic"),
    (4, "check: CRC of bytes 8 to 79"),
    (4, "version 1, no flags"),
    (4, "length 4096"),
    (8, "data directory id"),
    (8, ""),
    (8, "epoch 1"),
    (8, "sequence 1"),
    (8, "position 0"),
    (8, "durable through: no frame"),
    (4, "CRC of the body"),
    (4, "length of the body: 168"),
    (4, "no frame before it"),
    (4, "journal 0, reserved"),
    (8, "entry: lease, no flags, length 24"),
    (8, "topic 1, partition 0"),
    (8, "offsets below 1048576"),
    (8, "entry: append, no extent, length 144"),
    (8, "topic 1, partition 0"),
    (8, "segment 0"),
    (8, "position 0"),
    (8, "end 70"),
    (8, "next offset 1"),
    (8, "no extent: its position,"),
    (8, "length and CRC"),
    (8, "70 bytes inline, written: not known"),
    (8, "the batch (big-endian): base offset 0"),
    (4, "58 bytes follow"),
    (5, "leader epoch: start 1, mixed; magic 2"),
    (4, "the batch's CRC: of its byte 21 to the end"),
    (6, "no compression, last offset delta 0"),
    (8, "base timestamp 1700000000000"),
    (8, "maximum timestamp"),
    (8, "producer id: none"),
    (6, "producer epoch and base sequence: none"),
    (4, "1 record"),
    (6, "record: 8 bytes follow; no key, value of 2 bytes"),
    (3, "value \"ok\", no headers"),
    (2, "padding to 8"),
];

fn frame() -> Vec<u8> {
    let (mut builder, mut batch) = (BatchBuilder::new(), Vec::new());
    builder.append(1_700_000_000_000, None, Some(b"ok"), &[]).unwrap();
    builder.finish_into(&mut batch);
    assign(&mut batch, Offset::ZERO, marked_epoch(ID, 1));
    let body_bytes = LEASE_BYTES + append_bytes(batch.len());
    let mut frame = vec![0; FrameHeader::frame_bytes(body_bytes)];
    let (_, body) = frame.split_at_mut(FRAME_HEADER_BYTES);
    encode_lease(ID, Offset::new(LEASE_OFFSETS), body);
    let append = AppendEntry {
        partition: ID,
        segment: Offset::ZERO,
        position: 0,
        end: batch.len() as u64,
        next_offset: Offset::new(1),
        extent: None,
        written: Written::UNKNOWN,
        inline: &[],
    };
    encode_append(&append, batch.len(), &mut body[LEASE_BYTES..]);
    body[LEASE_BYTES + APPEND_BYTES..][..batch.len()].copy_from_slice(&batch);
    let header = FrameHeader {
        clean: false,
        length_bytes: FrameHeader::frame_bytes(body_bytes),
        body_bytes,
        data_dir: DataDirId(*b"a data directory"),
        journal: 0,
        epoch: 1,
        sequence: Sequence(1),
        position: 0,
        durable_through: Sequence(0),
        body_crc: crc(&body[..body_bytes]),
        previous_check: 0,
        check: 0,
    };
    header.encode(&mut frame);
    frame.truncate(FRAME_HEADER_BYTES + body_bytes);
    frame
}

/// The example as it stands in the document.
fn example() -> String {
    let (bytes, mut text, mut at) = (frame(), String::from("```text\n"), 0);
    for &(field_bytes, meaning) in FIELDS {
        let field = &bytes[at..at + field_bytes];
        let hex: Vec<String> = field.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{at:>3}: {:<23}  {meaning}", hex.join(" "));
        writeln!(text, "{}", line.trim_end()).unwrap();
        at += field_bytes;
    }
    assert_eq!(at, bytes.len(), "every byte is explained");
    text.push_str("```\n");
    text
}

#[test]
fn the_example_is_what_the_encoder_writes() {
    let example = example();
    assert!(DOCUMENT.ends_with(&example), "the example should be:\n\n{example}");
}

#[test]
fn numbers_of_the_document_are_those_of_the_code() {
    let contains = |text: &str| assert!(DOCUMENT.contains(text), "missing: {text}");
    contains(&format!("files, format {FORMAT_VERSION}"));
    contains(&format!("A *block* is {BLOCK_BYTES} bytes"));
    contains(&format!("at byte `{ANCHOR_BYTES} + p mod area`"));
    contains(&format!("a header of {FRAME_HEADER_BYTES} bytes"));
    contains(&format!("At most {} MiB", FRAME_BYTES_MAX >> 20));
    contains(&format!("at most {INDEX_ENTRIES_MAX} |"));
    contains(&format!("| {APPEND_BYTES} | | inline data"));
    contains(&format!("| {SNAPSHOT_BYTES} | | sealed segments, oldest first, {SEALED_BYTES}"));
    assert_eq!(LEASE_OFFSETS, 1 << 20, "A lease grants 2^20 offsets");
    contains("A lease grants 2^20 offsets");
}
