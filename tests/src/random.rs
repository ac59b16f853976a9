//! Random choices that a seed repeats.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same choices.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Other choices each time.
    #[must_use]
    pub fn of_the_moment() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Random(now.as_nanos() as u64)
    }

    /// A seed from `PLIMSOLL_SEED`, or from the clock; says which, and how to repeat the test.
    #[must_use]
    pub fn seeded(suite: &str, test: &str) -> Random {
        let given = std::env::var("PLIMSOLL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| Random::of_the_moment().0 % 1_000_000_000);
        eprintln!(
            "seed {seed}; again: PLIMSOLL_SEED={seed} cargo test -p plimsoll-tests --test {suite} \
             {test} -- --nocapture"
        );
        Random(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range.
    ///
    /// # Panics
    ///
    /// If the range is empty.
    pub fn below(&mut self, range: Range<u64>) -> u64 {
        range.start + self.number() % (range.end - range.start)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.number().is_multiple_of(times)
    }

    /// One of these.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(0..choices.len() as u64) as usize]
    }
}
