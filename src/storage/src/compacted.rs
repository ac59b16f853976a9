//! What compaction has made of a sealed segment, and the entry by which it takes its place.
//!
//! A segment is never rewritten: what stays of it, or of several in a row, is a file of another
//! generation, and one entry says that it counts from now on. What a newcomer gets wrong: the same
//! entry with the generation that is there already says only that the segment was looked through.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::encoding::{Reader, Writer};
use crate::entry::{POSITION_MAX, Sealed};
use crate::identity::PartitionId;
use crate::written::Written;

/// Bytes of the entry.
pub(crate) const COMPACTED_ENTRY_BYTES: usize = 56;
/// Bytes of what a snapshot says of one segment.
pub(crate) const COMPACTED_BYTES: usize = 12;

/// What compaction has made of a sealed segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Which of the segment's files counts: 0, the one that it was written to; a greater one since
    /// records were taken out of it.
    pub generation: u32,
    /// When everything that its keys had before was gone. Unknown: it was not compacted yet.
    pub cleaned: Written,
    /// Deletions of keys that it holds, if it was compacted.
    pub tombstones: u32,
}

impl Compacted {
    /// Whether it was looked through, so that each of its keys is at its latest place so far.
    pub fn is_clean(&self) -> bool {
        self.cleaned != Written::UNKNOWN
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let generation = reader.u32()?;
        Some(Self { generation, cleaned: Written(reader.u32()?), tombstones: reader.u32()? })
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.generation).u32(self.cleaned.0).u32(self.tombstones);
    }
}

/// A segment takes the place of one segment or of several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactedEntry {
    /// Whose.
    pub partition: PartitionId,
    /// The segment that counts from now on; it has the base of the first that it stands for.
    pub segment: Sealed,
    /// The base of the first segment behind those that it stands for.
    pub until: Offset,
}

impl CompactedEntry {
    /// Behind kind and partition.
    pub(crate) fn read(partition: PartitionId, reader: &mut Reader<'_>) -> Option<Self> {
        let known = |offset: u64| (offset <= Offset::MAX.value()).then(|| Offset::new(offset));
        let (base, until) = (known(reader.u64()?)?, known(reader.u64()?)?);
        let (length_bytes, written) = (reader.u64()?, Written(reader.u32()?));
        let compacted = Compacted::read(reader)?;
        let segment = Sealed { base, length_bytes, written, compacted };
        (length_bytes <= POSITION_MAX).then_some(Self { partition, segment, until })
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        let Sealed { base, length_bytes, written, compacted } = self.segment;
        writer.u64(base.value()).u64(self.until.value()).u64(length_bytes).u32(written.0);
        compacted.write(writer);
    }

    /// Whether the segment is in a file of its own.
    pub(crate) fn is_new_file(&self, before: &[Sealed]) -> bool {
        before
            .first()
            .is_some_and(|first| first.compacted.generation != self.segment.compacted.generation)
    }

    /// Puts the segment in the place of those that it stands for, and gives these.
    pub(crate) fn replace(
        &self,
        sealed: &mut Vec<Sealed>,
        active: Offset,
    ) -> Result<Vec<Sealed>, &'static str> {
        let from = sealed.binary_search_by_key(&self.segment.base, |it| it.base);
        let from = from.map_err(|_| "a segment that is compacted is none that is known")?;
        let to = sealed.partition_point(|it| it.base < self.until);
        let behind = sealed.get(to).map_or(active, |it| it.base);
        let before = sealed.get(from..to).filter(|before| !before.is_empty());
        let before = before.filter(|_| behind == self.until);
        let before = before.ok_or("segments are compacted up to none that is known")?;
        let new = self.segment.compacted.generation;
        let is_newer = before.iter().all(|it| it.compacted.generation < new);
        let length: u64 = before.iter().map(|it| it.length_bytes).sum();
        let is_same = matches!(before, [one] if one.compacted.generation == new
            && one.length_bytes == self.segment.length_bytes);
        let is_later = is_newer && self.segment.length_bytes <= length;
        if !(is_same || is_later) {
            return Err("a segment is compacted into what is no later file of it");
        }
        Ok(sealed.splice(from..to, [self.segment]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn sealed(base: u64, generation: u32) -> Sealed {
        let compacted = Compacted { generation, ..Compacted::default() };
        Sealed { base: Offset::new(base), length_bytes: 100, written: Written(7), compacted }
    }

    fn entry(base: u64, until: u64, generation: u32) -> CompactedEntry {
        let partition = PartitionId { topic: 1, partition: 0 };
        let segment = sealed(base, generation);
        CompactedEntry { partition, segment, until: Offset::new(until) }
    }

    #[test]
    fn one_segment_stands_for_several_and_what_does_not_fit_is_refused() {
        let mut segments = vec![sealed(0, 0), sealed(10, 2), sealed(20, 0)];
        let active = Offset::new(30);
        for wrong in [entry(5, 10, 3), entry(0, 15, 3), entry(0, 10, 0), entry(10, 30, 2)] {
            let mut changed = segments.clone();
            if wrong == entry(0, 10, 0) {
                changed[0].length_bytes = 99;
            }
            assert!(wrong.replace(&mut changed, active).is_err(), "{wrong:?}");
        }
        let before = entry(0, 20, 3).replace(&mut segments, active).unwrap();
        assert_eq!(before, [sealed(0, 0), sealed(10, 2)]);
        assert_eq!(segments, [sealed(0, 3), sealed(20, 0)]);
        let looked_through = entry(20, 30, 0);
        assert!(!looked_through.is_new_file(&segments[1..]));
        looked_through.replace(&mut segments, active).unwrap();
        assert_eq!(segments.len(), 2);
    }
}
