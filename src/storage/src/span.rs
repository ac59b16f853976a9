//! The arena's memory as storage uses it: spans of partitions, and plain runs for frames and reads.
//!
//! Bytes are written once, then only read until the span goes. What a newcomer gets wrong: an open
//! span's last block is never given to the disk, because it still changes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use plimsoll_batch::{Offset, PREFIX_BYTES};
use plimsoll_device::{Arena, ArenaRange, BLOCK_BYTES};

use crate::arena_layout::{ArenaHeader, ArenaLayout, SPAN_HEADER_BYTES, SPAN_MARK_AT, SpanHeader};
use crate::encoding::{block_ceil, block_floor};
use crate::identity::Slot;
use crate::limits::SPAN_INDEX_BYTES;
use crate::pages::FreePages;
use crate::running_crc::RunningCrc;

/// A span or run in the slab of [`SpanMemory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SpanId(pub(crate) u32);

/// Pages in a row that hold data of one segment, appended to until it is closed.
///
/// `stored` and `logged` run ahead of what is durable: they say what the commits in flight
/// will have achieved. Positions are bytes from the span's start.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) slot: Slot,
    pub(crate) segment: Offset,
    /// Position in the segment of the span's first byte; whole blocks.
    pub(crate) position: u64,
    pub(crate) page: u32,
    pub(crate) pages: u32,
    /// Bytes at the front that the span before holds too.
    pub(crate) carried: u32,
    /// Bytes published.
    pub(crate) used: u32,
    /// Bytes that are in a journal frame, written or on its way, or in an extent.
    pub(crate) logged: u32,
    /// Bytes that are in the segment, or on their way there; whole blocks.
    pub(crate) stored: u32,
    /// As `logged`, known durable.
    pub(crate) logged_durable: u32,
    /// As `stored`, known durable.
    pub(crate) stored_durable: u32,
    /// No more is appended: up to here it must be stored before it may go.
    pub(crate) closed: Option<u32>,
    /// First offset appended here, and the one after the last.
    pub(crate) first_offset: Offset,
    pub(crate) next_offset: Offset,
    /// Places from which to step, sparse.
    pub(crate) index: Vec<(Offset, u32)>,
    /// Of what is not stored yet.
    crc: RunningCrc,
    /// Lent to sends, reads or writes in flight.
    pub(crate) pins: u32,
    /// In the list of spans that may be dropped.
    pub(crate) evictable: bool,
    /// Dropped by its partition; its pages are freed with the last pin.
    pub(crate) dropped: bool,
}

impl Span {
    pub(crate) fn capacity(&self) -> u32 {
        self.pages * BLOCK_BYTES as u32
    }

    pub(crate) fn room(&self) -> u32 {
        if self.closed.is_some() { 0 } else { self.capacity() - self.used }
    }

    /// Position in the segment after the published bytes.
    pub(crate) fn end(&self) -> u64 {
        self.position + u64::from(self.used)
    }

    /// Up to where whole blocks can be written to the segment now.
    pub(crate) fn storable(&self) -> u32 {
        self.closed.unwrap_or(narrow(block_floor(u64::from(self.used))))
    }

    /// Everything in it is durable where it belongs: memory is only a cache of it.
    pub(crate) fn is_settled(&self) -> bool {
        self.closed == Some(self.stored_durable) && self.logged_durable >= self.used
    }

    /// The index entry at or before `offset`.
    pub(crate) fn place_before(&self, offset: Offset) -> Option<(Offset, u32)> {
        let after = self.index.partition_point(|(first, _)| *first <= offset);
        self.index.get(after.checked_sub(1)?).copied()
    }
}

/// One page in so many is kept for giving back.
const RESERVED_SHARE: u32 = 64;

enum Use {
    Free,
    Span(Span),
    Run { page: u32, pages: u32, pins: u32 },
}

/// The arena with its free pages and all spans.
pub(crate) struct SpanMemory {
    arena: Arena,
    layout: ArenaLayout,
    free: FreePages,
    uses: Vec<Use>,
    free_ids: Vec<u32>,
    /// Settled spans in the order in which they settled.
    evictable: VecDeque<SpanId>,
    evictable_pages: u32,
}

/// A place for new data.
pub(crate) struct NewSpan {
    pub(crate) slot: Slot,
    pub(crate) header: SpanHeader,
    pub(crate) first_offset: Offset,
}

impl SpanMemory {
    /// Takes over a zeroed arena.
    pub(crate) fn new(mut arena: Arena, header: &ArenaHeader) -> Self {
        let layout = ArenaLayout::of(arena.length_bytes());
        let front = ArenaRange { start_bytes: 0, length_bytes: BLOCK_BYTES };
        header.encode(arena.bytes_mut(front));
        Self {
            free: FreePages::new(layout.pages),
            arena,
            layout,
            uses: Vec::new(),
            free_ids: Vec::new(),
            evictable: VecDeque::new(),
            evictable_pages: 0,
        }
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(crate) fn arena_mut(&mut self) -> &mut Arena {
        &mut self.arena
    }

    pub(crate) fn pages(&self) -> u32 {
        self.layout.pages
    }

    /// Pages that are free or can be made free at once.
    pub(crate) fn available_pages(&self) -> u32 {
        self.free.free() + self.evictable_pages
    }

    /// Whether appends may take this much. The last pages are for what makes room: a partition that
    /// gives a large span back needs a small one for its last block.
    pub(crate) fn may_take(&self, pages: u32) -> bool {
        self.available_pages() >= pages + self.layout.pages / RESERVED_SHARE
    }

    /// The oldest settled span, to be dropped by its partition.
    pub(crate) fn evictable(&self) -> impl Iterator<Item = SpanId> + '_ {
        self.evictable.iter().copied()
    }

    /// A run of pages without a header, zero-filled or not.
    pub(crate) fn take_run(&mut self, bytes: usize) -> Option<SpanId> {
        let pages = pages_for(bytes);
        let page = self.free.take(pages)?;
        Some(self.insert(Use::Run { page, pages, pins: 1 }))
    }

    pub(crate) fn take_span(&mut self, new: &NewSpan) -> Option<SpanId> {
        let header = &new.header;
        let page = self.free.take(header.pages)?;
        let place = self.layout.place(page);
        header.encode(self.arena.bytes_mut(place));
        Some(self.insert(Use::Span(Span {
            slot: new.slot,
            segment: header.segment,
            position: header.position,
            page,
            pages: header.pages,
            carried: header.carried,
            used: header.carried,
            logged: header.carried,
            stored: 0,
            logged_durable: header.carried,
            stored_durable: 0,
            closed: None,
            first_offset: new.first_offset,
            next_offset: new.first_offset,
            index: Vec::new(),
            crc: RunningCrc::default(),
            pins: 0,
            evictable: false,
            dropped: false,
        })))
    }

    pub(crate) fn span(&self, id: SpanId) -> &Span {
        match &self.uses[id.0 as usize] {
            Use::Span(span) => span,
            Use::Free | Use::Run { .. } => panic!("{id:?} is not a span"),
        }
    }

    pub(crate) fn span_mut(&mut self, id: SpanId) -> &mut Span {
        match &mut self.uses[id.0 as usize] {
            Use::Span(span) => span,
            Use::Free | Use::Run { .. } => panic!("{id:?} is not a span"),
        }
    }

    /// Where the bytes `from .. to` of a span or run lie in the arena.
    pub(crate) fn range(&self, id: SpanId, from: u32, to: u32) -> ArenaRange {
        let page = match &self.uses[id.0 as usize] {
            Use::Span(span) => span.page,
            Use::Run { page, .. } => *page,
            Use::Free => panic!("{id:?} is free"),
        };
        ArenaRange {
            start_bytes: self.layout.page_start(page) + from as usize,
            length_bytes: (to - from) as usize,
        }
    }

    pub(crate) fn bytes(&self, id: SpanId, from: u32, to: u32) -> &[u8] {
        self.arena.bytes(self.range(id, from, to))
    }

    /// Appends a batch, whose CRC field says `crc` and whose front `adjust` may finish in place,
    /// then publishes it. `offsets` are its first one and the one after it.
    pub(crate) fn append(
        &mut self,
        id: SpanId,
        (bytes, crc): (&[u8], u32),
        offsets: (Offset, Offset),
        adjust: impl FnOnce(&mut [u8]),
    ) {
        let span = self.span(id);
        assert!(bytes.len() <= span.room() as usize, "the span has room for the batch");
        let used = span.used;
        let end = used + narrow(bytes.len() as u64);
        let range = self.range(id, used, end);
        let target = self.arena.bytes_mut(range);
        target.copy_from_slice(bytes);
        adjust(target);
        self.publish(id, end);
        let mut running = self.span(id).crc;
        running.extend(self.bytes(id, 0, end), bytes.len() - PREFIX_BYTES, crc);
        let span = self.span_mut(id);
        span.crc = running;
        span.used = end;
        span.next_offset = offsets.1;
        if span.index.last().is_none_or(|(_, at)| used - at >= SPAN_INDEX_BYTES) {
            span.index.push((offsets.0, used));
        }
    }

    /// The CRC of the bytes from what is stored up to `to`, which are about to be.
    pub(crate) fn take_crc(&mut self, id: SpanId, to: u32) -> u32 {
        let span = self.span(id);
        let (mut running, from) = (span.crc, span.stored);
        let crc = running.take(self.bytes(id, 0, span.capacity()), from, to);
        self.span_mut(id).crc = running;
        crc
    }

    /// Copies the last, partial block of `from` to the front of `to`, and then publishes it there.
    pub(crate) fn carry(&mut self, from: SpanId, to: SpanId) {
        let carried = self.span(to).carried;
        let used = self.span(from).used;
        let source = self.range(from, used - carried, used);
        let target = self.range(to, 0, carried).start_bytes;
        self.arena.copy_within(source, target);
        self.publish(to, carried);
    }

    /// Writes what is carried from where no span is, and then publishes it.
    pub(crate) fn carry_in(&mut self, to: SpanId, bytes: &[u8]) {
        let carried = self.span(to).carried;
        let range = self.range(to, 0, carried);
        self.arena.bytes_mut(range).copy_from_slice(bytes);
        self.publish(to, carried);
    }

    fn publish(&mut self, id: SpanId, end: u32) {
        let place = self.layout.place(self.span(id).page);
        self.arena.publish(place.start_bytes + SPAN_MARK_AT, u64::from(end));
    }

    /// Takes no more data. With `seal` the segment ends here: the last block is filled with zeros
    /// and stored too; else the next span carries it.
    pub(crate) fn close(&mut self, id: SpanId, seal: bool) {
        let used = self.span(id).used;
        let whole = if seal { block_ceil(u64::from(used)) } else { block_floor(u64::from(used)) };
        let whole = narrow(whole);
        if seal && whole > used {
            let padding = self.range(id, used, whole);
            self.arena.bytes_mut(padding).fill(0);
        }
        self.span_mut(id).closed = Some(whole);
        self.settle(id);
    }

    /// Lists the span for eviction if everything in it is durable elsewhere.
    pub(crate) fn settle(&mut self, id: SpanId) {
        let span = self.span_mut(id);
        if !span.evictable && !span.dropped && span.is_settled() {
            span.evictable = true;
            self.evictable_pages += self.span(id).pages;
            self.evictable.push_back(id);
        }
    }

    pub(crate) fn pin(&mut self, id: SpanId) {
        match &mut self.uses[id.0 as usize] {
            Use::Span(Span { pins, .. }) | Use::Run { pins, .. } => *pins += 1,
            Use::Free => panic!("{id:?} is free"),
        }
    }

    /// A run that is kept: whether it is large enough and nobody uses it now.
    pub(crate) fn is_idle_run(&self, id: SpanId, bytes: usize) -> bool {
        let pages_needed = pages_for(bytes);
        matches!(&self.uses[id.0 as usize],
            Use::Run { pages, pins: 1, .. } if *pages >= pages_needed)
    }

    /// Undoes a pin; frees the pages if it was the last and nobody else wants them.
    pub(crate) fn unpin(&mut self, id: SpanId) {
        let free = match &mut self.uses[id.0 as usize] {
            Use::Span(span) => {
                span.pins -= 1;
                span.pins == 0 && span.dropped
            }
            Use::Run { pins, .. } => {
                *pins -= 1;
                *pins == 0
            }
            Use::Free => panic!("{id:?} is free"),
        };
        if free {
            self.free_use(id);
        }
    }

    /// The partition no longer knows the span.
    pub(crate) fn drop_span(&mut self, id: SpanId) {
        let span = self.span_mut(id);
        assert!(!span.dropped, "a span is dropped once");
        span.dropped = true;
        let (evictable, pages, page, pins) = (span.evictable, span.pages, span.page, span.pins);
        if evictable {
            self.evictable_pages -= pages;
            if self.evictable.front() == Some(&id) {
                self.evictable.pop_front();
            } else {
                self.evictable.retain(|other| *other != id);
            }
        }
        // A later process must not take the pages' next content for this span's.
        let place = self.layout.place(page);
        self.arena.bytes_mut(place)[..SPAN_HEADER_BYTES].fill(0);
        if pins == 0 {
            self.free_use(id);
        }
    }

    fn free_use(&mut self, id: SpanId) {
        let used = core::mem::replace(&mut self.uses[id.0 as usize], Use::Free);
        match used {
            Use::Span(Span { page, pages, .. }) | Use::Run { page, pages, .. } => {
                self.free.give(page, pages);
            }
            Use::Free => panic!("{id:?} is freed once"),
        }
        self.free_ids.push(id.0);
    }

    fn insert(&mut self, used: Use) -> SpanId {
        if let Some(id) = self.free_ids.pop() {
            self.uses[id as usize] = used;
            return SpanId(id);
        }
        self.uses.push(used);
        SpanId(narrow(self.uses.len() as u64 - 1))
    }
}

/// Pages that hold `bytes` bytes.
pub(crate) fn pages_for(bytes: usize) -> u32 {
    narrow(bytes.div_ceil(BLOCK_BYTES).max(1) as u64)
}

/// A position within a span, which always fits.
pub(crate) fn narrow(value: u64) -> u32 {
    match u32::try_from(value) {
        Ok(value) => value,
        Err(_) => panic!("{value} is beyond what a span can hold"),
    }
}
