//! Segments and their indexes: rolls, spills, wraps of the journal, reads from the disk.

use plimsoll_batch::Offset;
use plimsoll_sim::{Random, Survival};
use plimsoll_storage::{Level, PartitionConfig};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Settings, World, id};

const FINE: &str = "nothing cuts it";
const ROLLING: PartitionConfig = PartitionConfig { segment_bytes: 300_000, ..CONFIG };

fn read_all_ways(world: &mut World) {
    let end = world.model[&id(1, 0)].end().value();
    for bytes_max in [1, 10_000, 1 << 20] {
        for hints in [true, false] {
            let from = Offset::new(end / 3);
            let read = world.read_from(id(1, 0), from, Level::Disk, bytes_max, hints);
            read.expect(FINE).expect("it is sound");
        }
    }
    let all = world.read_from(id(1, 0), Offset::ZERO, Level::Memory, 100_000, true);
    all.expect(FINE).expect("it is sound");
}

#[test]
fn the_journal_goes_round_many_times_and_loses_nothing() {
    let mut world = World::new(1, Settings::default());
    for number in 0..4 {
        world.create(id(1, number), PartitionConfig { segment_bytes: 4 << 20, ..CONFIG });
    }
    world.start(1).expect(FINE);
    let mut random = Random::new(1);
    for turn in 0..4_000_u64 {
        let bytes = batch_of(2_000 + random.below(30_000) as usize, 1, 0, turn);
        let which = id(1, random.below(4) as u32);
        world.append(which, &bytes, Level::Disk).expect(FINE);
        world.step().expect(FINE);
    }
    world.settle().expect(FINE);
    let counters = world.life().shards[0].counters();
    assert!(counters.checkpoints >= 3, "{counters:?}");
    assert!(counters.commit_bytes > 4 * world.settings.journal_bytes, "{counters:?}");
    assert!(counters.spilled_bytes > 0 && counters.extent_bytes > 0, "{counters:?}");
    read_all_ways(&mut world);
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    world.stop().expect(FINE);
}

#[test]
fn data_that_left_the_arena_is_read_from_the_segments() {
    let mut world = World::new(2, Settings::default());
    world.create(id(1, 0), ROLLING);
    world.start(1).expect(FINE);
    for turn in 0..600 {
        world.append(id(1, 0), &batch_of(17_000, 2, 0, turn), Level::Disk).expect(FINE);
    }
    world.settle().expect(FINE);
    let before = world.life().shards[0].counters().read_bytes;
    read_all_ways(&mut world);
    assert!(world.life().shards[0].counters().read_bytes > before + 5_000_000);
}

#[test]
fn an_index_that_is_missing_damaged_or_of_other_data_is_made_anew() {
    let mut world = World::new(3, Settings::default());
    world.create(id(1, 0), ROLLING);
    world.start(1).expect(FINE);
    for turn in 0..200 {
        world.append(id(1, 0), &batch_of(17_000, 1, turn, 5), Level::Disk).expect(FINE);
    }
    world.settle().expect(FINE);
    world.stop().expect(FINE);
    let indexes: Vec<String> =
        world.machine.disk.files().into_iter().filter(|it| it.ends_with(".index")).collect();
    assert!(indexes.len() > 5, "sealed segments have indexes: {indexes:?}");

    let other = world.machine.disk.read_file(&indexes[1]).expect("it is there");
    world.machine.disk.flip_bit(&indexes[0], 100, 3);
    world.machine.disk.write_file(&indexes[2], &other);
    world.machine.disk.write_file(&indexes[3], &[]);
    world.start(1).expect(FINE);
    read_all_ways(&mut world);
    for timestamp in (0..200).step_by(13) {
        let found = world.locate(id(1, 0), timestamp).expect(FINE);
        assert!(found.value() <= timestamp as u64, "{found} skips records of {timestamp} and on");
        assert!(found.value() + 40 > timestamp as u64, "{found} is far before {timestamp}");
    }
    let behind = world.locate(id(1, 0), 1_000).expect(FINE);
    assert_eq!(behind, Offset::new(200), "nothing is as late as that");
}

#[test]
fn an_extent_that_did_not_land_takes_its_frame_with_it() {
    // The disk completes in any order, so that some seeds lose the extent and keep the frame.
    let mut extents = 0;
    for seed in 0..60 {
        let mut world = World::new(seed, Settings::default());
        world.create(id(1, 0), PartitionConfig { segment_bytes: 1 << 20, ..CONFIG });
        world.start(1).expect(FINE);
        for turn in 0..3 {
            world.append(id(1, 0), &batch_of(100_000, 1, 0, turn), Level::Disk).expect(FINE);
            world.settle().expect(FINE);
        }
        let before = world.life().shards[0].counters().extent_bytes;
        world.append(id(1, 0), &batch_of(150_000, 1, 0, 9), Level::Disk).expect(FINE);
        for _ in 0..seed % 5 {
            world.step().expect(FINE);
        }
        extents += world.life().shards[0].counters().extent_bytes - before;
        let only = Survival::Only(seed as usize % 4);
        let ends = [Survival::Random, only, Survival::Nothing, Survival::Random];
        world.crash(Crash::Power(ends[seed as usize % 4]));
        world.start(1).expect(FINE);
    }
    assert!(extents > 30 * 150_000, "most of the last batches are extents");
}

/// A span without a whole block says nothing of those before it. It once hid one whose blocks still
/// waited to be stored: a later extent was logged before theirs, and no start could follow that.
#[test]
fn an_extent_never_goes_before_blocks_that_wait_behind_a_span_without_any() {
    let exactly = |length: usize, fill| {
        let sizes = (length.saturating_sub(200)..length + 200).map(|it| batch_of(it, 1, 0, fill));
        sizes.into_iter().find(|batch| batch.len() == length).expect("there is one of the length")
    };
    // The first makes the file grow, the second fills its span to the last byte, the third begins
    // a span and stays below a block, the fourth goes straight to the segment.
    let lengths = [24 * 4096 + 3_000, 1_096, 200, 100_000];
    let mut world = World::new(5, Settings::default());
    world.create(id(1, 0), PartitionConfig { segment_bytes: 1 << 20, ..CONFIG });
    world.start(1).expect(FINE);
    for (length, fill) in lengths.into_iter().zip(0..) {
        let bytes = exactly(length, fill);
        world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    assert!(world.life().shards[0].counters().extent_bytes > 0, "the last one is an extent");
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    assert_eq!(world.model[&id(1, 0)].batches.len(), 4);
    read_all_ways(&mut world);
}

#[test]
fn what_is_left_in_a_segment_behind_its_end_is_never_believed() {
    let mut world = World::new(4, Settings::default());
    world.create(id(1, 0), PartitionConfig { segment_bytes: 1 << 20, ..CONFIG });
    world.start(1).expect(FINE);
    for turn in 0..5 {
        world.append(id(1, 0), &batch_of(70_000, 1, 0, turn), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    world.stop().expect(FINE);
    let path = plimsoll_storage::segment_path(id(1, 0), Offset::ZERO);
    let mut content = world.machine.disk.read_file(&path).expect("it is there");
    let end: usize = world.model[&id(1, 0)].batches.iter().map(|batch| batch.bytes.len()).sum();
    let mut ghost = batch_of(9_000, 1, 0, 99);
    plimsoll_batch::assign(&mut ghost, Offset::new(5), 1);
    content[end..end + ghost.len()].copy_from_slice(&ghost);
    world.machine.disk.write_file(&path, &content);
    world.start(1).expect(FINE);
    assert_eq!(world.model[&id(1, 0)].batches.len(), 5);
}

/// A batch behind an aligned end, and then one that did not fit beside it: the span between was
/// closed within its first block. It had nothing to store, was dropped before the span in front of
/// it, and a reader that came to its batch went on behind it.
#[test]
fn a_span_that_is_closed_within_its_first_block_is_not_dropped_before_those_in_front() {
    let roomy = Settings { arena_bytes: 16 << 20, journal_bytes: 32 << 20, ..Settings::default() };
    let mut world = World::new(8, roomy);
    let many: Vec<_> = (0..128).map(|partition| id(1, partition)).collect();
    for which in many.iter().chain([&id(2, 0)]) {
        world.create(*which, CONFIG);
    }
    world.start(1).expect(FINE);
    let a_block = (3_900..4_200).map(|size| batch_of(size, 1, 0, 1));
    let a_block = a_block.into_iter().find(|bytes| bytes.len() == 4_096).expect("of some size");
    for bytes in [a_block, batch_of(300, 1, 0, 2), batch_of(20_000, 1, 0, 3)] {
        for which in &many {
            world.append(*which, &bytes, Level::Disk).expect(FINE);
        }
    }
    world.settle().expect(FINE);
    while world.try_append(id(2, 0), batch_of(9_000, 1, 0, 4), Level::Memory).is_ok() {}
    // At once: with time, all of it would be stored.
    for which in many {
        let read = world.read_from(which, Offset::new(1), Level::Disk, 1, false);
        read.expect(FINE).expect("it is there");
    }
}

/// A commit that logs more of a span says nothing of blocks that are still on their way to the
/// segment. It once did: the span was given up, and its reader found a file without its blocks.
#[test]
fn a_reader_is_not_sent_to_blocks_that_are_still_being_written() {
    // With little memory spans are short, and some end within the block after those on their way.
    let settings = Settings { arena_bytes: 2 << 20, ..Settings::default() };
    let mut spilled = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, settings);
        let partitions = [0, 1, 2].map(|number| id(1, number));
        let config = PartitionConfig { segment_bytes: 1 << 20, ..CONFIG };
        partitions.iter().for_each(|which| world.create(*which, config));
        world.start(1).expect(FINE);
        let mut random = Random::new(seed);
        let mut mixed = || {
            let bytes = [100, 3_000, 30_000, 100_000][random.below(4) as usize];
            let which = partitions[random.below(3) as usize];
            (which, batch_of(100 + random.below(bytes) as usize, 1, 0, seed))
        };
        for _ in 0..150 {
            let (which, bytes) = mixed();
            world.append(which, &bytes, Level::Disk).expect(FINE);
            while world.step().expect(FINE) {}
        }
        // The first blocks of each next segment stay on their way.
        world.machine.disk.faults.hold_writes_below = 1;
        let mut next = mixed();
        while world.try_append(next.0, next.1, Level::Disk).is_ok() {
            while world.step().expect(FINE) {}
            next = mixed();
        }
        for _ in 0..2 {
            for which in partitions {
                let end = world.model[&which].end().value();
                let from = Offset::new(end - end.min(40));
                let read = world.read_from(which, from, Level::Disk, 1, false);
                let sound = read.expect(FINE);
                sound.unwrap_or_else(|error| panic!("seed {seed}: it is sound, and yet {error}"));
            }
            world.machine.disk.faults.hold_writes_below = 0;
            world.machine.disk.release();
            world.settle().expect(FINE);
        }
        spilled += world.life().shards[0].counters().spilled_bytes;
    }
    assert!(spilled > 20 * 64_000, "blocks were spilled: {spilled} bytes");
}

/// While commits are in flight a new partition gets a little, then much, and its segment is sealed:
/// of the little there is no block to be stored yet. A file was made for it of no bytes at all,
/// which the kernel refuses, and the shard took that for a broken disk.
#[test]
fn a_segment_that_is_sealed_before_a_block_of_it_is_stored_gets_its_file() {
    for little in [100, 1_000, 3_900] {
        let mut world = World::new(8, Settings::default());
        world.create(id(1, 0), PartitionConfig { segment_bytes: 40_000, ..CONFIG });
        world.create(id(1, 1), CONFIG);
        world.start(1).expect(FINE);
        for turn in 0..3 {
            world.append(id(1, 1), &batch_of(100, 1, 0, turn), Level::Disk).expect(FINE);
        }
        for (turn, bytes) in [little, 30_000, 60_000].into_iter().enumerate() {
            let bytes = batch_of(bytes, 1, 0, turn as u64);
            world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
        }
        world.settle().expect(FINE);
        world.crash(Crash::Power(Survival::Nothing));
        world.start(1).expect(FINE);
    }
}
