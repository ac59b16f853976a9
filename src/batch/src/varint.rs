//! Variable-length numbers: zig-zag, then seven bits a byte, the lowest first.
//!
//! A number that fits 32 bits has the same bytes in either width; only the reader cares, because
//! the format limits a 32-bit number to 5 bytes and a 64-bit one to 10.

use alloc::vec::Vec;

/// Why there is no number at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// The bytes end before the number does.
    Truncated,
    /// More bytes or bits than the width allows.
    TooLong,
}

/// Bytes that `write` appends.
pub(crate) const fn length_bytes(value: i64) -> usize {
    let bits = u64::BITS - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends `value`.
pub(crate) fn write(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The 32-bit number at the front of `bytes`, and how many bytes it takes.
pub(crate) fn read_i32(bytes: &[u8]) -> Result<(i32, usize), VarintError> {
    // Nearly all lengths and deltas of small records are one byte.
    if let Some(&byte) = bytes.first()
        && byte < 0x80
    {
        return Ok((unzigzag(u64::from(byte)) as i32, 1));
    }
    let (raw, length) = read_raw::<5>(bytes)?;
    let raw = u32::try_from(raw).map_err(|_| VarintError::TooLong)?;
    Ok((unzigzag(u64::from(raw)) as i32, length))
}

/// The 64-bit number at the front of `bytes`, and how many bytes it takes.
pub(crate) fn read_i64(bytes: &[u8]) -> Result<(i64, usize), VarintError> {
    let (raw, length) = read_raw::<10>(bytes)?;
    Ok((unzigzag(raw), length))
}

fn read_raw<const BYTES_MAX: usize>(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut raw = 0;
    for (index, &byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * index);
        // The tenth byte has room for one bit of 64.
        if shifted >> (7 * index) != bits {
            return Err(VarintError::TooLong);
        }
        raw |= shifted;
        if byte < 0x80 {
            return Ok((raw, index + 1));
        }
    }
    Err(if bytes.len() < BYTES_MAX { VarintError::Truncated } else { VarintError::TooLong })
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::{VarintError, length_bytes, read_i32, read_i64, write};
    use proptest::prelude::{any, proptest};
    use std::vec::Vec;

    fn written(value: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, value);
        bytes
    }

    #[test]
    fn numbers_have_the_bytes_that_the_format_documents() {
        assert_eq!(written(0), [0x00]);
        assert_eq!(written(-1), [0x01]);
        assert_eq!(written(1), [0x02]);
        assert_eq!(written(63), [0x7e]);
        assert_eq!(written(-64), [0x7f]);
        assert_eq!(written(64), [0x80, 0x01]);
        assert_eq!(written(i64::from(i32::MIN)), [0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(written(i64::MIN), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    }

    #[test]
    fn a_number_that_does_not_end_is_truncated_or_too_long() {
        assert_eq!(read_i32(&[]), Err(VarintError::Truncated));
        assert_eq!(read_i32(&[0x80; 4]), Err(VarintError::Truncated));
        assert_eq!(read_i32(&[0x80; 5]), Err(VarintError::TooLong));
        assert_eq!(read_i64(&[0x80; 9]), Err(VarintError::Truncated));
        assert_eq!(read_i64(&[0x80; 10]), Err(VarintError::TooLong));
    }

    #[test]
    fn bits_beyond_the_width_are_refused_not_dropped() {
        assert_eq!(read_i32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(VarintError::TooLong));
        let mut bytes = [0xff; 10];
        bytes[9] = 0x02;
        assert_eq!(read_i64(&bytes), Err(VarintError::TooLong));
    }

    proptest! {
        #[test]
        fn every_number_is_read_back_and_measured_right(
            wide in any::<i64>(),
            narrow in any::<i32>(),
        ) {
            for value in [wide, i64::from(narrow), wide >> 40] {
                let bytes = written(value);
                assert_eq!(length_bytes(value), bytes.len());
                assert_eq!(read_i64(&bytes), Ok((value, bytes.len())));
            }
            let bytes = written(i64::from(narrow));
            assert_eq!(read_i32(&bytes), Ok((narrow, bytes.len())));
        }
    }
}
