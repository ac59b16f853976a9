//! How deep a record sits.
//!
//! The protocol has words of its own for these; the shard translates. What a newcomer gets wrong: a
//! watermark is the offset *after* the last record at its level.

use plimsoll_batch::Offset;

/// How deep a record sits; a deeper level is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It has its offset and is in the partition's append memory.
    Memory,
    /// It is published in memory that the kernel owns: it survives the process.
    PageCache,
    /// The device has flushed it: it survives power loss.
    Disk,
}

/// The marks of a partition: each the offset after the last record at that level.
/// `memory >= page_cache >= disk >= start` holds at all times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that can be read.
    pub start: Offset,
    /// End of what is in memory and may be shown.
    pub memory: Offset,
    /// End of what survives the process.
    pub page_cache: Offset,
    /// End of what survives power loss.
    pub disk: Offset,
}

impl Watermarks {
    /// The mark of `level`.
    pub fn at(&self, level: Level) -> Offset {
        match level {
            Level::Memory => self.memory,
            Level::PageCache => self.page_cache,
            Level::Disk => self.disk,
        }
    }
}
