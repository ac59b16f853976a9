//! The disk fills: appends are refused, reads go on, and appends resume by themselves.
//!
//! A small ext4 in a file is mounted for this, which only root may do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{Connection, Place, batch_of};
use plimsoll_wire::{AckLevel, ErrorCode, Fate, Fetch, Handle, Offset, Response, Visible};

/// A mounted file system of its own, unmounted when dropped.
struct SmallDisk {
    mounted: PathBuf,
    _around: Place,
}

impl SmallDisk {
    fn mount() -> Result<SmallDisk, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("only root may mount a small disk".to_owned());
        }
        if !Path::new("/dev/loop-control").exists() {
            return Err("the kernel has no loop devices".to_owned());
        }
        let around = Place::new();
        let image = around.file("image");
        fs::File::create(&image).unwrap().set_len(160 << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        let mounted = around.file("mounted");
        fs::create_dir(&mounted).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).args([&image, &mounted]))?;
        Ok(SmallDisk { mounted, _around: around })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test has just killed may not have let go yet.
        let _ = Command::new("umount").arg("--lazy").arg(&self.mounted).status();
    }
}

/// Root in a container may still not mount anything; where CI runs, it must.
fn run(command: &mut Command) -> Result<(), String> {
    let outcome = match command.status() {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("CI").is_none(), "{command:?}: {outcome}");
    Err(format!("{command:?}: {outcome}"))
}

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_resumes_when_there_is_room() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return eprintln!("not tested: {reason}"),
    };
    let place = Place::with_data_below(&disk.mounted);
    let ballast = disk.mounted.join("ballast");
    fs::write(&ballast, vec![1; 60 << 20]).unwrap();
    let server = place.server().memory("16MiB", "32MiB").start();
    let client = server.client();
    let topic =
        NewTopic { name: "full", partitions: 1, segment_bytes: 4 << 20, ..NewTopic::default() };
    client.create_topic(&topic).unwrap();

    let mut connection = Connection::open(server.address());
    connection.bind(0, "full", 0);
    let batch = batch_of(1, 500);
    let (mut number, mut acked) = (0, 0);
    let refused = loop {
        match append(&mut connection, &mut number, &batch) {
            Ok(base) => {
                assert_eq!(base, acked);
                acked += 500;
            }
            Err(refused) => break refused,
        }
        assert!(number < 2_000, "the disk does not fill");
    };
    assert_eq!(refused, (ErrorCode::DiskFull, Fate::Refused));
    eprintln!("full after {acked} records");
    // Another one is answered as well, at once.
    let begun = Instant::now();
    assert_eq!(append(&mut connection, &mut number, &batch).unwrap_err().0, ErrorCode::DiskFull);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(read_all(&mut connection), acked);

    fs::remove_file(&ballast).unwrap();
    let begun = Instant::now();
    let base = loop {
        match append(&mut connection, &mut number, &batch) {
            Ok(base) => break base,
            Err(refused) => assert_eq!(refused, (ErrorCode::DiskFull, Fate::Refused)),
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "appends do not resume");
        std::thread::sleep(Duration::from_millis(20));
    };
    eprintln!("resumed after {:?}", begun.elapsed());
    assert_eq!(base, acked, "a refused batch has used up offsets");
    assert_eq!(read_all(&mut connection), acked + 500);
    server.kill();
    let server = place.server().memory("16MiB", "32MiB").start();
    let mut connection = Connection::open(server.address());
    connection.bind(0, "full", 0);
    assert_eq!(read_all(&mut connection), acked + 500);
    assert_eq!(server.stop().code(), Some(0));
}

/// The base offset, or why not.
fn append(
    connection: &mut Connection,
    number: &mut u32,
    batch: &[u8],
) -> Result<u64, (ErrorCode, Fate)> {
    connection.produce(0, *number, AckLevel::Disk, None, batch).unwrap();
    *number += 1;
    let frame = connection.read().expect("an append is answered");
    match frame.response() {
        Response::Acks(acks) => Ok(acks.iter().next().unwrap().base_offset.value()),
        Response::Error(error) => Err((error.code, error.fate)),
        other => panic!("{other:?}"),
    }
}

/// How many records there are, none missing.
fn read_all(connection: &mut Connection) -> u64 {
    let mut next = 0;
    loop {
        let wanted = Fetch {
            handle: Handle(0),
            visible: Visible::Disk,
            offset: Offset::new(next),
            max_bytes: 1 << 20,
            min_bytes: 1,
            max_wait_ms: 0,
        };
        let answer = connection.ask(|correlation, out| wanted.encode(correlation, out));
        let Response::Fetched(fetched) = answer.response() else {
            panic!("{:?}", answer.response());
        };
        if fetched.batches.is_empty() {
            return next;
        }
        for batch in plimsoll_batch::Batches::new(fetched.batches) {
            let batch = batch.unwrap();
            assert_eq!(batch.header().base_offset.value(), next);
            next = batch.header().next_offset().value();
        }
    }
}
