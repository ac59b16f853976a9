//! What a process needs around its rings: the doorbell, the lock, the arena.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::machine::Machine;
use plimsoll_device::{ArenaRange, Buffer, DiskAction, FileId, Memory, OpenMode};
use plimsoll_ring::{
    ArenaError, DirectoryLock, LockError, create_arena, create_arena_directory, read_arena,
    remove_arena,
};

#[test]
fn a_doorbell_wakes_a_parked_turn_each_time() {
    let mut machine = Machine::new();
    let doorbell = machine.ring.doorbell();
    let (turned, turns) = std::sync::mpsc::channel();
    let ringer = std::thread::spawn(move || {
        for _ in 0..200 {
            doorbell.ring();
            turns.recv().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
        doorbell.ring();
    });
    for _ in 0..201 {
        machine.ring.turn(None, |completion| panic!("{completion:?}")).unwrap();
        let _ = turned.send(());
    }
    ringer.join().unwrap();
}

#[test]
fn a_turn_returns_at_its_deadline() {
    let mut machine = Machine::new();
    let started = Instant::now();
    let deadline = machine.ring.now().monotonic + Duration::from_millis(30);
    while machine.ring.now().monotonic < deadline {
        machine.ring.turn(Some(deadline), |completion| panic!("{completion:?}")).unwrap();
    }
    assert!(started.elapsed() >= Duration::from_millis(29));
}

#[test]
fn a_directory_is_locked_once_and_the_holder_is_named() {
    let dir = crate::machine::directory();
    let held = DirectoryLock::acquire(dir.path(), Duration::ZERO).unwrap();
    match DirectoryLock::acquire(dir.path(), Duration::from_millis(30)) {
        Err(LockError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(held);
    DirectoryLock::acquire(dir.path(), Duration::ZERO).unwrap();
}

#[test]
fn a_ring_holds_the_lock_when_everyone_else_let_it_go() {
    let dir = crate::machine::directory();
    let config = crate::machine::config(dir.path());
    let lock = Arc::downgrade(&config.lock);
    let ring = plimsoll_ring::Ring::new(config).unwrap();
    assert_eq!(lock.strong_count(), 0, "only the kernel's table of registered files holds it");
    assert!(DirectoryLock::acquire(dir.path(), Duration::ZERO).is_err());
    drop(ring);
    DirectoryLock::acquire(dir.path(), Duration::from_secs(5)).unwrap();
}

#[test]
fn an_arena_is_found_again_with_its_bytes_after_it_was_dropped() {
    let dir = crate::machine::directory();
    let path = dir.path().join("arena");
    let mut arena = create_arena(&path, 8192).unwrap();
    arena.bytes_mut(ArenaRange { start_bytes: 5000, length_bytes: 4 }).copy_from_slice(b"keep");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(create_arena(&path, 8192).is_err(), "an arena is never overwritten");
    drop(arena);
    let image = read_arena(&path).unwrap();
    assert_eq!(image.len(), 8192);
    assert_eq!(&image[5000..5004], b"keep");
    remove_arena(&path).unwrap();
    remove_arena(&path).unwrap();
    assert!(read_arena(&path).is_err());
}

#[test]
fn an_arena_with_holes_is_refused() {
    let dir = crate::machine::directory();
    let path = dir.path().join("arena");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let refused = read_arena(&path);
    assert!(matches!(refused, Err(ArenaError::Strange { .. })), "{refused:?}");
}

#[test]
fn an_arena_that_does_not_fit_is_refused_with_figures_and_leaves_nothing() {
    let dir = crate::machine::directory();
    let path = dir.path().join("arena");
    match create_arena(&path, 1 << 45) {
        Err(ArenaError::NoRoom { needed_bytes, available_bytes, .. }) => {
            assert_eq!(needed_bytes, 1 << 45);
            assert!(available_bytes < needed_bytes);
        }
        // A file system may know a shorter longest file.
        Err(ArenaError::Io { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(!path.exists());
}

#[test]
fn an_arena_directory_admits_nobody_else() {
    let dir = crate::machine::directory();
    let path = dir.path().join("arenas");
    create_arena_directory(&path).unwrap();
    create_arena_directory(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o750)).unwrap();
    assert!(matches!(create_arena_directory(&path), Err(ArenaError::Strange { .. })));
}

const VICTIM_DIRECTORY: &str = "PLIMSOLL_VICTIM_DIRECTORY";

/// Not a test: the process that the next test kills.
#[test]
#[ignore = "writes until it is killed"]
fn victim_that_writes_until_it_is_killed() {
    let dir = std::path::PathBuf::from(std::env::var_os(VICTIM_DIRECTORY).unwrap());
    let mut machine = Machine::within(&dir);
    machine.open(0, "victim", OpenMode::CreateNew);
    for round in 0..u64::MAX {
        let mut block = Buffer::zeroed(1 << 20);
        block.fill((round % 250) as u8 + 1);
        let position_bytes = (round % 16) << 20;
        let source = Memory::Buffer(block);
        let action = DiskAction::Write { file: FileId(0), position_bytes, source, durable: true };
        machine.submit(action);
        if round % 8 == 7 {
            let mut ended = 0;
            machine.turn_until(|_, _| {
                ended += 1;
                ended == 4
            });
        }
    }
}

/// A killed process's direct writes were seen to land 0.4 s after it was reaped, with a plain lock
/// file free all that time.
#[test]
fn nothing_is_written_by_a_killed_process_once_its_lock_is_free() {
    for _ in 0..3 {
        let dir = crate::machine::directory();
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "process::victim_that_writes_until_it_is_killed"])
            .env(VICTIM_DIRECTORY, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let file = dir.path().join("victim");
        let started = Instant::now();
        while file.metadata().map_or(0, |metadata| metadata.len()) < 16 << 20 {
            assert!(started.elapsed() < Duration::from_secs(20), "the victim does not write");
            std::thread::sleep(Duration::from_millis(1));
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        let _lock = DirectoryLock::acquire(dir.path(), Duration::from_secs(10)).unwrap();
        let mut machine = Machine::beside_a_lock(&dir);
        let mut content = || {
            let length = machine.open(0, "victim", OpenMode::Existing) as usize;
            let (memory, _) = machine.read(0, 0, Memory::Buffer(Buffer::zeroed(length)));
            machine.done(DiskAction::Close { file: FileId(0) });
            let Memory::Buffer(bytes) = memory else { panic!("{memory:?}") };
            bytes.to_vec()
        };
        let at_once = content();
        std::thread::sleep(Duration::from_millis(300));
        assert!(content() == at_once, "a write landed after the lock was free");
    }
}
