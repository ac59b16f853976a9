//! Delayed delivery: the time before which a group in share mode does not hand a record out.
//!
//! It travels in a header of the record, so it is as durable as the record is. What a newcomer gets
//! wrong: only groups in share mode look at it. Every other consumer sees the record at once, with
//! the header.

use core::time::Duration;

/// The header that carries the time: milliseconds since 1970 in decimal digits.
pub const DELIVER_AFTER_HEADER: &str = "plimsoll-deliver-after";

/// When a record may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverAfter {
    /// At a time, in milliseconds since 1970. It has come when the server's clock says so.
    UnixMs(i64),
    /// So long after the record's timestamp, which is the time of the call if none is given.
    Delay(Duration),
}

impl DeliverAfter {
    /// The time, for a record with this timestamp.
    pub(crate) fn unix_ms(self, timestamp_ms: i64) -> i64 {
        match self {
            DeliverAfter::UnixMs(unix_ms) => unix_ms,
            DeliverAfter::Delay(delay) => {
                // Rounded up: never early.
                let delay_ms = delay.as_micros().div_ceil(1000);
                timestamp_ms.saturating_add(i64::try_from(delay_ms).unwrap_or(i64::MAX))
            }
        }
    }
}

/// What stands in the header, without allocating.
pub(crate) struct Digits {
    bytes: [u8; 20],
    start: usize,
}

impl Digits {
    pub(crate) fn of(unix_ms: i64) -> Digits {
        let mut digits = Digits { bytes: [b'0'; 20], start: 20 };
        let mut rest = unix_ms.unsigned_abs();
        while rest > 0 || digits.start == 20 {
            digits.start -= 1;
            digits.bytes[digits.start] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        if unix_ms < 0 {
            digits.start -= 1;
            digits.bytes[digits.start] = b'-';
        }
        digits
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// The time in a record's header, the last of that name. What is not a time is not looked at.
pub(crate) fn deliver_after(headers: plimsoll_batch::Headers<'_>) -> Option<i64> {
    let named = headers.filter(|header| header.name == DELIVER_AFTER_HEADER.as_bytes());
    core::str::from_utf8(named.last()?.value?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_time_is_written_as_its_digits() {
        for unix_ms in [0, 7, -7, 1_700_000_000_000, i64::MAX, i64::MIN] {
            assert_eq!(Digits::of(unix_ms).as_bytes(), unix_ms.to_string().as_bytes());
        }
    }

    #[test]
    fn a_delay_counts_from_the_timestamp_and_is_never_shortened() {
        let delay = DeliverAfter::Delay(Duration::from_micros(1500));
        assert_eq!(delay.unix_ms(1000), 1002);
        assert_eq!(DeliverAfter::UnixMs(5).unix_ms(1000), 5);
        assert_eq!(DeliverAfter::Delay(Duration::MAX).unix_ms(1000), i64::MAX);
    }
}
