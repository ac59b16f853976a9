//! The log's own work: taking a batch in, and planning the frame of a commit.
//!
//! The machine below completes every operation at once and does nothing, and it works off the
//! clock: only `append`, or only the `poll_op` calls that plan, are timed. What a newcomer gets
//! wrong: no byte reaches a disk here; the table of limits measures that.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use plimsoll_batch::{Batch, BatchBuilder, BatchLimits};
use plimsoll_device::{
    Arena, Buffer, DiskAction, DiskCompletion, DiskOp, DiskResult, Instant as DeviceInstant, Now,
};
use plimsoll_storage::{
    DataDirId, Journal, Level, Notice, PartitionConfig, PartitionId, Retention, Slot, Storage,
    StorageConfig,
};

const NOW: Now = Now { monotonic: DeviceInstant::ORIGIN, unix_ms: 0 };
const ARENA_BYTES: usize = 64 << 20;
const JOURNAL_BYTES: u64 = 128 << 20;
/// Appended before the commits that make room are carried out.
const ROUND_BYTES: usize = 8 << 20;

/// `Storage::append` into one partition: offset, copy into the arena, publish, index, schedule.
pub(crate) fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for (name, batch_bytes) in [("100B", 100), ("10KB", 10_000), ("64KB", 64_000)] {
        let bytes = batch_of(batch_bytes);
        let Ok(batch) = Batch::validate(&bytes, &BatchLimits::default()) else { continue };
        let mut log = Log::new(1);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    let round = left.min((ROUND_BYTES / bytes.len()) as u64);
                    spent += log.append(0, black_box(&batch), round);
                    log.settle();
                    left -= round;
                }
                spent
            });
        });
    }
    group.finish();
}

/// A turn in which each partition got one batch of 100 bytes: `poll_op` plans the frame, fills and
/// seals it. A second is so many partitions' share of a commit.
pub(crate) fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit planning");
    let bytes = batch_of(100);
    let Ok(batch) = Batch::validate(&bytes, &BatchLimits::default()) else { return };
    for partitions in [1, 64, 1024] {
        let mut log = Log::new(partitions);
        group.throughput(Throughput::Elements(partitions as u64));
        group.bench_function(BenchmarkId::from_parameter(partitions), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    for partition in 0..partitions {
                        log.append(partition, &batch, 1);
                    }
                    spent += log.plan();
                    log.settle();
                }
                spent
            });
        });
    }
    group.finish();
}

/// One shard's log on a machine that does nothing.
struct Log {
    storage: Storage,
    slots: Vec<Slot>,
    ops: Vec<DiskOp>,
}

impl Log {
    fn new(partitions: usize) -> Self {
        let config = StorageConfig {
            data_dir: DataDirId([7; 16]),
            epoch: 1,
            boot_id: [1; 16],
            durable_writes: false,
            journal: Journal::empty(0, JOURNAL_BYTES),
            journal_damage: None,
            other_damage: None,
            recycled_segments_max: 0,
            recovered: Default::default(),
        };
        let mut storage = Storage::new(config, Arena::on_heap(Buffer::zeroed(ARENA_BYTES)));
        let settings = PartitionConfig {
            segment_bytes: 1 << 30,
            batch_bytes_max: 1 << 20,
            flush_interval: Duration::from_millis(100),
            retention: Retention::UNLIMITED,
            compaction: None,
        };
        let ids = (0..partitions as u32).map(|partition| PartitionId { topic: 1, partition });
        let slots = ids.map(|id| storage.open_partition(id, settings)).collect();
        storage.finish_opening(NOW);
        let mut log = Self { storage, slots, ops: Vec::with_capacity(4096) };
        log.settle();
        log.storage.all_seeded();
        log.settle();
        log
    }

    /// Appends so many times. To be told that there is no room begins the making of it, so that it
    /// is there for the next try.
    fn append(&mut self, partition: usize, batch: &Batch<'_>, times: u64) -> Duration {
        let slot = self.slots[partition];
        let (mut spent, mut left, mut refused) = (Duration::ZERO, times, false);
        while left > 0 {
            let begun = Instant::now();
            let full = (0..left).find_map(|taken| {
                let result = self.storage.append(slot, batch, Level::Disk, NOW);
                result.err().map(|error| (taken, error))
            });
            spent += begun.elapsed();
            let Some((taken, error)) = full else { break };
            assert!(taken > 0 || !refused, "there is no room: {error}");
            (left, refused) = (left - taken, true);
            self.settle();
        }
        spent
    }

    /// Takes what one turn wants of the machine.
    fn plan(&mut self) -> Duration {
        let commits = self.storage.counters().commits;
        let begun = Instant::now();
        while let Some(op) = self.storage.poll_op() {
            self.ops.push(op);
        }
        let spent = begun.elapsed();
        let writes = self.ops.iter().filter(|op| matches!(op.action, DiskAction::Write { .. }));
        assert!(writes.count() > 0, "a frame was planned");
        assert_eq!(self.storage.counters().commits, commits, "and nothing was carried out");
        spent
    }

    /// Carries everything out, to the last commit and move.
    fn settle(&mut self) {
        loop {
            while let Some(op) = self.storage.poll_op() {
                self.ops.push(op);
            }
            while let Some(notice) = self.storage.poll_notice() {
                assert!(!matches!(notice, Notice::Failed(_)), "{notice:?}");
            }
            if self.ops.is_empty() {
                return;
            }
            for op in std::mem::take(&mut self.ops) {
                self.storage.handle(completed(op), NOW);
            }
        }
    }
}

fn completed(op: DiskOp) -> DiskCompletion {
    let result = match op.action {
        DiskAction::Open { .. } => DiskResult::Opened(Ok(0)),
        DiskAction::Write { source, .. } => {
            let length = source.length_bytes();
            DiskResult::Written(source, Ok(length))
        }
        DiskAction::Read { target, .. } => {
            let length = target.length_bytes();
            DiskResult::Read(target, Ok(length))
        }
        DiskAction::List { .. } => DiskResult::Listed(Ok(Vec::new())),
        _ => DiskResult::Done(Ok(())),
    };
    DiskCompletion { token: op.token, result }
}

/// A batch of one record, of about so many bytes.
fn batch_of(batch_bytes: usize) -> Vec<u8> {
    let value = vec![7; batch_bytes.saturating_sub(75)];
    let mut builder = BatchBuilder::new();
    let mut out = Vec::new();
    if builder.append(1_700_000_000_000, None, Some(&value), &[]).is_ok() {
        builder.finish_into(&mut out);
    }
    out
}
