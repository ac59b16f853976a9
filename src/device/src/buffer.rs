//! Memory on the heap whose address and length suit direct I/O.
//!
//! For blocks on their way to and from a disk, and for frames too large for a pooled receive. What
//! a newcomer gets wrong: the length is rounded up to whole blocks, so that `len()` may be more
//! than was asked for.

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::limits::BLOCK_BYTES;

/// A zeroed, block-aligned, owned run of bytes. Its length never changes and is a multiple of
/// [`BLOCK_BYTES`]; its address does not change when the value moves.
pub struct Buffer {
    start: NonNull<u8>,
    length_bytes: usize,
}

impl Buffer {
    /// A buffer of at least `length_bytes` zero bytes, rounded up to whole blocks.
    ///
    /// # Panics
    /// When `length_bytes` is zero or beyond `isize::MAX`.
    pub fn zeroed(length_bytes: usize) -> Self {
        assert!(length_bytes > 0, "a buffer has a length");
        let layout = Self::layout(length_bytes.next_multiple_of(BLOCK_BYTES));
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, length_bytes: layout.size() }
    }

    fn layout(length_bytes: usize) -> Layout {
        match Layout::from_size_align(length_bytes, BLOCK_BYTES) {
            Ok(layout) => layout,
            Err(_) => panic!("a buffer of {length_bytes} bytes cannot be laid out"),
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` owns `length_bytes` initialised bytes until drop.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.length_bytes) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` is the only access.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.length_bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.length_bytes)) }
    }
}

// SAFETY: a Buffer owns its bytes alone; nothing in it is bound to a thread.
unsafe impl Send for Buffer {}
// SAFETY: shared access reads only.
unsafe impl Sync for Buffer {}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.length_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zeroed_aligned_and_rounded_up_to_blocks() {
        let mut buffer = Buffer::zeroed(BLOCK_BYTES + 1);
        assert_eq!(buffer.len(), 2 * BLOCK_BYTES);
        assert_eq!(buffer.as_ptr() as usize % BLOCK_BYTES, 0);
        assert!(buffer.iter().all(|byte| *byte == 0));
        buffer[BLOCK_BYTES] = 7;
        assert_eq!(buffer[BLOCK_BYTES], 7);
    }
}
