//! The anchor of the journal: where recovery begins. Two copies, written in turn, so that a torn
//! one leaves the other.

use plimsoll_device::BLOCK_BYTES;

use crate::encoding::{Reader, Writer, crc};
use crate::frame::Sequence;
use crate::manifest::DataDirId;

const MAGIC: &[u8; 8] = b"PLJANCHR";
const LENGTH: usize = 72;

/// Blocks at the front of a journal that hold the two anchors; frames begin after them.
pub(crate) const ANCHOR_BYTES: u64 = 2 * BLOCK_BYTES as u64;

/// Where the oldest frame lies that is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The data directory that the journal belongs to.
    pub data_dir: DataDirId,
    /// The journal's number.
    pub journal: u16,
    /// One more each time; its parity says which copy it is.
    pub generation: u64,
    /// The oldest frame needed.
    pub head: Sequence,
    /// Where that frame begins, or will begin, counted on over all laps.
    pub head_position: u64,
    /// `check` of the frame before it.
    pub previous_check: u32,
    /// Length of the journal's file in bytes; 0 if an older version wrote it, which did not say.
    pub file_bytes: u64,
}

impl Anchor {
    /// Where in the file this copy belongs, in bytes.
    pub(crate) fn file_position(&self) -> u64 {
        self.generation % 2 * BLOCK_BYTES as u64
    }

    /// How long the journal's file has to be: as this says, or else as it was found.
    pub fn length_or(&self, found_bytes: u64) -> u64 {
        if self.file_bytes == 0 { found_bytes } else { self.file_bytes }
    }

    pub(crate) fn encode(&self, out: &mut [u8]) {
        out[..BLOCK_BYTES].fill(0);
        let mut writer = Writer::new(out);
        writer.bytes(MAGIC).u32(0).u32(1).bytes(&self.data_dir.0).u64(self.generation);
        writer.u64(self.head.0).u64(self.head_position).u32(self.previous_check);
        writer.u16(self.journal).u16(0).u64(self.file_bytes);
        let check = crc(&out[12..LENGTH]);
        Writer::new(&mut out[8..12]).u32(check);
    }

    /// Reads an anchor that checks from the front of a block.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let covered = bytes.get(12..LENGTH)?;
        let mut reader = Reader::new(bytes);
        if reader.array::<8>()? != *MAGIC || reader.u32()? != crc(covered) || reader.u32()? != 1 {
            return None;
        }
        let data_dir = DataDirId(reader.array()?);
        let (generation, head) = (reader.u64()?, Sequence(reader.u64()?));
        let (head_position, previous_check) = (reader.u64()?, reader.u32()?);
        let (journal, _reserved) = (reader.u16()?, reader.u16()?);
        let file_bytes = reader.u64()?;
        Some(Self {
            data_dir,
            journal,
            generation,
            head,
            head_position,
            previous_check,
            file_bytes,
        })
    }

    /// The newer of the two copies in the first blocks of a journal that belong to it.
    pub fn newest(blocks: &[u8], data_dir: DataDirId, journal: u16) -> Option<Self> {
        let copies = [Self::decode(blocks), blocks.get(BLOCK_BYTES..).and_then(Self::decode)];
        let ours = copies.into_iter().flatten();
        ours.filter(|anchor| anchor.data_dir == data_dir && anchor.journal == journal)
            .max_by_key(|anchor| anchor.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(generation: u64) -> Anchor {
        Anchor {
            data_dir: DataDirId([1; 16]),
            journal: 3,
            generation,
            head: Sequence(10 + generation),
            head_position: 4096,
            previous_check: 99,
            file_bytes: 8 << 20,
        }
    }

    #[test]
    fn the_newer_copy_counts_and_a_torn_one_leaves_the_other() {
        let mut blocks = [0; 2 * BLOCK_BYTES];
        anchor(4).encode(&mut blocks);
        anchor(5).encode(&mut blocks[BLOCK_BYTES..]);
        assert_eq!(Anchor::newest(&blocks, DataDirId([1; 16]), 3), Some(anchor(5)));
        blocks[BLOCK_BYTES + 20] ^= 1;
        assert_eq!(Anchor::newest(&blocks, DataDirId([1; 16]), 3), Some(anchor(4)));
        assert_eq!(Anchor::newest(&blocks, DataDirId([2; 16]), 3), None);
    }

    #[test]
    fn an_anchor_of_an_older_version_says_no_length() {
        let mut block = [0; BLOCK_BYTES];
        Anchor { file_bytes: 0, ..anchor(4) }.encode(&mut block);
        assert_eq!(block[62..72], [0; 10], "these bytes were reserved");
        assert_eq!(Anchor::decode(&block).unwrap().length_or(4711), 4711);
        assert_eq!(anchor(4).length_or(4711), 8 << 20);
    }
}
