//! The only clock that the process reads.
//!
//! Everything above gets its time as a parameter. What a newcomer gets wrong: CLOCK_MONOTONIC
//! stands still while the machine sleeps, and the Unix time may jump; no delay may be measured by
//! the latter.

use plimsoll_device::{Instant, Now};

/// Reads both clocks. The monotonic one counts from the machine's start, the same for every thread.
pub fn clock() -> Now {
    let unix = read(libc::CLOCK_REALTIME);
    Now {
        monotonic: monotonic(),
        unix_ms: unix.tv_sec.saturating_mul(1000).saturating_add(unix.tv_nsec / 1_000_000),
    }
}

pub(crate) fn monotonic() -> Instant {
    let time = read(libc::CLOCK_MONOTONIC);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to. It cannot fail: both clocks always exist, and
    // if it did, `time` stays zero.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_does_not_go_back_and_the_other_is_after_2025() {
        let first = clock();
        let second = clock();
        assert!(second.monotonic >= first.monotonic);
        assert!(first.unix_ms > 1_735_689_600_000);
    }
}
