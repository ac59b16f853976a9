//! Whether the device below a directory has a volatile cache, and how it is flushed.
//!
//! For the report: the flush method is measured, not derived from this. What a newcomer gets wrong:
//! this is what the kernel believes. A device with a protected cache may say write back, and one
//! that lies about flushes cannot be found out here.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Finding, Verdict};

/// What the kernel believes about a device's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// None that a power loss takes: a flush costs nothing.
    WriteThrough,
    /// Volatile: a flush is a command to the device.
    WriteBack,
}

/// The cache of the device that a directory lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteCache {
    /// The cache, when the device could be found in /sys/block.
    pub mode: Option<CacheMode>,
    /// Whether single writes can be made durable (forced unit access).
    pub fua: bool,
}

/// Looks the device of `dir` up in /sys.
pub fn write_cache(dir: &Path) -> std::io::Result<WriteCache> {
    let device = dir.metadata()?.dev();
    let device = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    let read = |queue: &Path, name: &str| std::fs::read_to_string(queue.join(name)).ok();
    // A partition has no queue of its own: the disk's is one level up.
    let queues =
        [PathBuf::from(format!("{device}/queue")), PathBuf::from(format!("{device}/../queue"))];
    let Some(queue) = queues.into_iter().find(|queue| queue.exists()) else {
        return Ok(WriteCache { mode: None, fua: false });
    };
    let mode = read(&queue, "write_cache").map(|text| match text.trim() {
        "write through" => CacheMode::WriteThrough,
        _ => CacheMode::WriteBack,
    });
    let fua = read(&queue, "fua").is_some_and(|text| text.trim() == "1");
    Ok(WriteCache { mode, fua })
}

impl fmt::Display for WriteCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fua = if self.fua { "with" } else { "without" };
        match self.mode {
            Some(CacheMode::WriteThrough) => f.write_str("no volatile write cache"),
            Some(CacheMode::WriteBack) => write!(f, "volatile write cache, {fua} FUA"),
            None => f.write_str("the device's write cache is not known"),
        }
    }
}

impl Finding for WriteCache {
    fn verdict(&self) -> Verdict {
        Verdict::Fine
    }

    fn remedy(&self) -> Option<String> {
        None
    }
}
