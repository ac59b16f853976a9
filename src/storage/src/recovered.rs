//! What the journal says of a partition, put together entry by entry.
//!
//! Entries are applied in the journal's order, and one that does not follow is damage. What a
//! newcomer gets wrong: the bytes kept here may begin within a batch, at the end of what is stored.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::compacted::{Compacted, CompactedEntry};
use crate::encoding::block_ceil;
use crate::entry::{AppendEntry, ProducersEntry, Sealed, SnapshotEntry, StartEntry};
use crate::error::Damage;
use crate::frame::Sequence;
use crate::partition::SegmentName;
use crate::producers::ProducerTable;
use crate::written::WrittenSpan;

/// Data of a segment that is not in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The segment.
    pub segment: Offset,
    /// Up to where the file holds the segment; whole blocks. The bytes follow from there.
    pub stored: u64,
    /// The data after that.
    pub bytes: Vec<u8>,
    /// Where the data ends. The last block of a segment that is full is filled up with zeros
    /// and stored: then the file holds more than the data.
    pub end: u64,
}

/// Where a lease was logged: whether it can still matter depends on that start's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasePlace {
    /// The start of the server.
    pub epoch: u64,
    /// The journal.
    pub journal: u16,
}

/// A partition as recovery found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredPartition {
    /// First offset that can be read.
    pub start: Offset,
    /// Next offset to be given out, if nothing was lost.
    pub next_offset: Offset,
    /// Offsets below this may have been shown.
    pub lease: Offset,
    /// Where that was logged.
    pub lease_place: LeasePlace,
    /// The latest start of the server that logged anything of it.
    pub epoch: u64,
    /// The journal that logged it then.
    pub journal: u16,
    /// The oldest frame of that journal that is needed.
    pub oldest: Sequence,
    /// Segments that take no more data.
    pub sealed: Vec<Sealed>,
    /// The segment that takes data.
    pub active: Offset,
    /// When its data was written.
    pub active_written: WrittenSpan,
    /// Data that is not in the segments' files; the last is the active segment's.
    pub runs: VecDeque<Run>,
    /// The idempotent producers, by what the journal has of the partition.
    pub producers: ProducerTable,
    /// Whole batches that only an arena held, next in order.
    pub from_arena: Vec<u8>,
    /// Something may be lost: offsets go on at the lease.
    pub jumps: bool,
    /// The journal has a part of it only, and not its beginning. So it is with what is left of
    /// a removed partition; if the partition exists, it is damage.
    pub headless: bool,
    /// It was found in a damaged journal: there may have been more of it.
    pub damage: Option<Damage>,
}

/// The frame in which an entry stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) journal: u16,
    pub(crate) sequence: Sequence,
}

impl RecoveredPartition {
    /// Where the data of the active segment ends, in bytes.
    pub fn end(&self) -> u64 {
        self.runs.back().map_or(0, |run| run.end)
    }

    fn empty(start: Offset, place: Place) -> Self {
        let run = Run { segment: start, stored: 0, bytes: Vec::new(), end: 0 };
        Self {
            start,
            next_offset: start,
            lease: start,
            lease_place: LeasePlace { epoch: place.epoch, journal: place.journal },
            epoch: place.epoch,
            journal: place.journal,
            oldest: place.sequence,
            sealed: Vec::new(),
            active: start,
            active_written: WrittenSpan::default(),
            runs: VecDeque::from([run]),
            producers: ProducerTable::default(),
            from_arena: Vec::new(),
            jumps: false,
            headless: false,
            damage: None,
        }
    }

    /// A partition of which the journal knows a lease only, or the first data.
    pub(crate) fn begin(start: Offset, place: Place) -> Self {
        Self::empty(start, place)
    }

    /// Whether the journal said nothing of it so far but a lease: then its data may have begun in
    /// frames that are gone, and a snapshot of it follows.
    pub(crate) fn is_lease_only(&self) -> bool {
        let is_untouched = self.start == Offset::ZERO && self.next_offset == Offset::ZERO;
        is_untouched && self.sealed.is_empty() && self.end() == 0
    }

    pub(crate) fn from_snapshot(entry: &SnapshotEntry<'_>, place: Place) -> Self {
        let mut partition = Self::empty(entry.start, place);
        partition.next_offset = entry.next_offset;
        partition.set_lease(entry.lease, place);
        partition.sealed = entry.sealed().collect();
        partition.active = entry.active;
        partition.active_written = entry.active_written();
        let run = Run {
            segment: entry.active,
            stored: entry.stored,
            bytes: entry.tail.to_vec(),
            end: entry.end,
        };
        partition.runs = VecDeque::from([run]);
        partition
    }

    pub(crate) fn set_lease(&mut self, lease: Offset, place: Place) {
        self.lease = lease;
        self.lease_place = LeasePlace { epoch: place.epoch, journal: place.journal };
        self.touch(place);
    }

    fn touch(&mut self, place: Place) {
        self.epoch = place.epoch;
        self.journal = place.journal;
    }

    /// Applies new data, or the news that data has moved.
    ///
    /// An entry that does not follow on what is known says that a frame is missing, or was written
    /// wrongly; the text says what does not fit.
    pub(crate) fn append(
        &mut self,
        entry: &AppendEntry<'_>,
        place: Place,
    ) -> Result<(), &'static str> {
        self.touch(place);
        if self.headless {
            return Ok(());
        }
        let is_new = entry.end > entry.position;
        if is_new && entry.segment != self.active {
            self.roll(entry)?;
        }
        if is_new && entry.position != self.end() {
            return Err("data does not begin where the segment ends");
        }
        if is_new && entry.next_offset < self.next_offset {
            return Err("offsets go back");
        }
        let runs = self.runs.iter_mut().rev();
        let Some(run) = runs.into_iter().find(|run| run.segment == entry.segment) else {
            return Err("data is moved of a segment that is stored already");
        };
        if let Some(extent) = entry.extent {
            if extent.position != run.stored {
                return Err("an extent does not begin where the segment is stored to");
            }
            let taken = usize::try_from(extent.length_bytes).unwrap_or(usize::MAX);
            run.bytes.drain(..taken.min(run.bytes.len()));
            run.stored = extent.end();
        }
        if is_new {
            let held = run.stored.max(entry.position);
            if held.checked_add(entry.inline.len() as u64) != Some(entry.end.max(held)) {
                return Err("inline data does not end where the entry ends");
            }
            if run.stored + run.bytes.len() as u64 != held {
                return Err("inline data does not follow on the segment");
            }
            run.bytes.extend_from_slice(entry.inline);
            run.end = entry.end;
            self.next_offset = entry.next_offset;
            self.active_written.note(entry.written, entry.position == 0);
            if entry.extent.is_none() {
                // Whole batches. Of those in an extent the next entry says it.
                self.producers.apply_all(entry.inline, 0, |_| {});
            }
        }
        self.forget_stored_runs();
        Ok(())
    }

    /// Takes over what is said of producers, once the data is known that they wrote.
    pub(crate) fn set_producers(&mut self, entry: &ProducersEntry<'_>) {
        if !self.headless {
            self.producers.replace(entry.list);
        }
    }

    /// Applies that records were deleted from the front, and segments with them.
    pub(crate) fn move_start(
        &mut self,
        entry: &StartEntry,
        place: Place,
    ) -> Result<(), &'static str> {
        self.touch(place);
        if self.headless {
            return Ok(());
        }
        let StartEntry { start, first_segment, .. } = *entry;
        if start < self.start || start > self.next_offset {
            return Err("the start is not between the one before it and the end");
        }
        if first_segment > self.active {
            // The active segment was sealed and went, and nothing has been appended since.
            if first_segment != self.next_offset || start != first_segment {
                return Err("the first segment begins neither at one that is known nor at the end");
            }
            self.sealed.clear();
            self.active = first_segment;
            self.active_written = WrittenSpan::default();
            let run = Run { segment: first_segment, stored: 0, bytes: Vec::new(), end: 0 };
            self.runs = VecDeque::from([run]);
        }
        let is_known = first_segment == self.active
            || self.sealed.binary_search_by_key(&first_segment, |sealed| sealed.base).is_ok();
        if !is_known {
            return Err("the first segment is none that is known");
        }
        self.sealed.retain(|sealed| sealed.base >= first_segment);
        self.runs.retain(|run| run.segment >= first_segment);
        self.start = start;
        Ok(())
    }

    /// Applies that a segment took the place of one or of several.
    pub(crate) fn compacted(
        &mut self,
        entry: &CompactedEntry,
        place: Place,
    ) -> Result<(), &'static str> {
        self.touch(place);
        if self.headless {
            return Ok(());
        }
        let place = entry.segment.base..entry.until;
        // The active segment was sealed for it, and nothing has been appended since.
        let is_active = place.contains(&self.active) && entry.until == self.next_offset;
        if is_active && self.runs.back().is_some_and(|run| run.stored >= block_ceil(run.end)) {
            self.seal_at_end();
        }
        if self.runs.iter().any(|run| place.contains(&run.segment)) {
            return Err("a segment is compacted that is not in its file");
        }
        entry.replace(&mut self.sealed, self.active).map(|_| ())
    }

    /// What the files of a segment are called.
    pub fn name_of(&self, segment: Offset) -> SegmentName {
        let at = self.sealed.binary_search_by_key(&segment, |sealed| sealed.base);
        let generation = at.map_or(0, |at| self.sealed[at].compacted.generation);
        SegmentName { segment, generation }
    }

    /// A frame that is lost may have said that data has moved to its segment. An extent behind it
    /// says how far: what follows is moved in order.
    pub(crate) fn skip_moved(&mut self, entry: &AppendEntry<'_>) {
        let Some(extent) = entry.extent else { return };
        let Some(run) = self.runs.iter_mut().find(|run| run.segment == entry.segment) else {
            return;
        };
        let moved = extent.position.saturating_sub(run.stored);
        let moved = usize::try_from(moved).unwrap_or(usize::MAX);
        if moved > 0 && moved <= run.bytes.len() {
            run.bytes.drain(..moved);
            run.stored = extent.position;
        }
    }

    fn roll(&mut self, entry: &AppendEntry<'_>) -> Result<(), &'static str> {
        if entry.segment != self.next_offset || entry.position != 0 {
            return Err("a segment does not begin where the one before it ends");
        }
        self.seal();
        self.active = entry.segment;
        self.runs.push_back(Run { segment: entry.segment, stored: 0, bytes: Vec::new(), end: 0 });
        Ok(())
    }

    fn seal(&mut self) {
        let written = core::mem::take(&mut self.active_written).last;
        let (base, length_bytes, compacted) = (self.active, self.end(), Compacted::default());
        self.sealed.push(Sealed { base, length_bytes, written, compacted });
    }

    /// A segment that is filled up takes no more data, although no frame names the next one yet.
    pub(crate) fn seal_if_filled_up(&mut self) {
        let filled_up = self.runs.back().is_some_and(|run| run.stored > run.end);
        if filled_up {
            self.seal_at_end();
        }
    }

    /// The active segment ends where the partition does, and an empty one begins there.
    fn seal_at_end(&mut self) {
        self.seal();
        self.active = self.next_offset;
        let segment = self.active;
        self.runs.push_back(Run { segment, stored: 0, bytes: Vec::new(), end: 0 });
        self.forget_stored_runs();
    }

    /// Runs of sealed segments that are in their files need not be kept.
    fn forget_stored_runs(&mut self) {
        let active = self.active;
        let sealed = &self.sealed;
        self.runs.retain(|run| {
            let at = sealed.binary_search_by_key(&run.segment, |sealed| sealed.base);
            let is_stored = at.is_ok_and(|at| run.stored >= block_ceil(sealed[at].length_bytes));
            run.segment == active || !is_stored
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Extent;
    use crate::identity::PartitionId;
    use crate::written::Written;

    const PLACE: Place = Place { epoch: 1, journal: 0, sequence: Sequence(1) };

    fn entry<'a>(position: u64, inline: &'a [u8], next: u64) -> AppendEntry<'a> {
        AppendEntry {
            partition: PartitionId { topic: 1, partition: 0 },
            segment: Offset::ZERO,
            position,
            end: position + inline.len() as u64,
            next_offset: Offset::new(next),
            extent: None,
            written: Written(7),
            inline,
        }
    }

    #[test]
    fn inline_data_gathers_and_an_extent_takes_it_over() {
        let mut partition = RecoveredPartition::begin(Offset::ZERO, PLACE);
        partition.append(&entry(0, &[1; 3000], 10), PLACE).unwrap();
        partition.append(&entry(3000, &[2; 3000], 20), PLACE).unwrap();
        assert_eq!(partition.end(), 6000);
        let moved = AppendEntry {
            end: 6000,
            extent: Some(Extent { position: 0, length_bytes: 4096, crc: 0 }),
            ..entry(6000, &[], 0)
        };
        partition.append(&moved, PLACE).unwrap();
        let run = partition.runs.back().unwrap();
        assert_eq!((run.stored, run.bytes.len()), (4096, 6000 - 4096));
        assert_eq!(partition.next_offset, Offset::new(20));
    }

    #[test]
    fn an_extent_with_new_data_leaves_its_partial_block_inline() {
        let mut partition = RecoveredPartition::begin(Offset::ZERO, PLACE);
        let direct = AppendEntry {
            end: 5000,
            extent: Some(Extent { position: 0, length_bytes: 4096, crc: 0 }),
            inline: &[7; 904],
            ..entry(0, &[], 5)
        };
        partition.append(&direct, PLACE).unwrap();
        assert_eq!(partition.end(), 5000);
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let mut partition = RecoveredPartition::begin(Offset::ZERO, PLACE);
        partition.append(&entry(0, &[1; 10], 10), PLACE).unwrap();
        assert!(partition.append(&entry(11, &[1; 10], 20), PLACE).is_err());
        assert!(partition.append(&entry(10, &[1; 10], 9), PLACE).is_err());
        let wrong = AppendEntry { end: 30, ..entry(10, &[1; 10], 20) };
        assert!(partition.append(&wrong, PLACE).is_err());
        let gap = AppendEntry {
            extent: Some(Extent { position: 4096, length_bytes: 4096, crc: 0 }),
            ..entry(10, &[], 20)
        };
        assert!(partition.append(&gap, PLACE).is_err());
    }

    fn start(start: u64, first_segment: u64) -> StartEntry {
        let partition = PartitionId { topic: 1, partition: 0 };
        StartEntry {
            partition,
            start: Offset::new(start),
            first_segment: Offset::new(first_segment),
        }
    }

    /// A start that goes back would show deleted records again, and one beyond the end is of data
    /// that is missing.
    #[test]
    fn a_start_moves_forward_only_and_takes_segments_with_it() {
        let mut partition = RecoveredPartition::begin(Offset::ZERO, PLACE);
        partition.append(&entry(0, &[1; 10], 10), PLACE).unwrap();
        let rolled = AppendEntry { segment: Offset::new(10), ..entry(0, &[2; 5], 15) };
        partition.append(&rolled, PLACE).unwrap();
        partition.move_start(&start(4, 0), PLACE).unwrap();
        assert!(partition.move_start(&start(3, 0), PLACE).is_err());
        assert!(partition.move_start(&start(16, 10), PLACE).is_err());
        assert!(partition.move_start(&start(12, 7), PLACE).is_err());
        partition.move_start(&start(12, 10), PLACE).unwrap();
        assert_eq!((partition.sealed.len(), partition.runs.len()), (0, 1));
        partition.move_start(&start(15, 15), PLACE).unwrap();
        assert_eq!((partition.active, partition.end()), (Offset::new(15), 0));
        assert!(!partition.is_lease_only(), "its data may go on at once");
    }

    /// A journal that was sound was refused as damaged: the segment that took data had been sealed
    /// to be compacted, and no frame named the next one before that was done.
    #[test]
    fn what_was_sealed_to_be_compacted_is_so_before_anything_is_appended_behind_it() {
        let mut partition = RecoveredPartition::begin(Offset::ZERO, PLACE);
        partition.append(&entry(0, &[1; 4096], 10), PLACE).unwrap();
        let compacted = Compacted { generation: 1, cleaned: Written(8), tombstones: 0 };
        let segment =
            Sealed { base: Offset::ZERO, length_bytes: 100, written: Written(7), compacted };
        let id = PartitionId { topic: 1, partition: 0 };
        let compacted = CompactedEntry { partition: id, segment, until: Offset::new(10) };
        assert!(partition.compacted(&compacted, PLACE).is_err(), "it is not in its file");
        let stored = AppendEntry {
            extent: Some(Extent { position: 0, length_bytes: 4096, crc: 0 }),
            ..entry(4096, &[], 0)
        };
        partition.append(&stored, PLACE).unwrap();
        let early = CompactedEntry { until: Offset::new(9), ..compacted };
        assert!(partition.compacted(&early, PLACE).is_err(), "it does not end there");
        partition.compacted(&compacted, PLACE).unwrap();
        assert_eq!(partition.sealed, [segment]);
        assert_eq!((partition.active, partition.end()), (Offset::new(10), 0));
        let next = AppendEntry { segment: Offset::new(10), ..entry(0, &[2; 5], 15) };
        partition.append(&next, PLACE).unwrap();
        assert_eq!((partition.sealed.len(), partition.end()), (1, 5));
    }

    #[test]
    fn a_new_segment_begins_at_the_next_offset() {
        let mut partition = RecoveredPartition::begin(Offset::ZERO, PLACE);
        partition.append(&entry(0, &[1; 10], 10), PLACE).unwrap();
        let rolled = AppendEntry { segment: Offset::new(10), ..entry(0, &[2; 5], 11) };
        partition.append(&rolled, PLACE).unwrap();
        assert_eq!(
            partition.sealed,
            [Sealed {
                base: Offset::ZERO,
                length_bytes: 10,
                written: Written(7),
                compacted: Compacted::default()
            }]
        );
        assert_eq!(partition.runs.len(), 2);
        let stored = AppendEntry {
            extent: Some(Extent { position: 0, length_bytes: 4096, crc: 0 }),
            ..entry(10, &[], 0)
        };
        partition.append(&stored, PLACE).unwrap();
        assert_eq!(partition.runs.len(), 1);
        assert_eq!(partition.active, Offset::new(10));
    }
}
