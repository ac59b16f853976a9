//! The sparse index of a segment: from offset and time to a place from which to step on.
//!
//! It is derived. Nothing is lost with it, and nothing is believed because of it: a reader checks
//! what it finds at the place, and a damaged or missing index file is made anew from the segment.

use alloc::vec::Vec;

use plimsoll_batch::{BatchHeader, Offset};

use crate::encoding::{Reader, Writer, crc};
use crate::identity::PartitionId;
use crate::limits::{INDEX_DISTANCE_BYTES, INDEX_ENTRIES_MAX};
use crate::manifest::DataDirId;

const MAGIC: &[u8; 8] = b"PLINDEX\0";
const HEADER_BYTES: usize = 72;
const ENTRY_BYTES: usize = 24;

/// One place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Base offset of the batch at `position`.
    pub offset: Offset,
    /// Bytes from the segment's start.
    pub position: u64,
    /// The greatest timestamp of all batches from here to the next entry, in ms.
    pub max_timestamp_ms: i64,
}

/// Places in one segment, sparse, never more than a fixed number.
#[derive(Clone, Debug)]
pub struct SparseIndex {
    entries: Vec<IndexEntry>,
    distance_bytes: u64,
    /// Up to where the index covers the segment, in bytes.
    through: u64,
}

impl SparseIndex {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), distance_bytes: INDEX_DISTANCE_BYTES, through: 0 }
    }

    /// Up to where the index covers the segment, in bytes.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// The places, in order.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Notes the batch at `position`. Batches that do not follow on what is covered are left out:
    /// the index then stays short, and is made anew when it is needed.
    pub(crate) fn note(&mut self, header: &BatchHeader, position: u64) {
        if position != self.through {
            return;
        }
        self.through += header.length_bytes as u64;
        let max_timestamp_ms = header.max_timestamp_ms;
        match self.entries.last_mut() {
            Some(last) if position - last.position < self.distance_bytes => {
                last.max_timestamp_ms = last.max_timestamp_ms.max(max_timestamp_ms);
            }
            _ => self.push(IndexEntry { offset: header.base_offset, position, max_timestamp_ms }),
        }
    }

    fn push(&mut self, entry: IndexEntry) {
        if self.entries.len() == INDEX_ENTRIES_MAX {
            self.thin_out();
        }
        self.entries.push(entry);
    }

    /// Keeps every other entry, and doubles the distance.
    fn thin_out(&mut self) {
        for pair in 0..self.entries.len() / 2 {
            let (first, second) = (self.entries[2 * pair], self.entries[2 * pair + 1]);
            let max_timestamp_ms = first.max_timestamp_ms.max(second.max_timestamp_ms);
            self.entries[pair] = IndexEntry { max_timestamp_ms, ..first };
        }
        self.entries.truncate(self.entries.len() / 2);
        self.distance_bytes *= 2;
    }

    /// The last place at or before `offset`.
    pub(crate) fn before(&self, offset: Offset) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entries.get(after.checked_sub(1)?).copied()
    }

    /// The first place from which on a record of `timestamp_ms` or later comes.
    pub(crate) fn first_at_time(&self, timestamp_ms: i64) -> Option<IndexEntry> {
        self.entries.iter().find(|entry| entry.max_timestamp_ms >= timestamp_ms).copied()
    }

    /// The file's content, without padding.
    pub(crate) fn encode(&self, data_dir: DataDirId, id: PartitionId, segment: Offset) -> Vec<u8> {
        let mut out = alloc::vec![0; HEADER_BYTES + self.entries.len() * ENTRY_BYTES];
        let mut writer = Writer::new(&mut out);
        writer.bytes(MAGIC).u32(0).u32(1).bytes(&data_dir.0).u32(id.topic).u32(id.partition);
        writer.u64(segment.value()).u64(self.through).u64(self.distance_bytes);
        writer.u64(self.entries.len() as u64);
        for entry in &self.entries {
            writer.u64(entry.offset.value()).u64(entry.position);
            writer.u64(entry.max_timestamp_ms.cast_unsigned());
        }
        let check = crc(&out[12..]);
        Writer::new(&mut out[8..12]).u32(check);
        out
    }

    /// Reads an index file of this very segment that checks.
    pub fn decode(
        bytes: &[u8],
        data_dir: DataDirId,
        id: PartitionId,
        segment: Offset,
    ) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>()? != *MAGIC {
            return None;
        }
        let check = reader.u32()?;
        let version = reader.u32()?;
        let whose = (DataDirId(reader.array()?), reader.u32()?, reader.u32()?, reader.u64()?);
        if version != 1 || whose != (data_dir, id.topic, id.partition, segment.value()) {
            return None;
        }
        let through = reader.u64()?;
        let distance_bytes = reader.u64()?;
        let count = usize::try_from(reader.u64()?).ok()?;
        if count > INDEX_ENTRIES_MAX || distance_bytes == 0 {
            return None;
        }
        let covered = bytes.get(12..HEADER_BYTES + count * ENTRY_BYTES)?;
        if crc(covered) != check {
            return None;
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(IndexEntry {
                offset: Offset::new(reader.u64()?),
                position: reader.u64()?,
                max_timestamp_ms: reader.u64()?.cast_signed(),
            });
        }
        Some(Self { entries, distance_bytes, through })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_batch::{BatchBuilder, HEADER_BYTES as BATCH_HEADER_BYTES};

    const ID: PartitionId = PartitionId { topic: 1, partition: 2 };
    const DIR: DataDirId = DataDirId([5; 16]);

    fn header(offset: u64, length_bytes: usize, timestamp_ms: i64) -> BatchHeader {
        let mut builder = BatchBuilder::new();
        builder.append(timestamp_ms, None, Some(b"x"), &[]).unwrap();
        let mut bytes = Vec::new();
        builder.finish_into(&mut bytes);
        let header = BatchHeader::decode(&bytes[..BATCH_HEADER_BYTES.max(bytes.len())]).unwrap();
        BatchHeader { base_offset: Offset::new(offset), length_bytes, ..header }
    }

    fn filled(batches: u64, length_bytes: usize) -> SparseIndex {
        let mut index = SparseIndex::new();
        for batch in 0..batches {
            let position = batch * length_bytes as u64;
            index.note(&header(batch, length_bytes, batch.cast_signed()), position);
        }
        index
    }

    #[test]
    fn an_index_stays_bounded_and_still_finds_every_offset() {
        let index = filled(100_000, 10_000);
        assert!(index.entries().len() <= INDEX_ENTRIES_MAX);
        assert_eq!(index.through(), 1_000_000_000);
        for offset in (0..100_000).step_by(997) {
            let entry = index.before(Offset::new(offset)).unwrap();
            assert!(entry.offset <= Offset::new(offset));
            assert_eq!(entry.position, entry.offset.value() * 10_000);
            assert!(offset - entry.offset.value() <= index.distance_bytes / 10_000 + 1);
        }
    }

    #[test]
    fn the_place_for_a_time_has_everything_from_then_on() {
        let index = filled(1_000, 70_000);
        let entry = index.first_at_time(500).unwrap();
        assert!(entry.offset <= Offset::new(500) && entry.max_timestamp_ms >= 500);
        assert_eq!(index.first_at_time(1_000), None);
    }

    #[test]
    fn a_batch_that_does_not_follow_is_left_out() {
        let mut index = filled(2, 100);
        index.note(&header(9, 100, 0), 900);
        assert_eq!(index.through(), 200);
    }

    #[test]
    fn an_index_file_reads_back_and_a_damaged_or_foreign_one_does_not() {
        let index = filled(10, 65_536);
        let mut bytes = index.encode(DIR, ID, Offset::new(7));
        let back = SparseIndex::decode(&bytes, DIR, ID, Offset::new(7)).unwrap();
        assert_eq!(back.entries(), index.entries());
        assert!(SparseIndex::decode(&bytes, DIR, ID, Offset::new(8)).is_none());
        bytes[90] ^= 1;
        assert!(SparseIndex::decode(&bytes, DIR, ID, Offset::new(7)).is_none());
    }
}
