//! What goes into a builder comes out of a validated batch, whatever it is.

#![expect(clippy::expect_used, reason = "the functions below fail a test by panicking")]

use plimsoll_batch::{
    Batch, BatchBuilder, BatchHeader, BatchLimits, Batches, BuildError, Codec, HEADER_BYTES,
    Header, Offset, ProducerStamp, Records, assign, batch_length_bytes,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

type Bytes = Option<Vec<u8>>;

#[derive(Clone, Debug)]
struct Sample {
    timestamp_ms: i64,
    key: Bytes,
    value: Bytes,
    headers: Vec<(Vec<u8>, Bytes)>,
}

impl Sample {
    fn headers(&self) -> Vec<Header<'_>> {
        let pairs = self.headers.iter();
        pairs.map(|(name, value)| Header { name, value: value.as_deref() }).collect()
    }

    fn append_to(&self, builder: &mut BatchBuilder) -> Result<(), BuildError> {
        let (key, value) = (self.key.as_deref(), self.value.as_deref());
        builder.append(self.timestamp_ms, key, value, &self.headers())
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..200)
}

fn sample() -> impl Strategy<Value = Sample> {
    let headers = vec((bytes(), option::of(bytes())), 0..4);
    // Half the range, so that the difference of two of them exists.
    let timestamp_ms = i64::MIN / 2..i64::MAX / 2;
    (timestamp_ms, option::of(bytes()), option::of(bytes()), headers).prop_map(
        |(timestamp_ms, key, value, headers)| Sample { timestamp_ms, key, value, headers },
    )
}

fn built(samples: &[Sample]) -> Vec<u8> {
    let (mut builder, mut out) = (BatchBuilder::new(), Vec::new());
    for sample in samples {
        assert_eq!(sample.append_to(&mut builder), Ok(()));
    }
    builder.finish_into(&mut out);
    out
}

fn assert_same(records: Records<'_>, samples: &[Sample], base_offset: u64) {
    let records: Vec<_> = records.collect::<Result<_, _>>().expect("records that decode");
    assert_eq!(records.len(), samples.len());
    for (index, (record, sample)) in records.into_iter().zip(samples).enumerate() {
        assert_eq!(record.offset.value(), base_offset + index as u64);
        assert_eq!(record.timestamp_ms, sample.timestamp_ms);
        assert_eq!(record.key, sample.key.as_deref());
        assert_eq!(record.value, sample.value.as_deref());
        assert_eq!(record.headers.len(), sample.headers.len());
        assert_eq!(record.headers.collect::<Vec<_>>(), sample.headers());
    }
}

proptest! {
    #[test]
    fn records_come_back_as_they_were_appended(
        samples in vec(sample(), 1..20),
        base_offset in 0..i64::MAX as u64 - 20,
        leader_epoch in any::<u32>(),
    ) {
        let mut bytes = built(&samples);
        assign(&mut bytes, Offset::new(base_offset), leader_epoch);
        let batch = Batch::validate(&bytes, &BatchLimits::default()).expect("a valid batch");
        let header = batch.header();
        prop_assert_eq!(header.leader_epoch, leader_epoch);
        prop_assert_eq!(header.record_count() as usize, samples.len());
        prop_assert_eq!(header.next_offset().value(), base_offset + samples.len() as u64);
        let max_timestamp_ms = samples.iter().map(|sample| sample.timestamp_ms).max();
        prop_assert_eq!(Some(header.max_timestamp_ms), max_timestamp_ms);
        prop_assert_eq!(batch_length_bytes(&bytes[..12]), Some(Ok(bytes.len())));
        assert_same(batch.records().unwrap(), &samples, base_offset);
    }

    #[test]
    fn a_reused_builder_writes_the_same_bytes_as_a_new_one(
        before in vec(sample(), 0..5),
        samples in vec(sample(), 1..5),
    ) {
        let mut builder = BatchBuilder::new();
        builder.set_producer(ProducerStamp { id: 7, epoch: 7, base_sequence: 7 });
        for sample in &before {
            sample.append_to(&mut builder).unwrap();
        }
        builder.clear();
        let mut out = b"what was there before".to_vec();
        let start = out.len();
        for sample in &samples {
            sample.append_to(&mut builder).unwrap();
        }
        builder.finish_into(&mut out);
        prop_assert!(builder.is_empty());
        prop_assert_eq!(&out[start..], built(&samples));
    }

    #[test]
    fn batches_laid_end_to_end_are_walked_in_order(
        parts in vec(vec(sample(), 1..4), 0..6),
    ) {
        let all: Vec<u8> = parts.iter().flat_map(|samples| built(samples)).collect();
        let mut batches = Batches::new(&all);
        let mut position = 0;
        for samples in &parts {
            prop_assert_eq!(batches.position(), position);
            let batch = batches.next().expect("one more batch").expect("a valid batch");
            assert_same(batch.records().unwrap(), samples, 0);
            position += batch.bytes().len();
        }
        prop_assert_eq!(batches.next(), None);
        prop_assert_eq!(batches.position(), all.len());
    }

    #[test]
    fn no_batch_passes_the_limit_and_no_record_that_fits_is_refused(
        samples in vec(sample(), 1..20),
        batch_bytes_max in HEADER_BYTES..2_000,
    ) {
        let limits = BatchLimits { batch_bytes_max };
        let (mut builder, mut out) = (BatchBuilder::with_limit(batch_bytes_max), Vec::new());
        let mut appended = 0;
        for sample in &samples {
            let before = builder.length_bytes();
            let mut outcome = sample.append_to(&mut builder);
            if let Err(BuildError::Full { length_bytes, .. }) = outcome {
                prop_assert!(length_bytes > batch_bytes_max);
                prop_assert_eq!(builder.length_bytes(), before);
                builder.finish_into(&mut out);
                outcome = sample.append_to(&mut builder);
            }
            let alone_bytes = built(std::slice::from_ref(sample)).len();
            let record_bytes = alone_bytes - HEADER_BYTES;
            let too_large = BuildError::RecordTooLarge { record_bytes, batch_bytes_max };
            if alone_bytes > batch_bytes_max && builder.is_empty() {
                prop_assert_eq!(outcome, Err(too_large));
            } else {
                prop_assert_eq!(outcome, Ok(()));
                appended += 1;
            }
        }
        if !builder.is_empty() {
            builder.finish_into(&mut out);
        }
        let mut found = 0;
        for batch in Batches::new(&out) {
            let batch = batch.expect("a valid batch");
            prop_assert!(Batch::validate(batch.bytes(), &limits).is_ok());
            found += batch.records().unwrap().count();
        }
        prop_assert_eq!(found, appended);
    }
}

#[test]
fn a_compressed_batch_carries_the_payload_and_the_codec() {
    let (mut builder, mut out) = (BatchBuilder::new(), Vec::new());
    builder.append(5, None, Some(&[b'x'; 100]), &[]).unwrap();
    let payload = builder.records_payload().to_vec();
    let used = builder.finish_compressed_into(Codec::Zstd, b"stands for zstd", &mut out);
    let batch = Batch::validate(&out, &BatchLimits::default()).unwrap();
    assert_eq!((used, batch.codec()), (Codec::Zstd, Codec::Zstd));
    assert_eq!(batch.records_payload(), b"stands for zstd");
    let values: Vec<_> =
        Records::over(batch.header(), &payload).map(|record| record.unwrap().value).collect();
    assert_eq!(values, [Some(&[b'x'; 100][..])]);
}

#[test]
fn compression_that_gains_nothing_is_left_out() {
    let (mut builder, mut out) = (BatchBuilder::new(), Vec::new());
    builder.append(5, None, Some(b"short"), &[]).unwrap();
    let (length_bytes, no_gain) = (builder.length_bytes(), builder.records_payload().to_vec());
    assert_eq!(builder.finish_compressed_into(Codec::Lz4, &no_gain, &mut out), Codec::None);
    assert_eq!(out.len(), length_bytes);
    let batch = Batch::validate(&out, &BatchLimits::default()).unwrap();
    assert_eq!(batch.records().unwrap().count(), 1);
}

#[test]
fn a_producers_sequence_is_written_once_and_then_forgotten() {
    let (mut builder, mut out) = (BatchBuilder::new(), Vec::new());
    builder.set_producer(ProducerStamp { id: 4_000, epoch: 3, base_sequence: 70 });
    for _ in 0..2 {
        builder.append(0, None, None, &[]).unwrap();
        builder.finish_into(&mut out);
    }
    let producers: Vec<_> = Batches::new(&out)
        .map(|batch| *batch.unwrap().header())
        .map(|header: BatchHeader| {
            (header.producer_id, header.producer_epoch, header.base_sequence)
        })
        .collect();
    assert_eq!(producers, [(4_000, 3, 70), (-1, -1, -1)]);
}

#[test]
fn a_timestamp_too_far_from_the_first_waits_for_the_next_batch() {
    let (mut builder, mut out) = (BatchBuilder::new(), Vec::new());
    builder.append(i64::MIN, None, None, &[]).unwrap();
    let refused = builder.append(1, None, None, &[]);
    let expected = BuildError::Timestamp { timestamp_ms: 1, base_timestamp_ms: i64::MIN };
    assert_eq!((refused, builder.record_count()), (Err(expected), 1));
    builder.finish_into(&mut out);
    assert_eq!(builder.append(1, None, None, &[]), Ok(()));
}

#[test]
#[should_panic(expected = "without records")]
fn finishing_an_empty_builder_is_a_mistake_of_the_caller() {
    BatchBuilder::new().finish_into(&mut Vec::new());
}
