//! How an arena is laid out: a header, a table with one place a page, the pages.
//!
//! Everything that recovery reads of a dead process's arena is described here. The table's entries
//! are written once for each use of their pages; only the mark moves.

use plimsoll_batch::Offset;
use plimsoll_device::{ArenaRange, BLOCK_BYTES};

use crate::encoding::{Reader, Writer, crc};
use crate::identity::PartitionId;
use crate::manifest::DataDirId;

/// The layout that this version writes, and the only one that it reads.
pub const ARENA_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"PLARENA\0";
const HEADER_BYTES: usize = 80;

/// Bytes of a page's place in the table.
pub(crate) const SPAN_HEADER_BYTES: usize = 64;
/// Where in that place the mark lies.
pub(crate) const SPAN_MARK_AT: usize = 56;
const SPAN_COVERED: core::ops::Range<usize> = 8..48;
const SPAN_MAGIC: u32 = u32::from_le_bytes(*b"SPAN");

/// Whose arena this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaHeader {
    /// The boot of the machine: memory does not outlive it.
    pub boot_id: [u8; 16],
    /// The data directory.
    pub data_dir: DataDirId,
    /// The start of the server that made the arena.
    pub epoch: u64,
    /// The shard, whose journal has the same number.
    pub shard: u16,
    /// Length of the arena in bytes.
    pub length_bytes: u64,
}

/// What is wrong with an arena's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArenaHeaderError {
    /// Not an arena, or never finished: nothing was ever published in it.
    NotAnArena,
    /// Another layout.
    Version(u32),
}

impl ArenaHeader {
    /// Writes the header to the front of the arena.
    pub(crate) fn encode(&self, out: &mut [u8]) {
        let mut writer = Writer::new(out);
        writer.bytes(MAGIC).u32(ARENA_VERSION).u32(0).bytes(&self.boot_id);
        writer.bytes(&self.data_dir.0).u64(self.epoch).u64(self.length_bytes);
        writer.u32(BLOCK_BYTES as u32).u16(self.shard).u16(0);
        let check = crc(&out[16..HEADER_BYTES]);
        Writer::new(&mut out[12..16]).u32(check);
    }

    /// Reads the header at the front of an arena's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArenaHeaderError> {
        let covered = bytes.get(16..HEADER_BYTES).ok_or(ArenaHeaderError::NotAnArena)?;
        Self::decode_fields(&mut Reader::new(bytes), covered)
            .unwrap_or(Err(ArenaHeaderError::NotAnArena))
    }

    fn decode_fields(
        reader: &mut Reader<'_>,
        covered: &[u8],
    ) -> Option<Result<Self, ArenaHeaderError>> {
        if reader.array::<8>()? != *MAGIC {
            return None;
        }
        let version = reader.u32()?;
        if version != ARENA_VERSION {
            return Some(Err(ArenaHeaderError::Version(version)));
        }
        if reader.u32()? != crc(covered) {
            return None;
        }
        let boot_id = reader.array()?;
        let data_dir = DataDirId(reader.array()?);
        let epoch = reader.u64()?;
        let length_bytes = reader.u64()?;
        if reader.u32()? as usize != BLOCK_BYTES {
            return None;
        }
        let shard = reader.u16()?;
        Some(Ok(Self { boot_id, data_dir, epoch, shard, length_bytes }))
    }
}

/// Where things lie in an arena of a given length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArenaLayout {
    pub(crate) table_start: usize,
    pub(crate) pages_start: usize,
    pub(crate) pages: u32,
}

impl ArenaLayout {
    pub(crate) fn of(length_bytes: usize) -> Self {
        let blocks = length_bytes / BLOCK_BYTES;
        let places_a_block = BLOCK_BYTES / SPAN_HEADER_BYTES;
        // One block of header; then tables and pages share the rest.
        let table_blocks = blocks.saturating_sub(1).div_ceil(places_a_block + 1);
        let pages = blocks.saturating_sub(1 + table_blocks);
        Self {
            table_start: BLOCK_BYTES,
            pages_start: BLOCK_BYTES * (1 + table_blocks),
            pages: u32::try_from(pages).unwrap_or(u32::MAX),
        }
    }

    /// The table's place of a page.
    pub(crate) fn place(&self, page: u32) -> ArenaRange {
        ArenaRange {
            start_bytes: self.table_start + page as usize * SPAN_HEADER_BYTES,
            length_bytes: SPAN_HEADER_BYTES,
        }
    }

    /// Where a page begins.
    pub(crate) fn page_start(&self, page: u32) -> usize {
        self.pages_start + page as usize * BLOCK_BYTES
    }
}

/// What the table says of a span: pages in a row that hold data of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanHeader {
    pub(crate) partition: PartitionId,
    pub(crate) segment: Offset,
    /// Position in the segment of the span's first byte; whole blocks.
    pub(crate) position: u64,
    pub(crate) pages: u32,
    /// Bytes at the front that an earlier span holds too.
    pub(crate) carried: u32,
}

impl SpanHeader {
    /// Writes the place. Its mark says that nothing is published: what is carried is not there yet.
    pub(crate) fn encode(&self, out: &mut [u8]) {
        let mut writer = Writer::new(out);
        writer.u32(SPAN_MAGIC).u32(0).u32(self.partition.topic).u32(self.partition.partition);
        writer.u64(self.segment.value()).u64(self.position).u32(self.pages).u32(self.carried);
        writer.u64(0).u64(0).u64(0);
        let check = crc(&out[SPAN_COVERED]);
        Writer::new(&mut out[4..8]).u32(check);
    }

    /// Reads a place; gives the header and the published bytes, or `None` if the page begins no
    /// span.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u64)> {
        let covered = bytes.get(SPAN_COVERED)?;
        let mut reader = Reader::new(bytes);
        if reader.u32()? != SPAN_MAGIC || reader.u32()? != crc(covered) {
            return None;
        }
        let partition = PartitionId { topic: reader.u32()?, partition: reader.u32()? };
        let segment = Offset::new(reader.u64()?);
        let position = reader.u64()?;
        let pages = reader.u32()?;
        let carried = reader.u32()?;
        let published = Reader::new(bytes.get(SPAN_MARK_AT..)?).u64()?;
        Some((Self { partition, segment, position, pages, carried }, published))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_table_and_pages_fill_an_arena_without_overlap() {
        for megabytes in [1, 16, 64, 1024] {
            let length = megabytes << 20;
            let layout = ArenaLayout::of(length);
            let table_end = layout.place(layout.pages).start_bytes;
            assert!(table_end <= layout.pages_start);
            assert!(layout.page_start(layout.pages) <= length);
            assert!(length - layout.page_start(layout.pages) < 2 * BLOCK_BYTES);
        }
    }

    #[test]
    fn headers_read_back() {
        let header = ArenaHeader {
            boot_id: [1; 16],
            data_dir: DataDirId([2; 16]),
            epoch: 3,
            shard: 4,
            length_bytes: 5,
        };
        let mut bytes = [0; HEADER_BYTES];
        assert_eq!(ArenaHeader::decode(&bytes), Err(ArenaHeaderError::NotAnArena));
        header.encode(&mut bytes);
        assert_eq!(ArenaHeader::decode(&bytes), Ok(header));
        bytes[8] = 9;
        assert_eq!(ArenaHeader::decode(&bytes), Err(ArenaHeaderError::Version(9)));

        let span = SpanHeader {
            partition: PartitionId { topic: 1, partition: 2 },
            segment: Offset::new(3),
            position: 4096,
            pages: 7,
            carried: 100,
        };
        let mut place = [0; SPAN_HEADER_BYTES];
        span.encode(&mut place);
        assert_eq!(SpanHeader::decode(&place), Some((span, 0)));
        place[20] ^= 4;
        assert_eq!(SpanHeader::decode(&place), None);
    }
}
