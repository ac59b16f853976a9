//! Segments that go by themselves: by size, by age, never too early, never one too many.
//!
//! That nothing goes too early is the model's to say, at every start that it sees: it knows when
//! each batch was written.

use std::time::Duration;

use plimsoll_batch::Offset;
use plimsoll_sim::Survival;
use plimsoll_storage::{Level, PartitionConfig, Retention};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Cut, Settings, World, id};

const FINE: &str = "nothing cuts it";
const SEGMENT_BYTES: u64 = 150_000;
const KEPT_BYTES: u64 = 400_000;

fn keeping(bytes: u64) -> PartitionConfig {
    let retention = Retention { bytes: Some(bytes), ..Retention::UNLIMITED };
    PartitionConfig { segment_bytes: SEGMENT_BYTES, retention, ..CONFIG }
}

const HOUR: Duration = Duration::from_secs(3600);
const AGE: Duration = Duration::from_secs(4 * 3600);

fn aging() -> PartitionConfig {
    let retention = Retention { age: Some(AGE), ..Retention::UNLIMITED };
    PartitionConfig { segment_bytes: SEGMENT_BYTES, retention, ..CONFIG }
}

/// A world with a partition that ages.
fn aging_world(seed: u64) -> World {
    let mut world = World::new(seed, Settings::default());
    world.create(id(1, 0), aging());
    world.start(1).expect(FINE);
    world
}

fn start_of(world: &World) -> u64 {
    world.model[&id(1, 0)].start.value()
}

/// Lets time go by, with timers when they are due.
fn live(world: &mut World, time: Duration) -> Result<(), Cut> {
    let until = world.clock.now.monotonic + time;
    loop {
        world.pump();
        let shards = world.life().shards.iter();
        let due = shards.filter_map(plimsoll_storage::Storage::poll_timeout).min();
        if world.machine.disk.pending() == 0 && due.is_none_or(|due| due > until) {
            break;
        }
        world.step()?;
    }
    let left = until.since(world.clock.now.monotonic);
    world.advance(left);
    Ok(())
}

fn fill(world: &mut World, batches: u64, bytes: usize) {
    for turn in 0..batches {
        let bytes = batch_of(bytes, 2, turn as i64, turn);
        world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
        world.step().expect(FINE);
    }
    live(world, HOUR / 60).expect(FINE);
    world.check_marks();
}

/// Bytes of the batches from the start on.
fn kept_bytes(world: &World) -> u64 {
    let partition = &world.model[&id(1, 0)];
    let kept = partition.batches.iter().filter(|batch| batch.next > partition.start);
    kept.map(|batch| batch.bytes.len() as u64).sum()
}

#[test]
fn a_partition_keeps_what_its_size_says_and_less_than_a_segment_more() {
    let mut world = World::new(1, Settings::default());
    world.create(id(1, 0), keeping(KEPT_BYTES));
    world.start(1).expect(FINE);
    fill(&mut world, 60, 20_000);
    let kept = kept_bytes(&world);
    assert!((KEPT_BYTES..KEPT_BYTES + SEGMENT_BYTES).contains(&kept), "{kept} bytes are kept");
    world.check_files();
    let files = world.segments(id(1, 0));
    assert_eq!(files.first(), Some(&world.model[&id(1, 0)].start.value()), "{files:?}");
    world.crash(Crash::Power(Survival::Nothing));
    world.start(2).expect(FINE);
    fill(&mut world, 20, 20_000);
    let kept = kept_bytes(&world);
    assert!((KEPT_BYTES..KEPT_BYTES + SEGMENT_BYTES).contains(&kept), "{kept} bytes are kept");
}

#[test]
fn a_partition_without_retention_keeps_everything() {
    let mut world = World::new(2, Settings::default());
    world.create(id(1, 0), PartitionConfig { segment_bytes: SEGMENT_BYTES, ..CONFIG });
    world.start(1).expect(FINE);
    fill(&mut world, 60, 20_000);
    world.advance(Duration::from_secs(10 * 365 * 24 * 3600));
    world.settle().expect(FINE);
    assert_eq!(world.model[&id(1, 0)].start, Offset::ZERO);
    assert_eq!(world.life().shards[0].poll_timeout(), None, "nobody is waited for");
}

#[test]
fn a_size_that_is_set_later_takes_effect_at_once_and_at_the_next_start() {
    let mut world = World::new(3, Settings::default());
    world.create(id(1, 0), PartitionConfig { segment_bytes: SEGMENT_BYTES, ..CONFIG });
    world.start(1).expect(FINE);
    fill(&mut world, 60, 20_000);
    world.set_config(id(1, 0), keeping(KEPT_BYTES));
    world.settle().expect(FINE);
    let kept = kept_bytes(&world);
    assert!((KEPT_BYTES..KEPT_BYTES + SEGMENT_BYTES).contains(&kept), "{kept} bytes are kept");
    world.stop().expect(FINE);
    let partition = world.model.get_mut(&id(1, 0)).expect("in the model");
    partition.config = keeping(1);
    world.start(1).expect(FINE);
    world.settle().expect(FINE);
    let kept = kept_bytes(&world);
    assert!((1..SEGMENT_BYTES).contains(&kept), "{kept} bytes are kept");
    world.check_files();
}

/// Nobody writes, reads or asks: what is there goes all the same, to the last record.
#[test]
fn an_idle_partition_is_empty_when_its_age_and_a_quarter_have_passed() {
    let mut world = aging_world(11);
    fill(&mut world, 20, 20_000);
    let end = world.model[&id(1, 0)].end();
    live(&mut world, AGE - HOUR / 30).expect(FINE);
    assert_eq!(start_of(&world), 0, "it is not old yet");
    live(&mut world, AGE / 4 + HOUR / 15).expect(FINE);
    world.check_marks();
    assert_eq!(start_of(&world), end.value());
    assert_eq!(world.segments(id(1, 0)), [0; 0]);
    assert_eq!(world.life().shards[0].poll_timeout(), None, "and then it waits for nothing");
    fill(&mut world, 3, 900);
    assert!(world.life().shards[0].poll_timeout().is_some());
    world.crash(Crash::Power(Survival::Nothing));
    world.start(2).expect(FINE);
    assert_eq!(world.model[&id(1, 0)].end().value(), end.value() + 6, "offsets go on");
}

#[test]
fn a_slow_trickle_does_not_keep_old_data_for_ever() {
    let mut world = aging_world(12);
    for turn in 0..100 {
        world.append(id(1, 0), &batch_of(300, 1, 0, turn), Level::Disk).expect(FINE);
        live(&mut world, HOUR / 4).expect(FINE);
    }
    world.check_marks();
    let start = start_of(&world);
    // A record every quarter of an hour: sixteen are young, four more may be in a segment with one.
    assert!((100 - 16 - 5..=100 - 16).contains(&start), "start {start}");
}

/// The server is off most of the time: what it wrote before ages all the same.
#[test]
fn data_ages_while_the_server_is_off_whatever_ends_it() {
    let ends = [Crash::Kill, Crash::KillLosingArenas, Crash::Power(Survival::Nothing)];
    for (number, crash) in ends.into_iter().enumerate() {
        let mut world = aging_world(13 + number as u64);
        fill(&mut world, 20, 20_000);
        let end = world.model[&id(1, 0)].end();
        for _ in 0..8 {
            world.crash(crash);
            world.advance(HOUR);
            world.start(1).expect(FINE);
            world.settle_for(HOUR / 60);
        }
        // Where a start goes on at the lease, all of it may be beyond the last record.
        assert!(start_of(&world) >= end.value(), "after {crash:?}");
    }
}

/// The timestamps of the records are of 1970 and of 2100: neither makes them go nor keeps them.
#[test]
fn timestamps_of_producers_do_not_count() {
    for timestamp_ms in [0, 4_102_444_800_000] {
        let mut world = aging_world(17);
        for turn in 0..20 {
            let bytes = batch_of(20_000, 2, timestamp_ms, turn);
            world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
        }
        live(&mut world, AGE - HOUR / 30).expect(FINE);
        assert_eq!(start_of(&world), 0, "of {timestamp_ms}");
        live(&mut world, AGE / 4 + HOUR / 15).expect(FINE);
        assert_eq!(start_of(&world), world.model[&id(1, 0)].end().value(), "of {timestamp_ms}");
    }
}

/// A clock that leaps by a month would have emptied every topic in one turn.
#[test]
fn a_clock_that_leaps_deletes_nothing_before_an_hour_and_says_so() {
    let mut world = aging_world(18);
    fill(&mut world, 20, 20_000);
    live(&mut world, HOUR / 2).expect(FINE);
    let month_ms = 30 * 24 * 3600 * 1000;
    world.clock.now.unix_ms += month_ms;
    world.append(id(1, 0), &batch_of(300, 1, 0, 1), Level::Disk).expect(FINE);
    live(&mut world, HOUR - HOUR / 60).expect(FINE);
    assert_eq!(world.life().leaps, 1);
    assert_eq!(start_of(&world), 0);
    live(&mut world, HOUR / 30).expect(FINE);
    assert_eq!(world.life().leaps_believed, 1);
    world.settle_for(HOUR / 60);
    let start = start_of(&world);
    assert!((1..=40).contains(&start), "what is a month old goes, and not what is new: {start}");
}

#[test]
fn a_clock_that_leaps_and_comes_back_deletes_nothing() {
    let mut world = aging_world(19);
    fill(&mut world, 20, 20_000);
    let month_ms = 30 * 24 * 3600 * 1000;
    for by_ms in [month_ms, -month_ms, -month_ms, month_ms] {
        world.clock.now.unix_ms += by_ms;
        world.append(id(1, 0), &batch_of(300, 1, 0, 1), Level::Disk).expect(FINE);
        live(&mut world, HOUR / 4).expect(FINE);
    }
    assert_eq!(start_of(&world), 0);
    assert_eq!(world.life().leaps_believed, 0);
}

/// Three partitions age at their own times, beside one that does not; one is written all the time.
fn aging_script(world: &mut World) -> Result<(), Cut> {
    world.start(1)?;
    for turn in 0..9 {
        for partition in 0..4 {
            let bytes = batch_of(40_000 + 9_000 * partition as usize, 2, 0, turn);
            world.append(id(1, partition), &bytes, Level::Disk)?;
        }
        live(world, HOUR / 2)?;
    }
    live(world, AGE)?;
    world.stop()?;
    world.advance(HOUR);
    world.start(2)?;
    world.append(id(1, 0), &batch_of(900, 1, 0, 5), Level::Memory)?;
    live(world, AGE * 2)?;
    world.check_files();
    Ok(())
}

fn scripted() -> World {
    let mut world = World::new(41, Settings::default());
    for partition in 0..3 {
        world.create(id(1, partition), aging());
    }
    world.create(id(1, 3), PartitionConfig { retention: Retention::UNLIMITED, ..aging() });
    world
}

/// The model holds every start against the age of what it takes, in this life and in the next.
#[test]
fn a_power_loss_at_any_operation_of_a_deletion_by_age_takes_nothing_young() {
    let mut whole = scripted();
    aging_script(&mut whole).expect(FINE);
    assert_eq!(whole.model[&id(1, 3)].start, Offset::ZERO);
    let all = std::env::var("PLIMSOLL_EXHAUSTIVE").is_ok_and(|value| value == "1");
    for cut in 1..whole.steps {
        if !all && cut % 5 != 0 {
            continue;
        }
        let mut world = scripted();
        world.cut_at = Some(cut);
        aging_script(&mut world).expect_err("it is cut");
        world.cut_at = None;
        world.crash(if cut % 2 == 0 { Crash::Power(Survival::Random) } else { Crash::Kill });
        world.start(1 + (cut % 3) as u16).expect(FINE);
        live(&mut world, HOUR).expect(FINE);
        live(&mut world, AGE * 2).expect(FINE);
        world.check_files();
        for partition in 0..3 {
            let partition = &world.model[&id(1, partition)];
            let kept = partition.batches.iter().filter(|batch| batch.next > partition.start);
            assert_eq!(kept.count(), 0, "cut {cut}: at rest everything is old");
        }
    }
}

/// On a full disk it is what makes room: the server must not wait for room to give room back.
#[test]
fn on_a_full_disk_what_has_to_go_goes() {
    let mut world = World::new(42, Settings::default());
    world.create(id(1, 0), PartitionConfig { segment_bytes: SEGMENT_BYTES, ..CONFIG });
    world.start(1).expect(FINE);
    fill(&mut world, 60, 20_000);
    world.machine.disk.faults.no_space = true;
    let files = world.segments(id(1, 0)).len();
    // Until nothing more is taken.
    for turn in 0..2_000 {
        if world.try_append(id(1, 0), batch_of(20_000, 1, 0, turn), Level::Disk).is_err() {
            break;
        }
        live(&mut world, HOUR / 3600).expect(FINE);
    }
    world.set_config(id(1, 0), keeping(KEPT_BYTES));
    live(&mut world, HOUR / 60).expect(FINE);
    world.check_marks();
    assert!(start_of(&world) > 0, "the start has moved");
    let left = world.segments(id(1, 0)).len();
    assert!(left < files, "{left} of {files} files are there");
}
