//! The simulated clock: it stands still until the test moves it.
//!
//! It never reads a real clock. What a newcomer gets wrong: nothing fires because time was moved.
//! The test compares the logic's timeouts with `now` and hands them in.

use core::time::Duration;

use plimsoll_device::{Instant, Now};

/// Both clocks of the machine. They advance together, and only by [`Clock::advance`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What the clocks say, for handing to the logic.
    pub now: Now,
    /// What of the Unix clock is not a whole millisecond yet.
    rest_nanos: u128,
}

impl Clock {
    /// A clock at the origin of the monotonic clock, on 2026-01-01 00:00:00 UTC.
    pub fn new() -> Self {
        let now = Now { monotonic: Instant::ORIGIN, unix_ms: 1_767_225_600_000 };
        Self { now, rest_nanos: 0 }
    }

    /// Lets `passed` go by.
    pub fn advance(&mut self, passed: Duration) {
        let nanos = self.rest_nanos + passed.as_nanos();
        self.rest_nanos = nanos % 1_000_000;
        self.now.monotonic = self.now.monotonic + passed;
        let passed_ms = i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX);
        self.now.unix_ms = self.now.unix_ms.saturating_add(passed_ms);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_add_up_on_both_clocks() {
        let mut clock = Clock::new();
        let start = clock.now;
        for _ in 0..10 {
            clock.advance(Duration::from_micros(250));
        }
        assert_eq!(clock.now.monotonic.since(start.monotonic), Duration::from_micros(2_500));
        assert_eq!(clock.now.unix_ms - start.unix_ms, 2);
    }
}
