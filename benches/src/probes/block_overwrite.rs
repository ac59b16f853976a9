//! The disk's part of the limit of L2: one 4 KiB block, overwritten and durable, median time.
//!
//! Twice, for which is better depends on the device: one RWF_DSYNC write, and a write followed by
//! fdatasync. The limit is the better one, for the server probes and chooses too.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use crate::affinity::{SERVER_CORE, on_core};
use crate::aligned::Aligned;
use crate::prepared_file::PreparedFile;
use crate::samples::p50_us;
use crate::uring::Uring;

const BLOCK_BYTES: usize = 4096;

/// How long one durable block takes, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct BlockTimes {
    /// As one write with RWF_DSYNC, through io_uring.
    pub dsync_us: f64,
    /// As a write and an fdatasync, two system calls.
    pub fdatasync_us: f64,
}

impl BlockTimes {
    /// The better of the two.
    pub fn best_us(self) -> f64 {
        self.dsync_us.min(self.fdatasync_us)
    }
}

/// Overwrites blocks one at a time, `time` for each of the two ways.
///
/// # Errors
///
/// Those of the write and the flush.
pub fn p50(prepared: &PreparedFile, time: Duration) -> io::Result<BlockTimes> {
    on_core(SERVER_CORE, || {
        let block = Aligned::new(BLOCK_BYTES);
        let mut ring = Uring::new(8)?;
        let dsync_us = sample(prepared, time, |position| {
            let file = types::Fd(prepared.file.as_raw_fd());
            let write = opcode::Write::new(file, block.as_ptr(), BLOCK_BYTES as u32)
                .offset(position)
                .rw_flags(libc::RWF_DSYNC)
                .build();
            // SAFETY: `block` outlives the ring's use of it: the write is waited for right here.
            unsafe { ring.push(&write)? };
            match ring.wait()?.bytes()? {
                BLOCK_BYTES => Ok(()),
                short => Err(io::Error::other(format!("a write of {short} bytes"))),
            }
        })?;
        let fdatasync_us = sample(prepared, time, |position| {
            prepared.file.write_all_at(&block, position)?;
            prepared.file.sync_data()
        })?;
        Ok(BlockTimes { dsync_us, fdatasync_us })
    })
}

fn sample(
    prepared: &PreparedFile,
    time: Duration,
    mut overwrite: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<f64> {
    let (start, mut position, mut samples) = (Instant::now(), 0, Vec::new());
    while start.elapsed() < time {
        let before = Instant::now();
        overwrite(position)?;
        samples.push(before.elapsed());
        position = (position + BLOCK_BYTES as u64) % prepared.length_bytes;
    }
    Ok(p50_us(&mut samples))
}
