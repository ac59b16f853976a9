//! The CRC of a span's bytes, kept while batches arrive, so that a large extent is not read again
//! for its CRC.
//!
//! A batch brings the CRC of nearly all of it along, and CRCs of neighbours can be joined without
//! looking at their bytes (Adler's `crc32_combine`, zlib). What a newcomer gets wrong: the result
//! is the CRC of what the producer sent, not of what lies in memory now; a bit that flipped between
//! the two is written as it is, and found when it is read.

use crc32c::{crc32c, crc32c_append};

/// Bytes of a batch from which joining is less work than reading.
const JOINED_BYTES_MIN: usize = 8 << 10;

/// CRC of a span's bytes from one position to another; empty at first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunningCrc {
    from: u32,
    to: u32,
    crc: u32,
}

impl RunningCrc {
    /// A batch was appended to `bytes`, which are the span's from its start to the batch's end;
    /// `covered_bytes` at its end have the CRC `covered_crc`. Small batches are left for later.
    pub(crate) fn extend(&mut self, bytes: &[u8], covered_bytes: usize, covered_crc: u32) {
        if covered_bytes < JOINED_BYTES_MIN {
            return;
        }
        let covered_from = bytes.len() - covered_bytes;
        let before = crc32c_append(self.crc, &bytes[self.to as usize..covered_from]);
        self.crc = shift(before, covered_bytes, &FORWARD) ^ covered_crc;
        self.to = position(bytes.len());
    }

    /// The CRC of `bytes[from..to]`, where `bytes` are the span's from its start; what follows `to`
    /// is counted from there on.
    pub(crate) fn take(&mut self, bytes: &[u8], from: u32, to: u32) -> u32 {
        let (start, end) = (from as usize, to as usize);
        if self.from != from || self.to < from {
            *self = Self { from: to, to, crc: 0 };
            return crc32c(&bytes[start..end]);
        }
        let known = self.to as usize;
        let rest = &bytes[end.min(known)..known];
        let rest_crc = crc32c(rest);
        let crc = match known.checked_sub(end) {
            // CRC of what is before `rest`: its part in the whole, moved back over `rest`.
            Some(_) => shift(self.crc ^ rest_crc, rest.len(), &BACKWARD),
            None => crc32c_append(self.crc, &bytes[known..end]),
        };
        *self = Self { from: to, to: to.max(self.to), crc: rest_crc };
        crc
    }
}

/// CRC-32C's polynomial, reflected: bit 31 stands for x to the power of 0.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const ONE: u32 = 1 << 31;

/// Entry k moves a CRC over 2 to the power of k bytes of zeros.
const FORWARD: [u32; 32] = powers(times_x(ONE));

/// The other way around.
const BACKWARD: [u32; 32] = powers(by_x(ONE));

/// The CRC moved over so many bytes of zeros.
fn shift(crc: u32, length_bytes: usize, table: &[u32; 32]) -> u32 {
    let powers = table.iter().enumerate().filter(|(bit, _)| length_bytes >> bit & 1 == 1);
    powers.fold(crc, |crc, (_, power)| product(*power, crc))
}

const fn powers(x: u32) -> [u32; 32] {
    let mut byte = x;
    let mut bits = 1;
    while bits < 8 {
        byte = product(byte, byte);
        bits *= 2;
    }
    let mut table = [byte; 32];
    let mut power = 1;
    while power < table.len() {
        table[power] = product(table[power - 1], table[power - 1]);
        power += 1;
    }
    table
}

const fn times_x(polynomial: u32) -> u32 {
    if polynomial & 1 == 1 { polynomial >> 1 ^ POLYNOMIAL } else { polynomial >> 1 }
}

const fn by_x(polynomial: u32) -> u32 {
    if polynomial & ONE != 0 { (polynomial ^ POLYNOMIAL) << 1 | 1 } else { polynomial << 1 }
}

/// The product of two polynomials, modulo CRC-32C's.
const fn product(one: u32, other: u32) -> u32 {
    let (mut sum, mut other, mut bit) = (0, other, ONE);
    while bit != 0 {
        if one & bit != 0 {
            sum ^= other;
        }
        other = times_x(other);
        bit >>= 1;
    }
    sum
}

fn position(length: usize) -> u32 {
    crate::span::narrow(length as u64)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn joined_crcs_are_those_of_the_bytes(
            lengths in prop::collection::vec((21_usize..40_000, 0_u8..3), 1..12),
            cut in 0_u32..4096,
            seed in any::<u8>(),
        ) {
            let mut bytes: Vec<u8> = Vec::new();
            let mut running = RunningCrc::default();
            let mut from = 0;
            for (length, what) in lengths {
                let start = bytes.len();
                bytes.extend((0..length).map(|at| (at * 31 + start) as u8 ^ seed));
                running.extend(&bytes, length - 21, crc32c(&bytes[start + 21..]));
                // Sometimes all is taken, sometimes all but a part at the end.
                let end = position(bytes.len());
                let to = if what == 1 { end } else { end.saturating_sub(cut).max(from) };
                if what > 0 {
                    let expected = crc32c(&bytes[from as usize..to as usize]);
                    prop_assert_eq!(running.take(&bytes, from, to), expected);
                    from = to;
                }
            }
        }

        #[test]
        fn what_was_taken_elsewhere_is_read_anew(
            skipped in 1_u32..5000,
            length in 5000_usize..9000,
        ) {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
            let mut running = RunningCrc::default();
            running.extend(&bytes, length - 21, crc32c(&bytes[21..]));
            let end = position(length);
            let expected = crc32c(&bytes[skipped as usize..]);
            prop_assert_eq!(running.take(&bytes, skipped, end), expected);
        }
    }
}
