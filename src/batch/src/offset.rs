//! The place of a record in its partition.
//!
//! An offset counts records, not bytes. It is a newtype without `From<u64>`, so that no position,
//! sequence or count becomes an offset by accident. The format stores it as a signed 64-bit
//! number: [`Offset::MAX`] is the last one that fits.

use core::fmt;

/// The offset of a record in its partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of a partition.
    pub const ZERO: Offset = Offset(0);

    /// The largest offset that a batch can carry.
    pub const MAX: Offset = Offset(i64::MAX as u64);

    /// Takes any number, also one beyond [`Offset::MAX`] (a sentinel, or what a peer sent): such an
    /// offset compares like any other, but does not [`advance`](Offset::advance).
    #[must_use]
    pub const fn new(value: u64) -> Offset {
        Offset(value)
    }

    /// The number itself.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The offset `records` further on, or `None` beyond [`Offset::MAX`].
    #[must_use]
    pub const fn checked_add(self, records: u64) -> Option<Offset> {
        match self.0.checked_add(records) {
            Some(value) if value <= Offset::MAX.0 => Some(Offset(value)),
            _ => None,
        }
    }

    /// The offset `records` further on, where the caller has already shown that it exists.
    ///
    /// # Panics
    ///
    /// Beyond [`Offset::MAX`]: a saturated or wrapped offset would be issued twice. Use
    /// [`checked_add`](Offset::checked_add) on anything that a peer can choose.
    #[must_use]
    pub const fn advance(self, records: u64) -> Offset {
        match self.checked_add(records) {
            Some(offset) => offset,
            None => panic!("an offset was advanced beyond Offset::MAX"),
        }
    }

    /// How many records lie from `earlier` up to this one, or `None` if it is not earlier or equal.
    #[must_use]
    pub const fn distance_from(self, earlier: Offset) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::Offset;
    use std::string::ToString;

    #[test]
    fn an_offset_never_passes_what_the_format_can_carry() {
        assert_eq!(Offset::MAX.checked_add(0), Some(Offset::MAX));
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert_eq!(Offset::new(1).checked_add(u64::MAX), None);
        assert_eq!(Offset::ZERO.advance(5), Offset::new(5));
    }

    #[test]
    #[should_panic(expected = "beyond Offset::MAX")]
    fn advancing_past_the_end_panics_instead_of_issuing_an_offset_twice() {
        let _ = Offset::MAX.advance(1);
    }

    #[test]
    fn distance_counts_records_and_refuses_to_go_backwards() {
        assert_eq!(Offset::new(9).distance_from(Offset::new(4)), Some(5));
        assert_eq!(Offset::new(4).distance_from(Offset::new(9)), None);
        assert_eq!(Offset::new(17).to_string(), "17");
    }
}
