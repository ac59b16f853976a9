//! Where an operation's memory lies, as the kernel wants to know it.
//!
//! It looks memory up and checks bounds; it owns none. What a newcomer gets wrong: a span is a raw
//! address. It is good only next to the memory that it was made of, for as long as that stays with
//! the operation.

use std::sync::Arc;

use plimsoll_device::{Arena, ArenaRange, BLOCK_BYTES, Memory};

use crate::arena::Mapping;
use crate::errno::Errno;

/// The kernel takes at most this much as one fixed buffer, and it is a sane most for one operation.
/// Longer operations come back short.
pub(crate) const CHUNK_BYTES: usize = 1 << 30;

/// The ring's own hold on the arena: operations on it cannot outlive the memory.
pub(crate) struct ArenaMemory {
    mapping: Arc<Mapping>,
    registered: bool,
}

impl ArenaMemory {
    pub(crate) fn of(arena: &Arena) -> Option<Self> {
        Some(Self { mapping: Mapping::of_arena(arena)?, registered: false })
    }

    /// The arena in pieces that the kernel accepts as fixed buffers.
    pub(crate) fn chunks(&self) -> Vec<libc::iovec> {
        let length = self.mapping.length_bytes();
        (0..length)
            .step_by(CHUNK_BYTES)
            .map(|offset| libc::iovec {
                iov_base: self.mapping.start().wrapping_add(offset).cast(),
                iov_len: CHUNK_BYTES.min(length - offset),
            })
            .collect()
    }

    pub(crate) fn set_registered(&mut self) {
        self.registered = true;
    }

    fn span(&self, range: ArenaRange) -> Result<Span, Errno> {
        let end = range.start_bytes.checked_add(range.length_bytes);
        if end.is_none_or(|end| end > self.mapping.length_bytes()) {
            return Err(Errno(libc::EFAULT));
        }
        let length_bytes = range.length_bytes.min(CHUNK_BYTES);
        let chunk = range.start_bytes / CHUNK_BYTES;
        let last = range.start_bytes + length_bytes.saturating_sub(1);
        let fixed = self.registered && last / CHUNK_BYTES == chunk;
        Ok(Span {
            start: self.mapping.start().wrapping_add(range.start_bytes),
            length_bytes: length_bytes as u32,
            fixed_index: if fixed { u16::try_from(chunk).ok() } else { None },
        })
    }
}

/// Address and length of memory that belongs to an operation in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: *mut u8,
    pub(crate) length_bytes: u32,
    /// The fixed buffer in which it lies whole.
    pub(crate) fixed_index: Option<u16>,
}

impl Span {
    /// Whoever holds the span also holds `memory`: a buffer's bytes do not move with the value, and
    /// the arena is held by `arena`.
    pub(crate) fn of(memory: &mut Memory, arena: Option<&ArenaMemory>) -> Result<Self, Errno> {
        match memory {
            Memory::Arena(range) => arena.ok_or(Errno(libc::EFAULT))?.span(*range),
            Memory::Buffer(buffer) => Ok(Self {
                start: buffer.as_mut_ptr(),
                length_bytes: buffer.len().min(CHUNK_BYTES) as u32,
                fixed_index: None,
            }),
            Memory::None => {
                Ok(Self { start: std::ptr::null_mut(), length_bytes: 0, fixed_index: None })
            }
        }
    }

    /// As `of`, for direct I/O: refuses what is not whole blocks (`EINVAL`).
    pub(crate) fn of_blocks(
        memory: &mut Memory,
        arena: Option<&ArenaMemory>,
    ) -> Result<Self, Errno> {
        let span = Self::of(memory, arena)?;
        let whole = (span.start as usize).is_multiple_of(BLOCK_BYTES)
            && (span.length_bytes as usize).is_multiple_of(BLOCK_BYTES);
        if whole { Ok(span) } else { Err(Errno(libc::EINVAL)) }
    }
}
