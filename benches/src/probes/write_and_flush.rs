//! The limit of L1: 1 MiB with O_DIRECT, then fdatasync, one after the other.
//!
//! The same as `fio --rw=write --bs=1M --direct=1 --fdatasync=1 --iodepth=1`, with `--overwrite=1`
//! for a file that was written before.

use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::affinity::{SERVER_CORE, on_core};
use crate::aligned::Aligned;
use crate::prepared_file::{PIECE_BYTES, PreparedFile};

/// Writes and flushes for `time`, or until the file ends if `once`. Returns bytes per second.
///
/// # Errors
///
/// Those of the write and the flush.
pub fn bytes_per_second(prepared: &PreparedFile, time: Duration, once: bool) -> io::Result<f64> {
    on_core(SERVER_CORE, || {
        let piece = Aligned::new(PIECE_BYTES);
        let (start, mut written_bytes) = (Instant::now(), 0);
        while start.elapsed() < time && !(once && written_bytes == prepared.length_bytes) {
            prepared.file.write_all_at(&piece, written_bytes % prepared.length_bytes)?;
            prepared.file.sync_data()?;
            written_bytes += PIECE_BYTES as u64;
        }
        Ok(written_bytes as f64 / start.elapsed().as_secs_f64())
    })
}
