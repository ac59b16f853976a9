//! Reading: from the arena at the tail, from segments behind it.
//!
//! What a newcomer gets wrong: a cursor's place is a hint. It is used only where a batch with the
//! wanted offset is found there, and searched anew otherwise.

use plimsoll_batch::{BatchHeader, Offset};
use plimsoll_device::ArenaRange;

use crate::error::ReadError;
use crate::identity::Slot;
use crate::level::Level;
use crate::partition::Point;
use crate::span::{SpanId, narrow};
use crate::storage::Storage;

/// Names a read that was not answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// Where a reader stands. Small and copyable; the position within is only a hint, checked at each
/// use, that saves the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) offset: Offset,
    pub(crate) segment: Offset,
    pub(crate) position_bytes: u64,
    /// Which of the segment's files that is in.
    pub(crate) generation: u32,
    /// What the last read had to read to give anything: so much is read again at once.
    pub(crate) read_bytes: u32,
}

impl Cursor {
    /// A reader that wants `offset` next.
    pub fn at(offset: Offset) -> Self {
        let (segment, position_bytes) = (Offset::ZERO, u64::MAX);
        Self { offset, segment, position_bytes, generation: 0, read_bytes: 0 }
    }

    /// The offset that is wanted next.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    pub(crate) fn hint(&self) -> Option<(Offset, u64)> {
        (self.position_bytes != u64::MAX).then_some((self.segment, self.position_bytes))
    }
}

/// Whole record batches, end to end, in arena memory that stays as it is until
/// [`Storage::release`]. There may be none: where offsets were never given out, a `Pending` read
/// ends with no bytes and a cursor that has moved on.
#[derive(Debug)]
#[must_use = "lent memory must be given back with `Storage::release`"]
pub struct Lent {
    /// Where the bytes are.
    pub range: ArenaRange,
    /// The reader's place after these batches.
    pub next: Cursor,
    pub(crate) pin: u32,
}

/// What a read came to.
#[derive(Debug)]
pub enum ReadOutcome {
    /// Batches, at once. The first may begin before the wanted offset.
    Ready(Lent),
    /// Nothing yet at that level: wait for [`Notice::Advanced`](crate::Notice::Advanced).
    UpToDate,
    /// On its way from the disk: [`Notice::Read`](crate::Notice::Read) will say.
    Pending(ReadId),
}

impl Storage {
    /// Reads batches from `cursor` on, up to the watermark of `level`: about `bytes_max` bytes, at
    /// least one batch. A `Pending` read is answered even if nobody wants it any more; then release
    /// it. Where damage may have taken what was behind the end, nobody is told that he has come to
    /// it: he gets [`ReadError::Damaged`].
    pub fn read(
        &mut self,
        slot: Slot,
        cursor: Cursor,
        level: Level,
        bytes_max: usize,
    ) -> Result<ReadOutcome, ReadError> {
        let partition = self.partition(slot);
        let (start, end) = (partition.start, partition.shown.offset);
        let limit = self.limit(slot, level);
        if cursor.offset >= limit.offset
            && let Some(damage) = &partition.lost_end
        {
            return Err(ReadError::Damaged(damage.clone()));
        }
        if cursor.offset < start || cursor.offset > end {
            return Err(ReadError::OutOfRange { asked: cursor.offset, start, end });
        }
        if cursor.offset >= limit.offset {
            return Ok(ReadOutcome::UpToDate);
        }
        if let Some(lent) = self.read_tail(slot, cursor, limit, bytes_max) {
            self.counters.tail_reads += 1;
            return Ok(ReadOutcome::Ready(lent));
        }
        self.start_read(slot, cursor, level, bytes_max).map(ReadOutcome::Pending)
    }

    /// Gives lent memory back.
    #[expect(clippy::needless_pass_by_value, reason = "lent memory is given back once")]
    pub fn release(&mut self, lent: Lent) {
        self.memory.unpin(SpanId(lent.pin));
        self.tell_room();
    }

    /// The end of what a reader at `level` may see.
    pub(crate) fn limit(&self, slot: Slot, level: Level) -> Point {
        let partition = self.partition(slot);
        match level {
            Level::Memory | Level::PageCache => partition.shown,
            Level::Disk => partition.durable,
        }
    }

    /// Reads from memory, if the wanted batch is there.
    pub(crate) fn read_tail(
        &mut self,
        slot: Slot,
        cursor: Cursor,
        limit: Point,
        bytes_max: usize,
    ) -> Option<Lent> {
        let spans = &self.partition(slot).spans;
        let after = spans.partition_point(|id| self.memory.span(*id).first_offset <= cursor.offset);
        let id = spans[after.checked_sub(1)?];
        let (from, end) = self.find_in_span(id, cursor, limit)?;
        let (to, next_offset) = self.cut_in_span(id, from, end, limit, bytes_max);
        let span = self.memory.span(id);
        let next = Cursor {
            offset: next_offset,
            segment: span.segment,
            position_bytes: span.position + u64::from(to),
            // Memory holds nothing of what was compacted.
            generation: 0,
            read_bytes: cursor.read_bytes,
        };
        let range = self.memory.range(id, from, to);
        self.memory.pin(id);
        Some(Lent { range, next, pin: id.0 })
    }

    /// Where in the span the batch with the wanted offset begins, and where what may be shown ends.
    fn find_in_span(&self, id: SpanId, cursor: Cursor, limit: Point) -> Option<(u32, u32)> {
        let span = self.memory.span(id);
        let end = if span.segment == limit.segment {
            let within = limit.position.saturating_sub(span.position);
            u32::try_from(within).unwrap_or(u32::MAX).min(span.used)
        } else {
            span.used
        };
        let hinted = cursor.hint().and_then(|(segment, position)| {
            let within = u32::try_from(position.checked_sub(span.position)?).ok()?;
            let here = segment == span.segment && within >= span.carried && within < end;
            (here && self.header_at(id, within)?.base_offset >= cursor.offset).then_some(within)
        });
        let mut at = match hinted {
            Some(at) => at,
            // Offsets before the first batch, but not of an earlier span, were never given out.
            None => span.place_before(cursor.offset).or(span.index.first().copied())?.1,
        };
        while at < end {
            let header = self.header_at(id, at)?;
            if header.next_offset() > cursor.offset {
                return Some((at, end));
            }
            at += narrow(header.length_bytes as u64);
        }
        None
    }

    /// Where to end: at a batch's end, after about `bytes_max` bytes.
    fn cut_in_span(
        &self,
        id: SpanId,
        from: u32,
        end: u32,
        limit: Point,
        bytes_max: usize,
    ) -> (u32, Offset) {
        let span = self.memory.span(id);
        let wished = from.saturating_add(u32::try_from(bytes_max).unwrap_or(u32::MAX));
        if wished >= end {
            let at_limit = span.segment == limit.segment && end < span.used;
            return (end, if at_limit { limit.offset } else { span.next_offset });
        }
        let entry = span.index.partition_point(|(_, at)| *at <= wished);
        match entry.checked_sub(1).map(|entry| span.index[entry]) {
            Some((offset, at)) if at > from => (at, offset),
            _ => match self.header_at(id, from) {
                Some(header) => (from + narrow(header.length_bytes as u64), header.next_offset()),
                None => (end, span.next_offset),
            },
        }
    }

    fn header_at(&self, id: SpanId, at: u32) -> Option<BatchHeader> {
        let used = self.memory.span(id).used;
        BatchHeader::decode(self.memory.bytes(id, at, used)).ok()
    }
}
