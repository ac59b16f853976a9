//! The compression codecs that the format numbers.
//!
//! This crate compresses nothing: the producer compresses, the consumer decompresses, and the
//! server passes the bytes through.

use core::fmt;

/// How the records of a batch are compressed. The numbers are the format's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Not compressed.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy, in the framing of snappy-java.
    Snappy = 2,
    /// LZ4, in its frame format.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

impl Codec {
    /// The bits of the attributes that hold the codec.
    pub(crate) const MASK: i16 = 0b111;

    /// The codec that the attributes of a batch name, or `None` for an id that the format does not
    /// define.
    #[must_use]
    pub const fn from_attributes(attributes: i16) -> Option<Codec> {
        match attributes & Codec::MASK {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// The number of the codec in the format.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The name that people type: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Codec;

    #[test]
    fn every_codec_is_found_again_by_its_id_whatever_the_other_bits_say() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let id = i16::from(codec.id());
            assert_eq!(Codec::from_attributes(id), Some(codec));
            assert_eq!(Codec::from_attributes(id | !Codec::MASK), Some(codec));
        }
    }

    #[test]
    fn ids_beyond_the_format_have_no_codec() {
        for id in 5..=7 {
            assert_eq!(Codec::from_attributes(id), None);
        }
    }
}
