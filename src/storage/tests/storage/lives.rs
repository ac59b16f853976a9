//! Random lives, from a seed.

use std::time::Duration;

use plimsoll_batch::Offset;
use plimsoll_sim::{Random, Survival};
use plimsoll_storage::{AppendError, Level, PartitionConfig, PartitionId, Retention};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Cut, Settings, World, id};

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// `PLIMSOLL_SEEDS` runs as many, `PLIMSOLL_SEED` this one.
#[test]
fn what_was_acked_survives_in_every_random_life() {
    let first = env("PLIMSOLL_SEED").unwrap_or(1);
    let count = match env("PLIMSOLL_SEED") {
        Some(_) => 1,
        None => env("PLIMSOLL_SEEDS").unwrap_or(SEEDS),
    };
    let first = if count > 1 { env("PLIMSOLL_SEED_FIRST").unwrap_or(first) } else { first };
    let mut failed = Vec::new();
    for seed in first..first + count {
        let run = std::panic::AssertUnwindSafe(|| run_seed(seed));
        if std::panic::catch_unwind(run).is_err() {
            eprintln!(
                "seed {seed} failed; again with: PLIMSOLL_SEED={seed} cargo test \
                 -p plimsoll-storage --test storage what_was_acked"
            );
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "of {count} seeds these failed: {failed:?}");
}

const SEEDS: u64 = 60;

fn run_seed(seed: u64) {
    let mut random = Random::new(seed).stream("lives");
    let settings = Settings { durable_writes: random.chance(300), ..Settings::default() };
    let mut world = World::new(seed, settings);
    let mut shards = 1 + random.below(3) as u16;
    for number in 0..1 + random.below(6) as u32 {
        world.create(id(1 + number % 3, number), config(&mut random));
    }
    let lives = 3 + random.below(4);
    for _ in 0..lives {
        if random.chance(300) {
            shards = 1 + random.below(3) as u16;
        }
        if random.chance(150) {
            world.settings.journal_bytes = (world.settings.journal_bytes + (1 << 20)).min(12 << 20);
        }
        world.cut_at = random.chance(250).then(|| world.steps + 1 + random.below(120));
        let lived = live(&mut world, shards, &mut random);
        world.cut_at = None;
        world.machine.disk.faults = Default::default();
        if lived.is_ok() && world.life.is_none() {
            // It stopped by itself; power may fail afterwards.
            if random.chance(500) {
                world.machine.disk.power_loss();
                world.boot += 1;
            }
            continue;
        }
        world.crash(match random.below(5) {
            0 | 1 => Crash::Kill,
            2 => Crash::KillLosingArenas,
            3 => Crash::Power(Survival::Nothing),
            _ => Crash::Power(Survival::Random),
        });
    }
    world.start(shards).expect("nothing cuts the last life");
    world.settle().expect("nothing cuts the last life");
    world.stop().expect("nothing cuts the last life");
}

fn config(random: &mut Random) -> PartitionConfig {
    let segment_bytes = [64 << 10, 200_000, 1 << 20][random.below(3) as usize];
    let retention = match random.below(4) {
        0 => Retention { bytes: Some(1 + random.below(1 << 20)), ..Retention::UNLIMITED },
        1 => Retention { age: Some(Duration::from_secs(1 + random.below(30))), bytes: None },
        _ => Retention::UNLIMITED,
    };
    PartitionConfig { segment_bytes, retention, ..CONFIG }
}

/// One life; it ends in a stop, or in whatever state a crash finds it.
fn live(world: &mut World, shards: u16, random: &mut Random) -> Result<(), Cut> {
    world.start(shards)?;
    if random.chance(150) {
        let counts = world.machine.disk.counts();
        let faults = &mut world.machine.disk.faults;
        faults.flush_drops_on_failure = random.chance(500);
        match random.below(4) {
            0 => faults.fail_write_nth = Some(counts.writes + 1 + random.below(60)),
            1 => faults.fail_sync_nth = Some(counts.syncs + 1 + random.below(60)),
            _ => faults.short_write_nth = Some(counts.writes + 1 + random.below(60)),
        }
    }
    let sizes = [200, 3_000, 20_000, 120_000, 300_000];
    let size_max = sizes[random.below(5) as usize];
    let turns = 20 + random.below(150);
    for turn in 0..turns {
        act(world, random, size_max, turn)?;
    }
    if random.chance(300) && world.life().failed.is_empty() {
        world.machine.disk.faults.no_space = false;
        world.settle()?;
    }
    if random.chance(250) {
        world.machine.disk.faults.no_space = false;
        world.stop()?;
    }
    Ok(())
}

fn delete_some(world: &mut World, id: PartitionId, random: &mut Random) {
    let marks = world.model[&id].seen.expect("seen");
    let to = random.below(marks.memory.value() - marks.start.value() + 1);
    let to = if random.chance(300) { marks.memory.value() } else { marks.start.value() + to };
    world.delete_records(id, Offset::new(to)).expect("it is within");
}

fn act(world: &mut World, random: &mut Random, size_max: u64, turn: u64) -> Result<(), Cut> {
    let ids: Vec<PartitionId> = world.model.keys().copied().collect();
    let pick = |random: &mut Random| ids[random.below(ids.len() as u64) as usize];
    match random.below(100) {
        0..50 => {
            let id = pick(random);
            let size = 100 + random.below(size_max) as usize;
            let records = 1 + random.below(4) as usize;
            let level = [Level::Memory, Level::PageCache, Level::Disk][random.below(3) as usize];
            let appended = if random.chance(500) {
                let producer = random.below(3) as i64;
                world.produce(id, (producer, size), level, random)
            } else {
                let bytes = batch_of(size, records, turn as i64, random.next_u64());
                world.try_append(id, bytes, level)
            };
            match appended {
                Ok(_)
                | Err(
                    AppendError::DiskFull
                    | AppendError::OutOfSequence { .. }
                    | AppendError::ProducerUnknown,
                ) => {}
                Err(AppendError::NoRoom) => {
                    if !world.machine.disk.faults.no_space && world.life().failed.is_empty() {
                        world.wait_for_room()?;
                    }
                }
                Err(AppendError::Failed(_)) => {
                    assert!(!world.life().failed.is_empty(), "a notice told of the failure");
                }
                Err(error) => panic!("{error}"),
            }
        }
        50..80 => {
            for _ in 0..random.below(12) {
                world.step()?;
            }
        }
        80..94 => {
            let id = pick(random);
            let end = world.model[&id].end().value();
            let from = Offset::new(random.below(end + 1)).max(world.model[&id].start);
            let level = if random.chance(500) { Level::Memory } else { Level::Disk };
            let bytes_max = [1, 3_000, 60_000, 1 << 20][random.below(4) as usize];
            let limit = world.model[&id].seen.expect("seen").memory;
            if from <= limit {
                let hints = random.chance(500);
                let read = world.read_from(id, from, level, bytes_max, hints)?;
                read.unwrap_or_else(|error| panic!("{id}: {error}"));
            }
        }
        94 => world.check_marks(),
        95 if world.life().failed.is_empty() => delete_some(world, pick(random), random),
        96 => {
            let topic = 10 + world.lives as u32 * 1000 + turn as u32;
            world.create(id(topic, random.below(3) as u32), config(random));
        }
        97 if ids.len() > 1 && world.life().failed.is_empty() => world.remove(pick(random)),
        99 => world.advance(Duration::from_millis(random.below(20_000))),
        98 if random.chance(300) => {
            let faults = &mut world.machine.disk.faults;
            faults.no_space = !faults.no_space;
        }
        _ => {}
    }
    Ok(())
}
