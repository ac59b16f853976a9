//! What the host does not allow: io_uring, memory, the port, the arena.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

use plimsoll_tests::{Place, Refusal};
use seccompiler::{SeccompAction, SeccompFilter};

/// Runs a command under a filter that answers io_uring's system calls with this error, as
/// container runtimes do.
fn without_io_uring(command: Command, errno: i32) -> Refusal {
    // io_uring_setup, io_uring_enter, io_uring_register: the same numbers everywhere.
    let rules = BTreeMap::from([(425, Vec::new()), (426, Vec::new()), (427, Vec::new())]);
    let denied = SeccompAction::Errno(errno.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().expect("seccomp knows this machine");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    // A filter holds for the thread that takes it, and for its children.
    let runs = std::thread::spawn(move || {
        seccompiler::apply_filter(&program).expect("a thread may take rights from itself");
        Refusal::of(command)
    });
    runs.join().unwrap()
}

#[test]
fn io_uring_forbidden_by_seccomp_is_said_with_the_remedy() {
    let place = Place::new();
    let refusal = without_io_uring(place.server().command(), nix::libc::EPERM);
    refusal.assert_says(&["io_uring", "seccomp"]);
    assert!(!place.data_dir().join("MANIFEST").exists(), "it refuses before it writes");
}

#[test]
fn no_memory_for_a_ring_is_tried_for_a_while_and_then_said_with_the_remedy() {
    let (place, begun) = (Place::new(), Instant::now());
    let refusal = without_io_uring(place.server().command(), nix::libc::ENOMEM);
    refusal.assert_says(&["no memory for io_uring", "ulimit -l"]);
    assert!(begun.elapsed() > Duration::from_millis(500), "it gave up at once");
}

#[test]
fn a_kernel_without_io_uring_is_said_with_the_remedy() {
    let place = Place::new();
    let refusal = without_io_uring(place.server().command(), nix::libc::ENOSYS);
    refusal.assert_says(&["io_uring"]);
}

#[test]
fn no_room_for_the_arena_names_the_directory_and_what_is_there() {
    let place = Place::new();
    assert!(place.server().start().stop().success());
    // The journal is there; it is the arena that has no room.
    let refusal = place.server().memory("8TiB", "16TiB").refusal();
    refusal.assert_says(&[place.arena_dir().to_str().unwrap(), "arena"]);
    assert!(place.arenas().iter().all(|arena| fs::read_dir(arena).unwrap().next().is_none()));
    place.server().start().client().ping().unwrap();
}

/// The old arenas and the new ones are there at once, and only one of them may be removed.
#[test]
fn no_room_beside_the_arenas_of_a_killed_server_says_what_they_hold_and_keeps_them() {
    let place = Place::new();
    place.server().start().kill();
    let refusal = place.server().memory("8TiB", "16TiB").refusal();
    let held = (16 << 20).to_string();
    refusal.assert_says(&[&held, "held by the arenas", "do not remove"]);
    assert!(!refusal.sentence.contains("--arena-dir"), "elsewhere they would not be found");
    assert_eq!(fs::read_dir(&place.arenas()[0]).unwrap().count(), 1);
    place.server().start().client().ping().unwrap();
}

#[test]
fn an_arena_directory_that_is_not_there_is_refused_before_anything_is_made() {
    let place = Place::new();
    let refusal = place.server().with(&["--arena-dir", "/nonexistent/arenas"]).refusal();
    refusal.assert_says(&["/nonexistent/arenas", "--arena-dir"]);
    assert!(!place.data_dir().exists(), "nothing is left behind");
}

#[test]
fn a_data_directory_that_is_a_file_is_refused_by_that_name() {
    let place = Place::new();
    fs::write(place.data_dir(), b"not a directory").unwrap();
    place.server().refusal().assert_says(&["is a file", "--data-dir"]);
}

#[test]
fn a_port_in_use_is_refused_with_the_address() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refusal = place.server().with(&["--listen", &address]).refusal();
    refusal.assert_says(&[&address, "--listen"]);
}

#[test]
fn an_arena_of_another_layout_asks_for_a_clean_stop_of_the_old_version() {
    let place = Place::new();
    place.server().start().kill();
    let arena = fs::read_dir(&place.arenas()[0]).unwrap().next().unwrap().unwrap().path();
    let file = fs::File::options().write(true).open(&arena).unwrap();
    file.write_all_at(&[9], 8).unwrap();
    place.server().refusal().assert_says(&[arena.to_str().unwrap(), "layout 9", "SIGTERM"]);
    // The other version comes back and stops cleanly: here it gets its number back.
    file.write_all_at(&[1], 8).unwrap();
    assert!(place.server().start().stop().success());
}

#[test]
fn an_arena_of_another_data_directory_is_refused_and_left_alone() {
    let (place, other) = (Place::new(), Place::new());
    place.server().start().kill();
    other.server().start().kill();
    let of =
        |place: &Place| fs::read_dir(&place.arenas()[0]).unwrap().next().unwrap().unwrap().path();
    let (mine, foreign) = (of(&place), of(&other));
    fs::copy(&foreign, &mine).unwrap();
    let refusal = place.server().refusal();
    refusal.assert_says(&[mine.to_str().unwrap(), "another data directory", "--arena-dir"]);
    assert!(mine.exists());
}

#[test]
fn a_core_that_does_not_exist_and_a_journal_that_is_too_small_are_wrong_use() {
    let place = Place::new();
    place.server().memory("16MiB", "8MiB").refusal().assert_says(&["--journal-bytes"]);
    place.server().memory("1MiB", "32MiB").refusal().assert_says(&["--arena-bytes"]);
    let mut command = Command::new(plimsoll_tests::plimsoll());
    command.args(["serve", "--cores", "9999", "--data-dir"]).arg(place.data_dir());
    Refusal::of(command).assert_says(&["core 9999"]);
}
