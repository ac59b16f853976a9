//! Files of deleted segments become new segments, and nothing that was in them is believed again.
//!
//! The batches of two partitions are of the same sizes here, and end with a block now and then, so
//! that an old batch stands just where a new one would, and checks.

use plimsoll_batch::Offset;
use plimsoll_sim::Survival;
use plimsoll_storage::{Level, PartitionConfig, PartitionId, StorageCounters};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Cut, Settings, World, id};

const FINE: &str = "nothing cuts it";
const SMALL: PartitionConfig = PartitionConfig { segment_bytes: 250_000, ..CONFIG };
const FIRST: PartitionId = PartitionId { topic: 1, partition: 0 };
const SECOND: PartitionId = PartitionId { topic: 1, partition: 1 };
/// Batches of so many bytes of records are whole blocks, and go straight to their segment.
const BLOCKS: usize = 20 * 4096;

fn new_world(durable_writes: bool) -> World {
    let settings = Settings { durable_writes, ..Settings::default() };
    let mut world = World::new(37, settings);
    world.create(FIRST, SMALL);
    world.create(SECOND, SMALL);
    world
}

fn counters(world: &mut World) -> StorageCounters {
    let of_all = world.life().shards.iter().map(plimsoll_storage::Storage::counters);
    of_all.fold(StorageCounters::default(), |sum, one| StorageCounters {
        recycled_segments: sum.recycled_segments + one.recycled_segments,
        reused_segments: sum.reused_segments + one.reused_segments,
        extent_bytes: sum.extent_bytes + one.extent_bytes,
        ..sum
    })
}

/// Three batches to a segment.
fn fill(world: &mut World, which: PartitionId, batches: u64) -> Result<(), Cut> {
    for turn in 0..batches {
        let fill = turn + 1_000 * u64::from(which.partition) + world.lives;
        let bytes = batch_of(BLOCKS + 8, 1, 0, fill);
        assert_eq!(bytes.len(), BLOCKS);
        world.append(which, &bytes, Level::Disk)?;
        if turn % 2 == 1 {
            world.settle()?;
        }
    }
    world.settle()
}

fn delete_all_but(world: &mut World, which: PartitionId, left: u64) {
    let end = world.model[&which].end().value();
    world.delete_records(which, Offset::new(end - left)).expect("it is within");
}

/// Two lives of which the first one ends cleanly: some segments each.
fn filled(durable_writes: bool) -> World {
    let mut world = new_world(durable_writes);
    world.create(id(2, 0), SMALL);
    world.start(1).expect(FINE);
    fill(&mut world, FIRST, 9).expect(FINE);
    fill(&mut world, SECOND, 8).expect(FINE);
    fill(&mut world, id(2, 0), 5).expect(FINE);
    world.stop().expect(FINE);
    world
}

/// Files come from records deleted and from a partition deleted, and go to both partitions.
fn recycle(world: &mut World) -> Result<StorageCounters, Cut> {
    world.start(1)?;
    delete_all_but(world, FIRST, 2);
    world.settle()?;
    fill(world, SECOND, 2)?;
    world.remove(id(2, 0));
    fill(world, FIRST, 6)?;
    fill(world, SECOND, 4)?;
    world.check_files();
    let counters = counters(world);
    world.crash(Crash::Kill);
    world.start(2)?;
    fill(world, SECOND, 1)?;
    Ok(counters)
}

fn live_on(mut world: World, what: &str) {
    let seen = std::panic::AssertUnwindSafe(|| {
        world.start(1 + (world.steps % 2) as u16).expect(FINE);
        fill(&mut world, FIRST, 3).expect(FINE);
        delete_all_but(&mut world, FIRST, 1);
        fill(&mut world, FIRST, 5).expect(FINE);
        fill(&mut world, SECOND, 5).expect(FINE);
        world.check_files();
    });
    if let Err(panic) = std::panic::catch_unwind(seen) {
        eprintln!("in the state: {what}");
        std::panic::resume_unwind(panic);
    }
}

fn cut_everywhere(durable_writes: bool) {
    let begun = filled(durable_writes);
    let mut whole = begun.fork();
    let counters = recycle(&mut whole).expect(FINE);
    assert!(counters.recycled_segments >= 3 && counters.reused_segments >= 2, "{counters:?}");
    assert!(counters.extent_bytes > 0, "{counters:?}");
    let all = std::env::var("PLIMSOLL_EXHAUSTIVE").is_ok_and(|value| value == "1");
    let mut states = 0;
    for cut in begun.steps + 1..whole.steps {
        if !all && cut % 5 != u64::from(durable_writes) {
            continue;
        }
        let mut world = begun.fork();
        world.cut_at = Some(cut);
        recycle(&mut world).expect_err("it is cut");
        world.cut_at = None;
        world.die();
        world.machine.land();
        let unflushed = world.machine.disk.unflushed();
        let mut survivals = vec![Survival::Nothing, Survival::Everything];
        let some = if unflushed == 0 { 0..0 } else { cut as usize % unflushed..unflushed };
        for which in if all { 0..unflushed } else { some.start..some.end.min(some.start + 1) } {
            survivals.extend([Survival::Only(which), Survival::AllBut(which)]);
        }
        for survival in survivals {
            states += 1;
            live_on(world.fork_at_power_loss(survival), &format!("cut {cut}, {survival:?}"));
        }
    }
    println!("{} operations, {states} states", whole.steps - begun.steps);
}

/// A file under two names would be written for one partition and read, or recycled, for another.
#[test]
fn a_power_loss_at_any_operation_of_a_recycling_leaves_one_name_and_no_old_batch() {
    cut_everywhere(false);
}

#[test]
fn a_power_loss_at_any_operation_of_a_recycling_is_survived_with_durable_writes() {
    cut_everywhere(true);
}

/// A process dies when it has given a recycled file the name of a segment, and has flushed neither
/// directory. The next one finds the name, makes the segment of that file, and flushes the
/// directory of the segment; a power loss gave the file its old name back, with what was in it.
#[test]
fn a_segment_whose_file_left_the_recycled_ones_just_before_a_kill_stays_over_a_power_loss() {
    let begun = filled(false);
    let mut whole = begun.fork();
    recycle(&mut whole).expect(FINE);
    for cut in begun.steps + 1..whole.steps {
        let mut world = begun.fork();
        world.cut_at = Some(cut);
        recycle(&mut world).expect_err("it is cut");
        world.cut_at = None;
        world.crash(Crash::Kill);
        world.start(1).expect(FINE);
        fill(&mut world, FIRST, 1).expect(FINE);
        fill(&mut world, SECOND, 1).expect(FINE);
        world.die();
        world.machine.land();
        live_on(world.fork_at_power_loss(Survival::Nothing), &format!("cut {cut}"));
    }
}

#[test]
fn a_new_segment_takes_the_file_of_a_deleted_one_and_its_blocks() {
    let mut world = filled(false);
    world.start(1).expect(FINE);
    delete_all_but(&mut world, FIRST, 2);
    world.settle().expect(FINE);
    let kept = world.recycled();
    assert!(!kept.is_empty());
    let old = world.machine.disk.read_file(&kept[0]).expect("it is there");
    assert!(old.len() >= 3 * BLOCKS && old[..3 * BLOCKS].iter().any(|byte| *byte != 0));
    fill(&mut world, FIRST, 4).expect(FINE);
    let counters = counters(&mut world);
    assert!(counters.reused_segments > 0, "{counters:?}");
    assert!(world.recycled().len() < kept.len());
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    assert_eq!(world.recycled(), [""; 0], "a start keeps nothing of them");
}

/// A frame has landed and its extent has not: where that would be, a batch stands that checks.
#[test]
fn an_extent_that_did_not_land_is_not_taken_for_there_because_of_an_old_batch() {
    let begun = || {
        let mut world = filled(false);
        world.start(1).expect(FINE);
        delete_all_but(&mut world, FIRST, 2);
        world.settle().expect(FINE);
        fill(&mut world, FIRST, 2).expect(FINE);
        assert_eq!(counters(&mut world).reused_segments, 1);
        let bytes = batch_of(BLOCKS + 8, 1, 0, 77);
        world.append(FIRST, &bytes, Level::Disk).expect(FINE);
        world
    };
    let mut whole = begun();
    let (first, extents) = (whole.steps + 1, counters(&mut whole).extent_bytes);
    whole.settle().expect(FINE);
    assert!(counters(&mut whole).extent_bytes > extents, "it goes straight to the segment");
    for cut in first..whole.steps {
        let mut world = begun();
        world.cut_at = Some(cut);
        world.settle().expect_err("it is cut");
        world.cut_at = None;
        world.die();
        world.machine.land();
        for which in 0..world.machine.disk.unflushed() {
            for survival in [Survival::Only(which), Survival::AllBut(which)] {
                live_on(world.fork_at_power_loss(survival), &format!("cut {cut}, {survival:?}"));
            }
        }
    }
}

#[test]
fn no_more_files_are_kept_than_was_said() {
    for files_max in [0, 1, 2] {
        let mut world = new_world(false);
        world.settings.recycled_segments_max = files_max;
        world.start(1).expect(FINE);
        fill(&mut world, FIRST, 16).expect(FINE);
        fill(&mut world, SECOND, 16).expect(FINE);
        delete_all_but(&mut world, FIRST, 1);
        delete_all_but(&mut world, SECOND, 1);
        world.settle().expect(FINE);
        assert_eq!(world.recycled().len(), files_max);
        world.check_files();
    }
}

#[test]
fn a_full_disk_gets_the_recycled_files_back_at_once() {
    let mut world = filled(false);
    world.start(1).expect(FINE);
    delete_all_but(&mut world, SECOND, 1);
    world.settle().expect(FINE);
    assert!(!world.recycled().is_empty());
    world.create(id(3, 0), SMALL);
    world.machine.disk.faults.no_space = true;
    // Its offsets are lower than those of all files: it needs one of its own.
    let bytes = batch_of(2 * BLOCKS, 1, 0, 7);
    world.append(id(3, 0), &bytes, Level::Memory).expect(FINE);
    while !world.recycled().is_empty() {
        assert!(world.step().expect(FINE), "a full disk keeps files that nobody reads");
    }
    // What is deleted while it is full is not kept either.
    delete_all_but(&mut world, FIRST, 1);
    for _ in 0..200 {
        world.step().expect(FINE);
    }
    assert_eq!(world.recycled(), [""; 0]);
    assert_eq!(world.segments(FIRST).len(), 1);
    world.machine.disk.faults.no_space = false;
    world.settle().expect(FINE);
}
