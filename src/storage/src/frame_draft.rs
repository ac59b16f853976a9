//! Planning a frame: which data goes in, inline or as an extent.
//!
//! Nothing is written here, and nothing takes effect: the draft lists what will be true when its
//! commit is durable. What a newcomer gets wrong: extents of a segment follow one on the other
//! without gaps.

use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::OpenMode;

use crate::commit::Effect;
use crate::encoding::block_ceil;
use crate::entry::{
    APPEND_BYTES, AppendEntry, Extent, LEASE_BYTES, PRODUCERS_BYTES, SEALED_BYTES, SNAPSHOT_BYTES,
    SnapshotFields, append_bytes, encode_append, encode_lease, encode_snapshot, snapshot_bytes,
    snapshot_written_at,
};
use crate::flight::WritePart;
use crate::frame::FRAME_HEADER_BYTES;
use crate::identity::{PartitionId, Slot};
use crate::limits::{
    COMMIT_EXTENT_BYTES_MAX, DIRECT_BYTES, EXTENTS_MAX, FRAME_BYTES_MAX, LEASE_OFFSETS,
    LEASE_OFFSETS_LOW, WAIT_BYTES,
};
use crate::partition::Point;
use crate::span::{SpanId, narrow};
use crate::storage::Storage;

/// A frame that is being put together in its run of memory.
pub(crate) struct FrameDraft {
    pub(crate) run: SpanId,
    pub(crate) body_bytes: usize,
    pub(crate) effects: Vec<Effect>,
    /// Writes beside the frame; each holds its file.
    pub(crate) extents: Vec<WritePart>,
    pub(crate) extent_bytes: u64,
    pub(crate) clean: bool,
    /// Wanted even if it holds nothing: for what its header says of the frames before it.
    pub(crate) marker: bool,
}

impl FrameDraft {
    pub(crate) fn new(run: SpanId) -> Self {
        Self {
            run,
            body_bytes: 0,
            effects: Vec::new(),
            extents: Vec::new(),
            extent_bytes: 0,
            clean: false,
            marker: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body_bytes == 0 && !self.clean && !self.marker
    }

    /// Bytes that the body may still take.
    pub(crate) fn room(&self) -> usize {
        FRAME_BYTES_MAX - FRAME_HEADER_BYTES - self.body_bytes
    }

    fn takes_extent(&self, length: u64) -> bool {
        let first = self.extents.is_empty();
        let fits = self.extent_bytes + length <= COMMIT_EXTENT_BYTES_MAX;
        first || (fits && self.extents.len() < EXTENTS_MAX)
    }
}

/// What one span gives to a frame.
struct SpanPlan {
    /// Logged up to here afterwards.
    logged: u32,
    /// Offset there.
    next_offset: Offset,
    /// Stored up to here afterwards; an extent if that is more than now.
    stored: u32,
    /// Inline from here to `logged`.
    inline_from: u32,
}

/// What becomes of a span in a frame.
enum Planned {
    /// This much of it goes in.
    Take(SpanPlan),
    /// There is nothing to log; it waits to be stored.
    Skip,
    /// The frame has no room for it, nor for what follows.
    Stop,
}

/// What of a partition a snapshot holds.
pub(crate) struct LoggedPart {
    /// The end of it.
    pub(crate) end: Point,
    /// Up to where its last segment is stored.
    pub(crate) stored: u64,
    /// The spans of that segment from the first that is not wholly stored.
    pub(crate) tail: Vec<SpanId>,
}

impl Storage {
    /// Takes the data of urgent partitions, as much as fits.
    pub(crate) fn plan_urgent(&mut self, draft: &mut FrameDraft) {
        if !self.journal_admits(PartitionId::METADATA) {
            return;
        }
        for _ in 0..self.urgent.len() {
            if draft.room() < APPEND_BYTES + LEASE_BYTES + 64 {
                return;
            }
            let Some(slot) = self.urgent.pop_front() else { return };
            if !self.is_open(slot) {
                continue;
            }
            let admitted = self.journal_admits(self.partition(slot).id);
            // What must be logged whole here comes first.
            if admitted && !self.partition(slot).relog && self.plan_partition(slot, draft) {
                self.partition_mut(slot).urgent = false;
            } else {
                self.urgent.push_back(slot);
            }
        }
        if self.urgent.is_empty() {
            self.urgent_bytes = 0;
        }
    }

    /// True when all that is published is planned.
    fn plan_partition(&mut self, slot: Slot, draft: &mut FrameDraft) -> bool {
        self.plan_lease(slot, draft);
        let partition = self.partition(slot);
        let spilling = partition.spilling;
        let spans: Vec<SpanId> = {
            // Only the last spans have anything left to log or to store. One that never had a whole
            // block says nothing of those before it: theirs may still wait.
            let open = partition.spans.iter().rev().take_while(|id| {
                let span = self.memory.span(**id);
                let is_blockless = span.storable() == 0;
                span.logged < span.used || span.stored < span.storable() || is_blockless
            });
            let mut open: Vec<SpanId> = open.copied().collect();
            open.reverse();
            open
        };
        let new_bytes: u64 = spans.iter().map(|id| u64::from(self.unlogged(*id))).sum();
        let mut direct = new_bytes >= DIRECT_BYTES && !spilling;
        // Much data is better written once, a little later, than twice at once.
        let soon = spilling || self.grows.contains_key(&slot);
        if new_bytes >= WAIT_BYTES && soon && !self.is_memory_scarce() {
            return false;
        }
        for id in spans {
            let plan = match self.plan_span(slot, id, &mut direct, draft) {
                Planned::Take(plan) => plan,
                // It waits to be stored only: what follows can be logged all the same.
                Planned::Skip => continue,
                Planned::Stop => return false,
            };
            let all = plan.logged == self.memory.span(id).used;
            self.put_span(slot, id, &plan, draft);
            if !all {
                return false;
            }
        }
        true
    }

    fn unlogged(&self, id: SpanId) -> u32 {
        let span = self.memory.span(id);
        span.used - span.logged
    }

    /// What of the span goes into the frame.
    fn plan_span(
        &mut self,
        slot: Slot,
        id: SpanId,
        direct: &mut bool,
        draft: &FrameDraft,
    ) -> Planned {
        let span = self.memory.span(id);
        let (logged, used, next_offset) = (span.logged, span.used, span.next_offset);
        let (stored, storable) = (span.stored, span.storable());
        let (segment, position) = (span.segment, span.position);
        // What has not even a block to store needs no file: one is made for something.
        if *direct && storable > stored {
            *direct = self.file_reaches(slot, segment, position + u64::from(storable));
        }
        let Some(room) = draft.room().checked_sub(APPEND_BYTES + 8) else { return Planned::Stop };
        if *direct && storable > stored {
            let inline_from = logged.max(storable.min(used));
            let needed = (used - inline_from) as usize + self.producers_bytes_max(slot);
            let fits = draft.takes_extent(u64::from(storable - stored)) && needed <= room;
            // What this commit has no room for, the next one writes, and not the journal.
            return if fits {
                Planned::Take(SpanPlan { logged: used, next_offset, stored: storable, inline_from })
            } else {
                Planned::Stop
            };
        }
        // An earlier span that is not stored keeps later ones from being stored: extents of a
        // segment follow one on the other.
        *direct = *direct && storable == stored;
        if used == logged {
            return Planned::Skip;
        }
        if (used - logged) as usize <= room {
            return Planned::Take(SpanPlan {
                logged: used,
                next_offset,
                stored,
                inline_from: logged,
            });
        }
        self.plan_part(id, room).map_or(Planned::Stop, Planned::Take)
    }

    /// As many whole batches of the span as fit inline.
    fn plan_part(&self, id: SpanId, room: usize) -> Option<SpanPlan> {
        let span = self.memory.span(id);
        let cut = span
            .index
            .iter()
            .rev()
            .find(|(_, at)| *at > span.logged && (*at - span.logged) as usize <= room)?;
        Some(SpanPlan {
            logged: cut.1,
            next_offset: cut.0,
            stored: span.stored,
            inline_from: span.logged,
        })
    }

    /// Whether the segment's file has blocks up to `end`; makes it grow if not.
    pub(crate) fn file_reaches(&mut self, slot: Slot, segment: Offset, end: u64) -> bool {
        let file = self.partition_mut(slot).file(segment);
        let reaches = file.is_some_and(|file| file.allocated >= end);
        if !reaches {
            self.grow(slot, segment, end);
        }
        reaches
    }

    /// Puts the entry for a span into the frame, and its extent beside it.
    fn put_span(&mut self, slot: Slot, id: SpanId, plan: &SpanPlan, draft: &mut FrameDraft) {
        let span = self.memory.span(id);
        let (segment, start, logged) = (span.segment, span.position, span.logged);
        let from = span.stored;
        let extent = (plan.stored > from).then(|| Extent {
            position: start + u64::from(from),
            length_bytes: plan.stored - from,
            crc: self.memory.take_crc(id, plan.stored),
        });
        let end = start + u64::from(plan.logged);
        let entry = AppendEntry {
            partition: self.partition(slot).id,
            segment,
            position: start + u64::from(logged),
            end,
            next_offset: plan.next_offset,
            extent,
            written: self.partition(slot).segment_written(segment),
            inline: &[],
        };
        let inline = self.memory.range(id, plan.inline_from, plan.logged.max(plan.inline_from));
        self.put_append(&entry, inline, draft);
        if plan.logged > logged {
            self.log_producers(slot, (id, logged, plan.logged), extent.is_some(), draft);
        }
        if let Some(extent) = extent {
            self.put_extent(
                slot,
                segment,
                &extent,
                self.memory.range(id, from, plan.stored),
                draft,
            );
        }
        let span = self.memory.span_mut(id);
        span.logged = plan.logged;
        span.stored = plan.stored;
        self.memory.pin(id);
        draft.effects.push(Effect::Span {
            slot,
            span: id,
            logged: plan.logged,
            stored: extent.map(|_| plan.stored),
        });
        let point = Point { offset: plan.next_offset, segment, position: end };
        draft.effects.push(Effect::Point { slot, point });
        self.need_frame(slot);
    }

    fn put_extent(
        &mut self,
        slot: Slot,
        segment: Offset,
        extent: &Extent,
        range: plimsoll_device::ArenaRange,
        draft: &mut FrameDraft,
    ) {
        let path = self.partition(slot).segment_path(segment);
        let file = self.hold_file(&path, OpenMode::Existing);
        draft.extent_bytes += u64::from(extent.length_bytes);
        draft.extents.push(WritePart {
            file,
            position: extent.position,
            range,
            durable: self.durable_writes,
        });
    }

    /// The partition needs the frame that is being planned, if it needs no older one.
    pub(crate) fn need_frame(&mut self, slot: Slot) {
        if self.partition(slot).oldest_frame.is_none() {
            self.set_oldest_frame(slot, self.journal.next.sequence);
        }
    }

    /// Writes an append entry whose inline data lies at `inline` in the arena.
    pub(crate) fn put_append(
        &mut self,
        entry: &AppendEntry<'_>,
        inline: plimsoll_device::ArenaRange,
        draft: &mut FrameDraft,
    ) {
        let length = append_bytes(inline.length_bytes);
        let at = self.body_range(draft, length);
        let out = self.memory.arena_mut().bytes_mut(at);
        encode_append(entry, inline.length_bytes, out);
        out[APPEND_BYTES + inline.length_bytes..].fill(0);
        self.memory.arena_mut().copy_within(inline, at.start_bytes + APPEND_BYTES);
        draft.body_bytes += length;
    }

    /// Writes a lease into the frame if the partition's is running out.
    pub(crate) fn plan_lease(&mut self, slot: Slot, draft: &mut FrameDraft) {
        let partition = self.partition(slot);
        let end = partition.published.offset;
        let left = partition.lease_planned.value().saturating_sub(end.value());
        if left >= LEASE_OFFSETS_LOW {
            return;
        }
        let lease = end.checked_add(LEASE_OFFSETS).unwrap_or(Offset::MAX);
        self.put_lease(slot, lease, draft);
    }

    pub(crate) fn put_lease(&mut self, slot: Slot, lease: Offset, draft: &mut FrameDraft) {
        let id = self.partition(slot).id;
        let at = self.body_range(draft, LEASE_BYTES);
        encode_lease(id, lease, self.memory.arena_mut().bytes_mut(at));
        draft.body_bytes += LEASE_BYTES;
        let partition = self.partition_mut(slot);
        partition.lease_planned = lease;
        partition.lease_wanted = false;
        draft.effects.push(Effect::Lease { slot, lease });
        self.need_frame(slot);
    }

    /// Takes the leases that somebody waits for.
    pub(crate) fn plan_leases(&mut self, draft: &mut FrameDraft) {
        while draft.room() >= LEASE_BYTES
            && self.journal.fits(FRAME_BYTES_MAX as u64, self.journal_reserve_bytes())
            && let Some(slot) = self.leases_wanted.pop_front()
        {
            if self.is_open(slot) {
                self.partition_mut(slot).lease_wanted = false;
                self.plan_lease(slot, draft);
            }
        }
    }

    /// Logs the partition whole, as far as it is logged. False when the frame has no room for it.
    pub(crate) fn put_snapshot(&mut self, slot: Slot, draft: &mut FrameDraft) -> bool {
        let logged = self.logged_part(slot);
        let partition = self.partition(slot);
        let Point { offset: next_offset, segment: active, position: end } = logged.end;
        let before = partition.sealed.partition_point(|sealed| sealed.base < active);
        let gone = partition.sealed.partition_point(|it| it.base < partition.first_planned);
        let sealed = partition.sealed[gone.min(before)..before].to_vec();
        let (stored, tail_bytes) = (logged.stored, end.saturating_sub(logged.stored) as usize);
        let length = snapshot_bytes(&sealed, tail_bytes);
        let (producers, list) = self.snapshot_producers(slot);
        if length + PRODUCERS_BYTES + list.len() > draft.room() {
            return false;
        }
        let partition = self.partition(slot);
        let fields = SnapshotFields {
            partition: partition.id,
            start: partition.start_planned,
            next_offset,
            lease: partition.lease_planned,
            active,
            written: partition.span_written(active),
            end,
            stored,
        };
        let at = self.body_range(draft, length);
        let out = self.memory.arena_mut().bytes_mut(at);
        encode_snapshot(&fields, &sealed, out);
        let tail_at = SNAPSHOT_BYTES + sealed.len() * SEALED_BYTES;
        out[tail_at + tail_bytes..snapshot_written_at(sealed.len(), tail_bytes)].fill(0);
        let mut copied_to = stored;
        for (number, id) in logged.tail.into_iter().enumerate() {
            let span = self.memory.span(id);
            // What a span carries, the one before it has given already.
            let from = if number == 0 { span.stored } else { span.carried };
            let start = span.position + u64::from(from);
            // What is carried may not be logged yet where it comes from.
            let until = u64::from(span.logged).min(end.saturating_sub(span.position));
            if until > u64::from(from) {
                let source = self.memory.range(id, from, narrow(until));
                let target = at.start_bytes + tail_at + (start - stored) as usize;
                copied_to = span.position + until;
                self.memory.arena_mut().copy_within(source, target);
            }
        }
        assert_eq!(copied_to, end.max(stored), "a snapshot has all that is logged, and no more");
        draft.body_bytes += length;
        if producers > 0 {
            self.put_producers(slot, producers, &list, draft);
        }
        self.partition_mut(slot).snapshot_planned = true;
        draft.effects.push(Effect::Snapshot { slot });
        draft.effects.push(Effect::Point { slot, point: logged.end });
        true
    }

    /// Up to where the partition is logged. The segment in which that is may be sealed already:
    /// what follows must not keep a snapshot from being made, or the journal would never have
    /// room for it.
    pub(crate) fn logged_part(&self, slot: Slot) -> LoggedPart {
        let partition = self.partition(slot);
        let unlogged = |id: &&SpanId| self.memory.span(**id).logged < self.memory.span(**id).used;
        let end = match partition.spans.iter().find(unlogged) {
            None => partition.published,
            Some(id) => {
                let span = self.memory.span(*id);
                let kept = partition.first_planned..span.segment;
                let before = partition.sealed.iter().rfind(|it| kept.contains(&it.base));
                let is_begun = span.position > 0 || span.logged > 0;
                // What was compacted is in its file, whose generation only the list can say.
                let may_end = before.filter(|it| !is_begun && it.compacted == Default::default());
                match may_end {
                    Some(before) => Point {
                        offset: span.segment,
                        segment: before.base,
                        position: before.length_bytes,
                    },
                    None => Point {
                        offset: self.offset_at(*id, span.logged),
                        segment: span.segment,
                        position: span.position + u64::from(span.logged),
                    },
                }
            }
        };
        let here = |id: &&SpanId| self.memory.span(**id).segment == end.segment;
        let unstored =
            |id: &&SpanId| self.memory.span(**id).closed != Some(self.memory.span(**id).stored);
        let tail = partition.spans.iter().filter(here).skip_while(|id| !unstored(id));
        let tail: Vec<SpanId> = tail.copied().collect();
        let stored = match tail.first().map(|id| self.memory.span(*id)) {
            Some(span) => span.position + u64::from(span.stored),
            None => block_ceil(end.position),
        };
        LoggedPart { end, stored, tail }
    }

    /// Offset of the batch at `at` in the span. The span's first offset is not always that of its
    /// first batch: where a start left offsets out, it lies before the gap.
    fn offset_at(&self, id: SpanId, at: u32) -> Offset {
        let span = self.memory.span(id);
        match plimsoll_batch::BatchHeader::decode(self.memory.bytes(id, at, span.used)) {
            Ok(header) => header.base_offset,
            Err(error) => panic!("{id:?} has a batch at {at}: {error}"),
        }
    }

    pub(crate) fn body_range(
        &self,
        draft: &FrameDraft,
        length: usize,
    ) -> plimsoll_device::ArenaRange {
        assert!(length <= draft.room(), "the frame has room for the entry");
        let at = FRAME_HEADER_BYTES + draft.body_bytes;
        self.memory.range(draft.run, narrow(at as u64), narrow((at + length) as u64))
    }
}

#[cfg(test)]
mod tests;
