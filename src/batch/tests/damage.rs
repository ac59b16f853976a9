//! Damaged, hostile and random bytes: each ends in a typed error, none in a panic or in records.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the functions below fail a test by panicking"
)]

use plimsoll_batch::{
    BATCH_BYTES_MAX, Batch, BatchBuilder, BatchError, BatchHeader, BatchLimits, Batches,
    HEADER_BYTES, Header, Offset, PREFIX_BYTES, RecordError, Records, assign, batch_length_bytes,
};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

const LIMITS: BatchLimits = BatchLimits { batch_bytes_max: BATCH_BYTES_MAX };

/// A valid batch with a bit of everything, at offset 1000.
fn valid() -> Vec<u8> {
    let (mut builder, mut out) = (BatchBuilder::new(), Vec::new());
    let headers = [Header::new("trace", b"abc"), Header { name: b"nothing", value: None }];
    builder.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &headers).unwrap();
    builder.append(1_700_000_000_100, None, Some(&[7; 80]), &[]).unwrap();
    builder.append(1_699_999_999_000, Some(b""), None, &[]).unwrap();
    builder.finish_into(&mut out);
    assign(&mut out, Offset::new(1_000), 3);
    out
}

/// A valid batch with `patch` written over it at `position`, and the CRC made good again.
fn patched(position: usize, patch: &[u8]) -> Vec<u8> {
    let mut bytes = valid();
    bytes[position..position + patch.len()].copy_from_slice(patch);
    with_good_crc(bytes)
}

fn with_good_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[PREFIX_BYTES..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn refusal(bytes: &[u8]) -> BatchError {
    Batch::validate(bytes, &LIMITS).expect_err("bytes that are no batch")
}

#[test]
fn any_single_flipped_bit_under_the_crc_is_detected() {
    let mut bytes = valid();
    for position in PREFIX_BYTES..bytes.len() {
        for bit in 0..8 {
            bytes[position] ^= 1 << bit;
            assert!(Batch::validate(&bytes, &LIMITS).is_err(), "byte {position}, bit {bit}");
            assert!(Batches::new(&bytes).all(|batch| batch.is_err()));
            bytes[position] ^= 1 << bit;
        }
    }
    assert!(Batch::validate(&bytes, &LIMITS).is_ok());
}

#[test]
fn any_single_flipped_bit_of_length_magic_or_crc_is_detected() {
    let mut bytes = valid();
    for position in (8..12).chain(16..PREFIX_BYTES) {
        for bit in 0..8 {
            bytes[position] ^= 1 << bit;
            assert!(Batch::validate(&bytes, &LIMITS).is_err(), "byte {position}, bit {bit}");
            assert!(Batches::new(&bytes).all(|batch| batch.is_err()));
            bytes[position] ^= 1 << bit;
        }
    }
}

#[test]
fn every_cut_of_a_batch_is_too_short() {
    let bytes = valid();
    for available in 0..bytes.len() {
        let needed = if available < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
        assert_eq!(refusal(&bytes[..available]), BatchError::TooShort { needed, available });
    }
}

#[test]
fn bytes_after_the_batch_are_refused_not_dropped() {
    let mut bytes = valid();
    let length_bytes = bytes.len();
    bytes.extend(valid());
    let available = bytes.len();
    assert_eq!(refusal(&bytes), BatchError::Trailing { length_bytes, available });
    let first = Batch::validate_first(&bytes, &LIMITS).unwrap();
    assert_eq!(first.bytes(), &bytes[..length_bytes]);
}

#[test]
fn a_length_that_cannot_be_is_refused_as_soon_as_it_is_read() {
    for length in [i32::MIN, -1, 0, 48] {
        let bytes = patched(8, &length.to_be_bytes());
        assert_eq!(refusal(&bytes), BatchError::Length { length });
        assert_eq!(batch_length_bytes(&bytes[..12]), Some(Err(BatchError::Length { length })));
    }
    let bytes = patched(8, &i32::MAX.to_be_bytes());
    let length_bytes = i32::MAX as usize + 12;
    let too_large = BatchError::TooLarge { length_bytes, batch_bytes_max: BATCH_BYTES_MAX };
    assert_eq!(batch_length_bytes(&bytes), Some(Err(too_large)));
    assert_eq!(refusal(&bytes), too_large);
    assert_eq!(batch_length_bytes(&bytes[..11]), None);
}

#[test]
fn a_batch_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    let bytes = valid();
    let length_bytes = bytes.len();
    assert!(Batch::validate(&bytes, &BatchLimits { batch_bytes_max: length_bytes }).is_ok());
    let batch_bytes_max = length_bytes - 1;
    let refused = Batch::validate(&bytes, &BatchLimits { batch_bytes_max });
    assert_eq!(refused, Err(BatchError::TooLarge { length_bytes, batch_bytes_max }));
}

#[test]
fn each_lie_in_a_header_has_its_own_error() {
    assert_eq!(refusal(&patched(16, &[1])), BatchError::Magic { magic: 1 });
    assert_eq!(refusal(&patched(21, &[0, 5])), BatchError::Codec { id: 5 });
    assert_eq!(refusal(&patched(21, &[0, 0x10])), BatchError::ControlOrTransactional);
    assert_eq!(refusal(&patched(21, &[0, 0x20])), BatchError::ControlOrTransactional);
    assert_eq!(refusal(&patched(57, &[0; 4])), BatchError::Empty);
    for (last_offset_delta, record_count) in [(2, 4), (2, -1), (-1, 3), (i32::MAX, i32::MIN)] {
        let counts = patched(23, &last_offset_delta.to_be_bytes());
        let mut bytes = counts;
        bytes[57..61].copy_from_slice(&record_count.to_be_bytes());
        let expected = BatchError::Count { record_count, last_offset_delta };
        assert_eq!(refusal(&with_good_crc(bytes)), expected);
    }
    let stored = u32::from_be_bytes([1, 2, 3, 4]);
    let computed = crc32c::crc32c(&valid()[PREFIX_BYTES..]);
    let mut bytes = valid();
    bytes[17..21].copy_from_slice(&stored.to_be_bytes());
    assert_eq!(refusal(&bytes), BatchError::Crc { stored, computed });
}

#[test]
fn a_base_offset_without_room_for_the_records_is_refused() {
    // Three records: the offset after the batch must exist as well.
    let last = i64::MAX - 3;
    let fits = patched(0, &last.to_be_bytes());
    let batch = Batch::validate(&fits, &LIMITS).unwrap();
    assert_eq!(batch.header().next_offset(), Offset::MAX);
    for base_offset in [-1, i64::MIN, last + 1, i64::MAX] {
        let bytes = patched(0, &base_offset.to_be_bytes());
        assert_eq!(refusal(&bytes), BatchError::Offset { base_offset });
    }
}

#[test]
fn assigning_changes_offset_and_epoch_and_nothing_else() {
    let (before, mut bytes) = (valid(), valid());
    assign(&mut bytes, Offset::MAX, 0x0102_0304);
    assert_eq!(bytes[..8], i64::MAX.to_be_bytes());
    assert_eq!(bytes[12..16], [1, 2, 3, 4]);
    assert_eq!((&bytes[8..12], &bytes[16..]), (&before[8..12], &before[16..]));
}

#[test]
#[should_panic(expected = "beyond Offset::MAX")]
fn assigning_an_offset_that_the_format_cannot_carry_is_a_mistake_of_the_caller() {
    assign(&mut valid(), Offset::new(1 << 63), 0);
}

#[test]
fn a_walk_over_batches_stops_at_the_damaged_one_and_says_where() {
    let mut bytes = [valid(), valid(), valid()].concat();
    let length_bytes = valid().len();
    bytes[length_bytes + 70] ^= 1;
    let mut batches = Batches::new(&bytes);
    assert!(matches!(batches.next(), Some(Ok(_))));
    assert!(matches!(batches.next(), Some(Err(BatchError::Crc { .. }))));
    assert_eq!(batches.position(), length_bytes);
    assert_eq!(batches.next(), None);
}

/// Decodes `payload` as the records of a batch of `record_count`, up to the first error.
fn record_error(record_count: u32, payload: &[u8]) -> Option<RecordError> {
    let header = header_of(record_count);
    Records::over(&header, payload).find_map(Result::err)
}

fn header_of(record_count: u32) -> BatchHeader {
    let mut header = BatchHeader::decode(&valid()).unwrap();
    (header.record_count, header.last_offset_delta) = (record_count, record_count - 1);
    header
}

/// A record with null key and value and no headers: length 6, attributes, deltas 0 and 0.
const SMALLEST: [u8; 7] = [12, 0, 0, 0, 1, 1, 0];

#[test]
fn a_count_that_the_payload_does_not_hold_is_a_record_error() {
    assert_eq!(record_error(1, &SMALLEST), None);
    let missing = RecordError::Count { record_count: 2, decoded: 1 };
    assert_eq!(record_error(2, &SMALLEST), Some(missing));
    let left_over = RecordError::Count { record_count: 1, decoded: 1 };
    assert_eq!(record_error(1, &[SMALLEST, SMALLEST].concat()), Some(left_over));
}

#[test]
fn each_lie_in_a_record_has_its_own_error_and_place() {
    let cases: [(&[u8], RecordError); 9] = [
        (&[14, 0, 0, 0, 1, 1, 0], RecordError::Truncated { position: 1 }),
        (&[1, 0, 0, 0, 1, 1, 0], RecordError::Length { position: 1, length: -1 }),
        (&[14, 0, 0, 0, 1, 1, 0, 9], RecordError::Trailing { position: 7 }),
        (&[12, 0, 0, 2, 1, 1, 0], RecordError::OffsetDelta { expected: 0, found: 1 }),
        (&[12, 0, 0, 0, 3, 1, 0], RecordError::Length { position: 5, length: -2 }),
        (&[12, 0, 0, 0, 8, 1, 0], RecordError::Truncated { position: 5 }),
        (&[12, 0, 0, 0, 1, 1, 2], RecordError::Truncated { position: 7 }),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], RecordError::Length { position: 8, length: -1 }),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 1], RecordError::Varint { position: 0 }),
    ];
    for (payload, expected) in cases {
        assert_eq!(record_error(1, payload), Some(expected), "{payload:?}");
    }
}

#[test]
fn a_walk_over_records_ends_after_its_first_error() {
    let header = header_of(2);
    let payload = [SMALLEST, SMALLEST].concat();
    let mut records = Records::over(&header, &payload);
    assert!(matches!(records.next(), Some(Ok(_))));
    let repeated = RecordError::OffsetDelta { expected: 1, found: 0 };
    assert_eq!(records.next(), Some(Err(repeated)));
    assert_eq!(records.next(), None);
}

#[test]
fn a_server_timestamp_replaces_those_of_the_records() {
    let bytes = patched(21, &[0, 0x08]);
    let batch = Batch::validate(&bytes, &LIMITS).unwrap();
    let max = batch.header().max_timestamp_ms;
    assert!(batch.records().unwrap().all(|record| record.unwrap().timestamp_ms == max));
}

#[test]
fn a_header_name_that_is_not_text_is_still_readable() {
    let (mut builder, mut out) = (BatchBuilder::new(), Vec::new());
    builder.append(0, None, None, &[Header { name: b"\xff", value: None }]).unwrap();
    builder.finish_into(&mut out);
    let batch = Batch::validate(&out, &LIMITS).unwrap();
    let mut headers = batch.records().unwrap().next().unwrap().unwrap().headers;
    let header = headers.next().unwrap();
    assert_eq!((header.name, header.name_str()), (&b"\xff"[..], None));
}

proptest! {
    #[test]
    fn random_bytes_are_never_a_batch_and_never_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(Batch::validate(&bytes, &LIMITS).is_err());
        prop_assert!(Batches::new(&bytes).count() <= 1);
        prop_assert_eq!(batch_length_bytes(&bytes).is_some(), bytes.len() >= 12);
    }

    #[test]
    fn random_headers_that_decode_keep_their_promises(
        mut bytes in vec(any::<u8>(), HEADER_BYTES),
        counts in 0..i32::MAX,
        length in 49..BATCH_BYTES_MAX as i32 - 12,
    ) {
        bytes[0] &= 0x7f;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&counts.to_be_bytes());
        bytes[57..61].copy_from_slice(&(counts + 1).to_be_bytes());
        if let Ok(header) = BatchHeader::decode(&bytes) {
            prop_assert_eq!(header.length_bytes, length as usize + 12);
            let records = header.next_offset().distance_from(header.base_offset);
            prop_assert_eq!(records, Some(u64::from(header.record_count())));
        }
    }

    #[test]
    fn random_payloads_under_a_good_crc_decode_or_fail_without_a_panic(
        payload in vec(any::<u8>(), 0..200),
        record_count in 1..5_u32,
    ) {
        let mut bytes = valid();
        bytes.truncate(HEADER_BYTES);
        bytes.extend(&payload);
        let length = (bytes.len() - 12) as u32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[23..27].copy_from_slice(&(record_count - 1).to_be_bytes());
        bytes[57..61].copy_from_slice(&record_count.to_be_bytes());
        let bytes = with_good_crc(bytes);
        let batch = Batch::validate(&bytes, &LIMITS).unwrap();
        let records: Vec<_> = batch.records().unwrap().collect();
        let good = records.iter().filter(|record| record.is_ok()).count();
        prop_assert!(good <= record_count as usize);
        prop_assert!(good == record_count as usize || records.last().unwrap().is_err());
        for record in records.into_iter().flatten() {
            let promised = record.headers.len();
            prop_assert_eq!(record.headers.count(), promised);
        }
    }

    #[test]
    fn records_with_flipped_bytes_decode_or_fail_without_a_panic(
        flips in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = valid();
        for (index, mask) in flips {
            let position = HEADER_BYTES + index.index(bytes.len() - HEADER_BYTES);
            bytes[position] ^= mask;
        }
        let bytes = with_good_crc(bytes);
        let batch = Batch::validate(&bytes, &LIMITS).unwrap();
        let outcomes: Vec<_> = batch.records().unwrap().collect();
        let whole = outcomes.len() == 3 && outcomes.iter().all(Result::is_ok);
        prop_assert!(whole || outcomes.last().is_some_and(Result::is_err));
    }
}
