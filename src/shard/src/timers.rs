//! Deadlines of connections and fetches, in one ordered set.
//!
//! The set is bounded by the number of connections and readers, and is lazy: whoever no longer
//! needs its deadline lets it pass. A busy connection arms the timer of a half frame many times a
//! second and so touches the set once in thirty seconds.

use alloc::collections::BTreeSet;

use plimsoll_device::Instant;

use crate::connection::ConnectionId;
use crate::readers::ReaderId;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Connection(ConnectionId),
    Reader(ReaderId),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    pub(crate) fn arm(&mut self, at: Instant, timer: Timer) {
        self.set.insert((at, timer));
    }

    pub(crate) fn disarm(&mut self, at: Instant, timer: Timer) {
        self.set.remove(&(at, timer));
    }

    pub(crate) fn first(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes the next timer whose deadline is not after `now`.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Timer> {
        if self.first()? > now {
            return None;
        }
        self.set.pop_first().map(|(_, timer)| timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn timers_expire_in_order_and_not_before_their_time() {
        let mut slab = Slab::new();
        let (one, two) = (slab.insert(()), slab.insert(()));
        let at = Instant::from_nanos;
        let mut timers = Timers::default();
        timers.arm(at(9), Timer::Connection(ConnectionId(one)));
        timers.arm(at(5), Timer::Reader(ReaderId(two)));
        timers.arm(at(7), Timer::Reader(ReaderId(one)));
        timers.disarm(at(7), Timer::Reader(ReaderId(one)));
        assert_eq!(timers.first(), Some(at(5)));
        assert_eq!(timers.expire(at(4)), None);
        assert_eq!(timers.expire(at(9)), Some(Timer::Reader(ReaderId(two))));
        assert_eq!(timers.expire(at(9)), Some(Timer::Connection(ConnectionId(one))));
        assert_eq!(timers.expire(at(9)), None);
    }
}
