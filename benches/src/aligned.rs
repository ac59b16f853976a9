//! Memory that O_DIRECT takes: it begins at a multiple of the block.
//!
//! A vector with room to spare, entered at its first aligned byte. It never grows, so it never
//! moves.

use std::ops::{Deref, DerefMut};

const ALIGNMENT_BYTES: usize = 4096;

/// Aligned memory of a fixed length.
#[derive(Debug)]
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length_bytes: usize,
}

impl Aligned {
    /// `length_bytes` of memory, each page touched, with contents that no device compresses away.
    pub(crate) fn new(length_bytes: usize) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        let bytes: Vec<u8> = (0..length_bytes + ALIGNMENT_BYTES).map(|_| next()).collect();
        let start = bytes.as_ptr().align_offset(ALIGNMENT_BYTES);
        Self { bytes, start, length_bytes }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length_bytes]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_begins_at_a_multiple_of_the_block_and_has_its_length() {
        let aligned = Aligned::new(8192);
        assert_eq!((aligned.as_ptr().addr() % ALIGNMENT_BYTES, aligned.len()), (0, 8192));
    }
}
