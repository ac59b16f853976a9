//! The same life, in which one operation fails, each in its turn.

use plimsoll_sim::{Counts, Faults, Survival};

use super::script::{almost_round, script};
use super::{SHARE, is_exhaustive, live_on};
use crate::world::Crash;

/// What fails, by its number.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Write,
    ShortWrite,
    Read,
    Sync,
    SyncThatDrops,
    Open,
    Allocate,
    Name,
}

impl Fault {
    fn count(self, counts: Counts) -> u64 {
        match self {
            Self::Write | Self::ShortWrite => counts.writes,
            Self::Read => counts.reads,
            Self::Sync | Self::SyncThatDrops => counts.syncs,
            Self::Open => counts.opens,
            Self::Allocate => counts.allocates,
            Self::Name => counts.names,
        }
    }

    fn at(self, nth: u64) -> Faults {
        let mut faults = Faults::default();
        let which = match self {
            Self::Write => &mut faults.fail_write_nth,
            Self::ShortWrite => &mut faults.short_write_nth,
            Self::Read => &mut faults.fail_read_nth,
            Self::Sync | Self::SyncThatDrops => &mut faults.fail_sync_nth,
            Self::Open => &mut faults.fail_open_nth,
            Self::Allocate => &mut faults.fail_allocate_nth,
            Self::Name => &mut faults.fail_name_nth,
        };
        *which = Some(nth);
        faults.flush_drops_on_failure = matches!(self, Self::SyncThatDrops);
        faults
    }
}

fn fail_everywhere(fault: Fault) {
    let (begun, frame_bytes) = almost_round(false);
    let before = fault.count(begun.machine.disk.counts());
    let mut whole = begun.fork();
    script(&mut whole, frame_bytes).expect("nothing fails");
    let after = fault.count(whole.machine.disk.counts());
    let step = if is_exhaustive() { 1 } else { SHARE };
    let mut noticed = 0;
    for nth in (before + 1..=after).step_by(step as usize) {
        let mut world = begun.fork();
        world.machine.disk.faults = fault.at(nth);
        world.may_fail = true;
        // It ends where the failure is noticed, or not at all.
        noticed += u64::from(script(&mut world, frame_bytes).is_err());
        world.may_fail = false;
        world.machine.disk.faults = Faults::default();
        let crash = [Crash::Kill, Crash::Power(Survival::Nothing), Crash::Power(Survival::Random)];
        let crash = crash[nth as usize % 3];
        world.crash(crash);
        live_on(world, &format!("{fault:?} number {nth} of {before} to {after}, then {crash:?}"));
    }
    assert!(after > before, "the life has none of them");
    println!("{fault:?}: {} in turn, {noticed} ended the life", after - before);
}

#[test]
fn any_write_may_fail() {
    fail_everywhere(Fault::Write);
}

#[test]
fn any_write_may_be_short() {
    fail_everywhere(Fault::ShortWrite);
}

/// A start or a reader whose read fails says so, or does without; the next one finds everything.
#[test]
fn any_read_may_fail() {
    fail_everywhere(Fault::Read);
}

#[test]
fn any_flush_may_fail() {
    fail_everywhere(Fault::Sync);
}

#[test]
fn any_flush_may_fail_and_drop_what_it_covered() {
    fail_everywhere(Fault::SyncThatDrops);
}

#[test]
fn any_opening_of_a_file_may_fail() {
    fail_everywhere(Fault::Open);
}

#[test]
fn any_allocation_may_fail() {
    fail_everywhere(Fault::Allocate);
}

#[test]
fn any_change_of_a_name_may_fail() {
    fail_everywhere(Fault::Name);
}
