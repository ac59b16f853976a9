//! What a frame takes when there is hardly room left in it.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::{Batch, BatchBuilder, BatchLimits};
use plimsoll_device::{BLOCK_BYTES, DiskAction, DiskCompletion, DiskOp, DiskResult, Instant, Now};
use plimsoll_sim::heap_arena;

use super::*;
use crate::entry::{Entries, Entry};
use crate::journal::Journal;
use crate::limits::ARENA_BYTES_MIN;
use crate::partition::SegmentFile;
use crate::{DataDirId, Level, PartitionConfig, Retention, StorageConfig};

const NOW: Now = Now { monotonic: Instant::ORIGIN, unix_ms: 0 };
const JOURNAL_BYTES: u64 = 8 << 20;

/// A machine that does everything at once, until nothing more is asked for.
fn run(storage: &mut Storage) {
    while let Some(DiskOp { token, action }) = storage.poll_op() {
        let result = match action {
            DiskAction::Open { .. } => DiskResult::Opened(Ok(JOURNAL_BYTES)),
            DiskAction::Write { source, .. } => {
                let length_bytes = source.length_bytes();
                DiskResult::Written(source, Ok(length_bytes))
            }
            _ => DiskResult::Done(Ok(())),
        };
        storage.handle(DiskCompletion { token, result }, NOW);
    }
}

/// A batch of exactly so many bytes.
fn batch_of(length_bytes: usize) -> Vec<u8> {
    let lengths = (length_bytes - 100..length_bytes).map(|value_bytes| {
        let (mut builder, mut batch) = (BatchBuilder::new(), Vec::new());
        builder.append(0, None, Some(&vec![7; value_bytes]), &[]).unwrap();
        builder.finish_into(&mut batch);
        batch
    });
    lengths.into_iter().find(|batch| batch.len() == length_bytes).unwrap()
}

/// A partition that takes data.
fn opened() -> (Storage, Slot) {
    let config = StorageConfig {
        data_dir: DataDirId([1; 16]),
        epoch: 1,
        boot_id: [1; 16],
        durable_writes: false,
        journal: Journal::empty(0, JOURNAL_BYTES),
        journal_damage: None,
        other_damage: None,
        recycled_segments_max: 0,
        recovered: BTreeMap::new(),
    };
    let mut storage = Storage::new(config, heap_arena(ARENA_BYTES_MIN));
    let settings = PartitionConfig {
        segment_bytes: 1 << 20,
        batch_bytes_max: 1 << 20,
        flush_interval: Duration::from_millis(100),
        retention: Retention::UNLIMITED,
        compaction: None,
    };
    let slot = storage.open_partition(PartitionId { topic: 1, partition: 0 }, settings);
    storage.finish_opening(NOW);
    run(&mut storage);
    storage.all_seeded();
    (storage, slot)
}

/// With whole blocks only, which an extent stores, so that nothing of it goes inline.
fn with_whole_blocks() -> (Storage, Slot) {
    let (mut storage, slot) = opened();
    let bytes = batch_of(32 * BLOCK_BYTES);
    let batch = Batch::validate(&bytes, &BatchLimits::default()).unwrap();
    storage.append(slot, &batch, Level::Memory, NOW).unwrap();
    let blocks = SegmentFile { segment: Offset::ZERO, exists: true, allocated: 1 << 20 };
    storage.partition_mut(slot).files.push(blocks);
    storage.partition_mut(slot).lease_planned = Offset::MAX;
    (storage, slot)
}

fn draft_with_room(storage: &mut Storage, room: usize) -> FrameDraft {
    let mut draft = FrameDraft::new(storage.frame_runs.pop().unwrap());
    draft.body_bytes = FRAME_BYTES_MAX - FRAME_HEADER_BYTES - room;
    assert_eq!(draft.room(), room);
    draft
}

/// An entry without inline data was planned into a frame that had no room for its head: the shard's
/// thread ended with an assertion.
#[test]
fn a_nearly_full_frame_takes_no_span_whose_entry_does_not_fit() {
    for room in [0, 8, APPEND_BYTES - 8, APPEND_BYTES] {
        let (mut storage, slot) = with_whole_blocks();
        let mut draft = draft_with_room(&mut storage, room);
        assert!(!storage.plan_partition(slot, &mut draft), "{room} bytes are too few");
        assert!(draft.effects.is_empty() && draft.extents.is_empty() && draft.room() == room);
    }
    let (mut storage, slot) = with_whole_blocks();
    let mut draft = draft_with_room(&mut storage, APPEND_BYTES + 8);
    assert!(storage.plan_partition(slot, &mut draft), "an entry and its padding are enough");
    assert_eq!((draft.extents.len(), draft.room()), (1, 8));
}

/// A span's last bytes were carried on to the next one before they were logged. The next span took
/// them for logged, a snapshot copied them too, and behind its tail stands when data was written:
/// the partition's last segment was then of a year that never comes, and no retention took it.
#[test]
fn a_snapshot_takes_of_carried_bytes_only_those_that_are_logged() {
    let (mut storage, slot) = opened();
    let append = |storage: &mut Storage, bytes: usize, level: Level| {
        let bytes = batch_of(bytes);
        let batch = Batch::validate(&bytes, &BatchLimits::default()).unwrap();
        storage.append(slot, &batch, level, NOW).unwrap();
    };
    append(&mut storage, 1000, Level::Disk);
    run(&mut storage);
    append(&mut storage, 1500, Level::Memory);
    append(&mut storage, 8000, Level::Memory);
    let last = *storage.partition(slot).spans.back().unwrap();
    assert_eq!(storage.memory.span(last).carried, 2500, "the first span has no room for 8000 more");

    let mut draft = FrameDraft::new(storage.frame_runs.pop().unwrap());
    let body = storage.body_range(&draft, draft.room());
    assert!(storage.put_snapshot(slot, &mut draft));
    let bytes = &storage.memory.arena().bytes(body)[..draft.body_bytes];
    let Some(Ok(Entry::Snapshot(snapshot))) = Entries::new(bytes).next() else {
        panic!("no snapshot: {bytes:?}");
    };
    assert_eq!((snapshot.end, snapshot.tail.len()), (1000, 1000));
    assert_eq!(snapshot.active_written(), storage.partition(slot).active_written);
}
