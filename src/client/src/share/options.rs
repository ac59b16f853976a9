//! The choices of a member of a group in share mode.
//!
//! What a newcomer gets wrong: `lock`, `deliveries_max`, `begin` and `dead_letter` belong to the
//! group. All members must say the same, or the later one is not let in.

use crate::LinkOptions;
use alloc::string::String;
use core::time::Duration;
use plimsoll_wire::{ShareBegin, ShareSettings};

/// The choices of a member of a group in share mode.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShareOptions {
    /// How long a record belongs to a member that does not say that it is still at work. The
    /// member says so by itself, as long as its process lives and reaches the server: after a crash
    /// others get the record when this is over.
    pub lock: Duration,
    /// How often a record is handed out at most. After that it goes to the dead-letter topic, or is
    /// dropped if there is none. [`u32::MAX`]: as often as it takes.
    pub deliveries_max: u32,
    /// Where the group begins in a partition that it does not know yet.
    pub begin: ShareBegin,
    /// The topic for records that were rejected or handed out too often. It must exist.
    pub dead_letter: Option<String>,
    /// How many records this member has at a time, at work and read ahead: 1 to 10,000. With few,
    /// long jobs spread evenly over the members; with many, short ones go through fast.
    pub records_max: u32,
    /// How many bytes of records wait in this client, for the application or for their way to the
    /// dead-letter topic. What is fetched at once, 1 MiB or a batch that is larger, goes beyond it.
    pub buffer_bytes_max: usize,
    /// A record that the application has for so long without a verdict is given up: its lock is
    /// not renewed any more, so that work which hangs is done by others in the end.
    pub hold_max: Duration,
    /// How long to wait for verdicts to be taken before saying that they were not.
    pub settle_timeout: Duration,
    /// Without a sign of life for so long the member is dead, and its records go to others.
    pub session_timeout: Duration,
    /// How connections are treated.
    pub link: LinkOptions,
}

impl Default for ShareOptions {
    fn default() -> ShareOptions {
        ShareOptions {
            lock: Duration::from_secs(30),
            deliveries_max: 5,
            begin: ShareBegin::Beginning,
            dead_letter: None,
            records_max: 100,
            buffer_bytes_max: 16 << 20,
            hold_max: Duration::from_secs(3600),
            settle_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_secs(10),
            link: LinkOptions::default(),
        }
    }
}

impl ShareOptions {
    pub(super) fn settings(&self) -> ShareSettings<'_> {
        ShareSettings {
            lock_ms: u32::try_from(self.lock.as_millis()).unwrap_or(u32::MAX),
            deliveries_max: self.deliveries_max,
            begin: self.begin,
            dead_letter: self.dead_letter.as_deref().unwrap_or_default(),
        }
    }
}
