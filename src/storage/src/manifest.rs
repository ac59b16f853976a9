//! The manifest: what this data directory is, and how often it was started.
//!
//! It is replaced as a whole, never written in place. What a newcomer gets wrong: the epoch is
//! raised and durable before anything else of a start is written.

use plimsoll_device::BLOCK_BYTES;

use crate::encoding::{Reader, Writer, crc};
use crate::shard_counts::{SHARD_COUNTS_BYTES, ShardCounts};

/// The format that this version of Plimsoll writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 3;

const MAGIC: &[u8; 8] = b"PLIMSOLL";
const LENGTH: usize = 48;

/// Which data directory this is. Random, and not shown to clients: it guards the journal against
/// records that imitate its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataDirId(pub [u8; 16]);

/// The content of the file `MANIFEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Which data directory this is.
    pub data_dir: DataDirId,
    /// One more at each start; durable before anything else of that start is written.
    pub epoch: u64,
    /// Number of shards of the last start.
    pub shards: u16,
    /// Those of the starts before it, and of this one.
    pub counts: ShardCounts,
}

/// Why a manifest cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not a manifest at all.
    Magic,
    /// Written by a newer Plimsoll.
    NewerFormat {
        /// The version found.
        version: u32,
    },
    /// It does not match its check.
    Damaged,
}

impl core::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("MANIFEST is not one of Plimsoll's"),
            Self::NewerFormat { version } => write!(
                f,
                "the data directory has format {version}, this version reads up to \
                 {FORMAT_VERSION}: use the version of plimsoll that wrote it, or a newer one"
            ),
            Self::Damaged => f.write_str("MANIFEST does not match its check: restore it"),
        }
    }
}

impl core::error::Error for ManifestError {}

impl Manifest {
    /// Writes the manifest into the first block of `out`.
    pub fn encode(&self, out: &mut [u8]) {
        out[..BLOCK_BYTES].fill(0);
        let mut writer = Writer::new(out);
        writer.bytes(MAGIC).u32(FORMAT_VERSION).u32(0).bytes(&self.data_dir.0);
        writer.u64(self.epoch).u16(self.shards);
        let check = crc(&out[16..LENGTH]);
        Writer::new(&mut out[12..16]).u32(check);
        // With a check of its own, so that a version that does not know it reads the rest.
        self.counts.encode(&mut out[LENGTH..LENGTH + SHARD_COUNTS_BYTES]);
    }

    /// Reads the manifest from the front of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>().as_ref() != Some(MAGIC) {
            return Err(ManifestError::Magic);
        }
        let version = reader.u32().ok_or(ManifestError::Damaged)?;
        if version > FORMAT_VERSION {
            return Err(ManifestError::NewerFormat { version });
        }
        let check = reader.u32().ok_or(ManifestError::Damaged)?;
        let covered = bytes.get(16..LENGTH).ok_or(ManifestError::Damaged)?;
        if crc(covered) != check {
            return Err(ManifestError::Damaged);
        }
        let counts = &bytes[LENGTH..];
        Self::decode_fields(&mut reader, counts).ok_or(ManifestError::Damaged)
    }

    fn decode_fields(reader: &mut Reader<'_>, counts: &[u8]) -> Option<Self> {
        Some(Self {
            data_dir: DataDirId(reader.array()?),
            epoch: reader.u64()?,
            shards: reader.u16()?,
            counts: ShardCounts::decode(counts)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut counts = ShardCounts::default();
        counts.change(5, 2);
        Manifest { data_dir: DataDirId([7; 16]), epoch: 9, shards: 2, counts }
    }

    #[test]
    fn a_manifest_reads_back() {
        let mut block = [0xff; BLOCK_BYTES];
        manifest().encode(&mut block);
        assert_eq!(Manifest::decode(&block), Ok(manifest()));
        block[60] ^= 1;
        assert_eq!(Manifest::decode(&block), Err(ManifestError::Damaged));
        block[LENGTH..].fill(0);
        let counts = ShardCounts::default();
        assert_eq!(Manifest::decode(&block), Ok(Manifest { counts, ..manifest() }));
    }

    #[test]
    fn a_manifest_of_the_format_before_is_read() {
        let mut block = [0; BLOCK_BYTES];
        manifest().encode(&mut block);
        block[8] = 1;
        assert_eq!(Manifest::decode(&block), Ok(manifest()));
    }

    #[test]
    fn a_newer_format_is_named_and_a_flipped_bit_is_damage() {
        let mut block = [0; BLOCK_BYTES];
        manifest().encode(&mut block);
        block[30] ^= 1;
        assert_eq!(Manifest::decode(&block), Err(ManifestError::Damaged));
        block[8] = 4;
        assert_eq!(Manifest::decode(&block), Err(ManifestError::NewerFormat { version: 4 }));
        block[0] = 0;
        assert_eq!(Manifest::decode(&block), Err(ManifestError::Magic));
        assert_eq!(Manifest::decode(&[]), Err(ManifestError::Magic));
    }
}
