//! What a frame takes when there is hardly room left in it.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::{Batch, BatchBuilder, BatchLimits};
use plimsoll_device::{BLOCK_BYTES, DiskAction, DiskCompletion, DiskOp, DiskResult, Instant, Now};
use plimsoll_sim::heap_arena;

use super::*;
use crate::compacted::Compacted;
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

/// A partition without data.
fn empty_partition() -> (Storage, Slot) {
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

fn append(storage: &mut Storage, slot: Slot, length_bytes: usize) {
    let bytes = batch_of(length_bytes);
    let batch = Batch::validate(&bytes, &BatchLimits::default()).unwrap();
    storage.append(slot, &batch, Level::Memory, NOW).unwrap();
}

/// A partition with whole blocks only, which an extent stores, so that nothing of it goes inline.
fn with_whole_blocks() -> (Storage, Slot) {
    let (mut storage, slot) = empty_partition();
    append(&mut storage, slot, 32 * BLOCK_BYTES);
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

/// A span of less than a block was closed, and the next one carried what was not logged yet: the
/// snapshot's tail was longer than the snapshot said, and lay over what stands behind it, which is
/// when data was written and which files compaction has made.
#[test]
fn a_snapshot_has_nothing_of_what_is_carried_and_not_logged_yet() {
    let (mut storage, slot) = empty_partition();
    storage.partition_mut(slot).lease_planned = Offset::MAX;
    append(&mut storage, slot, 600);
    let mut logs = FrameDraft::new(storage.frame_runs.pop().unwrap());
    assert!(storage.plan_partition(slot, &mut logs));
    append(&mut storage, slot, 1900);
    append(&mut storage, slot, 3000);
    let carried: Vec<u32> =
        storage.partition(slot).spans.iter().map(|id| storage.memory.span(*id).carried).collect();
    assert_eq!(carried, [0, 2500], "the second span carries what the first has not logged");

    let mut draft = FrameDraft::new(storage.frame_runs.pop().unwrap());
    let whole = storage.memory.range(draft.run, 0, narrow(FRAME_BYTES_MAX as u64));
    storage.memory.arena_mut().bytes_mut(whole).fill(0xEE);
    assert!(storage.put_snapshot(slot, &mut draft));
    let end = FRAME_HEADER_BYTES + draft.body_bytes;
    let frame = storage.memory.bytes(draft.run, 0, narrow(FRAME_BYTES_MAX as u64));
    assert!(frame[end..].iter().all(|byte| *byte == 0xEE), "nothing lies behind the snapshot");
    let entry = Entries::new(&frame[FRAME_HEADER_BYTES..end]).next().unwrap().unwrap();
    let Entry::Snapshot(snapshot) = entry else { panic!("{entry:?}") };
    assert_eq!((snapshot.end, snapshot.tail.len()), (600, 600));
    assert!(snapshot.tail[16..] == batch_of(600)[16..], "the tail is the first batch");
    assert_eq!(snapshot.active_written(), storage.partition(slot).span_written(Offset::ZERO));
}

/// A compacted segment was named as the one that takes data, which has no generation: the next
/// start looked for the file that it was first written to.
#[test]
fn a_snapshot_has_a_compacted_segment_among_the_sealed_ones() {
    let (mut storage, slot) = empty_partition();
    storage.partition_mut(slot).lease_planned = Offset::MAX;
    append(&mut storage, slot, 600);
    storage.roll(slot);
    let compacted = Compacted { generation: 1, ..Compacted::default() };
    let partition = storage.partition_mut(slot);
    partition.sealed[0].compacted = compacted;
    for span in core::mem::take(&mut partition.spans) {
        storage.memory.drop_span(span);
    }
    append(&mut storage, slot, 700);

    let mut draft = FrameDraft::new(storage.frame_runs.pop().unwrap());
    assert!(storage.put_snapshot(slot, &mut draft));
    let end = FRAME_HEADER_BYTES + draft.body_bytes;
    let frame = storage.memory.bytes(draft.run, FRAME_HEADER_BYTES as u32, narrow(end as u64));
    let entry = Entries::new(frame).next().unwrap().unwrap();
    let Entry::Snapshot(snapshot) = entry else { panic!("{entry:?}") };
    let sealed: Vec<_> = snapshot.sealed().map(|it| (it.length_bytes, it.compacted)).collect();
    assert_eq!(sealed, [(600, compacted)]);
    assert_eq!((snapshot.active, snapshot.end), (Offset::new(1), 0));
}
