//! What stays of batches, put together as the content of a segment.
//!
//! The batch behind which batches were emptied stands for their offsets too, so that offsets go on
//! without holes. What a newcomer gets wrong: the first batch of a segment stays even if it is
//! empty, because nothing else says where the segment begins.

use alloc::vec::Vec;

use plimsoll_batch::{Batch, BatchHeader, Offset, Record, compact, extend_to};
use plimsoll_device::Buffer;

use super::keys::Keys;
use crate::encoding::{block_ceil, block_floor};
use crate::limits::COMPACTION_STEP_BYTES;

/// Which records stay.
pub(super) struct Rule<'a> {
    pub(super) keys: &'a Keys,
    /// Deletions of keys are old enough to go.
    pub(super) drops_tombstones: bool,
}

impl Rule<'_> {
    fn keeps(&self, record: &Record<'_>, drops_tombstones: bool) -> bool {
        let Some(key) = record.key else { return true };
        let is_latest = !self.keys.has_later(key, record.offset);
        is_latest && (record.value.is_some() || !drops_tombstones)
    }
}

/// The content of a segment, as it grows.
#[derive(Default)]
pub(super) struct Output {
    /// Only its length is wanted.
    is_dry: bool,
    /// Bytes of batches, but for the last.
    pub(super) length: u64,
    /// Those that are not written yet.
    buffer: Vec<u8>,
    /// The last batch: it may come to stand for more offsets.
    last: Vec<u8>,
    last_offset: Offset,
    last_extended: bool,
    scratch: Vec<u8>,
    /// Records that went.
    pub(super) removed: u64,
    pub(super) tombstones: u32,
    /// There were batches that cannot be looked into: what they hold of a key is not known.
    pub(super) is_blind: bool,
}

impl Output {
    /// One that writes nothing down.
    pub(super) fn dry(is_blind: bool) -> Self {
        Self { is_dry: true, is_blind, ..Self::default() }
    }

    pub(super) fn new(is_blind: bool) -> Self {
        Self { is_blind, ..Self::default() }
    }

    pub(super) fn take(&mut self, batch: &Batch<'_>, rule: &Rule<'_>) {
        let header = batch.header();
        let (mut removed, mut tombstones) = (0, 0);
        // A value that cannot be seen may be behind a batch that cannot be looked into.
        let drops_tombstones = rule.drops_tombstones && !self.is_blind;
        let keep = |record: &Record<'_>| {
            let keeps = rule.keeps(record, drops_tombstones);
            removed += u64::from(!keeps);
            tombstones += u32::from(keeps && record.key.is_some() && record.value.is_none());
            keeps
        };
        self.scratch.clear();
        let Ok(kept) = compact(batch, keep, &mut self.scratch) else {
            self.is_blind = true;
            self.scratch.clear();
            self.scratch.extend_from_slice(batch.bytes());
            return self.put(header);
        };
        self.removed += removed;
        self.tombstones = self.tombstones.saturating_add(tombstones);
        if kept > 0 || !self.extend_last(header.last_offset()) {
            self.put(header);
        }
    }

    /// Has the last batch stand for all offsets up to `last`. False if it cannot.
    fn extend_last(&mut self, last: Offset) -> bool {
        let base = BatchHeader::decode(&self.last).map(|header| header.base_offset);
        let fits = base.is_ok_and(|base| last.value() - base.value() <= i32::MAX as u64);
        if fits {
            (self.last_offset, self.last_extended) = (last, true);
        }
        fits
    }

    fn put(&mut self, header: &BatchHeader) {
        self.flush_last();
        core::mem::swap(&mut self.last, &mut self.scratch);
        (self.last_offset, self.last_extended) = (header.last_offset(), false);
    }

    fn flush_last(&mut self) {
        if self.last_extended {
            let extended = extend_to(&mut self.last, self.last_offset);
            assert!(extended, "it was looked at whether it can be");
        }
        self.length += self.last.len() as u64;
        if !self.is_dry {
            self.buffer.extend_from_slice(&self.last);
        }
        self.last.clear();
        self.last_extended = false;
    }

    /// No batch comes any more.
    pub(super) fn finish(&mut self) {
        self.flush_last();
    }

    /// There is enough for a write.
    pub(super) fn has_blocks(&self) -> bool {
        self.buffer.len() >= COMPACTION_STEP_BYTES
    }

    /// The next blocks to write: as many as one write takes, or, with `rest`, what is left, filled
    /// up with zeros.
    pub(super) fn take_blocks(&mut self, rest: bool) -> Option<Buffer> {
        let whole = self.buffer.len().min(COMPACTION_STEP_BYTES);
        let is_enough = whole == COMPACTION_STEP_BYTES || (rest && whole > 0);
        if !is_enough {
            return None;
        }
        // Only the last blocks are filled up.
        let is_last = rest && whole == self.buffer.len();
        let taken = if is_last { whole } else { block_floor(whole as u64) as usize };
        let mut blocks = Buffer::zeroed(block_ceil(taken as u64) as usize);
        blocks[..taken].copy_from_slice(&self.buffer[..taken]);
        self.buffer.drain(..taken);
        Some(blocks)
    }
}
