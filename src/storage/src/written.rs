//! When data was written, by the server's clock, in whole seconds: what its age is counted from.
//!
//! What a newcomer gets wrong: this is not the timestamp of a record, which is the producer's and
//! may be of any year. It is never earlier than the write: whoever rounds, rounds up.

use core::fmt;

/// The Unix second in which something was written at the latest; or that this is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written(pub(crate) u32);

impl Written {
    /// Written by a build that did not log it, or found by a repair.
    pub const UNKNOWN: Self = Self(0);

    pub(crate) fn at(unix_ms: i64) -> Self {
        let seconds = unix_ms.max(1).cast_unsigned().div_ceil(1000);
        Self(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// In Unix milliseconds, if it is known.
    pub fn unix_ms(self) -> Option<i64> {
        (self != Self::UNKNOWN).then(|| i64::from(self.0) * 1000)
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unix_ms() {
            Some(_) => write!(f, "{}", self.0),
            None => f.write_str("unknown"),
        }
    }
}

/// When the data of one segment was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenSpan {
    /// Its first batch; for when to seal it.
    pub first: Written,
    /// Its last batch; for when it may go.
    pub last: Written,
}

impl WrittenSpan {
    /// More data came. What is not known of any part is not known of the whole, until data comes
    /// that was surely written later.
    pub(crate) fn note(&mut self, written: Written, begins: bool) {
        if begins {
            *self = Self { first: written, last: written };
        } else if written == Written::UNKNOWN {
            self.last = written;
        } else {
            self.last = self.last.max(written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_never_taken_for_earlier_than_it_was() {
        assert_eq!(Written::at(1_000), Written(1));
        assert_eq!(Written::at(1_001), Written(2));
        assert_eq!(Written::at(-5), Written(1), "before 1970 is no excuse");
        assert_eq!(Written::at(i64::MAX), Written(u32::MAX));
    }

    #[test]
    fn a_segment_is_as_young_as_its_last_write_whatever_the_clock_does() {
        let mut span = WrittenSpan::default();
        span.note(Written(10), true);
        span.note(Written(20), false);
        span.note(Written(15), false);
        assert_eq!(span, WrittenSpan { first: Written(10), last: Written(20) });
        span.note(Written::UNKNOWN, false);
        assert_eq!(span.last, Written::UNKNOWN);
    }
}
