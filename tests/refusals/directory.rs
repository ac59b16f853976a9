//! Data directories that cannot be served, or must not be.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use plimsoll_tests::{Place, Refusal, plimsoll};

#[test]
fn a_path_below_a_file_is_no_data_directory() {
    let place = Place::new();
    fs::write(place.file("file"), "").unwrap();
    let below = place.file("file/data");
    let refusal = place.server().with(&["--data-dir", below.to_str().unwrap()]).refusal();
    refusal.assert_says(&["data directory", below.to_str().unwrap(), "--data-dir"]);
}

/// Root may write anywhere, so root becomes somebody else first.
#[test]
fn a_directory_that_this_user_may_not_write_is_refused_with_its_name() {
    let place = Place::new();
    // Somebody else must be able to reach it and the binary.
    let around = tempfile::tempdir().unwrap();
    fs::set_permissions(around.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (binary, closed) = (around.path().join("plimsoll"), around.path().join("closed"));
    // By another process: a file that this one has open for writing cannot be run, and the children
    // of other tests inherit that for a moment.
    assert!(Command::new("cp").args([&plimsoll(), &binary]).status().unwrap().success());
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let mut command = Command::new(binary);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&closed);
    command.arg("--arena-dir").arg(place.arena_dir());
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let refusal = Refusal::of(command);
    refusal.assert_says(&["data directory", closed.to_str().unwrap(), "writable"]);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let server = place.server().start();
    let refusal = place.server().refusal();
    refusal.assert_says(&[&server.pid().to_string(), place.data_dir().to_str().unwrap(), "stop"]);
    server.client().ping().unwrap();
}

#[test]
fn a_directory_of_a_newer_format_names_both_versions() {
    let place = Place::new();
    assert!(place.server().start().stop().success());
    let manifest = fs::File::options().write(true).open(place.data_dir().join("MANIFEST")).unwrap();
    manifest.write_all_at(&[9], 8).unwrap();
    place.server().refusal().assert_says(&["format 9", "up to 3", "newer"]);
}

#[test]
fn a_file_system_without_direct_io_is_refused_with_its_name() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tested: only root may mount a ramfs, which has no direct I/O");
    }
    let place = Place::new();
    let ram = place.file("ram");
    fs::create_dir(&ram).unwrap();
    let mounted = Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(&ram).status().unwrap();
    if !mounted.success() {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a ramfs");
        return eprintln!("not tested: this root may not mount a ramfs");
    }
    let refusal = place.server().with(&["--data-dir", ram.to_str().unwrap()]).refusal();
    let unmounted = Command::new("umount").arg(&ram).status().unwrap();
    refusal.assert_says(&[ram.to_str().unwrap(), "direct I/O", "ext4"]);
    assert!(unmounted.success(), "a refused server still uses the directory");
}

#[test]
fn a_damaged_manifest_is_said_and_nothing_is_overwritten() {
    let place = Place::new();
    assert!(place.server().start().stop().success());
    let path = place.data_dir().join("MANIFEST");
    let mut bytes = fs::read(&path).unwrap();
    bytes[24] ^= 1;
    fs::write(&path, &bytes).unwrap();
    place.server().refusal().assert_says(&["MANIFEST"]);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}
