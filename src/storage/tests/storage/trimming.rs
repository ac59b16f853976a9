//! Records deleted from the front: what was answered stays deleted, nothing else goes, files do.

use plimsoll_batch::Offset;
use plimsoll_sim::Survival;
use plimsoll_storage::{Level, PartitionConfig, TrimError};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Cut, Settings, World, id};

const FINE: &str = "nothing cuts it";
const SMALL: PartitionConfig = PartitionConfig { segment_bytes: 150_000, ..CONFIG };

fn new_world(durable_writes: bool) -> World {
    let settings = Settings { durable_writes, ..Settings::default() };
    let mut world = World::new(31, settings);
    for which in [id(1, 0), id(1, 1), id(2, 0)] {
        world.create(which, SMALL);
    }
    world
}

fn fill(world: &mut World, partition: u32, batches: u64, bytes: usize) -> Result<(), Cut> {
    for turn in 0..batches {
        let bytes = batch_of(bytes, 2, turn as i64, turn + u64::from(partition) * 1_000);
        world.append(id(1, partition), &bytes, Level::Disk)?;
        if turn % 4 == 3 {
            world.step()?;
        }
    }
    Ok(())
}

/// As far as is shown by now.
fn trim(world: &mut World, partition: u32, to: u64) {
    let (shard, slot) = world.life().slots[&id(1, partition)];
    let shown = world.life().shards[shard].watermarks(slot).memory;
    world.delete_records(id(1, partition), Offset::new(to).min(shown)).expect("it is within");
}

/// Starts that move within a segment, over several, to the end while data is on its way, and again
/// after a start on another number of shards; checkpoints between them.
fn script(world: &mut World) -> Result<(), Cut> {
    world.start(1)?;
    fill(world, 0, 12, 40_000)?;
    trim(world, 0, 3);
    fill(world, 1, 6, 70_000)?;
    trim(world, 0, 3);
    world.step()?;
    trim(world, 0, 15);
    world.settle()?;
    world.check_files();
    fill(world, 0, 6, 40_000)?;
    let end = world.model[&id(1, 1)].seen.expect("seen").memory;
    trim(world, 1, end.value());
    world.step()?;
    fill(world, 1, 1, 900)?;
    world.append(id(2, 0), &batch_of(900, 1, 0, 5), Level::Memory)?;
    world.settle()?;
    world.check_files();
    let counters = world.life().shards[0].counters();
    assert!(counters.recycled_segments > 0 && counters.reused_segments > 0, "{counters:?}");
    world.stop()?;
    world.start(2)?;
    fill(world, 0, 4, 60_000)?;
    let end = world.model[&id(1, 0)].seen.expect("seen").memory;
    trim(world, 0, end.value() - 1);
    trim(world, 0, end.value());
    world.settle()?;
    world.check_files();
    fill(world, 0, 2, 500)?;
    world.settle()
}

fn live_on(mut world: World, what: &str) {
    let seen = std::panic::AssertUnwindSafe(|| {
        world.start(1 + (world.steps % 2) as u16).expect(FINE);
        fill(&mut world, 0, 2, 700).expect(FINE);
        world.settle().expect(FINE);
        let start = world.model[&id(1, 0)].start.value();
        trim(&mut world, 0, start + 1);
        world.settle().expect(FINE);
        world.check_files();
        assert!(world.model[&id(1, 0)].start.value() > start, "the start moves on");
    });
    if let Err(panic) = std::panic::catch_unwind(seen) {
        eprintln!("in the state: {what}");
        std::panic::resume_unwind(panic);
    }
}

fn cut_everywhere(durable_writes: bool) {
    let mut whole = new_world(durable_writes);
    script(&mut whole).expect(FINE);
    let all = std::env::var("PLIMSOLL_EXHAUSTIVE").is_ok_and(|value| value == "1");
    for cut in 1..whole.steps {
        if !all && cut % 3 != u64::from(durable_writes) {
            continue;
        }
        let mut world = new_world(durable_writes);
        world.cut_at = Some(cut);
        script(&mut world).expect_err("it is cut");
        world.cut_at = None;
        world.die();
        let unflushed = world.machine.disk.unflushed();
        let mut survivals = vec![Survival::Nothing, Survival::Everything];
        let some = if unflushed == 0 { 0..0 } else { cut as usize % unflushed..unflushed };
        for which in some.take(if all { usize::MAX } else { 1 }) {
            survivals.extend([Survival::Only(which), Survival::AllBut(which)]);
        }
        for survival in survivals {
            live_on(world.fork_at_power_loss(survival), &format!("cut {cut}, {survival:?}"));
        }
    }
}

/// A start that had been answered came back to an earlier offset would show deleted records again;
/// files that went too early would be taken for a torn tail.
#[test]
fn a_start_that_moved_stays_where_it_is_after_a_power_loss_at_any_operation() {
    cut_everywhere(false);
}

#[test]
fn a_start_that_moved_stays_where_it_is_with_durable_writes() {
    cut_everywhere(true);
}

#[test]
fn deleting_everything_leaves_no_file_and_appends_go_on() {
    let mut world = new_world(false);
    world.start(1).expect(FINE);
    fill(&mut world, 0, 20, 40_000).expect(FINE);
    world.settle().expect(FINE);
    assert!(world.segments(id(1, 0)).len() > 3);
    let end = world.model[&id(1, 0)].end();
    world.delete_records(id(1, 0), end).expect("the end is within");
    world.settle().expect(FINE);
    assert_eq!(world.segments(id(1, 0)), [0; 0]);
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    assert_eq!(world.model[&id(1, 0)].start, end);
    fill(&mut world, 0, 3, 900).expect(FINE);
    world.settle().expect(FINE);
    world.crash(Crash::Power(Survival::Nothing));
    world.start(2).expect(FINE);
    assert_eq!(world.model[&id(1, 0)].batches.len(), 23);
}

#[test]
fn a_start_beyond_the_end_is_refused_and_one_that_is_behind_changes_nothing() {
    let mut world = new_world(false);
    world.start(1).expect(FINE);
    fill(&mut world, 0, 3, 900).expect(FINE);
    world.settle().expect(FINE);
    let beyond = world.delete_records(id(1, 0), Offset::new(7));
    assert!(matches!(beyond, Err(TrimError::OutOfRange { .. })), "{beyond:?}");
    trim(&mut world, 0, 4);
    world.settle().expect(FINE);
    trim(&mut world, 0, 2);
    world.settle().expect(FINE);
    assert_eq!(world.model[&id(1, 0)].start.value(), 4);
}
