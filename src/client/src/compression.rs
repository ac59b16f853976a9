//! Compresses the records of a batch and makes them readable again.
//!
//! The server passes compressed batches through, so both ends are here. lz4 (the frame format) and
//! zstd are cargo features; gzip and snappy are part of the batch format, but this client does not
//! read them and says so with a [`DecompressError`]. A batch may not grow beyond
//! [`UNCOMPRESSED_BYTES_MAX`]: a few hundred bytes from another producer must not fill the memory
//! of a consumer.

use alloc::vec::Vec;
use core::{error, fmt};
use plimsoll_batch::Codec;

/// The most that the records of one batch may take once decompressed.
pub const UNCOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// How a producer compresses its batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4 frames: cheap, for logs of text about three times smaller.
    #[cfg(feature = "lz4")]
    Lz4,
    /// Zstandard at its level 3: smaller than LZ4, and slower.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// What a batch with `compression` names as its codec, and the records, compressed. `None`: send
/// them as they are.
pub(crate) fn compress(compression: Compression, records: &[u8]) -> Option<(Codec, Vec<u8>)> {
    match compression {
        Compression::None => {
            let _ = records;
            None
        }
        #[cfg(feature = "lz4")]
        Compression::Lz4 => lz4(records).map(|compressed| (Codec::Lz4, compressed)),
        #[cfg(feature = "zstd")]
        Compression::Zstd => {
            zstd::bulk::compress(records, 3).ok().map(|compressed| (Codec::Zstd, compressed))
        }
    }
}

/// The records as they were before compression. [`Codec::None`] is a mistake of the caller and
/// answered as unsupported.
pub(crate) fn decompress(codec: Codec, compressed: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let _ = compressed;
    match codec {
        #[cfg(feature = "lz4")]
        Codec::Lz4 => read_bounded(codec, lz4_flex::frame::FrameDecoder::new(compressed)),
        #[cfg(feature = "zstd")]
        Codec::Zstd => match zstd::stream::read::Decoder::new(compressed) {
            Ok(decoder) => read_bounded(codec, decoder),
            Err(_) => Err(DecompressError::Damaged { codec }),
        },
        codec => Err(DecompressError::Unsupported { codec }),
    }
}

/// Why the records of a batch could not be made readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecompressError {
    /// This client was built without the codec, or never has it (gzip, snappy).
    Unsupported {
        /// The codec of the batch.
        codec: Codec,
    },
    /// The bytes are not what the codec writes. The batch's checksum held: its producer is at
    /// fault.
    Damaged {
        /// The codec of the batch.
        codec: Codec,
    },
    /// The records take more than [`UNCOMPRESSED_BYTES_MAX`].
    TooLarge {
        /// The codec of the batch.
        codec: Codec,
    },
}

impl fmt::Display for DecompressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecompressError::Unsupported { codec } => write!(
                formatter,
                "this client does not read {codec} (lz4 and zstd are cargo features of it)"
            ),
            DecompressError::Damaged { codec } => {
                write!(formatter, "the producer's {codec} data does not decompress")
            }
            DecompressError::TooLarge { codec } => write!(
                formatter,
                "{codec} records take more than {UNCOMPRESSED_BYTES_MAX} bytes uncompressed"
            ),
        }
    }
}

impl error::Error for DecompressError {}

#[cfg(feature = "lz4")]
fn lz4(records: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write;
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::with_capacity(records.len() / 2));
    encoder.write_all(records).ok()?;
    encoder.finish().ok()
}

#[cfg(any(feature = "lz4", feature = "zstd"))]
fn read_bounded(codec: Codec, decoder: impl std::io::Read) -> Result<Vec<u8>, DecompressError> {
    use std::io::Read;
    let mut records = Vec::new();
    match decoder.take(UNCOMPRESSED_BYTES_MAX as u64 + 1).read_to_end(&mut records) {
        Ok(length) if length > UNCOMPRESSED_BYTES_MAX => Err(DecompressError::TooLarge { codec }),
        Ok(_) => Ok(records),
        Err(_) => Err(DecompressError::Damaged { codec }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Compression, DecompressError, compress, decompress};
    use plimsoll_batch::Codec;
    use std::vec::Vec;

    fn text() -> Vec<u8> {
        b"the same line over and over\n".repeat(1000)
    }

    #[test]
    fn no_compression_compresses_nothing() {
        assert!(compress(Compression::None, &text()).is_none());
    }

    #[cfg(feature = "lz4")]
    #[test]
    fn lz4_gives_back_what_went_in_and_is_smaller() {
        let (codec, compressed) = compress(Compression::Lz4, &text()).unwrap();
        assert!(compressed.len() < text().len() / 2);
        assert_eq!(decompress(codec, &compressed).unwrap(), text());
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn zstd_gives_back_what_went_in_and_is_smaller() {
        let (codec, compressed) = compress(Compression::Zstd, &text()).unwrap();
        assert!(compressed.len() < text().len() / 2);
        assert_eq!(decompress(codec, &compressed).unwrap(), text());
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn a_small_batch_that_grows_without_end_is_stopped() {
        let zeroes = std::vec![0; super::UNCOMPRESSED_BYTES_MAX + 1];
        let (codec, compressed) = compress(Compression::Zstd, &zeroes).unwrap();
        assert_eq!(decompress(codec, &compressed), Err(DecompressError::TooLarge { codec }));
    }

    #[test]
    fn what_the_client_cannot_read_is_a_typed_error() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::None] {
            assert_eq!(decompress(codec, b"x"), Err(DecompressError::Unsupported { codec }));
        }
    }

    #[cfg(any(feature = "lz4", feature = "zstd"))]
    #[test]
    fn damaged_data_is_a_typed_error() {
        #[cfg(feature = "lz4")]
        let codec = Codec::Lz4;
        #[cfg(not(feature = "lz4"))]
        let codec = Codec::Zstd;
        assert_eq!(decompress(codec, b"nonsense"), Err(DecompressError::Damaged { codec }));
    }
}
