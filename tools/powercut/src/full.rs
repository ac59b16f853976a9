//! A small file system fills up and gets room again, several times, without a restart.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    Durability, DurabilityWanted, NewRecord, NewTopic, ProducerOptions,
};
use plimsoll_tests::{Random, Server};
use plimsoll_wire::{AckLevel, ErrorCode, Fate};

use crate::errors::Row;
use crate::loss::Loss;
use crate::machine::Machine;
use crate::trial::{Running, Trial};

/// The smallest that mkfs.xfs makes.
const DISK_BYTES: u64 = 320 << 20;
/// What is left beside the ballast and the journal is filled by the server.
const ROOM_BYTES: u64 = 96 << 20;
const CYCLES: u32 = 4;
/// How soon appends must go on when there is room; it is looked for four times a second.
const RESUMES_WITHIN: Duration = Duration::from_secs(5);
const RECORDS: u32 = 400;
/// What another topic holds, to be deleted with it.
const SPARE_BYTES: usize = 16 << 20;

/// Fills and frees, by a file that goes and by a topic that is deleted; then the power goes.
pub(crate) fn fill_and_free(machine: &mut Machine, program: &Path, folder: &Path) -> Row {
    let empty = machine.make(DISK_BYTES);
    let outcome = empty
        .and_then(|empty| Trial::new(machine, program, folder, empty))
        .and_then(|trial| trial.judge(cycles));
    // After a failure it is still on.
    let _ = machine.off();
    Row { what: "the disk is full and gets room again", outcome }
}

fn cycles(trial: &mut Trial<'_>) -> Result<String, String> {
    let mut running = trial.start()?;
    let ballast = trial.machine.mounted().join("ballast");
    let mut slowest = Duration::ZERO;
    for cycle in (0..CYCLES).filter(|cycle| cycle % 2 == 1) {
        make_spare(&running.server, &spare(cycle))?;
    }
    for cycle in 0..CYCLES {
        if cycle % 2 == 0 {
            leave_room(&ballast, trial.machine.mounted())?;
        }
        fill(trial, &mut running)?;
        trial.compare(&mut running);
        if cycle % 2 == 0 {
            fs::remove_file(&ballast).map_err(|error| error.to_string())?;
        } else {
            let deleted = running.server.client().delete_topic(&spare(cycle));
            deleted.map_err(|error| format!("on a full disk no topic is deleted: {error}"))?;
        }
        slowest = slowest.max(resume(trial, &mut running)?);
        trial.compare(&mut running);
    }
    let (image, _) = trial.machine.cut(Loss::Everything, &mut Random::new(1))?;
    running.server.kill();
    trial.restart_and_compare(image)?;
    Ok(format!("{CYCLES} times refused, read, resumed without a restart in {slowest:.0?}"))
}

/// Appends until the server says that the disk is full, and once more.
fn fill(trial: &mut Trial<'_>, running: &mut Running) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match trial.append(running, AckLevel::Disk, RECORDS)? {
            Ok(()) if begun.elapsed() > Duration::from_secs(60) => {
                return Err("the disk does not fill".to_owned());
            }
            Ok(()) => {}
            Err((ErrorCode::DiskFull, Fate::Refused)) => return Ok(()),
            Err((code, fate)) => return Err(format!("a full disk answers {code}, {fate:?}")),
        }
    }
}

fn resume(trial: &mut Trial<'_>, running: &mut Running) -> Result<Duration, String> {
    let begun = Instant::now();
    while trial.append(running, AckLevel::Disk, RECORDS)?.is_err() {
        if begun.elapsed() > RESUMES_WITHIN {
            return Err("appends do not resume".to_owned());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(begun.elapsed())
}

/// A file that takes all but some room, and half of it when there is little.
fn leave_room(ballast: &Path, mounted: &Path) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", ballast.display());
    let free = nix::sys::statvfs::statvfs(mounted).map_err(|error| said(&error))?;
    let free = free.blocks_available() * free.fragment_size();
    let bytes = free - ROOM_BYTES.min(free / 2);
    let file = fs::File::create(ballast).map_err(|error| said(&error))?;
    let (flags, length) = (nix::fcntl::FallocateFlags::empty(), bytes.cast_signed());
    nix::fcntl::fallocate(file, flags, 0, length).map_err(|error| said(&error))
}

fn spare(cycle: u32) -> String {
    format!("spare-{cycle}")
}

/// Another topic with some data.
fn make_spare(server: &Server, name: &str) -> Result<(), String> {
    let client = server.client();
    let topic = NewTopic { name, partitions: 1, segment_bytes: 4 << 20, ..NewTopic::default() };
    client.create_topic(&topic).map_err(|error| error.to_string())?;
    let mut options = ProducerOptions::default();
    options.durability = DurabilityWanted::Level(Durability::Disk);
    let producer = client.producer(name, options).map_err(|error| error.to_string())?;
    let value = vec![7; 64 << 10];
    let mut receipts = Vec::new();
    for _ in 0..SPARE_BYTES / value.len() {
        receipts.push(producer.send(&NewRecord::of_value(&value)).map_err(|e| e.to_string())?);
    }
    for receipt in receipts {
        receipt.wait().map_err(|error| format!("the other topic is not written: {error}"))?;
    }
    Ok(())
}
