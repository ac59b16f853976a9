//! A disk that fails while it has power: what is pending is *unknown*, what comes later is refused
//! with the reason, what can be read goes on being read, and a restart has all that was acked.

use std::path::Path;
use std::time::Duration;

use plimsoll_tests::Random;
use plimsoll_wire::{AckLevel, ErrorCode, Fate};

use crate::disk::Disk;
use crate::fault::Faults;
use crate::image::Image;
use crate::loss::Loss;
use crate::machine::Machine;
use crate::trial::Trial;

/// Appends before the disk fails, and afterwards until that is noticed.
const APPENDS: u32 = 40;

/// So long without a write or a flush, a server has nothing more to do by itself.
const IDLE: Duration = Duration::from_millis(400);

/// A row of the table.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    /// What was seen, or what promise was broken.
    pub(crate) outcome: Result<String, String>,
}

/// Each kind of failure, on a file system of its own.
pub(crate) fn try_each(
    machine: &mut Machine,
    program: &Path,
    folder: &Path,
    empty: &Image,
) -> Vec<Row> {
    let kinds = [
        ("one write of a journal frame fails", Faults::frame_once()),
        ("every write fails", Faults::writes()),
        ("one flush fails and drops what it covered", Faults::flush_once()),
        ("every flush fails", Faults::flushes()),
    ];
    let mut on_trial = |what, work: &dyn Fn(&mut Trial<'_>) -> Result<String, String>| {
        let outcome =
            Trial::new(machine, program, folder, empty.clone()).and_then(|trial| trial.judge(work));
        // After a failure it is still on.
        let _ = machine.off();
        Row { what, outcome }
    };
    let mut rows: Vec<Row> = Vec::new();
    for (what, faults) in kinds {
        rows.push(on_trial(what, &|trial| fail(trial, faults)));
    }
    rows.push(on_trial("every read fails for a while", &fail_reads));
    rows.push(on_trial("a write of a start fails", &fail_start));
    rows
}

fn fail(trial: &mut Trial<'_>, faults: Faults) -> Result<String, String> {
    let mut running = trial.start()?;
    for _ in 0..APPENDS {
        if let Err((code, _)) = trial.append(&mut running, AckLevel::Disk, 20)? {
            return Err(format!("a sound disk refuses with {code}"));
        }
    }
    let disk = trial.machine.disk()?.clone();
    wait_until_idle(&disk);
    trial.machine.sync()?;
    disk.fail(faults);
    let mut acked = 0;
    let first = loop {
        match trial.append(&mut running, AckLevel::Disk, 20)? {
            Ok(()) => acked += 1,
            Err(refusal) => break refusal,
        }
        if acked > APPENDS {
            return Err("the failure is not noticed".to_owned());
        }
    };
    // Refused, if what failed was work in the background, before there was an append.
    if first.1 != Fate::Refused {
        expect(first, (ErrorCode::DiskFailed, Fate::Unknown), "what was pending")?;
    }
    // The disk is well again, and must not be believed.
    disk.fail(Faults::default());
    for level in AckLevel::ALL {
        match trial.append(&mut running, level, 1)? {
            Ok(()) => return Err(format!("an append at {level} is acked after the failure")),
            Err(refusal) => expect(refusal, (ErrorCode::DiskFailed, Fate::Refused), "a later one")?,
        }
    }
    trial.compare(&mut running);
    if !trial.log().contains("nothing more is acked at disk on this shard") {
        return Err("the server does not say that the disk failed".to_owned());
    }
    let (image, _) = trial.machine.cut(Loss::Everything, &mut Random::new(1))?;
    running.server.kill();
    trial.restart_and_compare(image)?;
    let first = if first.1 == Fate::Unknown { "unknown, then refused" } else { "refused" };
    Ok(format!("{first}; reads go on; a restart has all that was acked"))
}

/// Until the work in the background is done: a flush that fails for it may take along what another
/// one, which succeeds, was to cover, and nobody could tell. The file system's own is done by
/// [`Machine::sync`]; otherwise it comes every few seconds.
fn wait_until_idle(disk: &Disk) {
    let mut before = None;
    while before != Some(disk.counts()) {
        before = Some(disk.counts());
        std::thread::sleep(IDLE);
    }
}

fn fail_reads(trial: &mut Trial<'_>) -> Result<String, String> {
    let mut running = trial.start()?;
    for _ in 0..APPENDS {
        if let Err((code, _)) = trial.append(&mut running, AckLevel::Disk, 400)? {
            return Err(format!("a sound disk refuses with {code}"));
        }
    }
    // What a new server reads it reads from the disk.
    if !running.server.stop().success() {
        return Err("a clean stop does not exit with 0".to_owned());
    }
    let mut running = trial.start()?;
    let disk = trial.machine.disk()?.clone();
    disk.fail(Faults::reads());
    let said = running.fetch_error();
    if said != Some(ErrorCode::DiskFailed) {
        return Err(format!("a fetch is answered with {said:?}"));
    }
    disk.fail(Faults::default());
    trial.compare(&mut running);
    if let Err((code, _)) = trial.append(&mut running, AckLevel::Disk, 1)? {
        return Err(format!("after a failed read an append is refused with {code}"));
    }
    let (image, _) = trial.machine.cut(Loss::Everything, &mut Random::new(1))?;
    running.server.kill();
    trial.restart_and_compare(image)?;
    Ok("told to who reads; reads and appends go on when it is over".to_owned())
}

fn expect(
    (code, fate): (ErrorCode, Fate),
    wanted: (ErrorCode, Fate),
    what: &str,
) -> Result<(), String> {
    if (code, fate) == wanted {
        return Ok(());
    }
    Err(format!("{what} is answered with {code}, {fate:?}, not with {}, {:?}", wanted.0, wanted.1))
}

/// Nothing that such a start waits for comes any more: it must not wait.
fn fail_start(trial: &mut Trial<'_>) -> Result<String, String> {
    let mut running = trial.start()?;
    for _ in 0..APPENDS {
        if let Err((code, _)) = trial.append(&mut running, AckLevel::Disk, 20)? {
            return Err(format!("a sound disk refuses with {code}"));
        }
    }
    running.server.kill();
    let disk = trial.machine.disk()?.clone();
    // A frame of the dead one may still land, and is not the one that is to fail.
    wait_until_idle(&disk);
    disk.fail(Faults::frame_once());
    if trial.spawn().ready_or_ended().is_some() {
        return Err("a start serves whose first frame was not written".to_owned());
    }
    if !trial.log().contains("the disk failed while shard 0 was starting") {
        return Err("the server does not say why it ended".to_owned());
    }
    disk.fail(Faults::default());
    let mut running = trial.start()?;
    trial.compare(&mut running);
    running.server.kill();
    Ok("ends and says so; the next start has all that was acked".to_owned())
}
