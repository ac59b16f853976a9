//! Taking a batch into a partition.
//!
//! One copy: from the caller's bytes into the arena, which is published with one store. What a
//! newcomer gets wrong: an append may be published and still not be shown, because the offset lease
//! that lets it be shown is not durable yet.

use plimsoll_batch::{Batch, BatchError, Codec, Offset, assign};
use plimsoll_device::Now;

use crate::arena_layout::SpanHeader;
use crate::compacted::Compacted;
use crate::entry::Sealed;
use crate::error::AppendError;
use crate::identity::Slot;
use crate::level::Level;
use crate::limits::{
    DIRECT_BYTES, LEASE_OFFSETS_LOW, SEGMENTS_MAX, SPAN_BYTES_MAX, SPAN_BYTES_MIN,
};
use crate::origin::marked_epoch;
use crate::partition::Point;
use crate::span::{NewSpan, SpanId, pages_for};
use crate::storage::{StopState, Storage};

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base: Offset,
    /// Offset after its last record: it has reached a level when that watermark is not below this.
    pub next: Offset,
    /// It was here before: nothing was written.
    pub is_duplicate: bool,
}

impl Storage {
    /// Takes a validated batch: assigns its offset, copies it to the arena and publishes it there.
    /// Has reached a level when the partition's watermark of it is not below `Appended::next`; look
    /// at once, then at each [`Notice::Advanced`](crate::Notice::Advanced). `level` is the deepest
    /// level that somebody waits for: for `Disk` a commit begins at once, for others within the
    /// flush interval. A batch that its idempotent producer sent before is not written again: it is
    /// where it was, and reaches levels as it would have then.
    pub fn append(
        &mut self,
        slot: Slot,
        batch: &Batch<'_>,
        level: Level,
        now: Now,
    ) -> Result<Appended, AppendError> {
        let length = batch.bytes().len();
        let count = u64::from(batch.header().record_count());
        self.look_at_clocks(now);
        if let Some(base) = self.judge_producer(slot, batch.header())? {
            let next = Offset::new(base.value() + count);
            if level == Level::Disk && next > self.partition(slot).durable.offset {
                self.want_commit(slot);
            }
            return Ok(Appended { base, next, is_duplicate: true });
        }
        self.check_takes_appends(slot, batch)?;
        let base = self.end_of(slot);
        let next = base
            .checked_add(count)
            .ok_or(AppendError::Batch(BatchError::Offset { base_offset: i64::MAX }))?;
        self.roll_if_full(slot, length as u64);
        let span = self.span_with_room(slot, length).map_err(|error| match self.disk_full {
            // Memory comes back only with room on the disk.
            Some(_) => AppendError::DiskFull,
            None => error,
        })?;
        let epoch = marked_epoch(self.partition(slot).id, self.epoch);
        let sent = (batch.bytes(), batch.header().crc);
        self.memory.append(span, sent, (base, next), |bytes| assign(bytes, base, epoch));
        let position = self.partition(slot).published.position;
        let begins = position == 0;
        self.published(slot, batch, next);
        let header = plimsoll_batch::BatchHeader { base_offset: base, ..*batch.header() };
        self.note_producer(slot, &header);
        self.retain_after_append(slot, begins);
        self.compact_after_append(slot, position);
        self.schedule(slot, level, length as u64, now);
        Ok(Appended { base, next, is_duplicate: false })
    }

    fn check_takes_appends(&mut self, slot: Slot, batch: &Batch<'_>) -> Result<(), AppendError> {
        if self.stop != StopState::Running {
            return Err(AppendError::Stopping);
        }
        if let Some(failure) = &self.failure {
            return Err(AppendError::Failed(failure.clone()));
        }
        let partition = self.partition(slot);
        if let Some(damage) = partition.why_fenced().or(self.journal_damage.as_ref()) {
            return Err(AppendError::Damaged(damage.clone()));
        }
        let length_bytes = batch.bytes().len();
        let batch_bytes_max = partition.config.batch_bytes_max;
        if length_bytes > batch_bytes_max {
            let error = BatchError::TooLarge { length_bytes, batch_bytes_max };
            return Err(AppendError::Batch(error));
        }
        let codec = batch.codec();
        if partition.config.compaction.is_some() && codec != Codec::None {
            return Err(AppendError::Compressed { codec });
        }
        // Blocks of its own are of no use while the journal waits for a checkpoint, which on a full
        // disk does not end.
        let id = self.partition(slot).id;
        let has_room = self.has_blocks_for(slot, length_bytes as u64) && self.journal_admits(id);
        if self.disk_full.is_some() && !has_room {
            return Err(AppendError::DiskFull);
        }
        Ok(())
    }

    /// Whether the segment's file has blocks for this much more.
    fn has_blocks_for(&self, slot: Slot, length: u64) -> bool {
        let partition = self.partition(slot);
        let end = partition.published.position + length;
        let mut files = partition.files.iter();
        files.any(|file| file.segment == partition.active && file.allocated >= end)
    }

    /// Begins a new segment if the batch does not fit the active one.
    pub(crate) fn roll_if_full(&mut self, slot: Slot, length: u64) {
        let partition = self.partition(slot);
        let position = partition.published.position;
        let full = position > 0 && position + length > partition.config.segment_bytes;
        if full && partition.sealed.len() < SEGMENTS_MAX {
            self.roll(slot);
        }
    }

    /// Begins a new segment; what is sealed moves to its file.
    pub(crate) fn roll(&mut self, slot: Slot) {
        let partition = self.partition_mut(slot);
        let written = core::mem::take(&mut partition.active_written).last;
        let length_bytes = partition.published.position;
        let (base, compacted) = (partition.active, Compacted::default());
        let sealed = Sealed { base, length_bytes, written, compacted };
        partition.sealed.push(sealed);
        partition.sealed_bytes += sealed.length_bytes;
        partition.active = partition.published.offset;
        partition.published =
            Point { segment: partition.active, position: 0, ..partition.published };
        let last = partition.spans.back().copied();
        let index = core::mem::replace(&mut partition.index, crate::index::SparseIndex::new());
        if let Some(span) = last {
            self.memory.close(span, true);
        }
        self.write_index(slot, sealed, &index);
        self.want_spill(slot);
    }

    /// The span that takes the next batch.
    pub(crate) fn span_with_room(
        &mut self,
        slot: Slot,
        length: usize,
    ) -> Result<SpanId, AppendError> {
        let partition = self.partition(slot);
        let last = partition.spans.back().copied();
        let last = last.filter(|id| self.memory.span(*id).segment == partition.active);
        if let Some(id) = last
            && self.memory.span(id).room() as usize >= length
        {
            return Ok(id);
        }
        let carried = match last {
            Some(_) => partition.published.position % SPAN_BYTES_MIN as u64,
            None => 0,
        };
        let needed = length + carried as usize;
        // While memory is scarce no partition takes more at once than it did before.
        let growth = if self.is_memory_scarce() { 1 } else { 2 };
        let grown = (partition.span_bytes * growth).clamp(SPAN_BYTES_MIN, SPAN_BYTES_MAX);
        let header = |pages| SpanHeader {
            partition: partition.id,
            segment: partition.active,
            position: partition.published.position - carried,
            pages,
            carried: u32::try_from(carried).unwrap_or(0),
        };
        let first_offset = partition.published.offset;
        let new = |bytes| NewSpan { slot, header: header(pages_for(bytes)), first_offset };
        let (best, least) = (new(needed.max(grown)), new(needed));
        let id = self.take_span(&best, &least).ok_or(AppendError::NoRoom)?;
        if let Some(last) = last {
            self.memory.carry(last, id);
            self.memory.close(last, false);
        }
        let partition = self.partition_mut(slot);
        partition.span_bytes = grown;
        partition.spans.push_back(id);
        self.remember_memory(slot);
        Ok(id)
    }

    /// Memory for a span: as wished, else as much as is needed; settled spans give way.
    fn take_span(&mut self, best: &NewSpan, least: &NewSpan) -> Option<SpanId> {
        if self.is_memory_scarce() {
            self.relieve_memory();
        }
        for wish in [best, least] {
            while self.memory.may_take(wish.header.pages) {
                if let Some(id) = self.memory.take_span(wish) {
                    return Some(id);
                }
                if !self.evict_oldest() {
                    break;
                }
            }
        }
        self.relieve_memory();
        self.room_wanted = true;
        None
    }

    /// Drops the settled span that settled first. False when there is none.
    ///
    /// What is in memory of a partition stays one piece up to the tail: readers count on it. A span
    /// that was closed within its first block has nothing to store and settles before those in
    /// front of it; it stays until they are gone.
    pub(crate) fn evict_oldest(&mut self) -> bool {
        let is_first = |id: &SpanId| {
            let partition = self.partition(self.memory.span(*id).slot);
            partition.spans.front() == Some(id)
        };
        let Some(id) = self.memory.evictable().find(is_first) else { return false };
        let slot = self.memory.span(id).slot;
        self.partition_mut(slot).spans.pop_front();
        self.memory.drop_span(id);
        true
    }

    fn published(&mut self, slot: Slot, batch: &Batch<'_>, next: Offset) {
        let length = batch.bytes().len() as u64;
        self.counters.appended_batches += 1;
        self.counters.appended_records += u64::from(batch.header().record_count());
        self.counters.appended_bytes += length;
        let written = self.aging.clock.written();
        let partition = self.partition_mut(slot);
        let base = partition.published;
        partition.active_written.note(written, base.position == 0);
        let header = plimsoll_batch::BatchHeader { base_offset: base.offset, ..*batch.header() };
        partition.index.note(&header, base.position);
        partition.published = Point { offset: next, position: base.position + length, ..base };
        if partition.show() {
            self.notify_advanced(slot);
        }
        let partition = self.partition_mut(slot);
        let left = partition.lease_planned.value().saturating_sub(next.value());
        let hidden = partition.published.offset > partition.shown.offset;
        if hidden && left < LEASE_OFFSETS_LOW && !partition.lease_wanted {
            partition.lease_wanted = true;
            self.leases_wanted.push_back(slot);
        }
    }

    fn schedule(&mut self, slot: Slot, level: Level, length: u64, now: Now) {
        self.grow_ahead(slot);
        let interval = self.partition(slot).config.flush_interval;
        let unlogged = self.unlogged_bytes(slot);
        if level == Level::Disk || unlogged >= 4 * DIRECT_BYTES {
            self.want_commit(slot);
            self.urgent_bytes += length;
        } else if self.partition(slot).due.is_none() && !self.partition(slot).urgent {
            let due = now.monotonic + interval;
            self.partition_mut(slot).due = Some(due);
            self.due.insert((due, slot));
        }
    }

    /// Bytes that no frame holds, not even one on its way. Looks at the last two spans only:
    /// more than they hold is a backlog anyway.
    pub(crate) fn unlogged_bytes(&self, slot: Slot) -> u64 {
        let spans = self.partition(slot).spans.iter().rev().take(2);
        spans
            .map(|id| {
                let span = self.memory.span(*id);
                u64::from(span.used - span.logged)
            })
            .sum()
    }

    /// The next commit takes the partition's data.
    pub(crate) fn want_commit(&mut self, slot: Slot) {
        let partition = self.partition_mut(slot);
        if partition.urgent || partition.closing {
            return;
        }
        partition.urgent = true;
        if let Some(due) = partition.due.take() {
            self.due.remove(&(due, slot));
        }
        self.urgent.push_back(slot);
    }
}
