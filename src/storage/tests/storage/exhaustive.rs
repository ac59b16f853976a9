//! One scripted life with all that a log does, ended by a power loss after **every** operation with
//! all, none, every single one and all but one of the unflushed writes kept, and with every write,
//! read, flush and change of a name failing in turn.
//!
//! CrashMonkey's result is the reason (OSDI 2018): nearly all crash bugs need few operations and
//! one badly chosen survivor. A test run takes a share of the states; `PLIMSOLL_EXHAUSTIVE=1`
//! takes all (`make exhaustive`).

mod faults;
mod script;

use plimsoll_sim::Survival;
use plimsoll_storage::Level;

use self::script::{ROLLED, SMALL, almost_round, append, first_start, script};
use crate::world::{Cut, Settings, World};

/// A test run takes one operation in so many.
const SHARE: u64 = 11;

fn is_exhaustive() -> bool {
    std::env::var("PLIMSOLL_EXHAUSTIVE").is_ok_and(|value| value == "1")
}

/// A life after the crash: everything is compared, and the log goes on.
fn live_on(mut world: World, what: &str) {
    let seen = std::panic::AssertUnwindSafe(|| {
        world.start(1 + (world.steps % 2) as u16).expect("nothing cuts it");
        if !world.model.contains_key(&ROLLED) {
            world.create(ROLLED, SMALL);
        }
        append(&mut world, ROLLED, 700, Level::Disk).expect("it goes on");
        world.settle().expect("nothing cuts it");
    });
    if let Err(panic) = std::panic::catch_unwind(seen) {
        eprintln!("in the state: {what}");
        std::panic::resume_unwind(panic);
    }
}

/// Cuts `script` after each of its operations. `begin` gives the world in which it begins.
fn cut_everywhere(
    begin: &dyn Fn() -> World,
    script: &dyn Fn(&mut World) -> Result<(), Cut>,
    durable_writes: bool,
) {
    let mut whole = begin();
    let first = whole.steps + 1;
    script(&mut whole).expect("nothing cuts it");
    let all = is_exhaustive();
    let mut states = 0;
    for cut in first..whole.steps {
        if !all && cut % SHARE != u64::from(durable_writes) {
            continue;
        }
        let mut world = begin();
        world.cut_at = Some(cut);
        script(&mut world).expect_err("it is cut");
        world.cut_at = None;
        world.die();
        world.machine.land();
        let unflushed = world.machine.disk.unflushed();
        let kept = if all { 0..unflushed } else { sample(cut, unflushed) };
        if all && cut % 20 == 0 {
            println!("cut {cut} of {}: {states} states so far", whole.steps);
        }
        let mut survivals = vec![Survival::Nothing, Survival::Everything];
        for which in kept {
            survivals.extend([Survival::Only(which), Survival::AllBut(which)]);
        }
        for survival in survivals {
            states += 1;
            live_on(world.fork_at_power_loss(survival), &format!("cut {cut}, {survival:?}"));
        }
    }
    println!("{} operations, {states} states", whole.steps + 1 - first);
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

fn cut_the_life_everywhere(durable_writes: bool) {
    let (begun, before) = almost_round(durable_writes);
    let mut whole = begun.fork();
    let seen = script(&mut whole, before).expect("nothing cuts it");
    println!("{seen:?}");
    seen.assert_complete(&whole);
    let script = |world: &mut World| script(world, before).map(|_| ());
    cut_everywhere(&|| begun.fork(), &script, durable_writes);
}

#[test]
fn any_single_survivor_of_a_power_loss_after_any_operation_is_survived() {
    cut_the_life_everywhere(false);
}

#[test]
fn any_single_survivor_is_survived_with_durable_writes() {
    cut_the_life_everywhere(true);
}

#[test]
fn any_single_survivor_of_a_first_start_is_survived() {
    let begin = || {
        let mut world = World::new(21, Settings::default());
        world.create(ROLLED, SMALL);
        world
    };
    cut_everywhere(&begin, &first_start, false);
}
