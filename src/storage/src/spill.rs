//! Moving data from the arena to its segment in the background.
//!
//! Small appends become durable in the journal. Later their whole blocks are written to the
//! segment, flushed there, and then a frame says so. Only what is durable in the journal is moved,
//! so a spill that is cut off loses nothing.

use plimsoll_batch::Offset;
use plimsoll_device::{BLOCK_BYTES, DiskAction, FileId, IoError, OpenMode};

use crate::arena_layout::SpanHeader;
use crate::commit::Effect;
use crate::encoding::block_floor;
use crate::entry::{APPEND_BYTES, AppendEntry, Extent};
use crate::flight::{Purpose, WritePart};
use crate::frame_draft::FrameDraft;
use crate::identity::Slot;
use crate::limits::{DIRECT_BYTES, FRAME_BYTES_MAX, SPILL_BYTES, SPILLS_MAX};
use crate::span::{NewSpan, SpanId, narrow};
use crate::storage::Storage;
use crate::written::Written;

/// Blocks of a span that are in their segment, durably, or on their way there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) slot: Slot,
    span: SpanId,
    segment: Offset,
    from: u32,
    to: u32,
    crc: u32,
}

impl Storage {
    /// Lists the partition for a spill of all that can be stored.
    pub(crate) fn want_spill(&mut self, slot: Slot) {
        let partition = self.partition_mut(slot);
        if !partition.spill_wanted && !partition.closing {
            partition.spill_wanted = true;
            self.spill_queue.push_back(slot);
        }
    }

    /// Lists the partition if enough of it waits to be stored, or a segment of it is sealed.
    pub(crate) fn consider_spill(&mut self, slot: Slot) {
        if self.unlogged_bytes(slot) >= DIRECT_BYTES {
            // The next commit writes straight to the segment, and takes along what is before it.
            return;
        }
        let waiting: u64 = self.partition(slot).spans.iter().map(|id| self.spillable(*id)).sum();
        // Those in front may be stored, and stay for readers.
        let mut spans = self.partition(slot).spans.iter().map(|id| self.memory.span(*id));
        let unstored = spans.find(|span| span.closed != Some(span.stored));
        let sealed = unstored.is_some_and(|span| span.segment != self.partition(slot).active);
        let relieve = self.partition(slot).relieve;
        if waiting >= SPILL_BYTES || relieve || (sealed && waiting > 0) {
            self.want_spill(slot);
        }
    }

    /// Bytes of the span that could be moved now.
    fn spillable(&self, id: SpanId) -> u64 {
        let span = self.memory.span(id);
        let logged = if span.logged_durable == span.used {
            span.storable()
        } else {
            narrow(block_floor(u64::from(span.logged_durable)))
        };
        u64::from(logged.min(span.storable()).saturating_sub(span.stored))
    }

    pub(crate) fn start_spills(&mut self) {
        if self.failure.is_some() || self.journal_damage.is_some() {
            return;
        }
        for _ in 0..self.spill_queue.len() {
            if self.spills >= SPILLS_MAX {
                return;
            }
            let Some(slot) = self.spill_queue.pop_front() else { return };
            if !self.is_open(slot) {
                continue;
            }
            self.partition_mut(slot).spill_wanted = false;
            if !self.partition(slot).spilling {
                self.start_spill(slot);
            }
        }
    }

    /// Moves what it can of the first span that is not wholly stored.
    fn start_spill(&mut self, slot: Slot) {
        let spans = self.partition(slot).spans.iter().copied();
        let unstored = |id: &SpanId| {
            let span = self.memory.span(*id);
            span.closed != Some(span.stored)
        };
        let Some(id) = spans.into_iter().find(unstored) else { return };
        let length = narrow(self.spillable(id));
        if length == 0 {
            return self.give_back(slot);
        }
        let span = self.memory.span(id);
        let (from, to, segment) = (span.stored, span.stored + length, span.segment);
        let position = span.position + u64::from(from);
        if !self.file_reaches(slot, segment, position + u64::from(length)) {
            // The job that makes the file grow lists the partition again.
            return;
        }
        let crc = self.memory.take_crc(id, to);
        let stored = Stored { slot, span: id, segment, from, to, crc };
        let path = self.partition(slot).segment_path(segment);
        let file = self.hold_file(&path, OpenMode::Existing);
        self.memory.pin(id);
        self.memory.span_mut(id).stored = to;
        let partition = self.partition_mut(slot);
        partition.spilling = true;
        partition.jobs += 1;
        self.spills += 1;
        self.spilling.insert(slot, stored);
        let range = self.memory.range(id, from, to);
        let part = WritePart { file, position, range, durable: self.durable_writes };
        self.submit_on(file, Purpose::SpillWrite(slot, part), Self::write_action(&part));
    }

    pub(crate) fn handle_spill_write(
        &mut self,
        slot: Slot,
        part: WritePart,
        result: Result<usize, IoError>,
    ) {
        match Self::rest_of_write(part, result) {
            Ok(Some(rest)) => {
                let purpose = Purpose::SpillWrite(slot, rest);
                self.submit_on(rest.file, purpose, Self::write_action(&rest));
            }
            Ok(None) if part.durable => self.spilled(slot, part.file),
            Ok(None) => {
                let purpose = Purpose::SpillSync(slot, part.file);
                self.submit_on(part.file, purpose, DiskAction::SyncData { file: part.file });
            }
            Err(error) => {
                let place = (part.position, part.range.length_bytes as u64);
                self.fail_on("write", part.file, place, error);
            }
        }
    }

    pub(crate) fn handle_spill_sync(
        &mut self,
        slot: Slot,
        file: FileId,
        result: Result<(), IoError>,
    ) {
        match result {
            Ok(()) => self.spilled(slot, file),
            Err(error) => self.fail_on("flush", file, (0, 0), error),
        }
    }

    /// The blocks are durable in the segment; a frame has to say so.
    fn spilled(&mut self, slot: Slot, file: FileId) {
        self.files.release(file);
        self.spills -= 1;
        if let Some(stored) = self.spilling.remove(&slot) {
            self.counters.spilled_bytes += u64::from(stored.to - stored.from);
            if self.partition(slot).closing {
                self.forget_stored(&stored);
                self.continue_removal(slot);
            } else if self.partition(slot).relog {
                self.stored_before_snapshot(&stored);
            } else {
                self.stored.push_back(stored);
            }
        }
    }

    /// The snapshot that is to come will say it: nothing else is logged.
    fn stored_before_snapshot(&mut self, stored: &Stored) {
        self.memory.span_mut(stored.span).stored_durable = stored.to;
        self.memory.settle(stored.span);
        self.memory.unpin(stored.span);
        self.end_spill(stored.slot);
    }

    /// The partition is going: nobody needs to know.
    pub(crate) fn forget_stored(&mut self, stored: &Stored) {
        self.memory.unpin(stored.span);
        let partition = self.partition_mut(stored.slot);
        partition.spilling = false;
        partition.jobs -= 1;
    }

    /// Logs that blocks are in their segments.
    pub(crate) fn plan_stored(&mut self, draft: &mut FrameDraft) {
        while draft.room() >= APPEND_BYTES
            && self.journal.fits(FRAME_BYTES_MAX as u64, 0)
            && let Some(stored) = self.stored.pop_front()
        {
            self.put_stored(&stored, draft);
        }
    }

    fn put_stored(&mut self, stored: &Stored, draft: &mut FrameDraft) {
        let slot = stored.slot;
        let span = self.memory.span(stored.span);
        let end = span.position + u64::from(span.logged);
        let entry = AppendEntry {
            partition: self.partition(slot).id,
            segment: stored.segment,
            position: end,
            end,
            // The entry brings nothing new, so that the offset is not looked at.
            next_offset: Offset::ZERO,
            extent: Some(Extent {
                position: span.position + u64::from(stored.from),
                length_bytes: stored.to - stored.from,
                crc: stored.crc,
            }),
            written: Written::UNKNOWN,
            inline: &[],
        };
        let nothing = self.memory.range(stored.span, 0, 0);
        self.put_append(&entry, nothing, draft);
        // Pinned since the spill began; the effect unpins it.
        let logged = self.memory.span(stored.span).logged_durable;
        draft.effects.push(Effect::Span {
            slot,
            span: stored.span,
            logged,
            stored: Some(stored.to),
        });
        self.need_frame(slot);
        self.end_spill(slot);
    }

    fn end_spill(&mut self, slot: Slot) {
        let partition = self.partition_mut(slot);
        partition.spilling = false;
        partition.jobs -= 1;
        self.consider_spill_again(slot);
    }

    /// After one span the next, if more is waiting.
    fn consider_spill_again(&mut self, slot: Slot) {
        let waits = self
            .partition(slot)
            .spans
            .iter()
            .any(|id| self.memory.span(*id).closed.is_some() && self.spillable(*id) > 0);
        if waits {
            self.want_spill(slot);
        } else {
            self.consider_spill(slot);
        }
    }

    /// The partition took memory: it is in the line of those that give it back when it is short.
    pub(crate) fn remember_memory(&mut self, slot: Slot) {
        let partition = self.partition_mut(slot);
        if !partition.in_memory_order {
            partition.in_memory_order = true;
            self.memory_order.push_back(slot);
        }
    }

    /// Whether appends will soon have to wait for memory.
    pub(crate) fn is_memory_scarce(&self) -> bool {
        self.memory.available_pages() < self.memory.pages() / 4
    }

    /// Memory is short: the partitions that took some first move what they have to the disk.
    pub(crate) fn relieve_memory(&mut self) {
        let mut busy = self.spill_queue.len() + self.spills;
        for _ in 0..self.memory_order.len() {
            if busy >= SPILLS_MAX {
                return;
            }
            let Some(slot) = self.memory_order.pop_front() else { return };
            if !self.is_open(slot) {
                continue;
            }
            let spans = self.partition(slot).spans.iter().map(|id| self.memory.span(*id));
            let held: u32 = spans.filter(|span| !span.evictable).map(|span| span.pages).sum();
            // One page is the block that must stay: asking for more of it would bring nothing, and
            // whoever waits for room would wait for nothing.
            let has_more = held > 1;
            self.partition_mut(slot).in_memory_order = has_more;
            if has_more {
                self.memory_order.push_back(slot);
                self.partition_mut(slot).relieve = true;
                self.want_commit(slot);
                self.want_spill(slot);
                busy += 1;
            }
        }
    }

    /// All that a partition keeps in memory is its last block: if memory is short, a large span is
    /// not kept for it.
    fn give_back(&mut self, slot: Slot) {
        let partition = self.partition(slot);
        let Some(last) = partition.spans.back().copied() else { return };
        let span = self.memory.span(last);
        let whole = narrow(block_floor(u64::from(span.used)));
        let settled = span.logged_durable == span.used && span.stored_durable == whole;
        if !partition.relieve || !settled || span.segment != partition.active {
            return;
        }
        self.partition_mut(slot).relieve = false;
        let span = self.memory.span(last);
        let carried = span.used - whole;
        if span.pages == 1 || span.closed.is_some() {
            return;
        }
        if carried > 0 {
            let (first_offset, partition) =
                (self.partition(slot).published.offset, self.partition(slot).id);
            let (segment, position) = (span.segment, span.position + u64::from(whole));
            let header = SpanHeader { partition, segment, position, pages: 1, carried };
            let new = NewSpan { slot, header, first_offset };
            let mut taken = self.memory.take_span(&new);
            while taken.is_none() && self.evict_oldest() {
                taken = self.memory.take_span(&new);
            }
            let Some(id) = taken else {
                self.partition_mut(slot).relieve = true;
                return;
            };
            self.memory.carry(last, id);
            self.partition_mut(slot).spans.push_back(id);
        }
        self.memory.close(last, false);
        self.partition_mut(slot).span_bytes = BLOCK_BYTES;
        self.tell_room();
    }
}
