//! `acks`: which produce frames have reached which level.
//!
//! Server to client only, and answers no single request. [`AcksEncoder`] gathers what is to be
//! acked in one turn and merges what continues, so that a run of frames costs one entry.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::body::{Body, begin, finish, put_count, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::level::AckLevel;
use crate::limits::ACKS_PER_FRAME_MAX;
use crate::opcode::Opcode;

const ENTRY_BYTES: usize = 24;

/// A run of produce frames of one handle that have reached a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckEntry {
    /// The handle of all of them.
    pub handle: Handle,
    /// What they have reached.
    pub level: AckLevel,
    /// The correlation id of the first; the others follow it modulo 2^32.
    pub first: CorrelationId,
    /// How many frames; at least one.
    pub frames: u32,
    /// The offset of the first record of the first; the records of all lie one after the other.
    pub base_offset: Offset,
}

impl AckEntry {
    fn put(&self, out: &mut Vec<u8>) {
        put_u32(self.handle.0, out);
        out.extend_from_slice(&[self.level as u8, 0, 0, 0]);
        put_u32(self.first.0, out);
        put_u32(self.frames, out);
        put_u64(self.base_offset.value(), out);
    }

    fn take(body: &mut Body<'_>) -> Result<AckEntry, FrameError> {
        let handle = body.handle()?;
        let level = body.choice("level", AckLevel::from_byte)?;
        body.reserved::<3>()?;
        let first = CorrelationId(body.u32("first correlation id")?);
        let frames = body.u32("number of frames")?;
        if frames == 0 {
            return Err(FrameError::OutOfBounds { what: "number of frames", value: 0 });
        }
        Ok(AckEntry { handle, level, first, frames, base_offset: body.offset("base offset")? })
    }
}

/// The entries of one `acks` frame, all of them checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acks<'a> {
    entries: &'a [u8],
}

impl<'a> Acks<'a> {
    /// How many entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, in the order in which the server sent them.
    #[must_use]
    pub const fn iter(&self) -> AckEntries<'a> {
        AckEntries { rest: Body::new(self.entries) }
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<Acks<'a>, FrameError> {
        let count = body.u32("count")?;
        body.reserved::<4>()?;
        let entries = body.rest();
        if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_BYTES))
            != Some(entries.len())
        {
            return Err(FrameError::OutOfBounds { what: "count", value: u64::from(count) });
        }
        let mut walk = Body::new(entries);
        for _ in 0..count {
            AckEntry::take(&mut walk)?;
        }
        Ok(Acks { entries })
    }
}

impl<'a> IntoIterator for Acks<'a> {
    type Item = AckEntry;
    type IntoIter = AckEntries<'a>;

    fn into_iter(self) -> AckEntries<'a> {
        self.iter()
    }
}

/// Iterates over the entries of an [`Acks`].
#[derive(Clone, Debug)]
pub struct AckEntries<'a> {
    rest: Body<'a>,
}

impl Iterator for AckEntries<'_> {
    type Item = AckEntry;

    fn next(&mut self) -> Option<AckEntry> {
        // They were checked when the frame was decoded: an error here is the end.
        AckEntry::take(&mut self.rest).ok()
    }
}

/// Gathers acks, merges them, and writes them as one frame.
#[derive(Clone, Debug, Default)]
pub struct AcksEncoder {
    entries: Vec<AckEntry>,
    /// The offset after the last record of the last entry.
    next_offset: Offset,
}

impl AcksEncoder {
    /// Nothing gathered yet.
    #[must_use]
    pub const fn new() -> AcksEncoder {
        AcksEncoder { entries: Vec::new(), next_offset: Offset::ZERO }
    }

    /// Whether nothing is gathered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry; `next_offset` is the offset after its last record. If it continues the entry
    /// before it (same handle and level, next correlation id, next offset), the two become one.
    #[inline]
    pub fn push(&mut self, entry: AckEntry, next_offset: Offset) {
        let continued_at = self.next_offset;
        self.next_offset = next_offset;
        if let Some(last) = self.entries.last_mut()
            && last.handle == entry.handle
            && last.level == entry.level
            && last.first.advance(last.frames) == entry.first
            && continued_at == entry.base_offset
            && let Some(frames) = last.frames.checked_add(entry.frames)
        {
            last.frames = frames;
        } else {
            self.entries.push(entry);
        }
    }

    /// Appends what is gathered as one frame (more, if the entries are more than
    /// [`ACKS_PER_FRAME_MAX`]; none, if there are none) and begins anew.
    pub fn finish_into(&mut self, out: &mut Vec<u8>) {
        for entries in self.entries.chunks(ACKS_PER_FRAME_MAX) {
            let start = begin(Opcode::Acks, Flags::RESPONSE, CorrelationId::NONE, out);
            put_count(entries.len(), out);
            put_u32(0, out);
            for entry in entries {
                entry.put(out);
            }
            finish(start, out);
        }
        self.entries.clear();
    }
}
