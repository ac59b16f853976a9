//! The arena: one run of bytes that outlives the process, and that the kernel reads and writes
//! directly.
//!
//! The machine maps it, the storage of one shard owns it. The storage may read and write any part
//! of it that no operation in flight was given; the kernel touches only what operations name. What
//! a newcomer gets wrong: after a kill another process finds whatever bytes were stored here, in
//! program order as far as `publish` says and in no order otherwise.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::buffer::Buffer;
use crate::limits::BLOCK_BYTES;

/// A part of an arena, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArenaRange {
    /// First byte.
    pub start_bytes: usize,
    /// How many bytes.
    pub length_bytes: usize,
}

impl ArenaRange {
    /// The byte after the last.
    pub const fn end_bytes(self) -> usize {
        self.start_bytes + self.length_bytes
    }
}

/// What a store went over, in an arena that notes its stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwritten {
    /// Where in the arena it begins.
    pub start_bytes: usize,
    /// What was there.
    pub before: Vec<u8>,
}

/// One shard's append memory, mapped for as long as this value lives.
pub struct Arena {
    start: NonNull<u8>,
    length_bytes: usize,
    /// What the stores since the last look went over, oldest first, where somebody wants to know.
    noted: Option<Vec<Overwritten>>,
    /// Owns the mapping; unmaps when dropped.
    _mapping: Box<dyn Any + Send>,
}

impl Arena {
    /// Takes over a mapping of `length_bytes` bytes at `start`; `mapping` is whatever keeps it
    /// alive.
    ///
    /// # Safety
    /// `start` must be aligned to [`BLOCK_BYTES`] and valid for reads and writes of `length_bytes`
    /// bytes until `mapping` is dropped, and nothing else in this process may touch those bytes but
    /// the kernel, on behalf of operations that name them.
    pub unsafe fn from_mapping(
        start: NonNull<u8>,
        length_bytes: usize,
        mapping: Box<dyn Any + Send>,
    ) -> Self {
        assert_eq!(start.as_ptr() as usize % BLOCK_BYTES, 0, "an arena is block-aligned");
        assert_eq!(length_bytes % BLOCK_BYTES, 0, "an arena is whole blocks");
        Self { start, length_bytes, noted: None, _mapping: mapping }
    }

    /// An arena on the heap, for machines whose memory ends with the process.
    pub fn on_heap(mut buffer: Buffer) -> Self {
        let length_bytes = buffer.len();
        let start = NonNull::from(&mut *buffer).cast::<u8>();
        // SAFETY: the buffer is block-aligned, its bytes do not move with it, and it is dropped
        // with the arena, which is the only one to know of it.
        unsafe { Self::from_mapping(start, length_bytes, Box::new(buffer)) }
    }

    /// Address of the first byte, for the machine that registers the memory with the kernel.
    pub fn start_address(&self) -> *const u8 {
        self.start.as_ptr()
    }

    /// Length in bytes.
    pub fn length_bytes(&self) -> usize {
        self.length_bytes
    }

    /// The bytes of `range`.
    ///
    /// # Panics
    /// When `range` does not lie within the arena.
    pub fn bytes(&self, range: ArenaRange) -> &[u8] {
        let start = self.address(range);
        // SAFETY: `address` checked the range; a write needs `&mut self`, and operations in flight
        // that fill memory are given ranges that the owner does not read before they complete.
        unsafe { core::slice::from_raw_parts(start, range.length_bytes) }
    }

    /// From now on notes what each store goes over, for a simulated machine whose processes die
    /// between two of them. Elsewhere it stays off, and costs a branch a store.
    pub fn note_stores(&mut self) {
        self.noted = Some(Vec::new());
    }

    /// The notes since they were taken last, oldest first: one for each range that was given out
    /// for writing, in whatever order its bytes were then stored.
    pub fn take_noted(&mut self) -> Vec<Overwritten> {
        self.noted.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// How many notes there are.
    pub fn noted(&self) -> usize {
        self.noted.as_ref().map_or(0, Vec::len)
    }

    /// The bytes of `range`, for writing.
    ///
    /// # Panics
    /// When `range` does not lie within the arena.
    pub fn bytes_mut(&mut self, range: ArenaRange) -> &mut [u8] {
        let start = self.address(range);
        self.note(range);
        // SAFETY: as in `bytes`, and `&mut self` is the only access.
        unsafe { core::slice::from_raw_parts_mut(start, range.length_bytes) }
    }

    /// Copies the bytes of `from` to `to_bytes`; the two may overlap.
    ///
    /// # Panics
    /// When either lies not within the arena.
    pub fn copy_within(&mut self, from: ArenaRange, to_bytes: usize) {
        let source = self.address(from);
        let to = ArenaRange { start_bytes: to_bytes, length_bytes: from.length_bytes };
        let target = self.address(to);
        self.note(to);
        // SAFETY: both ranges were checked; `copy` allows overlap; `&mut self` is the only access.
        unsafe { core::ptr::copy(source, target, from.length_bytes) }
    }

    /// Stores `value` at `position_bytes` so that whoever finds it also finds everything that was
    /// written before (release ordering).
    ///
    /// # Panics
    /// When the eight bytes are not within the arena or not aligned to eight.
    pub fn publish(&mut self, position_bytes: usize, value: u64) {
        assert_eq!(position_bytes % 8, 0, "a mark is aligned to its size");
        let mark = ArenaRange { start_bytes: position_bytes, length_bytes: 8 };
        let start = self.address(mark);
        self.note(mark);
        // SAFETY: in range and aligned (the arena's start is block-aligned); u64 has no invalid
        // bit patterns; `&mut self` is the only access in this process.
        let mark = unsafe { AtomicU64::from_ptr(start.cast::<u64>()) };
        mark.store(value.to_le(), Ordering::Release);
    }

    fn note(&mut self, range: ArenaRange) {
        if self.noted.is_some() {
            self.keep(range);
        }
    }

    #[cold]
    fn keep(&mut self, range: ArenaRange) {
        let before = self.bytes(range).to_vec();
        if let Some(noted) = &mut self.noted {
            noted.push(Overwritten { start_bytes: range.start_bytes, before });
        }
    }

    fn address(&self, range: ArenaRange) -> *mut u8 {
        let end = range.start_bytes.checked_add(range.length_bytes);
        assert!(
            end.is_some_and(|end| end <= self.length_bytes),
            "{range:?} is not within an arena of {} bytes",
            self.length_bytes
        );
        // SAFETY: the offset is within the mapping, as asserted.
        unsafe { self.start.as_ptr().add(range.start_bytes) }
    }
}

// SAFETY: the mapping is not bound to a thread, and `_mapping` is Send.
unsafe impl Send for Arena {}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arena({} bytes)", self.length_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena(length_bytes: usize) -> Arena {
        Arena::on_heap(Buffer::zeroed(length_bytes))
    }

    #[test]
    fn a_published_mark_is_read_back_little_endian() {
        let mut arena = arena(BLOCK_BYTES);
        arena.publish(16, 0x0102_0304);
        let mark = arena.bytes(ArenaRange { start_bytes: 16, length_bytes: 8 });
        assert_eq!(mark, 0x0102_0304_u64.to_le_bytes());
    }

    #[test]
    fn an_arena_notes_what_its_stores_go_over_once_it_is_told_to() {
        let mut arena = arena(BLOCK_BYTES);
        let front = ArenaRange { start_bytes: 0, length_bytes: 2 };
        arena.bytes_mut(front).fill(1);
        assert_eq!(arena.noted(), 0);
        arena.note_stores();
        arena.bytes_mut(front).fill(2);
        arena.copy_within(front, 7);
        arena.publish(0, 3);
        assert_eq!(arena.noted(), 3);
        let over = |start_bytes, before: &[u8]| Overwritten { start_bytes, before: before.into() };
        let all = [over(0, &[1, 1]), over(7, &[0, 0]), over(0, &[2, 2, 0, 0, 0, 0, 0, 2])];
        assert_eq!(arena.take_noted(), all);
        assert_eq!(arena.take_noted(), []);
    }

    #[test]
    #[should_panic(expected = "is not within an arena")]
    fn a_range_beyond_the_end_is_refused() {
        let arena = arena(BLOCK_BYTES);
        arena.bytes(ArenaRange { start_bytes: BLOCK_BYTES - 1, length_bytes: 2 });
    }

    #[test]
    #[should_panic(expected = "aligned to its size")]
    fn a_mark_that_is_not_aligned_is_refused() {
        arena(BLOCK_BYTES).publish(4, 1);
    }
}
