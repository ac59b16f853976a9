//! The clock by which data ages: the wall clock, as far as it is to be believed.
//!
//! It goes on with the monotonic clock and follows the wall clock in small steps. When the wall
//! clock leaps, ages are counted by the earliest that either has said since, and writes are noted
//! by the later of the two, until the leap has lasted for [`LEAP_BELIEVED_AFTER`]. What a newcomer
//! gets wrong: a start is a leap too, if the newest write on disk is not of the last day: the clock
//! of a host that comes up with a wrong year must not empty every topic before anybody has seen it.

use core::time::Duration;

use plimsoll_device::{Instant, Now};

use crate::limits::{LEAP_BELIEVED_AFTER, LEAP_MS, START_GAP_MS};
use crate::written::Written;

/// What the wall clock did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockNews {
    /// It leapt by so many milliseconds.
    Leapt(i64),
    /// It has stayed where it leapt to: that is the time now.
    Believed(i64),
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AgeClock {
    /// What is believed at `seen`; none before the first look.
    believed_ms: Option<i64>,
    /// The earliest of all that may be right, at `seen`: a second leap does not make the first
    /// clock wrong.
    earliest_ms: i64,
    seen: Seen,
    leap: Option<Seen>,
}

/// Both clocks at once.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    wall_ms: i64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { at: Instant::ORIGIN, wall_ms: 0 }
    }
}

impl Seen {
    /// What the wall clock should say at `now`.
    fn expected_ms(&self, now: Now) -> i64 {
        self.wall_ms.saturating_add(millis(now.monotonic.since(self.at)))
    }
}

impl AgeClock {
    /// The first look after a start; `newest` is the last write that is known of before it.
    pub(crate) fn begin(&mut self, newest: Written, now: Now) -> Option<ClockNews> {
        let seen = Seen { at: now.monotonic, wall_ms: now.unix_ms };
        let newest_ms = newest.unix_ms().unwrap_or(now.unix_ms);
        let gap_ms = now.unix_ms.saturating_sub(newest_ms);
        let is_plausible = (-LEAP_MS..=START_GAP_MS).contains(&gap_ms);
        let believed_ms = Some(if is_plausible { now.unix_ms } else { newest_ms });
        let earliest_ms = if is_plausible { now.unix_ms } else { newest_ms.min(now.unix_ms) };
        *self = Self { believed_ms, earliest_ms, seen, leap: (!is_plausible).then_some(seen) };
        (!is_plausible).then_some(ClockNews::Leapt(gap_ms))
    }

    /// A later look.
    pub(crate) fn observe(&mut self, now: Now) -> Option<ClockNews> {
        let passed_ms = millis(now.monotonic.since(self.seen.at));
        let expected_ms = self.believed_ms?.saturating_add(passed_ms);
        // What is less than a millisecond is counted with the next look.
        let at = self.seen.at + Duration::from_millis(passed_ms.unsigned_abs());
        self.seen = Seen { at, wall_ms: now.unix_ms };
        self.believed_ms = Some(expected_ms);
        self.earliest_ms = self.earliest_ms.saturating_add(passed_ms).min(now.unix_ms);
        let drift_ms = now.unix_ms.saturating_sub(expected_ms);
        if drift_ms.abs() <= LEAP_MS {
            self.believe(now);
            return None;
        }
        let stays =
            |leap: &Seen| now.unix_ms.saturating_sub(leap.expected_ms(now)).abs() <= LEAP_MS;
        match self.leap.filter(stays) {
            None => {
                self.leap = Some(self.seen);
                Some(ClockNews::Leapt(drift_ms))
            }
            Some(leap) if now.monotonic.since(leap.at) >= LEAP_BELIEVED_AFTER => {
                self.believe(now);
                Some(ClockNews::Believed(drift_ms))
            }
            Some(_) => None,
        }
    }

    fn believe(&mut self, now: Now) {
        (self.believed_ms, self.earliest_ms) = (Some(now.unix_ms), now.unix_ms);
        self.leap = None;
    }

    /// The time by which data is old; none before the first look.
    pub(crate) fn now_ms(&self) -> Option<i64> {
        self.believed_ms.map(|_| self.earliest_ms)
    }

    /// What is noted of data that is written now.
    pub(crate) fn written(&self) -> Written {
        self.latest_ms().map_or(Written::UNKNOWN, Written::at)
    }

    /// The time by which something is done now at the latest; none before the first look.
    pub(crate) fn latest_ms(&self) -> Option<i64> {
        self.believed_ms.map(|believed_ms| believed_ms.max(self.seen.wall_ms))
    }

    /// When to look again, if the wall clock has leapt.
    pub(crate) fn leap_ends(&self) -> Option<Instant> {
        self.leap.map(|leap| leap.at + LEAP_BELIEVED_AFTER)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: i64 = 1_767_225_600_000;
    const DAY_MS: i64 = 24 * 3600 * 1000;

    fn at(seconds: u64, wall_ms: i64) -> Now {
        Now { monotonic: Instant::from_nanos(seconds * 1_000_000_000), unix_ms: wall_ms }
    }

    fn begun() -> AgeClock {
        let mut clock = AgeClock::default();
        assert_eq!(clock.begin(Written::at(NOON_MS - 1000), at(0, NOON_MS)), None);
        clock
    }

    #[test]
    fn a_leap_ahead_makes_nothing_old_until_it_has_lasted() {
        let mut clock = begun();
        let leapt = |seconds: u64| at(seconds, NOON_MS + DAY_MS + seconds as i64 * 1000);
        assert_eq!(clock.observe(leapt(10)), Some(ClockNews::Leapt(DAY_MS)));
        assert_eq!(clock.now_ms(), Some(NOON_MS + 10_000));
        assert_eq!(clock.written(), Written::at(NOON_MS + DAY_MS + 10_000));
        assert_eq!(clock.observe(leapt(3_600)), None);
        assert_eq!(clock.now_ms(), Some(NOON_MS + 3_600_000));
        assert_eq!(clock.observe(leapt(3_610)), Some(ClockNews::Believed(DAY_MS)));
        assert_eq!(clock.now_ms(), Some(NOON_MS + DAY_MS + 3_610_000));
    }

    #[test]
    fn a_leap_that_is_taken_back_never_was() {
        let mut clock = begun();
        assert!(clock.observe(at(10, NOON_MS + DAY_MS)).is_some());
        assert_eq!(clock.observe(at(20, NOON_MS + 20_000)), None);
        assert_eq!(clock.leap_ends(), None);
        assert_eq!(clock.now_ms(), Some(NOON_MS + 20_000));
    }

    #[test]
    fn what_is_written_under_a_clock_that_leapt_back_is_not_old_when_it_is_put_right() {
        let mut clock = begun();
        assert_eq!(
            clock.observe(at(10, 10_000)),
            Some(ClockNews::Leapt(10_000 - NOON_MS - 10_000))
        );
        assert_eq!(clock.now_ms(), Some(10_000));
        assert_eq!(clock.written(), Written::at(NOON_MS + 10_000));
    }

    /// Data was written while the clock was two hours ahead; the next start finds it in the future,
    /// and then the clock leaps far ahead. Data of before the first leap is young all the time.
    #[test]
    fn a_second_leap_does_not_make_the_clock_before_the_first_wrong() {
        let mut clock = AgeClock::default();
        let newest = Written::at(NOON_MS + DAY_MS / 12);
        assert!(clock.begin(newest, at(0, NOON_MS)).is_some());
        assert!(clock.observe(at(2, NOON_MS + 400 * DAY_MS)).is_some());
        assert_eq!(clock.now_ms(), Some(NOON_MS + 2_000));
        let later = at(3_602, NOON_MS + 400 * DAY_MS + 3_600_000);
        assert!(matches!(clock.observe(later), Some(ClockNews::Believed(_))));
        assert_eq!(clock.now_ms(), Some(later.unix_ms));
    }

    #[test]
    fn small_steps_are_followed_and_add_up() {
        let mut clock = begun();
        for minute in 1..100_u64 {
            // Every minute the wall clock is a second ahead once more.
            let wall_ms = NOON_MS + minute as i64 * 61_000;
            assert_eq!(clock.observe(at(minute * 60, wall_ms)), None);
            assert_eq!(clock.now_ms(), Some(wall_ms));
        }
    }

    #[test]
    fn a_start_in_another_year_is_a_leap_and_one_after_a_night_is_not() {
        let mut clock = AgeClock::default();
        assert_eq!(clock.begin(Written::at(NOON_MS - DAY_MS / 2), at(5, NOON_MS)), None);
        let year_ms = 365 * DAY_MS;
        let news = clock.begin(Written::at(NOON_MS), at(5, NOON_MS + year_ms));
        assert_eq!(news, Some(ClockNews::Leapt(year_ms)));
        assert_eq!(clock.now_ms(), Some(NOON_MS));
        let later = at(3_605, NOON_MS + year_ms + 3_600_000);
        assert_eq!(clock.observe(later), Some(ClockNews::Believed(year_ms)));
    }
}
