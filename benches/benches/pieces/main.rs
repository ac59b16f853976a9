//! `cargo bench -p plimsoll-benches --bench pieces`: the pieces of the hot path under criterion.
//!
//! What is measured is what happens once a batch or once a frame: building a batch, checking one,
//! reading its records, the checksum by itself, and a produce frame in and out (its batch is not
//! touched, so its size plays no part), each for a small batch (100 records of 100 bytes) and a
//! large one (64 records of 1000 bytes); then what the log does with a batch (`log.rs`).

mod log;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_batch::{Batch, BatchBuilder, BatchLimits, BuildError};
use plimsoll_wire::{
    AckLevel, CorrelationId, Decoded, Durability, DurabilityWanted, FRAME_BYTES_MAX, Handle,
    Request, decode_frame, encode_produce, encode_produce_head,
};

/// Records a batch, and bytes of each record's value.
const SHAPES: [(usize, usize); 2] = [(100, 100), (64, 1000)];

criterion_group! {
    name = pieces;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = batch, checksum, frame, log::append, log::commit
}
criterion_main!(pieces);

fn batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    for (records, value_bytes) in SHAPES {
        let id = format!("{records}x{value_bytes}B");
        let value = vec![7; value_bytes];
        let Ok(bytes) = build(&mut BatchBuilder::new(), records, &value) else { continue };
        group.throughput(Throughput::Bytes(bytes.len() as u64));

        let mut builder = BatchBuilder::new();
        group.bench_function(BenchmarkId::new("encode", &id), |bencher| {
            bencher.iter(|| build(&mut builder, records, black_box(&value)));
        });
        group.bench_function(BenchmarkId::new("validate", &id), |bencher| {
            bencher.iter(|| Batch::validate(black_box(&bytes), &BatchLimits::default()).is_ok());
        });
        let Ok(batch) = Batch::validate(&bytes, &BatchLimits::default()) else { continue };
        group.bench_function(BenchmarkId::new("decode", &id), |bencher| {
            bencher.iter(|| batch.records().map(|records| records.filter(Result::is_ok).count()));
        });
    }
    group.finish();
}

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for length_bytes in [128, 4 << 10, 64 << 10, 1 << 20] {
        let bytes = vec![7; length_bytes];
        group.throughput(Throughput::Bytes(length_bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(length_bytes), |bencher| {
            bencher.iter(|| crc32c::crc32c(black_box(&bytes)));
        });
    }
    group.finish();
}

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (records, value_bytes) in SHAPES {
        let id = format!("{records}x{value_bytes}B");
        let value = vec![7; value_bytes];
        let Ok(batch) = build(&mut BatchBuilder::new(), records, &value) else { continue };
        let (handle, correlation) = (Handle(1), CorrelationId(2));
        let durability = DurabilityWanted::Level(Durability::Disk);
        let also = Some(AckLevel::Memory);

        let mut out = Vec::with_capacity(FRAME_BYTES_MAX);
        group.bench_function(BenchmarkId::new("encode head", &id), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_produce_head(handle, durability, also, correlation, &batch, &mut out)
            });
        });
        let mut frame = Vec::new();
        if encode_produce(handle, durability, also, correlation, &batch, &mut frame).is_err() {
            continue;
        }
        group.bench_function(BenchmarkId::new("decode", &id), |bencher| {
            bencher.iter(|| match decode_frame(black_box(&frame), FRAME_BYTES_MAX) {
                Ok(Decoded::Frame(frame)) => Request::decode(&frame).is_ok(),
                _ => false,
            });
        });
    }
    group.finish();
}

fn build(builder: &mut BatchBuilder, records: usize, value: &[u8]) -> Result<Vec<u8>, BuildError> {
    for _ in 0..records {
        builder.append(1_700_000_000_000, None, Some(value), &[])?;
    }
    let mut out = Vec::with_capacity(builder.length_bytes());
    builder.finish_into(&mut out);
    Ok(out)
}
