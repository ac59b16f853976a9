//! Time as a parameter: the session reads no clock.
//!
//! A driver picks an origin once (its start) and says with every call how long ago that was. What
//! a newcomer gets wrong: this is monotonic time, not the timestamp of records.

use core::ops::Add;
use core::time::Duration;

/// A point in monotonic time, counted from the driver's origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The driver's origin.
    pub const ORIGIN: Instant = Instant(Duration::ZERO);

    /// The point that lies `elapsed` after the origin.
    #[must_use]
    pub const fn after_origin(elapsed: Duration) -> Instant {
        Instant(elapsed)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(duration))
    }
}
