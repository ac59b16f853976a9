//! What the simulated disk does while the machine runs, and the faults that one can ask for.

use plimsoll_device::{
    ArenaRange, BLOCK_BYTES, Buffer, DiskAction, DiskResult, FileId, IoErrorKind, Memory, OpenMode,
    Token,
};
use plimsoll_sim::{Disk, Random, heap_arena};

use crate::machine::{FILE, Machine, write};

const BLOCK: u64 = BLOCK_BYTES as u64;

#[test]
fn a_write_is_read_back_from_the_arena_and_from_a_buffer() {
    let mut machine = Machine::with_file(1, 2);
    let source = ArenaRange { start_bytes: 0, length_bytes: BLOCK_BYTES };
    machine.arena.bytes_mut(source).fill(7);
    let source = Memory::Arena(source);
    let result =
        machine.run(DiskAction::Write { file: FILE, position_bytes: BLOCK, source, durable: true });
    assert!(matches!(result, DiskResult::Written(Memory::Arena(_), Ok(BLOCK_BYTES))));

    let target = ArenaRange { start_bytes: 2 * BLOCK_BYTES, length_bytes: 2 * BLOCK_BYTES };
    let action = DiskAction::Read { file: FILE, position_bytes: 0, target: Memory::Arena(target) };
    assert!(matches!(machine.run(action), DiskResult::Read(Memory::Arena(_), Ok(8192))));
    let bytes = machine.arena.bytes(target);
    assert!(bytes[..BLOCK_BYTES].iter().all(|byte| *byte == 0));
    assert!(bytes[BLOCK_BYTES..].iter().all(|byte| *byte == 7));

    let target = Memory::Buffer(Buffer::zeroed(2 * BLOCK_BYTES));
    match machine.run(DiskAction::Read { file: FILE, position_bytes: BLOCK, target }) {
        DiskResult::Read(Memory::Buffer(buffer), Ok(count)) => {
            assert_eq!(count, BLOCK_BYTES, "a read ends at the end of the file");
            assert!(buffer[..count].iter().all(|byte| *byte == 7));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn operations_in_flight_complete_in_any_order() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let mut machine = Machine::with_file(seed, 3);
        for block in 0..3 {
            machine.submit(write(FILE, block, 1, 1));
        }
        let mut order = Vec::new();
        while let Some(completion) = machine.disk.complete_one(&mut machine.arena) {
            order.push(completion.token);
        }
        orders.insert(order);
    }
    assert_eq!(orders.len(), 6, "three operations have six orders");
}

#[test]
fn opening_follows_its_mode() {
    let mut machine = Machine::new(1);
    let missing = machine.open(FILE, "a", OpenMode::Existing).unwrap_err();
    assert_eq!(missing.kind, IoErrorKind::NotFound);
    let no_parent = machine.open(FILE, "d/a", OpenMode::CreateNew).unwrap_err();
    assert_eq!(no_parent.kind, IoErrorKind::NotFound);
    assert_eq!(machine.open(FILE, "a", OpenMode::CreateNew), Ok(0));
    machine.write(0, 2, 1).unwrap();
    let exists = machine.open(FileId(2), "a", OpenMode::CreateNew).unwrap_err();
    assert_eq!(exists.kind, IoErrorKind::AlreadyExists);
    assert_eq!(machine.open(FileId(2), "a", OpenMode::Existing), Ok(2 * BLOCK));
    assert_eq!(machine.open(FileId(3), "a", OpenMode::CreateEmpty), Ok(0));
}

#[test]
fn directories_hold_names_until_they_are_removed() {
    let mut machine = Machine::new(1);
    machine.done(DiskAction::CreateDirectory { path: "d".into() }).unwrap();
    machine.open(FILE, "d/a", OpenMode::CreateNew).unwrap();
    machine.open(FileId(2), "b", OpenMode::CreateNew).unwrap();
    machine.done(DiskAction::Rename { from: "b".into(), to: "d/b".into() }).unwrap();
    let list = |machine: &mut Machine, path: &str| match machine
        .run(DiskAction::List { path: path.into() })
    {
        DiskResult::Listed(names) => names.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(list(&mut machine, ""), ["d"]);
    assert_eq!(list(&mut machine, "d"), ["a", "b"]);
    let full = machine.done(DiskAction::RemoveDirectory { path: "d".into() }).unwrap_err();
    assert_eq!(full.errno, 39);
    machine.done(DiskAction::Remove { path: "d/a".into() }).unwrap();
    machine.done(DiskAction::Remove { path: "d/b".into() }).unwrap();
    machine.done(DiskAction::RemoveDirectory { path: "d".into() }).unwrap();
    assert!(list(&mut machine, "").is_empty());
}

#[test]
fn an_allocated_range_reads_as_zeros() {
    let mut machine = Machine::new(1);
    machine.open(FILE, "a", OpenMode::CreateNew).unwrap();
    machine.done(DiskAction::Allocate { file: FILE, length_bytes: 2 * BLOCK }).unwrap();
    assert_eq!(machine.disk.read_file("a"), Some(vec![0; 2 * BLOCK_BYTES]));
}

#[test]
fn faults_fire_at_the_nth_call_and_once() {
    let mut machine = Machine::with_file(1, 4);
    machine.disk.faults.fail_write_nth = Some(2);
    machine.disk.faults.fail_sync_nth = Some(2);
    let writes: Vec<bool> = (0..4).map(|_| machine.write(0, 1, 1).is_ok()).collect();
    assert_eq!(writes, [true, false, true, true]);
    let syncs: Vec<bool> = (0..3).map(|_| machine.sync().is_ok()).collect();
    assert_eq!(syncs, [true, false, true]);
    assert_eq!((machine.disk.counts().writes, machine.disk.counts().syncs), (4, 3));

    machine.disk.faults.fail_read_nth = Some(1);
    let target = Memory::Buffer(Buffer::zeroed(BLOCK_BYTES));
    let result = machine.run(DiskAction::Read { file: FILE, position_bytes: 0, target });
    assert!(matches!(result, DiskResult::Read(Memory::Buffer(_), Err(_))), "{result:?}");
}

#[test]
fn a_short_write_reports_and_writes_fewer_bytes() {
    for seed in 0..50 {
        let mut machine = Machine::with_file(seed, 2);
        machine.disk.faults.short_write_nth = Some(1);
        let count = machine.write(0, 2, 9).unwrap();
        assert!((1..2 * BLOCK_BYTES).contains(&count), "{count} bytes, seed {seed}");
        let bytes = machine.disk.read_file("a").unwrap();
        assert!(bytes[..count].iter().all(|byte| *byte == 9), "seed {seed}");
        assert!(bytes[count..].iter().all(|byte| *byte == 0), "seed {seed}");
    }
}

#[test]
fn a_full_device_refuses_what_needs_room_and_overwrites_go_on() {
    let mut machine = Machine::with_file(1, 1);
    machine.disk.faults.no_space = true;
    let allocate = DiskAction::Allocate { file: FILE, length_bytes: 2 * BLOCK };
    assert_eq!(machine.done(allocate).unwrap_err().kind, IoErrorKind::NoSpace);
    let create = machine.open(FileId(2), "b", OpenMode::CreateNew);
    assert_eq!(create.unwrap_err().kind, IoErrorKind::NoSpace);
    assert_eq!(machine.write(1, 1, 1).unwrap_err().kind, IoErrorKind::NoSpace);
    assert_eq!(machine.write(0, 1, 1), Ok(BLOCK_BYTES));
    machine.disk.faults.no_space = false;
    assert_eq!(machine.write(1, 1, 1), Ok(BLOCK_BYTES));
}

#[test]
fn writes_to_a_file_that_is_named_so_stay_in_flight_until_they_are_released() {
    let mut machine = Machine::with_file(1, 2);
    machine.open(FileId(2), "b.journal", OpenMode::CreateNew).unwrap();
    machine.disk.faults.hold_writes_to = Some(".journal");
    machine.submit(write(FileId(2), 0, 1, 5));
    assert!(!machine.disk.can_go_on());
    assert_eq!(machine.write(0, 1, 1), Ok(BLOCK_BYTES), "other files go on");
    assert_eq!(machine.disk.read_file("b.journal").unwrap(), []);
    machine.disk.release();
    assert!(machine.disk.complete_one(&mut machine.arena).is_some());
    assert_eq!(machine.disk.read_file("b.journal").unwrap()[0], 5);
}

#[test]
fn a_flipped_bit_survives_reads_and_crashes() {
    let mut machine = Machine::with_file(1, 1);
    machine.disk.flip_bit("a", 100, 3);
    assert_eq!(machine.disk.read_file("a").unwrap()[100], 8);
    machine.disk.power_loss();
    assert_eq!(machine.disk.read_file("a").unwrap()[100], 8);
}

#[test]
#[should_panic(expected = "the memory of a write in flight was changed")]
fn a_write_whose_memory_changes_in_flight_is_refused() {
    let mut machine = Machine::with_file(1, 1);
    let source = ArenaRange { start_bytes: 0, length_bytes: BLOCK_BYTES };
    let action = DiskAction::Write {
        file: FILE,
        position_bytes: 0,
        source: Memory::Arena(source),
        durable: false,
    };
    machine.submit(action);
    machine.arena.bytes_mut(source).fill(1);
    machine.disk.complete_one(&mut machine.arena);
}

#[test]
#[should_panic(expected = "is not open")]
fn a_kill_closes_every_file() {
    let mut machine = Machine::with_file(1, 1);
    machine.disk.kill();
    machine.submit(write(FILE, 0, 1, 1));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let runs: Vec<(u64, Vec<u8>)> = [1, 1, 2].into_iter().map(trace_of_a_run).collect();
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0].0, runs[2].0);
}

/// Some of everything, with crashes; operations drawn from the seed.
fn trace_of_a_run(seed: u64) -> (u64, Vec<u8>) {
    let mut draws = Random::new(seed).stream("workload");
    let mut disk = Disk::new(&Random::new(seed));
    let mut arena = heap_arena(BLOCK_BYTES);
    let mut token = 0;
    for life in 0..20 {
        let mut submit = |disk: &mut Disk, arena: &_, action| {
            token += 1;
            disk.submit(plimsoll_device::DiskOp { token: Token(token), action }, arena);
        };
        let path = "a".into();
        let mode = if life == 0 { OpenMode::CreateNew } else { OpenMode::CreateEmpty };
        submit(&mut disk, &arena, DiskAction::Open { file: FILE, path, mode });
        while disk.complete_one(&mut arena).is_some() {}
        for _ in 0..50 {
            let action = match draws.below(4) {
                0 => DiskAction::SyncData { file: FILE },
                1 => DiskAction::SyncDirectory { path: String::new() },
                _ => write(FILE, draws.below(8), 1, draws.below(256) as u8),
            };
            submit(&mut disk, &arena, action);
            while disk.pending() > 3 {
                disk.complete_one(&mut arena);
            }
        }
        disk.power_loss();
    }
    (disk.trace_hash(), disk.read_file("a").unwrap_or_default())
}
