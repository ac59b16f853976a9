//! Random numbers from one seed, one stream per concern.
//!
//! A stream depends on the seed and on its name, never on what other streams have drawn: code that
//! draws once more for one concern leaves all others as they were. Not for secrets.

/// A stream of random numbers (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// The stream for `concern` under this one's seed. It does not depend on what was drawn so far.
    pub fn stream(&self, concern: &str) -> Self {
        // FNV-1a names the stream; mixing takes it away from its neighbours.
        let name = concern.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self::new(mix(self.seed ^ mix(name)))
    }

    /// The next number, any of 2^64.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `limit`.
    ///
    /// # Panics
    /// When `limit` is zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "no number is below zero");
        // The bias of the remainder is below limit / 2^64: of no weight in a test.
        self.next_u64() % limit
    }

    /// A position in something of `length` items.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True in `permille` of 1,000 cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_does_not_depend_on_what_was_drawn_before() {
        let mut root = Random::new(7);
        let mut before = root.stream("order");
        root.next_u64();
        let mut after = root.stream("order");
        assert_eq!(before.next_u64(), after.next_u64());
    }

    #[test]
    fn streams_of_two_concerns_differ() {
        let root = Random::new(7);
        assert_ne!(root.stream("order").next_u64(), root.stream("crash").next_u64());
    }

    #[test]
    fn chance_follows_its_permille() {
        let mut random = Random::new(1);
        let hits = (0..10_000).filter(|_| random.chance(250)).count();
        assert!((2_200..2_800).contains(&hits), "{hits} of 10,000 at 250 permille");
    }
}
