//! Where a read begins: at the reader's hint, at a place of the index, or at the segment's front.
//!
//! Whatever says where, the batches there are checked against what is wanted; a wrong place costs
//! time and no record.

use plimsoll_batch::Offset;

use super::filling::Bytes;
use super::{READ_BYTES_MIN, Want};
use crate::identity::Slot;
use crate::index::SparseIndex;
use crate::limits::READ_BYTES_MAX;
use crate::notice::Notice;
use crate::read::{Cursor, ReadId};
use crate::storage::Storage;

impl Storage {
    pub(super) fn locate_batches(&mut self, number: u64, slot: Slot, cursor: Cursor) {
        let Some(job) = self.reads.get(&number) else { return };
        if cursor.offset < self.partition(slot).start {
            return self.read_out_of_range(number, slot, cursor.offset);
        }
        let from_front = job.from_front;
        let (indexed, bytes) = (job.indexed, job.bytes_max.clamp(READ_BYTES_MIN, READ_BYTES_MAX));
        let segment = self.partition(slot).segment_of(cursor.offset);
        let generation = self.partition(slot).generation(segment).unwrap_or(0);
        let hint = match cursor.hint() {
            // Of another file of the segment it says nothing.
            Some((hinted, _)) if hinted == segment && cursor.generation != generation => None,
            Some((hinted, position)) if hinted == segment => Some(position),
            // The end of the segment before: the next one's front.
            Some(_) if cursor.offset == segment => Some(0),
            _ => None,
        };
        let end = self.file_data_end(slot, segment);
        let position = match hint.filter(|position| *position < end) {
            Some(position) => Some(position),
            None if cursor.offset <= segment || from_front => Some(0),
            None => self.indexed_place(slot, segment, cursor.offset, indexed),
        };
        match position {
            Some(position) => {
                let bytes = Bytes { wished: bytes, least: READ_BYTES_MIN };
                self.read_segment(number, slot, (segment, position), bytes);
            }
            None => self.load_index_for(number, slot, segment),
        }
    }

    fn load_index_for(&mut self, number: u64, slot: Slot, segment: Offset) {
        if let Some(job) = self.reads.get_mut(&number) {
            job.indexed = true;
        }
        self.load_index(slot, segment, number);
    }

    /// A place at or before `offset`, if the segment's index is in memory; with `any`, the best
    /// that there is.
    fn indexed_place(
        &mut self,
        slot: Slot,
        segment: Offset,
        offset: Offset,
        any: bool,
    ) -> Option<u64> {
        let partition = self.partition(slot);
        let id = partition.id;
        let place = |index: &SparseIndex| index.before(offset).map_or(0, |entry| entry.position);
        if segment == partition.active {
            let usable = any || self.active_is_indexed(slot);
            return usable.then(|| place(&self.partition(slot).index));
        }
        let found = self.indexes.find(id, segment).map(place);
        found.or(any.then_some(0))
    }

    pub(super) fn locate_time(
        &mut self,
        number: u64,
        slot: Slot,
        timestamp_ms: i64,
        segment: Offset,
    ) {
        let indexed = self.reads.get(&number).is_some_and(|job| job.indexed);
        let partition = self.partition(slot);
        // It may be a part of another one by now.
        let segment = partition.segment_of(segment);
        let (id, shown) = (partition.id, partition.shown.offset);
        let length = partition.segment_length(segment);
        let active = segment == partition.active;
        let usable = !active || indexed || self.active_is_indexed(slot);
        let index = if active {
            usable.then_some(&self.partition(slot).index)
        } else {
            self.indexes.find(id, segment)
        };
        let Some(index) = index else {
            if indexed {
                // It did not stay in memory for long enough: the segment's front is right too.
                return self.located(number, segment);
            }
            return self.load_index_for(number, slot, segment);
        };
        let found = match index.first_at_time(timestamp_ms) {
            Some(entry) => Some(entry.offset),
            // What the index does not cover may be of any time.
            None if Some(index.through()) < length => {
                Some(index.entries().last().map_or(segment, |last| last.offset))
            }
            None => None,
        };
        match (found, self.partition(slot).segment_after(segment)) {
            (Some(offset), _) => self.located(number, offset.min(shown)),
            (None, Some(next)) => {
                if let Some(job) = self.reads.get_mut(&number) {
                    job.want = Want::Time { timestamp_ms, segment: next };
                    job.indexed = false;
                }
                self.continue_read(number);
            }
            (None, None) => self.located(number, shown),
        }
    }

    /// Whether the active segment's index covers all that is in the file.
    fn active_is_indexed(&self, slot: Slot) -> bool {
        let partition = self.partition(slot);
        partition.index.through() + plimsoll_batch::HEADER_BYTES as u64
            > self.file_end(slot, partition.active)
    }

    fn located(&mut self, number: u64, offset: Offset) {
        // A segment may begin before the partition's start.
        let start = self.reads.get(&number).map(|job| self.partition(job.slot).start);
        let offset = start.map_or(offset, |start| offset.max(start));
        self.notices.push_back(Notice::Located(ReadId(number), Ok(offset)));
        self.end_read_job(number);
        self.tell_room();
    }

    /// Up to where the segment's file itself holds data that memory does not hold.
    pub(crate) fn file_end(&self, slot: Slot, segment: Offset) -> u64 {
        let partition = self.partition(slot);
        let spans = partition.spans.iter().map(|id| self.memory.span(*id));
        match spans.into_iter().find(|span| span.segment == segment) {
            Some(first) => first.position,
            None => partition.segment_length(segment).unwrap_or(0),
        }
    }

    /// Up to where a reader that reads the segment's file finds data: in the file, and right
    /// behind it at the front of the first span.
    pub(crate) fn file_data_end(&self, slot: Slot, segment: Offset) -> u64 {
        let partition = self.partition(slot);
        let spans = partition.spans.iter().map(|id| self.memory.span(*id));
        match spans.into_iter().find(|span| span.segment == segment) {
            Some(first) => first.position + u64::from(first.carried),
            None => partition.segment_length(segment).unwrap_or(0),
        }
    }
}
