//! What the wall clock showed, and when: somebody may have set it.
//!
//! Time that nobody sets is counted as the wall clock would show it if nobody had. What a newcomer
//! gets wrong: of a stamp of a clock that was set it is not known when it was taken, but between
//! which moments: before it was heard, and after it was asked for.

use plimsoll_device::Instant;
use plimsoll_sim::Clock;

/// A moment of time that nobody sets, in milliseconds, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) earliest_ms: i64,
    pub(crate) latest_ms: i64,
}

/// From a moment on the wall clock is ahead by so much.
#[derive(Clone, Copy, Debug)]
struct Leg {
    from_ms: i64,
    ahead_ms: i64,
}

/// What the wall clock showed.
#[derive(Debug)]
pub(crate) struct Walls(Vec<Leg>);

impl Default for Walls {
    fn default() -> Self {
        Self(vec![Leg { from_ms: i64::MIN, ahead_ms: 0 }])
    }
}

impl Stamp {
    /// Surely before `other`.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        self.latest_ms < other.earliest_ms
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        !self.is_before(other) && !other.is_before(self)
    }
}

impl Walls {
    /// The moment at which the wall clock shows `now_ms` now.
    pub(crate) fn steady_ms(&self, now_ms: i64) -> i64 {
        now_ms - self.ahead_ms()
    }

    /// An instant of the monotonic clock.
    pub(crate) fn steady_ms_at(at: Instant) -> i64 {
        let passed_ms = i64::try_from(at.as_nanos() / 1_000_000).unwrap_or(i64::MAX);
        Clock::new().now.unix_ms.saturating_add(passed_ms)
    }

    /// The wall clock, which showed `before_ms`, is set to `after_ms`.
    pub(crate) fn set(&mut self, before_ms: i64, after_ms: i64) {
        let from_ms = self.steady_ms(before_ms);
        self.0.push(Leg { from_ms, ahead_ms: after_ms - from_ms });
    }

    /// When the clock showed `unix_ms`, between two moments.
    pub(crate) fn when(&self, unix_ms: i64, (from_ms, to_ms): (i64, i64)) -> Stamp {
        let within = |leg: &(Leg, i64)| leg.0.from_ms <= to_ms && leg.1 >= from_ms;
        let legs: Vec<(Leg, i64)> = self.legs().filter(within).collect();
        let moments: Vec<i64> = match &legs[..] {
            [(leg, _)] => vec![unix_ms - leg.ahead_ms],
            _ => {
                let moment = |(leg, until_ms): &(Leg, i64)| {
                    let at_ms = unix_ms - leg.ahead_ms;
                    let (from_ms, to_ms) = (from_ms.max(leg.from_ms), to_ms.min(*until_ms));
                    (from_ms..=to_ms).contains(&at_ms).then_some(at_ms)
                };
                legs.iter().filter_map(moment).collect()
            }
        };
        let (earliest, latest) = (moments.iter().min(), moments.iter().max());
        Stamp {
            earliest_ms: earliest.copied().unwrap_or(from_ms),
            latest_ms: latest.copied().unwrap_or(to_ms),
        }
    }

    /// The latest that the clock showed between two moments.
    pub(crate) fn latest_shown(&self, (from_ms, to_ms): (i64, i64)) -> i64 {
        let legs = self.legs().filter(|(leg, until)| leg.from_ms <= to_ms && *until >= from_ms);
        let shown = legs.map(|(leg, until_ms)| to_ms.min(until_ms).saturating_add(leg.ahead_ms));
        shown.max().unwrap_or(i64::MAX)
    }

    /// The earliest that it showed.
    pub(crate) fn earliest_shown(&self, (from_ms, to_ms): (i64, i64)) -> i64 {
        let legs = self.legs().filter(|(leg, until)| leg.from_ms <= to_ms && *until >= from_ms);
        let shown = legs.map(|(leg, _)| from_ms.max(leg.from_ms).saturating_add(leg.ahead_ms));
        shown.min().unwrap_or(i64::MIN)
    }

    /// What somebody may take for the time at `to_ms` who looked at the clock once since `from_ms`,
    /// and has counted by himself from there on.
    pub(crate) fn latest_counted(&self, (from_ms, to_ms): (i64, i64)) -> i64 {
        let legs = self.legs().filter(|(leg, until)| leg.from_ms <= to_ms && *until >= from_ms);
        legs.map(|(leg, _)| to_ms.saturating_add(leg.ahead_ms)).max().unwrap_or(i64::MAX)
    }

    /// How much it must be set ahead to show what it has shown at its latest.
    pub(crate) fn behind_ms(&self, now_ms: i64) -> i64 {
        let now = (i64::MIN, self.steady_ms(now_ms));
        self.latest_shown(now).saturating_sub(now_ms).max(0)
    }

    /// Nobody has set it since.
    pub(crate) fn is_untouched_since(&self, moment_ms: i64) -> bool {
        self.0.last().is_none_or(|leg| leg.from_ms < moment_ms)
    }

    fn ahead_ms(&self) -> i64 {
        self.0.last().map_or(0, |leg| leg.ahead_ms)
    }

    /// The legs, each with its end.
    fn legs(&self) -> impl Iterator<Item = (Leg, i64)> {
        let ends = self.0.iter().skip(1).map(|leg| leg.from_ms).chain([i64::MAX]);
        self.0.iter().copied().zip(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walls() -> Walls {
        let mut walls = Walls::default();
        // At 1,000 it is set ahead to 5,000, and at 2,000 back to 1,500.
        walls.set(1_000, 5_000);
        walls.set(6_000, 1_500);
        walls
    }

    #[test]
    fn a_stamp_is_of_the_moments_at_which_the_clock_showed_it() {
        let (walls, all) = (walls(), (0, 9_000));
        let at = |ms| Stamp { earliest_ms: ms, latest_ms: ms };
        assert_eq!(walls.steady_ms(1_500), 2_000);
        assert_eq!(walls.when(900, all), at(900));
        assert_eq!(walls.when(5_400, (0, 1_900)), at(1_400));
        assert_eq!(walls.when(1_600, (1_100, 9_000)), at(2_100));
        // It showed this twice.
        let twice = Stamp { earliest_ms: 1_400, latest_ms: 5_900 };
        assert_eq!(walls.when(5_400, all), twice);
        assert_eq!(Walls::default().when(7, all), at(7));
    }

    #[test]
    fn the_latest_that_it_showed_is_that_of_the_legs_in_between() {
        let walls = walls();
        assert_eq!(walls.latest_shown((0, 900)), 900);
        assert_eq!(walls.latest_shown((0, 1_300)), 5_300);
        assert_eq!(walls.latest_shown((0, 2_400)), 6_000);
        assert_eq!(walls.latest_shown((2_100, 2_400)), 1_900);
        assert_eq!(walls.earliest_shown((1_300, 2_400)), 1_500);
        assert_eq!(walls.latest_counted((1_300, 2_400)), 6_400);
        assert_eq!(walls.behind_ms(1_600), 4_400);
        assert!(walls.is_untouched_since(2_001) && !walls.is_untouched_since(2_000));
    }
}
