//! The limit of L6: O_DIRECT reads of 1 MiB from front to back, eight in flight.
//!
//! The same as `fio --rw=read --bs=1M --direct=1 --iodepth=8 --ioengine=io_uring`.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use crate::affinity::{SERVER_CORE, on_core};
use crate::aligned::Aligned;
use crate::prepared_file::{PIECE_BYTES, PreparedFile};
use crate::uring::Uring;

const DEPTH: usize = 8;

/// Reads for `time`, from the front again at the end of the file. Returns bytes per second.
///
/// # Errors
///
/// Those of the reads.
pub fn bytes_per_second(prepared: &PreparedFile, time: Duration) -> io::Result<f64> {
    on_core(SERVER_CORE, || {
        // Before the ring: the ring is dropped first, and what it writes to later.
        let mut pieces: Vec<Aligned> = (0..DEPTH).map(|_| Aligned::new(PIECE_BYTES)).collect();
        let mut ring = Uring::new(2 * DEPTH as u32)?;
        let (start, mut asked_bytes, mut read_bytes) = (Instant::now(), 0, 0);
        let mut idle: Vec<usize> = (0..DEPTH).collect();
        while start.elapsed() < time || idle.len() < DEPTH {
            while let Some(index) = idle.pop_if(|_| start.elapsed() < time) {
                let file = types::Fd(prepared.file.as_raw_fd());
                let memory = pieces[index].as_mut_ptr();
                let read = opcode::Read::new(file, memory, PIECE_BYTES as u32)
                    .offset(asked_bytes % prepared.length_bytes)
                    .build()
                    .user_data(index as u64);
                // SAFETY: piece `index` is idle, so nobody else touches it, and every read is
                // waited for before the pieces are dropped.
                unsafe { ring.push(&read)? };
                asked_bytes += PIECE_BYTES as u64;
            }
            if idle.len() < DEPTH {
                let done = ring.wait()?;
                read_bytes += done.bytes()?;
                idle.push(done.token as usize);
            }
        }
        Ok(read_bytes as f64 / start.elapsed().as_secs_f64())
    })
}
