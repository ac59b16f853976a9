//! CPU time: of the calling thread, and of another process.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// The CPU time that the calling thread has used, in the kernel and outside.
pub(crate) fn of_this_thread() -> io::Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?))
}

/// The CPU time that all threads of `process` have used, kernel workers for its ring and threads
/// that have ended included. In steps of a tick, usually 10 ms.
pub(crate) fn of_process(process: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    let ticks = ticks_of(&stat).ok_or_else(|| io::Error::other("/proc/PID/stat has no times"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
}

/// The CPU time that the threads of `process` that are alive have used, to the nanosecond: for a
/// process that does next to nothing.
pub(crate) fn of_live_threads(process: u32) -> io::Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has just ended has no file any more.
        let schedstat = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let on_cpu_ns = schedstat.split(' ').next().and_then(|field| field.parse().ok());
        total += Duration::from_nanos(on_cpu_ns.unwrap_or_default());
    }
    Ok(total)
}

/// User and system ticks. The name of the command comes first, in parentheses, and may itself
/// hold blanks and parentheses; fields are counted from the last one.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_a_command_with_blanks_and_parentheses() {
        let stat = "7 (a) b c) S 1 7 7 0 -1 4194560 1 0 0 0 40 2 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks_of(stat), Some(42));
    }

    #[test]
    fn a_thread_that_works_uses_cpu_time() {
        let before = of_this_thread().unwrap();
        let sum = (0..3_000_000_u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
        std::hint::black_box(sum);
        assert!(of_this_thread().unwrap() > before);
        assert!(of_process(std::process::id()).is_ok());
        assert!(of_live_threads(std::process::id()).unwrap() > Duration::ZERO);
    }
}
