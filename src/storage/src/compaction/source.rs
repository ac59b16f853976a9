//! The batches of one sealed segment, one after the other, each checked as for a reader.
//!
//! It asks for blocks and is given them; it does not read itself. What a newcomer gets wrong: the
//! last block is filled up with zeros, which are no batch.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use plimsoll_batch::{Batch, BatchError, BatchHeader, BatchLimits, Offset};
use plimsoll_device::FileId;

use crate::encoding::block_ceil;
use crate::entry::Sealed;
use crate::identity::PartitionId;
use crate::limits::COMPACTION_STEP_BYTES;
use crate::origin::of_partition;
use crate::read_job::follows;

/// A segment that is being read.
pub(super) struct Source {
    pub(super) file: FileId,
    segment: Sealed,
    id: PartitionId,
    /// The start that reads it.
    epoch_max: u64,
    /// The base of the segment behind it.
    until: Offset,
    /// Bytes from position `start` on; those before `at` were given out.
    window: Vec<u8>,
    start: u64,
    at: usize,
    /// Up to where the file was read.
    read_to: u64,
    before: Option<BatchHeader>,
}

/// What comes next.
pub(super) enum Found<'a> {
    Batch(Batch<'a>),
    /// Blocks have to be read first, from this position and of this length.
    Wanted(u64, usize),
    End,
    Damaged(u64, String),
}

impl Source {
    pub(super) fn new(
        file: FileId,
        (id, epoch_max): (PartitionId, u64),
        (segment, until): (Sealed, Offset),
    ) -> Self {
        let (window, before) = (Vec::new(), None);
        let (start, at, read_to) = (0, 0, 0);
        Self { file, segment, id, epoch_max, until, window, start, at, read_to, before }
    }

    /// The first offset of the segment.
    pub(super) fn base(&self) -> Offset {
        self.segment.base
    }

    pub(super) fn next(&mut self) -> Found<'_> {
        let position = self.start + self.at as u64;
        let length = self.segment.length_bytes;
        if position >= length {
            return Found::End;
        }
        let more = block_ceil(length) - self.read_to;
        let first = Batch::validate_first(&self.window[self.at..], &BatchLimits::default());
        let batch = match first {
            Ok(batch) => batch,
            Err(BatchError::TooShort { .. }) if more > 0 => {
                let step = usize::try_from(more).unwrap_or(usize::MAX).min(COMPACTION_STEP_BYTES);
                return Found::Wanted(self.read_to, step);
            }
            Err(error) => return Found::Damaged(position, error.to_string()),
        };
        let header = match of_partition(*batch.header(), self.id, self.epoch_max) {
            Ok(header) => header,
            Err(what) => return Found::Damaged(position, what),
        };
        let is_within =
            self.segment.base <= header.base_offset && header.next_offset() <= self.until;
        if !is_within || !follows(self.before.as_ref(), &header) {
            let what = format!("offset {} does not follow", header.base_offset);
            return Found::Damaged(position, what);
        }
        self.before = Some(header);
        self.at += header.length_bytes;
        Found::Batch(batch)
    }

    /// Takes in the blocks that were wanted.
    pub(super) fn take_in(&mut self, bytes: &[u8]) {
        self.window.drain(..self.at);
        self.start += self.at as u64;
        self.at = 0;
        self.window.extend_from_slice(bytes);
        self.read_to += bytes.len() as u64;
        let data = usize::try_from(self.segment.length_bytes - self.start).unwrap_or(usize::MAX);
        self.window.truncate(data);
    }

    pub(super) fn read_to(&self) -> u64 {
        self.read_to
    }
}
