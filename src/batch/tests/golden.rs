//! The bytes of another implementation of the format: see `tests/golden/generate.py`.
//!
//! An encoder and a decoder that share a mistake agree with each other. These files were written
//! and checked by two libraries that are not ours, so they settle what the format is.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the functions below fail a test by panicking"
)]

use plimsoll_batch::{
    Batch, BatchBuilder, BatchError, BatchHeader, BatchLimits, Codec, Header, LEADER_EPOCH_NONE,
    Offset, ProducerStamp, RecordError,
};
use std::path::PathBuf;
use std::{fs, iter};

/// Every file of the folder, so that a lost one is noticed.
const UNCOMPRESSED: [&str; 11] = [
    "single",
    "many",
    "null_key",
    "null_value",
    "empty_value",
    "headers",
    "unicode",
    "timestamps",
    "no_timestamp",
    "large_values",
    "idempotent",
];
const COMPRESSED: [&str; 5] = ["gzip", "snappy", "lz4", "zstd", "lz4_idempotent"];
const REFUSED: [&str; 1] = ["transactional"];

#[test]
fn every_golden_file_is_named_by_a_test() {
    let folder = fs::read_dir(folder()).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".bin").map(String::from)).collect();
    let mut named = [&UNCOMPRESSED[..], &COMPRESSED, &REFUSED].concat();
    found.sort();
    named.sort_unstable();
    assert_eq!(found, named);
}

#[test]
fn uncompressed_batches_decode_to_the_listed_records() {
    for name in UNCOMPRESSED {
        let golden = Golden::read(name);
        let batch = golden.validated();
        assert_eq!(batch.codec(), Codec::None, "{name}");
        let mut records = batch.records().unwrap();
        for listed in &golden.records {
            let record = records.next().expect(name).expect(name);
            assert_eq!(record.offset, Offset::new(listed.offset), "{name}");
            assert_eq!(record.timestamp_ms, listed.timestamp_ms, "{name}");
            assert_eq!(record.key, listed.key.as_deref(), "{name}");
            assert_eq!(record.value, listed.value.as_deref(), "{name}");
            assert_eq!(record.headers.collect::<Vec<_>>(), listed.headers(), "{name}");
        }
        assert_eq!(records.next(), None, "{name}");
    }
}

#[test]
fn the_listed_records_encode_to_the_identical_bytes() {
    let mut builder = BatchBuilder::new();
    for name in UNCOMPRESSED {
        let golden = Golden::read(name);
        golden.append_to(&mut builder);
        assert_eq!(builder.length_bytes(), golden.bytes.len(), "{name}");
        let mut bytes = Vec::new();
        builder.finish_into(&mut bytes);
        assert!(bytes == golden.bytes, "{name} encodes to other bytes");
    }
}

#[test]
fn compressed_batches_validate_and_keep_their_records_for_the_consumer() {
    for name in COMPRESSED {
        let golden = Golden::read(name);
        let batch = golden.validated();
        assert_eq!(batch.codec(), golden.codec, "{name}");
        let codec = golden.codec;
        assert_eq!(batch.records().err(), Some(RecordError::Compressed { codec }), "{name}");
    }
}

#[test]
fn compressed_payloads_are_wrapped_into_the_identical_bytes() {
    let mut builder = BatchBuilder::new();
    for name in COMPRESSED {
        let golden = Golden::read(name);
        golden.append_to(&mut builder);
        let (payload, mut bytes) = (golden.validated().records_payload(), Vec::new());
        assert_eq!(builder.finish_compressed_into(golden.codec, payload, &mut bytes), golden.codec);
        assert!(bytes == golden.bytes, "{name} encodes to other bytes");
    }
}

#[test]
fn a_transactional_batch_is_refused_although_it_is_whole() {
    for name in REFUSED {
        let golden = Golden::read(name);
        let refused = Batch::validate(&golden.bytes, &BatchLimits::default());
        assert_eq!(refused, Err(BatchError::ControlOrTransactional));
    }
}

struct Golden {
    name: &'static str,
    bytes: Vec<u8>,
    codec: Codec,
    producer: (i64, i16, i32),
    records: Vec<Listed>,
}

impl Golden {
    fn read(name: &'static str) -> Golden {
        let bytes = fs::read(folder().join(name).with_extension("bin")).expect(name);
        let listing = fs::read_to_string(folder().join(name).with_extension("txt")).expect(name);
        let (mut codec, mut producer, mut records) = (Codec::None, (-1, -1, -1), Vec::new());
        for line in listing.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["#", ..] | ["transactional", _] => {}
                ["codec", named] => codec = codec_named(named),
                ["producer", id, epoch, sequence] => {
                    producer =
                        (id.parse().unwrap(), epoch.parse().unwrap(), sequence.parse().unwrap());
                }
                ["record", ref fields @ ..] => records.push(Listed::parse(fields)),
                _ => panic!("{name}: unknown line {line:?}"),
            }
        }
        Golden { name, bytes, codec, producer, records }
    }

    /// The batch, its header compared with the listing.
    fn validated(&self) -> Batch<'_> {
        let batch = Batch::validate(&self.bytes, &BatchLimits::default()).expect(self.name);
        let timestamps = self.records.iter().map(|record| record.timestamp_ms);
        let expected = BatchHeader {
            base_offset: Offset::ZERO,
            length_bytes: self.bytes.len(),
            leader_epoch: LEADER_EPOCH_NONE,
            crc: batch.header().crc,
            attributes: i16::from(self.codec.id()),
            last_offset_delta: self.records.len() as u32 - 1,
            base_timestamp_ms: self.records[0].timestamp_ms,
            max_timestamp_ms: timestamps.max().unwrap(),
            producer_id: self.producer.0,
            producer_epoch: self.producer.1,
            base_sequence: self.producer.2,
            record_count: self.records.len() as u32,
        };
        assert_eq!(*batch.header(), expected, "{}", self.name);
        batch
    }

    fn append_to(&self, builder: &mut BatchBuilder) {
        let (id, epoch, base_sequence) = self.producer;
        builder.set_producer(ProducerStamp { id, epoch, base_sequence });
        for record in &self.records {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            builder.append(record.timestamp_ms, key, value, &record.headers()).expect(self.name);
        }
    }
}

struct Listed {
    offset: u64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Listed {
    fn parse(fields: &[&str]) -> Listed {
        let [offset, timestamp_ms, key, value, headers @ ..] = fields else {
            panic!("a record without all of its fields: {fields:?}");
        };
        let headers = headers.iter().map(|header| {
            let (name, value) = header.split_once('=').expect("a header's value");
            (bytes_listed(name).expect("a header's name"), bytes_listed(value))
        });
        Listed {
            offset: offset.parse().unwrap(),
            timestamp_ms: timestamp_ms.parse().unwrap(),
            key: bytes_listed(key),
            value: bytes_listed(value),
            headers: headers.collect(),
        }
    }

    fn headers(&self) -> Vec<Header<'_>> {
        let pairs = self.headers.iter();
        pairs.map(|(name, value)| Header { name, value: value.as_deref() }).collect()
    }
}

fn bytes_listed(field: &str) -> Option<Vec<u8>> {
    match field.split(':').collect::<Vec<_>>()[..] {
        ["null"] => None,
        ["hex", digits] => Some(unhex(digits)),
        ["repeat", count, digits] => {
            Some(iter::repeat_n(unhex(digits), count.parse().unwrap()).flatten().collect())
        }
        _ => panic!("not a listing of bytes: {field:?}"),
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "half a byte in {digits:?}");
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|start| u8::from_str_radix(&digits[start..start + 2], 16).unwrap()).collect()
}

fn codec_named(name: &str) -> Codec {
    let all = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    all.into_iter().find(|codec| codec.name() == name).expect(name)
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden"))
}
