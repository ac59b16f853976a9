//! The two clocks: monotonic time for the session, wall time for the timestamps of records.
//!
//! Only this file reads them. What a newcomer gets wrong: the timestamp of a record may jump with
//! the wall clock; no timeout may depend on it.

use plimsoll_client::Instant;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Monotonic time since the client was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { origin: std::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::after_origin(self.origin.elapsed())
    }
}

/// The wall clock, read at most once for each millisecond of the monotonic one: reading it for each
/// record would cost as much as encoding the record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WallClock {
    read_at: Option<Instant>,
    unix_ms: i64,
}

impl WallClock {
    pub(crate) fn unix_ms(&mut self, now: Instant) -> i64 {
        let is_fresh = |read_at: Instant| now.since(read_at) < Duration::from_millis(1);
        if !self.read_at.is_some_and(is_fresh) {
            self.read_at = Some(now);
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.unix_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        }
        self.unix_ms
    }
}
