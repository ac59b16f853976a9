//! The arenas of a process that died: what only they hold of each partition.
//!
//! An image is believed as far as it proves itself: this boot, this data directory, a place in the
//! table that checks, and batches that check and have the very offset that comes next.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use plimsoll_batch::{Batch, BatchLimits, Offset};
use plimsoll_device::BLOCK_BYTES;

use crate::arena_layout::{ArenaHeader, ArenaHeaderError, ArenaLayout, SpanHeader};
use crate::identity::PartitionId;
use crate::manifest::DataDirId;
use crate::recovered::RecoveredPartition;

/// An arena that another process left, with its header.
#[derive(Clone, Copy)]
pub struct ArenaImage<'a> {
    /// What it says of itself.
    pub header: ArenaHeader,
    /// All of it.
    pub bytes: &'a [u8],
}

/// What becomes of an arena that a start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArenaVerdict {
    /// It may hold what is nowhere else.
    Counts(ArenaHeader),
    /// Nothing was ever published in it: it can go.
    Unused,
    /// It is from before the last boot, and memory does not outlive that: it can go.
    OfAnotherBoot,
    /// It belongs to another data directory: it is not ours to touch.
    OfAnotherDirectory,
    /// Another version wrote it, and only that one can read it.
    OfAnotherVersion(u32),
}

/// Says whether the arena that `bytes` is counts for a start of `data_dir` in this boot.
#[must_use]
pub fn judge_arena(bytes: &[u8], data_dir: DataDirId, boot_id: [u8; 16]) -> ArenaVerdict {
    match ArenaHeader::decode(bytes) {
        Ok(header) if header.data_dir != data_dir => ArenaVerdict::OfAnotherDirectory,
        Ok(header) if header.boot_id != boot_id => ArenaVerdict::OfAnotherBoot,
        Ok(header) => ArenaVerdict::Counts(header),
        Err(ArenaHeaderError::NotAnArena) => ArenaVerdict::Unused,
        Err(ArenaHeaderError::Version(version)) => ArenaVerdict::OfAnotherVersion(version),
    }
}

struct FoundSpan<'a> {
    header: SpanHeader,
    /// From the span's start to the mark.
    bytes: &'a [u8],
}

/// Adds to the partitions what the arenas hold beyond the journal, and decides where something
/// that was shown may be lost. Gives the number of bytes taken.
///
/// `images` are those of this boot and this data directory, of whichever starts.
pub fn adopt_arenas(
    partitions: &mut BTreeMap<PartitionId, RecoveredPartition>,
    images: &[ArenaImage<'_>],
) -> u64 {
    let mut found: BTreeMap<PartitionId, Vec<FoundSpan<'_>>> = BTreeMap::new();
    for image in images {
        collect(image, &mut found);
    }
    let mut taken = 0;
    for (id, partition) in partitions {
        let spans = found.remove(id).unwrap_or_default();
        let next = adopt(partition, &spans);
        taken += partition.from_arena.len() as u64;
        let place = partition.lease_place;
        let intact = images
            .iter()
            .any(|image| image.header.epoch == place.epoch && image.header.shard == place.journal);
        partition.jumps = partition.lease > next && !intact;
    }
    taken
}

fn collect<'a>(image: &ArenaImage<'a>, found: &mut BTreeMap<PartitionId, Vec<FoundSpan<'a>>>) {
    let layout = ArenaLayout::of(image.bytes.len());
    for page in 0..layout.pages {
        let place = layout.place(page);
        let place = &image.bytes[place.start_bytes..place.end_bytes()];
        let Some((header, published)) = SpanHeader::decode(place) else { continue };
        let start = layout.page_start(page);
        let length = usize::try_from(published).unwrap_or(usize::MAX);
        let fits = header.pages <= layout.pages - page
            && length <= header.pages as usize * BLOCK_BYTES
            && header.carried as usize <= length;
        if fits {
            let bytes = &image.bytes[start..start + length];
            found.entry(header.partition).or_default().push(FoundSpan { header, bytes });
        }
    }
}

/// Takes batch after batch for as long as one follows. Gives the offset after the last.
fn adopt(partition: &mut RecoveredPartition, spans: &[FoundSpan<'_>]) -> Offset {
    let mut next = partition.next_offset;
    let (mut segment, mut position) = (partition.active, partition.end());
    loop {
        let batch = batch_at(spans, segment, position, next);
        let batch = batch.or_else(|| {
            // The dead process may have begun a new segment here.
            let rolled = batch_at(spans, next, 0, next)?;
            (segment, position) = (next, 0);
            Some(rolled)
        });
        let Some(batch) = batch else { return next };
        partition.from_arena.extend_from_slice(batch.bytes());
        position += batch.bytes().len() as u64;
        next = batch.header().next_offset();
    }
}

fn batch_at<'a>(
    spans: &[FoundSpan<'a>],
    segment: Offset,
    position: u64,
    offset: Offset,
) -> Option<Batch<'a>> {
    spans.iter().find_map(|span| {
        let within = position.checked_sub(span.header.position)?;
        if span.header.segment != segment {
            return None;
        }
        let bytes = span.bytes.get(usize::try_from(within).ok()?..)?;
        let batch = Batch::validate_first(bytes, &BatchLimits::default()).ok()?;
        (batch.header().base_offset == offset).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use plimsoll_batch::{BatchBuilder, assign};

    use super::*;
    use crate::arena_layout::SPAN_MARK_AT;
    use crate::frame::Sequence;
    use crate::recovered::Place;
    use crate::{ARENA_BYTES_MIN, DataDirId};

    const ID: PartitionId = PartitionId { topic: 1, partition: 0 };

    /// An arena with one batch of that offset, at the front of the partition's first segment.
    fn arena_with(offset: u64) -> Vec<u8> {
        let (mut builder, mut batch) = (BatchBuilder::new(), Vec::new());
        builder.append(0, None, Some(b"value"), &[]).unwrap();
        builder.finish_into(&mut batch);
        assign(&mut batch, Offset::new(offset), 1);
        let mut bytes = vec![0; ARENA_BYTES_MIN];
        let layout = ArenaLayout::of(bytes.len());
        let (segment, position) = (Offset::ZERO, 0);
        let span = SpanHeader { partition: ID, segment, position, pages: 1, carried: 0 };
        let place = layout.place(0);
        let place = &mut bytes[place.start_bytes..place.end_bytes()];
        span.encode(place);
        place[SPAN_MARK_AT..][..8].copy_from_slice(&(batch.len() as u64).to_le_bytes());
        let start = layout.page_start(0);
        bytes[start..start + batch.len()].copy_from_slice(&batch);
        bytes
    }

    /// Memory is used again and again: a batch that stands where the next one would, and checks,
    /// may be of an earlier use.
    #[test]
    fn a_batch_is_taken_if_it_has_the_very_next_offset_and_not_by_its_place() {
        for (offset, taken) in [(4, false), (5, true), (6, false)] {
            let bytes = arena_with(offset);
            let header = ArenaHeader {
                boot_id: [1; 16],
                data_dir: DataDirId([1; 16]),
                epoch: 1,
                shard: 0,
                length_bytes: bytes.len() as u64,
            };
            let place = Place { epoch: 1, journal: 0, sequence: Sequence(1) };
            let mut partition = RecoveredPartition::begin(Offset::ZERO, place);
            partition.next_offset = Offset::new(5);
            let mut partitions = BTreeMap::from([(ID, partition)]);
            let image = ArenaImage { header, bytes: &bytes };
            let bytes = adopt_arenas(&mut partitions, &[image]);
            assert_eq!(bytes > 0, taken, "a batch of offset {offset}, where 5 is next");
        }
    }
}
