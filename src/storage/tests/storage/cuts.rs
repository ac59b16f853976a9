//! One scripted life, ended after each of its disk operations in turn.

use plimsoll_sim::Survival;
use plimsoll_storage::{Level, PartitionConfig, PartitionId};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Cut, Settings, World, id};

const SMALL: PartitionConfig = PartitionConfig { segment_bytes: 200_000, ..CONFIG };

/// Small and large batches of all levels, a roll, a spill, a removal, a change of the number of
/// shards, a clean stop.
fn script(world: &mut World) -> Result<(), Cut> {
    world.start(2)?;
    for turn in 0..12 {
        let sizes = [300, 6_000, 90_000];
        let bytes = batch_of(sizes[turn % 3], 2, turn as i64, turn as u64);
        let level = [Level::Disk, Level::Memory, Level::PageCache][turn % 3];
        let which = id(1, turn as u32 % 2);
        append(world, which, &bytes, level)?;
        if turn % 4 == 3 {
            for _ in 0..5 {
                world.step()?;
            }
        }
    }
    world.settle()?;
    if world.model.contains_key(&id(2, 0)) {
        append(world, id(2, 0), &batch_of(70_000, 1, 0, 9), Level::Disk)?;
        world.step()?;
        world.remove(id(2, 0));
    }
    append(world, id(1, 1), &batch_of(50, 1, 0, 10), Level::Memory)?;
    world.stop()?;
    world.start(1)?;
    append(world, id(1, 0), &batch_of(4_000, 1, 0, 11), Level::Disk)?;
    world.settle()
}

/// Of an idempotent producer: it has to be known again after the cut.
fn append(world: &mut World, id: PartitionId, bytes: &[u8], level: Level) -> Result<(), Cut> {
    let bytes = world.numbered(id, bytes);
    world.append(id, &bytes, level).map(|_| ())
}

fn cut_everywhere(crash: Crash, durable_writes: bool) {
    let settings = Settings { durable_writes, journal_bytes: 4 << 20, ..Settings::default() };
    let world_of = |cut| {
        let mut world = World::new(77, settings);
        for which in [id(1, 0), id(1, 1), id(2, 0)] {
            world.create(which, SMALL);
        }
        world.cut_at = cut;
        world
    };
    let mut whole = world_of(None);
    script(&mut whole).expect("nothing cuts it");
    for cut in 1..whole.steps {
        let mut world = world_of(Some(cut));
        script(&mut world).expect_err("it is cut");
        world.cut_at = None;
        world.crash(crash);
        // The next start is killed as well, a little further on each time.
        world.cut_at = Some(world.steps + 1 + cut % 40);
        if world.start(1 + (cut % 3) as u16).is_err() {
            world.cut_at = None;
            world.crash(Crash::Kill);
            world.start(2).expect("nothing cuts it");
        }
        world.cut_at = None;
        let goes_on = append(&mut world, id(1, 1), &batch_of(700, 1, 0, 1), Level::Disk);
        goes_on.expect("nothing cuts it");
        world.settle().expect("nothing cuts it");
    }
}

#[test]
fn a_kill_after_any_operation_loses_nothing_that_was_shown() {
    cut_everywhere(Crash::Kill, false);
}

#[test]
fn a_power_loss_after_any_operation_loses_nothing_that_was_flushed() {
    cut_everywhere(Crash::Power(Survival::Nothing), false);
}

#[test]
fn a_power_loss_that_tears_what_it_likes_loses_nothing_that_was_flushed() {
    cut_everywhere(Crash::Power(Survival::Random), true);
}

/// Partitions with more in memory than a snapshot takes, so that it waits for a spill; the lease of
/// the life before was ended at once. That lease, alone in the new journal, was of a later start
/// than all that the old journal had: cut off there, the next start found the partition empty.
#[test]
fn an_end_while_partitions_move_to_another_shard_forgets_none_of_them() {
    let world_of = || {
        let mut world = World::new(5, Settings::default());
        let ids: Vec<_> = (0..4).map(|partition| id(1, partition)).collect();
        for which in &ids {
            world.create(*which, CONFIG);
        }
        world.start(2).expect("nothing cuts it");
        for turn in 0..4 {
            for which in &ids {
                let bytes = batch_of(20_000, 1, 0, turn);
                world.append(*which, &bytes, Level::Disk).expect("nothing cuts it");
            }
            // No further: at rest the data would be in its segments.
            while ids.iter().any(|which| world.model[which].disk < world.model[which].end()) {
                world.step().expect("nothing cuts it");
            }
        }
        world.crash(Crash::Kill);
        world
    };
    let mut whole = world_of();
    let begin = whole.steps;
    whole.start(1).expect("nothing cuts it");
    for cut in (begin + 1..whole.steps).step_by(2) {
        let mut world = world_of();
        world.cut_at = Some(cut);
        world.start(1).expect_err("it is cut");
        world.cut_at = None;
        world.crash(Crash::Power(Survival::Nothing));
        world.start(2).expect("nothing cuts it");
    }
}

/// A kill leaves writes that no flush has covered. What a start finds of them, and shows as being
/// on disk, a power loss takes unless the start has flushed it: the journal, and the segments too.
#[test]
fn what_a_start_after_a_kill_shows_at_disk_survives_a_power_loss_right_behind_it() {
    let begun = || {
        let mut world = World::new(6, Settings::default());
        world.create(id(1, 0), CONFIG);
        world.start(1).expect("nothing cuts it");
        for turn in 0..2 {
            let bytes = batch_of(60_000, 1, 0, turn);
            world.append(id(1, 0), &bytes, Level::Disk).expect("nothing cuts it");
            world.settle().expect("nothing cuts it");
        }
        // The file is there now: this goes straight to it.
        let bytes = batch_of(90_000, 1, 0, 3);
        world.append(id(1, 0), &bytes, Level::Disk).expect("nothing cuts it");
        world
    };
    let mut whole = begun();
    let first = whole.steps + 1;
    whole.settle().expect("nothing cuts it");
    assert!(whole.life().shards[0].counters().extent_bytes > 0);
    for cut in first..whole.steps {
        let mut world = begun();
        world.cut_at = Some(cut);
        world.settle().expect_err("it is cut");
        world.cut_at = None;
        world.crash(Crash::Kill);
        world.start(1).expect("nothing cuts it");
        world.crash(Crash::Power(Survival::Nothing));
        world.start(1).expect("nothing cuts it");
    }
}
