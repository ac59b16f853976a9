//! The budget for receive buffers that connections own.
//!
//! Buffers of the usual sizes are kept for the next connection that needs one, so that taking
//! one costs neither zeroing nor page faults; kept ones count against the budget like used ones.

use alloc::vec::Vec;

use plimsoll_device::{BLOCK_BYTES, Buffer};

/// The first buffer that a connection owns.
pub(crate) const RECEIVE_SMALL_BYTES: usize = 64 << 10;

/// The buffer of a connection that keeps filling its first one.
pub(crate) const RECEIVE_BUSY_BYTES: usize = 256 << 10;

/// The buffer of a connection with frames that are larger than that.
pub(crate) const RECEIVE_LARGE_BYTES: usize = 2 << 20;

/// The sizes of which buffers are kept.
const SIZES: [usize; 3] = [RECEIVE_SMALL_BYTES, RECEIVE_BUSY_BYTES, RECEIVE_LARGE_BYTES];

/// Free buffers kept of each size.
const KEPT_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct ReceiveMemory {
    bytes_max: usize,
    used_bytes: usize,
    kept_bytes: usize,
    /// By size, as in `SIZES`.
    kept: [Vec<Buffer>; SIZES.len()],
}

impl ReceiveMemory {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used_bytes: 0, kept_bytes: 0, kept: [const { Vec::new() }; SIZES.len()] }
    }

    /// A buffer of at least `bytes`, or nothing when the budget is used up.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<Buffer> {
        let usual = SIZES.into_iter().find(|size_bytes| bytes <= *size_bytes);
        // A usual size that the budget no longer holds must not keep a frame from coming in.
        [usual, Some(bytes.next_multiple_of(BLOCK_BYTES))]
            .into_iter()
            .flatten()
            .find_map(|size_bytes| self.take_sized(size_bytes))
    }

    fn take_sized(&mut self, size_bytes: usize) -> Option<Buffer> {
        if self.used_bytes + size_bytes > self.bytes_max {
            return None;
        }
        self.used_bytes += size_bytes;
        if let Some(buffer) = self.kept(size_bytes).and_then(Vec::pop) {
            self.kept_bytes -= size_bytes;
            return Some(buffer);
        }
        if self.used_bytes + self.kept_bytes > self.bytes_max {
            self.kept.iter_mut().for_each(Vec::clear);
            self.kept_bytes = 0;
        }
        Some(Buffer::zeroed(size_bytes))
    }

    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        let size_bytes = buffer.len();
        assert!(size_bytes <= self.used_bytes, "a buffer given back was taken from here");
        self.used_bytes -= size_bytes;
        if let Some(kept) = self.kept(size_bytes)
            && kept.len() < KEPT_MAX
        {
            kept.push(buffer);
            self.kept_bytes += size_bytes;
        }
    }

    /// Whether connections should hold buffers only for frames that are not yet complete. The half
    /// above this mark is for those alone, and each of them has a timer: so nobody waits for ever
    /// for what a connection holds that has fallen silent.
    pub(crate) const fn is_short(&self) -> bool {
        self.used_bytes > self.bytes_max / 2
    }

    fn kept(&mut self, size_bytes: usize) -> Option<&mut Vec<Buffer>> {
        let at = SIZES.into_iter().position(|size| size == size_bytes)?;
        self.kept.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_never_passed_and_comes_back() {
        let mut memory = ReceiveMemory::new(4 * RECEIVE_SMALL_BYTES);
        let first = memory.take(1).unwrap();
        assert_eq!(first.len(), RECEIVE_SMALL_BYTES);
        assert!(memory.take(RECEIVE_BUSY_BYTES).is_none());
        memory.give_back(first);
        let busy = memory.take(RECEIVE_SMALL_BYTES + 1).unwrap();
        assert_eq!(busy.len(), RECEIVE_BUSY_BYTES);
        assert!(memory.is_short() && memory.take(1).is_none());
        memory.give_back(busy);
        assert!(!memory.is_short());
    }
}
