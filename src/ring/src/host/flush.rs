//! Which way of making a write durable is the faster one on this device.
//!
//! On a drive that is safe against power loss an RWF_DSYNC write costs no more than a write; on
//! some consumer drives it is 2.4 times slower than a write and a flush. It is measured, on blocks
//! that were written before, through io_uring, as the journal does it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags};
use plimsoll_device::{BLOCK_BYTES, Buffer};

use super::scratch::scratch_file;
use super::{Finding, Verdict};
use crate::errno::Errno;
use crate::kernel::{Kernel, Timeout};

const FILE_BYTES: usize = 1 << 20;
/// Enough for a median, and no longer than a start may take on a slow disk.
const ROUNDS_AT_START: usize = 20;

/// A way of making writes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMethod {
    /// Each write is durable by itself (RWF_DSYNC).
    DurableWrite,
    /// Writes, then one flush for them all (fdatasync). Right on every device.
    WriteThenFlush,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushProbe {
    /// The faster one.
    pub method: FlushMethod,
    /// Median of a durable write of 4 KiB.
    pub durable_write_p50: Duration,
    /// Median of a write of 4 KiB and a flush.
    pub write_then_flush_p50: Duration,
}

/// Measures quickly, for a server that starts. Whoever gets an error may go on with
/// [`FlushMethod::WriteThenFlush`].
pub fn choose_flush_method(data_dir: &Path) -> io::Result<FlushProbe> {
    probe_flush(data_dir, ROUNDS_AT_START)
}

/// Measures `rounds` times each, in turns, in a nameless file in `data_dir`.
pub fn probe_flush(data_dir: &Path, rounds: usize) -> io::Result<FlushProbe> {
    let file = scratch_file(data_dir, libc::O_DIRECT)?;
    file.write_all_at(&Buffer::zeroed(FILE_BYTES), 0)?;
    file.sync_all()?;
    let mut kernel = Kernel::new(8).map_err(io::Error::other)?;
    let mut probe = Probe { kernel: &mut kernel, file: &file, block: Buffer::zeroed(BLOCK_BYTES) };
    let (mut durable_writes, mut writes_and_flushes) = (Vec::new(), Vec::new());
    for round in 0..rounds.max(1) {
        let position = (round * BLOCK_BYTES % FILE_BYTES) as u64;
        let started = Instant::now();
        probe.write(position, libc::RWF_DSYNC)?;
        durable_writes.push(started.elapsed());
        let started = Instant::now();
        probe.write(position, 0)?;
        probe.flush()?;
        writes_and_flushes.push(started.elapsed());
    }
    let durable_write_p50 = median(durable_writes);
    let write_then_flush_p50 = median(writes_and_flushes);
    let method = if durable_write_p50 <= write_then_flush_p50 {
        FlushMethod::DurableWrite
    } else {
        FlushMethod::WriteThenFlush
    };
    Ok(FlushProbe { method, durable_write_p50, write_then_flush_p50 })
}

struct Probe<'a> {
    kernel: &'a mut Kernel,
    file: &'a File,
    block: Buffer,
}

impl Probe<'_> {
    fn write(&mut self, position: u64, flags: i32) -> io::Result<()> {
        let entry =
            opcode::Write::new(Fd(self.file.as_raw_fd()), self.block.as_ptr(), BLOCK_BYTES as u32)
                .offset(position)
                .rw_flags(flags)
                .build();
        match self.run(entry)? {
            BLOCK_BYTES => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let fd = Fd(self.file.as_raw_fd());
        self.run(opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build()).map(drop)
    }

    fn run(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: the entry reads `self.block` at most, and this function returns only when the
        // completion is there. If entering fails for good, the entry may be under way: it writes
        // to a nameless file whatever the memory holds then, and reads it only.
        unsafe { self.kernel.push(entry) };
        loop {
            if let Some(completion) = self.kernel.reap() {
                return Errno::check(completion.result()).map_err(io::Error::from);
            }
            self.kernel.enter(Some(Timeout::Never))?;
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

impl fmt::Display for FlushMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DurableWrite => "durable writes (RWF_DSYNC)",
            Self::WriteThenFlush => "writes, then a flush (fdatasync)",
        })
    }
}

impl fmt::Display for FlushProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "commits use {}: a durable write (RWF_DSYNC) of 4 KiB takes {} us, a write and a flush \
             (fdatasync) {} us (medians)",
            self.method,
            self.durable_write_p50.as_micros(),
            self.write_then_flush_p50.as_micros()
        )
    }
}

impl Finding for FlushProbe {
    fn verdict(&self) -> Verdict {
        Verdict::Fine
    }

    fn remedy(&self) -> Option<String> {
        None
    }
}
