//! Proves the rig before anything is believed of it: writes and flushes of the loop device arrive
//! as what they are, nothing in between keeps them, and a cut takes what was not flushed.

use std::fs::{File, OpenOptions, read_to_string};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use nix::fcntl::OFlag;
use plimsoll_tests::Random;

use crate::disk::Temper;
use crate::image::Image;
use crate::loss::Loss;
use crate::machine::Machine;

const BLOCK_BYTES: usize = 4096;
const DISK_BYTES: u64 = 16 << 20;

/// One line about what was proved.
pub(crate) fn prove(machine: &mut Machine) -> Result<String, String> {
    let device = machine.attach(Image::new(DISK_BYTES), Temper::Honest)?;
    let setting = |name: &str| {
        let path = format!("/sys/block/{}/{name}", device.trim_start_matches("/dev/"));
        let value = read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        Ok::<String, String>(value.trim().to_owned())
    };
    let (direct, cache) = (setting("loop/dio")?, setting("queue/write_cache")?);
    let fua = setting("queue/fua")?;
    demand(direct == "1", "the loop device writes through the page cache")?;
    demand(cache == "write back", "the loop device does not pass flushes on")?;

    let disk = machine.disk()?.clone();
    let direct_io = open(&device, OFlag::O_DIRECT)?;
    write(&direct_io, 0, 1)?;
    demand(disk.cached() == 1, "a write does not arrive when it is complete")?;
    let flushes = disk.counts().flushes;
    direct_io.sync_data().map_err(|error| format!("{device}: fdatasync: {error}"))?;
    demand(disk.counts().flushes > flushes, "a flush does not arrive")?;
    demand(disk.cached() == 0, "a flush does not cover a write that was complete")?;
    let flushes = disk.counts().flushes;
    write(&open(&device, OFlag::O_DIRECT | OFlag::O_DSYNC)?, 1, 2)?;
    demand(disk.counts().flushes > flushes, "a write with O_DSYNC brings no flush")?;
    demand(disk.cached() == 0, "a write with O_DSYNC is not covered by its flush")?;
    write(&direct_io, 0, 3)?;
    write(&direct_io, 2, 4)?;
    demand(disk.cached() == 2, "a write is flushed that nobody flushed")?;

    let (image, _) = machine.cut(Loss::Everything, &mut Random::new(0))?;
    demand(direct_io.sync_data().is_err(), "a flush succeeds after the cut")?;
    demand(write(&direct_io, 5, 5).is_err(), "a write succeeds after the cut")?;
    drop(direct_io);
    machine.off()?;
    let device = machine.attach(image, Temper::Honest)?;
    let again = open(&device, OFlag::O_DIRECT)?;
    let left = [read(&again, 0)?, read(&again, 1)?, read(&again, 2)?];
    demand(left == [1, 2, 0], "a cut leaves something else than what was flushed")?;
    drop(again);
    machine.off()?;
    Ok(format!("direct I/O {direct}, cache \"{cache}\", FUA {fua}: flushes arrive, cuts cut"))
}

fn demand(is_so: bool, otherwise: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(format!("the rig is no good: {otherwise}")) }
}

fn open(device: &str, flags: OFlag) -> Result<File, String> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(device);
    file.map_err(|error| format!("{device}: {error}"))
}

fn write(file: &File, block: u64, byte: u8) -> Result<(), String> {
    with_block(|bytes| {
        bytes.fill(byte);
        file.write_all_at(bytes, block * BLOCK_BYTES as u64)
    })
}

fn read(file: &File, block: u64) -> Result<u8, String> {
    let mut first = 0;
    with_block(|bytes| {
        file.read_exact_at(bytes, block * BLOCK_BYTES as u64)?;
        first = bytes[0];
        Ok(())
    })?;
    Ok(first)
}

/// Direct I/O wants aligned memory.
fn with_block(work: impl FnOnce(&mut [u8]) -> std::io::Result<()>) -> Result<(), String> {
    let mut memory = vec![0; 2 * BLOCK_BYTES];
    let begin = memory.as_ptr().align_offset(BLOCK_BYTES);
    work(&mut memory[begin..begin + BLOCK_BYTES]).map_err(|error| error.to_string())
}
