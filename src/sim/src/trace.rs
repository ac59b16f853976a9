//! A running hash of everything that the machine did: two runs of one seed must agree on it.
//!
//! For tests of the simulator itself, never for decisions of a run. What a newcomer gets wrong:
//! equal hashes of two seeds mean nothing; the same seed with two hashes means that something took
//! order or bytes from outside.

use crate::disk::is_zero;

const WORD_BYTES: usize = 8;

/// The hash so far. It is neither fast nor secret: it only has to differ when the runs do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds `bytes` and their length, so that two notes are not one longer note.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        self.fold(bytes.len() as u64);
        if is_zero(bytes) {
            return;
        }
        // Four sums side by side: one alone waits for each multiplication.
        let (wide, rest) = bytes.as_chunks::<{ 4 * WORD_BYTES }>();
        if !wide.is_empty() {
            let mut lanes = [self.0; 4];
            for chunk in wide {
                let (words, _) = chunk.as_chunks::<WORD_BYTES>();
                for (lane, word) in lanes.iter_mut().zip(words) {
                    *lane = folded(*lane, u64::from_le_bytes(*word));
                }
            }
            lanes.into_iter().for_each(|lane| self.fold(lane));
        }
        for chunk in rest.chunks(WORD_BYTES) {
            let mut word = [0; WORD_BYTES];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
    }

    pub(crate) fn note_number(&mut self, number: u64) {
        self.fold(number);
    }

    pub(crate) fn hash(self) -> u64 {
        self.0
    }

    fn fold(&mut self, word: u64) {
        self.0 = folded(self.0, word);
    }
}

fn folded(sum: u64, word: u64) -> u64 {
    (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}
