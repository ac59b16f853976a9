//! What a kill and a power loss leave of what was asked of the simulated disk.

use std::collections::BTreeSet;

use plimsoll_device::{BLOCK_BYTES, DiskAction, FileId, Memory, OpenMode};
use plimsoll_sim::Survival;

use crate::machine::{FILE, Machine, write};

const SEEDS: u64 = 300;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// The values found in the sectors of one block.
fn sectors(bytes: &[u8], block: usize) -> BTreeSet<u8> {
    let block = &bytes[block * BLOCK_BYTES..][..BLOCK_BYTES];
    let whole = block.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0]));
    assert!(whole, "a sector is never torn");
    block.iter().copied().collect()
}

#[test]
fn a_kill_keeps_completed_writes_and_tears_those_in_flight() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut machine = Machine::with_file(seed, 2);
        machine.write(0, 1, 1).unwrap();
        machine.submit(write(FILE, 1, 1, 2));
        machine.disk.kill();
        let bytes = machine.disk.read_file("a").unwrap();
        assert_eq!(sectors(&bytes, 0), BTreeSet::from([1]), "seed {seed}");
        outcomes.insert(sectors(&bytes, 1));
    }
    let all = [vec![0], vec![2], vec![0, 2]].map(BTreeSet::from_iter);
    assert_eq!(outcomes, BTreeSet::from(all), "lost, whole and torn all happen");
}

#[test]
fn a_power_loss_drops_keeps_and_tears_what_was_not_flushed() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut machine = Machine::with_file(seed, 2);
        machine.write(0, 1, 1).unwrap();
        machine.sync().unwrap();
        machine.write(1, 1, 2).unwrap();
        machine.disk.power_loss();
        let bytes = machine.disk.read_file("a").unwrap();
        assert_eq!(sectors(&bytes, 0), BTreeSet::from([1]), "seed {seed}");
        outcomes.insert(sectors(&bytes, 1));
    }
    let all = [vec![0], vec![2], vec![0, 2]].map(BTreeSet::from_iter);
    assert_eq!(outcomes, BTreeSet::from(all), "lost, whole and torn all happen");
}

#[test]
fn later_writes_may_survive_earlier_ones() {
    let outcomes: BTreeSet<Vec<u8>> = (0..SEEDS)
        .map(|seed| {
            let mut machine = Machine::with_file(seed, 2);
            machine.write(0, 1, 1).unwrap();
            machine.write(1, 1, 1).unwrap();
            machine.disk.power_loss();
            let bytes = machine.disk.read_file("a").unwrap();
            vec![bytes[0], bytes[BLOCK_BYTES]]
        })
        .collect();
    assert_eq!(outcomes.len(), 4, "every subset happens: {outcomes:?}");
}

#[test]
fn a_flush_covers_only_writes_that_completed_before_it_was_submitted() {
    let mut covered_in_flight = false;
    for seed in 0..SEEDS {
        let mut machine = Machine::with_file(seed, 2);
        machine.write(0, 1, 1).unwrap();
        machine.submit(write(FILE, 1, 1, 2));
        machine.sync().unwrap();
        let bytes = machine.disk.durable_file("a").unwrap();
        assert_eq!(bytes[0], 1, "seed {seed}");
        covered_in_flight |= bytes[BLOCK_BYTES] == 2;
    }
    assert!(!covered_in_flight, "a write in flight with the flush is never durable by it");
}

#[test]
fn a_flush_of_another_file_covers_nothing_and_a_flush_of_all_covers_all() {
    let mut machine = Machine::with_file(1, 1);
    machine.disk.write_file("b", &[0; BLOCK_BYTES]);
    machine.open(FileId(2), "b", OpenMode::Existing).unwrap();
    machine.write(0, 1, 1).unwrap();
    machine.done(DiskAction::SyncData { file: FileId(2) }).unwrap();
    assert_eq!(machine.disk.durable_file("a").unwrap()[0], 0);
    machine.done(DiskAction::SyncAll).unwrap();
    assert_eq!(machine.disk.durable_file("a").unwrap()[0], 1);
}

#[test]
fn a_durable_write_is_durable_at_its_completion_with_its_length() {
    let mut machine = Machine::new(1);
    machine.open(FILE, "a", OpenMode::CreateNew).unwrap();
    machine.sync_directory("");
    let DiskAction::Write { source, .. } = write(FILE, 0, 1, 5) else { panic!("a write") };
    machine.run(DiskAction::Write { file: FILE, position_bytes: BLOCK, source, durable: true });
    machine.disk.power_loss_leaving(Survival::Nothing);
    let bytes = machine.disk.read_file("a").unwrap();
    assert_eq!((bytes.len(), bytes[0], bytes[BLOCK_BYTES]), (2 * BLOCK_BYTES, 0, 5));
}

#[test]
fn an_older_write_without_a_flush_never_covers_a_newer_durable_one() {
    for seed in 0..SEEDS {
        let mut machine = Machine::with_file(seed, 1);
        machine.write(0, 1, 1).unwrap();
        let DiskAction::Write { source, .. } = write(FILE, 0, 1, 2) else { panic!("a write") };
        machine.run(DiskAction::Write { file: FILE, position_bytes: 0, source, durable: true });
        machine.disk.power_loss();
        let bytes = machine.disk.read_file("a").unwrap();
        assert_eq!(sectors(&bytes, 0), BTreeSet::from([2]), "seed {seed}");
    }
}

#[test]
fn an_allocation_without_a_flush_may_vanish_and_with_one_stays() {
    let mut lengths = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut machine = Machine::with_file(seed, 1);
        machine.done(DiskAction::Allocate { file: FILE, length_bytes: 2 * BLOCK }).unwrap();
        machine.sync().unwrap();
        machine.done(DiskAction::Allocate { file: FILE, length_bytes: 3 * BLOCK }).unwrap();
        machine.disk.power_loss();
        lengths.insert(machine.disk.read_file("a").unwrap().len() / BLOCK_BYTES);
    }
    assert_eq!(lengths, BTreeSet::from([2, 3]));
}

#[test]
fn a_rename_without_a_directory_flush_leaves_old_or_new() {
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut machine = Machine::new(seed);
        machine.disk.write_file("a", &[1]);
        machine.disk.write_file("a.new", &[2]);
        let rename = DiskAction::Rename { from: "a.new".into(), to: "a".into() };
        machine.done(rename).unwrap();
        machine.disk.power_loss();
        let new_name = machine.disk.read_file("a.new");
        let byte = machine.disk.read_file("a").unwrap()[0];
        assert_eq!(new_name.is_some(), byte == 1, "seed {seed}: the rename is whole");
        found.insert(byte);
    }
    assert_eq!(found, BTreeSet::from([1, 2]));
}

#[test]
fn a_renamed_new_file_never_leaves_the_name_empty() {
    for seed in 0..SEEDS {
        let mut machine = Machine::new(seed);
        machine.disk.write_file("a", &[1; BLOCK_BYTES]);
        machine.open(FILE, "a.new", OpenMode::CreateNew).unwrap();
        machine.write(0, 1, 2).unwrap();
        machine.sync().unwrap();
        machine.done(DiskAction::Rename { from: "a.new".into(), to: "a".into() }).unwrap();
        machine.disk.power_loss();
        let bytes = machine.disk.read_file("a").unwrap();
        assert!(bytes == [1; BLOCK_BYTES] || bytes == [2; BLOCK_BYTES], "seed {seed}");
    }
}

#[test]
fn a_file_renamed_twice_has_one_name_after_a_power_loss() {
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut machine = Machine::new(seed);
        machine.disk.write_file("a", &[1]);
        machine.done(DiskAction::Rename { from: "a".into(), to: "b".into() }).unwrap();
        machine.done(DiskAction::Rename { from: "b".into(), to: "c".into() }).unwrap();
        machine.disk.power_loss();
        found.insert(machine.disk.files());
    }
    assert_eq!(found, BTreeSet::from(["a", "b", "c"].map(|name| vec![name.to_owned()])));
}

#[test]
fn a_failed_flush_that_kept_its_writes_leaves_them_to_chance() {
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut machine = Machine::with_file(seed, 1);
        machine.disk.faults.fail_sync_nth = Some(1);
        machine.write(0, 1, 1).unwrap();
        machine.sync().unwrap_err();
        assert_eq!(machine.disk.durable_file("a").unwrap()[0], 0);
        machine.disk.power_loss();
        found.insert(machine.disk.read_file("a").unwrap()[0]);
    }
    assert_eq!(found, BTreeSet::from([0, 1]));
}

#[test]
fn a_directory_flush_makes_names_durable() {
    let mut machine = Machine::new(1);
    machine.disk.write_file("old", &[1]);
    machine.done(DiskAction::CreateDirectory { path: "d".into() }).unwrap();
    machine.open(FILE, "d/a", OpenMode::CreateNew).unwrap();
    machine.done(DiskAction::Remove { path: "old".into() }).unwrap();
    machine.sync_directory("d");
    machine.sync_directory("");
    machine.disk.power_loss_leaving(Survival::Nothing);
    assert_eq!(machine.disk.files(), ["d/a"]);
}

#[test]
fn a_flushed_file_without_a_flushed_name_may_vanish() {
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut machine = Machine::new(seed);
        machine.open(FILE, "a", OpenMode::CreateNew).unwrap();
        machine.write(0, 1, 1).unwrap();
        machine.sync().unwrap();
        machine.disk.power_loss();
        found.insert(machine.disk.read_file("a").map(|bytes| bytes[0]));
    }
    assert_eq!(found, BTreeSet::from([None, Some(1)]));
}

#[test]
fn a_name_in_a_directory_that_was_lost_is_lost() {
    let mut machine = Machine::new(1);
    machine.done(DiskAction::CreateDirectory { path: "d".into() }).unwrap();
    machine.open(FILE, "d/a", OpenMode::CreateNew).unwrap();
    machine.sync_directory("d");
    machine.disk.power_loss_leaving(Survival::Nothing);
    assert!(machine.disk.files().is_empty());
}

#[test]
fn a_failed_flush_that_dropped_its_writes_is_not_repaired_by_the_next() {
    let mut machine = Machine::with_file(1, 1);
    machine.disk.faults.fail_sync_nth = Some(1);
    machine.disk.faults.flush_drops_on_failure = true;
    machine.write(0, 1, 1).unwrap();
    machine.sync().unwrap_err();
    machine.sync().unwrap();
    machine.disk.power_loss_leaving(Survival::Everything);
    assert_eq!(machine.disk.read_file("a").unwrap()[0], 0);
}

#[test]
fn exactly_the_chosen_change_survives_or_is_lost() {
    let run = |survival| {
        let mut machine = Machine::with_file(1, 3);
        for block in 0..3 {
            machine.write(block, 1, 1).unwrap();
        }
        assert_eq!(machine.disk.unflushed(), 3);
        machine.disk.power_loss_leaving(survival);
        let bytes = machine.disk.read_file("a").unwrap();
        [bytes[0], bytes[BLOCK_BYTES], bytes[2 * BLOCK_BYTES]]
    };
    assert_eq!(run(Survival::Only(1)), [0, 1, 0]);
    assert_eq!(run(Survival::AllBut(1)), [1, 0, 1]);
    assert_eq!(run(Survival::Everything), [1, 1, 1]);
    assert_eq!(run(Survival::Nothing), [0, 0, 0]);
}

#[test]
fn a_read_in_flight_at_a_kill_is_never_reported() {
    let mut machine = Machine::with_file(1, 1);
    let target = Memory::Buffer(plimsoll_device::Buffer::zeroed(BLOCK_BYTES));
    machine.submit(DiskAction::Read { file: FILE, position_bytes: 0, target });
    machine.disk.kill();
    assert_eq!(machine.disk.pending(), 0);
    assert!(machine.disk.complete_one(&mut machine.arena).is_none());
}
