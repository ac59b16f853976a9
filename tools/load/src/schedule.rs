//! When the next batch is due: an open loop, or as soon as the window allows.

use std::time::{Duration, Instant};

/// The schedule of one connection. What a newcomer gets wrong: it never waits for the server. A
/// batch that is due while the window is full stays due at its own time.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    interval_ns: Option<f64>,
    taken: u64,
}

impl Schedule {
    /// As fast as the window allows.
    pub(crate) fn flat_out() -> Schedule {
        Schedule { start: Instant::now(), interval_ns: None, taken: 0 }
    }

    /// `rate` batches a second from `start` on.
    pub(crate) fn open_loop(start: Instant, rate: f64) -> Schedule {
        Schedule { start, interval_ns: Some(1e9 / rate), taken: 0 }
    }

    /// When the next batch is due; `None` when any time will do.
    pub(crate) fn due(&self) -> Option<Instant> {
        // From the start each time, so that rounding never adds up.
        let after_ns = self.interval_ns? * self.taken as f64;
        Some(self.start + Duration::from_nanos(after_ns as u64))
    }

    /// Takes the next batch if it is due, and says from when its latency counts.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.due().unwrap_or(now);
        if due > now {
            return None;
        }
        self.taken += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_stall_all_missed_batches_are_due_at_their_own_times() {
        let start = Instant::now();
        let mut schedule = Schedule::open_loop(start, 1000.0);
        let stalled_until = start + Duration::from_millis(3);
        let mut due = Vec::new();
        while let Some(at) = schedule.take(stalled_until) {
            due.push(at.duration_since(start).as_millis());
        }
        assert_eq!(due, [0, 1, 2, 3]);
        assert_eq!(schedule.due(), Some(start + Duration::from_millis(4)));
    }

    #[test]
    fn an_uneven_rate_does_not_drift() {
        let start = Instant::now();
        let mut schedule = Schedule::open_loop(start, 3.0);
        let end = start + Duration::from_secs(1000);
        let taken = std::iter::from_fn(|| schedule.take(end)).count();
        assert_eq!(taken, 3001);
    }

    #[test]
    fn flat_out_is_always_due_and_counts_from_now() {
        let mut schedule = Schedule::flat_out();
        let now = Instant::now();
        assert_eq!((schedule.due(), schedule.take(now)), (None, Some(now)));
    }
}
