//! One scripted life with all that a log does, ended by a power loss after **every** operation with
//! every single unflushed write kept alone and lost alone, and with every write, read and flush
//! failing in turn.
//!
//! CrashMonkey's result is the reason (OSDI 2018): nearly all crash bugs need few operations and
//! one badly chosen survivor. A test run takes a share of the states; `PLIMSOLL_EXHAUSTIVE=1`
//! takes all (`make exhaustive`).

use plimsoll_sim::Survival;
use plimsoll_storage::{AppendError, Level, PartitionConfig, PartitionId};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Cut, Settings, World, id};

/// Small segments, so that they are rolled.
const SMALL: PartitionConfig = PartitionConfig { segment_bytes: 150_000, ..CONFIG };
/// A test run takes one operation in so many.
const SHARE: u64 = 60;

fn is_exhaustive() -> bool {
    std::env::var("PLIMSOLL_EXHAUSTIVE").is_ok_and(|value| value == "1")
}

fn new_world(durable_writes: bool) -> World {
    let settings = Settings { durable_writes, ..Settings::default() };
    let mut world = World::new(20, settings);
    for which in [id(1, 0), id(1, 1), id(2, 0), id(4, 0), id(4, 1), id(4, 2)] {
        world.create(which, SMALL);
    }
    world
}

/// Appends of all levels, inline and as extents, rolls, spills, a checkpoint, a journal that goes
/// round, a creation, a removal, a clean stop, a start with another number of shards.
fn script(world: &mut World) -> Result<(), Cut> {
    world.start(1)?;
    for turn in 0..18 {
        let level = [Level::Disk, Level::Memory, Level::PageCache][turn % 3];
        let sizes = [300, 40_000, 90_000, 60_000];
        let bytes = batch_of(sizes[turn % 4], 2, turn as i64, turn as u64);
        append(world, id(1, turn as u32 % 2), &bytes, level)?;
        if turn % 3 == 2 {
            for _ in 0..4 {
                world.step()?;
            }
        }
    }
    // As much inline as there may be, until the journal has gone round.
    for turn in 0..48 {
        for partition in 0..3 {
            let bytes = batch_of(60_000, 1, turn, turn as u64 + 1_000);
            append(world, id(4, partition), &bytes, Level::Disk)?;
        }
        world.step()?;
    }
    world.checkpoints += world.life().shards[0].counters().checkpoints;
    world.create(id(3, 0), SMALL);
    append(world, id(3, 0), &batch_of(500, 1, 0, 8), Level::Disk)?;
    world.settle()?;
    if world.model.contains_key(&id(2, 0)) {
        append(world, id(2, 0), &batch_of(70_000, 1, 0, 9), Level::Disk)?;
        world.step()?;
        world.remove(id(2, 0));
    }
    append(world, id(1, 1), &batch_of(50, 1, 0, 10), Level::Memory)?;
    world.stop()?;
    world.start(2)?;
    append(world, id(1, 0), &batch_of(4_000, 1, 0, 11), Level::Disk)?;
    world.settle()
}

/// Appends; a failed disk ends the script.
fn append(world: &mut World, id: PartitionId, bytes: &[u8], level: Level) -> Result<(), Cut> {
    let bytes = world.numbered(id, bytes);
    loop {
        match world.try_append(id, bytes.to_vec(), level) {
            Ok(_) => return Ok(()),
            Err(AppendError::NoRoom) => world.wait_for_room()?,
            Err(AppendError::Failed(_)) => return Err(Cut),
            Err(error) => panic!("{id}: {error}"),
        }
    }
}

/// A life after the crash: everything is compared, and the log goes on.
fn live_on(mut world: World, what: &str) {
    let seen = std::panic::AssertUnwindSafe(|| {
        world.start(1 + (world.steps % 2) as u16).expect("nothing cuts it");
        append(&mut world, id(1, 1), &batch_of(700, 1, 0, 1), Level::Disk).expect("it goes on");
        world.settle().expect("nothing cuts it");
    });
    if let Err(panic) = std::panic::catch_unwind(seen) {
        eprintln!("in the state: {what}");
        std::panic::resume_unwind(panic);
    }
}

fn cut_everywhere(durable_writes: bool) {
    let mut whole = new_world(durable_writes);
    script(&mut whole).expect("nothing cuts it");
    let checkpoints = whole.checkpoints;
    assert!(checkpoints > 0, "the journal has not gone round");
    let all = is_exhaustive();
    let mut states = 0;
    for cut in 1..whole.steps {
        if !all && cut % SHARE != u64::from(durable_writes) {
            continue;
        }
        let mut world = new_world(durable_writes);
        world.cut_at = Some(cut);
        script(&mut world).expect_err("it is cut");
        world.cut_at = None;
        world.die();
        let unflushed = world.machine.disk.unflushed();
        let kept = if all { 0..unflushed } else { sample(cut, unflushed) };
        let mut survivals = vec![Survival::Nothing, Survival::Everything];
        for which in kept {
            survivals.extend([Survival::Only(which), Survival::AllBut(which)]);
        }
        for survival in survivals {
            states += 1;
            live_on(world.fork_at_power_loss(survival), &format!("cut {cut}, {survival:?}"));
        }
    }
    println!("{} operations, {states} states", whole.steps);
}

/// One of `count`, another at each cut.
fn sample(cut: u64, count: usize) -> core::ops::Range<usize> {
    match count {
        0 => 0..0,
        count => {
            let which = cut as usize % count;
            which..which + 1
        }
    }
}

#[test]
fn any_single_survivor_of_a_power_loss_after_any_operation_is_survived() {
    cut_everywhere(false);
}

#[test]
fn any_single_survivor_is_survived_with_durable_writes() {
    cut_everywhere(true);
}

/// What fails, by its number.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Write,
    ShortWrite,
    Sync,
    SyncThatDrops,
}

fn fail_everywhere(fault: Fault) {
    let mut whole = new_world(false);
    script(&mut whole).expect("nothing fails");
    let counts = whole.machine.disk.counts();
    let count = match fault {
        Fault::Write | Fault::ShortWrite => counts.writes,
        Fault::Sync | Fault::SyncThatDrops => counts.syncs,
    };
    let step = if is_exhaustive() { 1 } else { SHARE };
    for nth in (1..=count).step_by(step as usize) {
        let mut world = new_world(false);
        let faults = &mut world.machine.disk.faults;
        match fault {
            Fault::Write => faults.fail_write_nth = Some(nth),
            Fault::ShortWrite => faults.short_write_nth = Some(nth),
            Fault::Sync => faults.fail_sync_nth = Some(nth),
            Fault::SyncThatDrops => {
                faults.fail_sync_nth = Some(nth);
                faults.flush_drops_on_failure = true;
            }
        }
        // It ends where the failure is noticed, or not at all.
        let _ = script(&mut world);
        world.machine.disk.faults = plimsoll_sim::Faults::default();
        let crash = [Crash::Kill, Crash::Power(Survival::Nothing), Crash::Power(Survival::Random)];
        let crash = crash[nth as usize % 3];
        world.crash(crash);
        live_on(world, &format!("{fault:?} number {nth} of {count}, then {crash:?}"));
    }
}

#[test]
fn any_write_may_fail() {
    fail_everywhere(Fault::Write);
}

#[test]
fn any_write_may_be_short() {
    fail_everywhere(Fault::ShortWrite);
}

/// A start whose read fails says so, or does without; and the next one finds everything.
#[test]
fn any_read_of_a_start_may_fail() {
    for nth in 1.. {
        let mut world = new_world(false);
        world.cut_at = Some(300);
        script(&mut world).expect_err("it is cut");
        world.cut_at = None;
        world.crash(Crash::Kill);
        let before = world.machine.disk.counts().reads;
        world.machine.disk.faults.fail_read_nth = Some(before + nth);
        let _ = world.start_unchecked(2);
        let reads = world.machine.disk.counts().reads - before;
        if reads < nth {
            assert!(nth > 10, "a start reads more than {reads} times");
            return;
        }
        world.machine.disk.faults = plimsoll_sim::Faults::default();
        world.crash(Crash::Kill);
        live_on(world, &format!("read {nth} of a start failed"));
    }
}

#[test]
fn any_flush_may_fail() {
    fail_everywhere(Fault::Sync);
}

#[test]
fn any_flush_may_fail_and_drop_what_it_covered() {
    fail_everywhere(Fault::SyncThatDrops);
}
