//! Disk operations against the real kernel: each does what its documentation promises.

use crate::machine::Machine;
use plimsoll_device::{
    ArenaRange, BLOCK_BYTES, Buffer, Completion, DiskAction, DiskResult, FileId, IoErrorKind,
    Memory, OpenMode,
};
use plimsoll_ring::{ArenaRegistration, create_arena};

fn filled(length_bytes: usize, byte: u8) -> Memory {
    let mut buffer = Buffer::zeroed(length_bytes);
    buffer.fill(byte);
    Memory::Buffer(buffer)
}

fn buffer(memory: Memory) -> Buffer {
    match memory {
        Memory::Buffer(buffer) => buffer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read_back_after_close_and_open() {
    let mut machine = Machine::new();
    assert_eq!(machine.open(0, "a", OpenMode::CreateNew), 0);
    let (memory, written) = machine.write(0, 4096, filled(8192, 7));
    assert_eq!((memory.length_bytes(), written), (8192, 8192));
    machine.done(DiskAction::SyncData { file: FileId(0) });
    machine.done(DiskAction::Close { file: FileId(0) });
    assert_eq!(machine.open(3, "a", OpenMode::Existing), 12288);
    let (memory, read) = machine.read(3, 0, filled(12288, 1));
    let bytes = buffer(memory);
    assert_eq!(read, 12288);
    assert!(bytes[..4096].iter().all(|byte| *byte == 0));
    assert!(bytes[4096..].iter().all(|byte| *byte == 7));
}

#[test]
fn a_read_at_the_end_of_the_file_is_short_and_beyond_it_empty() {
    let mut machine = Machine::new();
    machine.open(0, "a", OpenMode::CreateNew);
    machine.write(0, 0, filled(BLOCK_BYTES, 7));
    assert_eq!(machine.read(0, 0, filled(4 * BLOCK_BYTES, 0)).1, BLOCK_BYTES);
    assert_eq!(machine.read(0, 8 * BLOCK_BYTES as u64, filled(BLOCK_BYTES, 0)).1, 0);
}

#[test]
fn an_allocated_file_has_its_length_and_reads_as_zeros() {
    let mut machine = Machine::new();
    machine.open(0, "a", OpenMode::CreateNew);
    machine.done(DiskAction::Allocate { file: FileId(0), length_bytes: 1 << 20 });
    machine.done(DiskAction::Close { file: FileId(0) });
    assert_eq!(machine.open(0, "a", OpenMode::Existing), 1 << 20);
    let (memory, read) = machine.read(0, 0, filled(65536, 9));
    assert_eq!(read, 65536);
    assert!(buffer(memory).iter().all(|byte| *byte == 0));
}

#[test]
fn names_are_created_listed_renamed_and_removed() {
    let mut machine = Machine::new();
    let list = |machine: &mut Machine, path: &str| match machine
        .disk(DiskAction::List { path: path.to_owned() })
    {
        DiskResult::Listed(names) => {
            let mut names = names.unwrap();
            names.sort();
            names
        }
        other => panic!("{other:?}"),
    };
    machine.done(DiskAction::CreateDirectory { path: "topic".to_owned() });
    machine.open(0, "topic/x", OpenMode::CreateNew);
    machine.open(1, "topic/y", OpenMode::CreateNew);
    assert_eq!(list(&mut machine, ""), ["lock", "topic"]);
    assert_eq!(list(&mut machine, "topic"), ["x", "y"]);
    machine.done(DiskAction::Rename { from: "topic/x".to_owned(), to: "topic/y".to_owned() });
    machine.done(DiskAction::SyncDirectory { path: "topic".to_owned() });
    machine.done(DiskAction::SyncDirectory { path: String::new() });
    machine.done(DiskAction::SyncAll);
    assert_eq!(list(&mut machine, "topic"), ["y"]);
    machine.done(DiskAction::Remove { path: "topic/y".to_owned() });
    machine.done(DiskAction::RemoveDirectory { path: "topic".to_owned() });
    assert_eq!(list(&mut machine, ""), ["lock"]);
    assert!(machine.ring.idle());
}

#[test]
fn a_failure_says_what_kind_it_is_and_gives_the_memory_back() {
    let mut machine = Machine::new();
    let open = |machine: &mut Machine, path: &str, mode| {
        let action = DiskAction::Open { file: FileId(0), path: path.to_owned(), mode };
        match machine.disk(action) {
            DiskResult::Opened(result) => result.map_err(|error| error.kind),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(open(&mut machine, "none", OpenMode::Existing), Err(IoErrorKind::NotFound));
    assert_eq!(open(&mut machine, "../x", OpenMode::CreateNew), Err(IoErrorKind::Other));
    assert_eq!(open(&mut machine, "lock", OpenMode::CreateNew), Err(IoErrorKind::AlreadyExists));
    let action = DiskAction::Write {
        file: FileId(9),
        position_bytes: 0,
        source: filled(4096, 1),
        durable: false,
    };
    match machine.disk(action) {
        DiskResult::Written(Memory::Buffer(_), Err(error)) => assert_eq!(error.errno, 9),
        other => panic!("{other:?}"),
    }
}

#[test]
fn creating_empty_empties_what_is_there() {
    let mut machine = Machine::new();
    machine.open(0, "a", OpenMode::CreateNew);
    machine.write(0, 0, filled(4096, 1));
    machine.done(DiskAction::Close { file: FileId(0) });
    assert_eq!(machine.open(0, "a", OpenMode::CreateEmpty), 0);
}

#[test]
fn the_arena_is_written_and_read_whether_registered_or_only_known() {
    let shm = tempfile::TempDir::new_in("/dev/shm").unwrap();
    let disk = crate::machine::directory();
    // The kernel registers memory of tmpfs, and refuses that of a disk file.
    for (dir, registered) in [(shm.path(), true), (disk.path(), false)] {
        let mut machine = Machine::new();
        let mut arena = create_arena(&dir.join("arena"), 1 << 20).unwrap();
        let outcome = machine.ring.register_arena(&arena);
        assert_eq!(outcome == ArenaRegistration::Registered, registered, "{outcome:?}");
        let second = machine.ring.register_arena(&arena);
        assert_ne!(second, ArenaRegistration::Registered, "a ring has one arena");
        let range = |start_bytes, length_bytes| ArenaRange { start_bytes, length_bytes };
        arena.bytes_mut(range(65536, 65536)).fill(5);
        machine.open(0, "a", OpenMode::CreateNew);
        assert_eq!(machine.write(0, 0, Memory::Arena(range(65536, 65536))).1, 65536);
        assert_eq!(machine.read(0, 4096, Memory::Arena(range(0, 32768))).1, 32768);
        assert!(arena.bytes(range(0, 32768)).iter().all(|byte| *byte == 5));
        assert_eq!(arena.bytes(range(32768, 1)), [0]);
        let beyond = Memory::Arena(range(1 << 20, 4096));
        let action = DiskAction::Read { file: FileId(0), position_bytes: 0, target: beyond };
        assert!(matches!(machine.disk(action), DiskResult::Read(Memory::Arena(_), Err(_))));
    }
}

/// Since Linux 6.13 one entry into the kernel brings 20 completions at most.
#[test]
fn a_hundred_concurrent_reads_are_all_reported() {
    let mut machine = Machine::new();
    machine.open(0, "a", OpenMode::CreateNew);
    machine.write(0, 0, filled(100 * 4096, 3));
    for block in 0..100 {
        let target = filled(4096, 0);
        let position_bytes = block * 4096;
        machine.submit(DiskAction::Read { file: FileId(0), position_bytes, target });
    }
    assert!(!machine.ring.idle());
    let mut ended = 0;
    machine.turn_until(|_, completion| {
        let Completion::Disk(done) = completion else { panic!("{completion:?}") };
        let DiskResult::Read(memory, Ok(4096)) = done.result else { panic!("{done:?}") };
        assert!(buffer(memory).iter().all(|byte| *byte == 3));
        ended += 1;
        ended == 100
    });
    assert!(machine.ring.idle());
}

#[test]
fn more_operations_than_the_queue_holds_all_end() {
    let dir = crate::machine::directory();
    let config = plimsoll_ring::RingConfig { sq_entries: 4, ..crate::machine::config(dir.path()) };
    let mut ring = plimsoll_ring::Ring::new(config).unwrap();
    for number in 0..500_u64 {
        let action = DiskAction::CreateDirectory { path: format!("d{number}") };
        let token = plimsoll_device::Token(number);
        ring.submit(plimsoll_device::Op::Disk(plimsoll_device::DiskOp { token, action }));
    }
    let mut ended = 0;
    while ended < 500 {
        ring.turn(None, |completion| {
            let Completion::Disk(done) = completion else { panic!("{completion:?}") };
            assert!(matches!(done.result, DiskResult::Done(Ok(()))), "{done:?}");
            ended += 1;
        })
        .unwrap();
    }
    assert!(ring.idle());
}

#[test]
fn a_ring_dropped_with_operations_in_flight_waits_for_them() {
    let mut machine = Machine::new();
    machine.open(0, "a", OpenMode::CreateNew);
    for block in 0..50 {
        let source = filled(65536, 3);
        let position_bytes = block * 65536;
        let action = DiskAction::Write { file: FileId(0), position_bytes, source, durable: true };
        machine.submit(action);
    }
    machine.ring.turn(Some(plimsoll_device::Instant::ORIGIN), |_| {}).unwrap();
    drop(machine);
}
