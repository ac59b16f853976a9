//! Sizes on the command line: `4096`, `64MiB`, `1GiB`.
//!
//! Only powers of 1024 are taken: whether `MB` means 1000 or 1024 is what people get wrong.

/// Reads a size in bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(format!("`{text}` is not a size: write 4096, 64MiB or 1GiB")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is not a size: write 4096, 64MiB or 1GiB"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is more than can be counted"))
}

/// The same for settings of 32 bits.
pub(crate) fn parse_size_u32(text: &str) -> Result<u32, String> {
    u32::try_from(parse_size(text)?).map_err(|_| format!("`{text}` is 4 GiB or more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_binary_units_are_read() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1 GiB"), Ok(1 << 30));
        assert_eq!(parse_size("3KiB"), Ok(3072));
        assert_eq!(parse_size("0"), Ok(0));
    }

    #[test]
    fn decimal_units_fractions_and_overflow_are_refused_with_a_remedy() {
        for text in ["64MB", "1.5GiB", "-1", "", "MiB", "64mib"] {
            assert!(parse_size(text).unwrap_err().contains("64MiB"), "{text}");
        }
        assert!(parse_size("99999999TiB").is_err());
        assert!(parse_size_u32("4GiB").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_typed_there_is_an_answer(text in ".*") {
            let _ = parse_size(&text);
        }

        #[test]
        fn every_count_of_bytes_comes_back(bytes: u64) {
            prop_assert_eq!(parse_size(&bytes.to_string()), Ok(bytes));
        }
    }
}
