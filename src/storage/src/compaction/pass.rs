//! A pass over one partition: what it compares with, how far it is, what it is writing.
//!
//! State only; `steps.rs` moves it on. First the segments that were not compacted yet are read for
//! their keys; then all segments are read from the front, and those that lose records, or are small
//! and neighbours, are written anew. What a newcomer gets wrong: whether a segment loses anything
//! is known before its new file is begun, at the price of reading it twice.

use alloc::vec::Vec;
use core::ops::Range;

use plimsoll_batch::Offset;
use plimsoll_device::{FileId, Instant};

use super::keys::Keys;
use super::output::Output;
use super::source::Source;
use super::{left_ms, ripe_in_ms};
use crate::compacted::CompactedEntry;
use crate::entry::Sealed;
use crate::identity::{Compaction, PartitionId, Slot};
use crate::partition::SegmentName;
use crate::written::Written;

/// One pass.
pub(crate) struct Pass {
    pub(crate) slot: Slot,
    pub(super) id: PartitionId,
    pub(super) settings: Compaction,
    /// Ages count as of its beginning.
    pub(super) now_ms: i64,
    pub(super) begun: Instant,
    /// A segment written anew is at most so large, but for one that was larger.
    pub(super) segment_bytes: u64,
    /// The segments that it may touch, from the front on.
    pub(super) segments: Vec<Sealed>,
    /// The base of the segment behind them.
    pub(super) until: Offset,
    pub(super) keys: Keys,
    /// Of which offsets the keys are.
    pub(super) compared: Range<Offset>,
    pub(super) phase: Phase,
    /// The segment that is being read, or is next.
    pub(super) at: usize,
    pub(super) source: Option<Source>,
    pub(super) output: Output,
    /// Segments that are to be one.
    pub(super) group: Option<Group>,
    /// The segment behind them.
    pub(super) next_group: Option<Group>,
    pub(super) file: Option<NewFile>,
    /// Of what was probed, batches cannot be looked into.
    pub(super) is_blind: bool,
    pub(super) in_flight: bool,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Keys are gathered.
    Compare,
    /// It is seen what a segment would lose.
    Probe,
    /// The group is whole: it is written, or it is not.
    Begin,
    /// The group is written.
    Write,
    SyncFile,
    SyncNames,
    /// The next frame is to say that it counts.
    Ready(CompactedEntry),
    /// A frame in flight says so.
    Switching,
}

/// A file that is being written.
pub(super) struct NewFile {
    pub(super) name: SegmentName,
    pub(super) file: FileId,
    pub(super) written_to: u64,
}

/// What may be merged: only segments whose deletions may go at about the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Clean from now on.
    Dirty,
    /// Not all of its keys are known to this pass.
    Partly,
    /// Clean for so long that its deletions may go.
    Ripe,
    /// Clean since then.
    Clean(Written),
}

/// Segments in a row that become one, or one.
pub(super) struct Group {
    pub(super) members: Range<usize>,
    pub(super) class: Class,
    /// Bytes that stay.
    pub(super) length: u64,
    /// Records go.
    pub(super) is_changed: bool,
    pub(super) tombstones: u32,
    /// Batches before it cannot be looked into.
    pub(super) is_blind: bool,
}

impl Pass {
    /// The base of the segment behind the one at `at`.
    pub(super) fn end_of(&self, at: usize) -> Offset {
        self.segments.get(at + 1).map_or(self.until, |next| next.base)
    }

    pub(super) fn class_of(&self, at: usize) -> Class {
        let sealed = &self.segments[at];
        match sealed.compacted.is_clean() {
            true if ripe_in_ms(sealed, self.settings, self.now_ms) == 0 => Class::Ripe,
            true => Class::Clean(sealed.compacted.cleaned),
            false if self.end_of(at) <= self.compared.end => Class::Dirty,
            false => Class::Partly,
        }
    }

    /// Whether the group and the segment behind it are worth being one.
    pub(super) fn joins(&self, group: &Group, next: &Group) -> bool {
        let is_small = |it: &Group| it.is_changed || it.length < self.segment_bytes / 2;
        let is_alike = match (group.class, next.class) {
            (Class::Clean(one), Class::Clean(other)) => {
                let age = self.settings.tombstone_retention / 4;
                left_ms(one.min(other), age, one.max(other).unix_ms().unwrap_or(0)) > 0
            }
            (one, other) => one == other,
        };
        let fits = group.length + next.length <= self.segment_bytes;
        fits && is_alike && is_small(group) && is_small(next)
    }

    /// The segment that the group becomes.
    pub(super) fn entry(&self, group: &Group, now: Written) -> CompactedEntry {
        let members = &self.segments[group.members.clone()];
        let mut segment = members[0];
        segment.compacted.tombstones = group.tombstones;
        for member in members {
            let is_unknown = [segment.written, member.written].contains(&Written::UNKNOWN);
            segment.written =
                if is_unknown { Written::UNKNOWN } else { segment.written.max(member.written) };
            let (compacted, cleaned) = (&mut segment.compacted, member.compacted.cleaned);
            compacted.cleaned = compacted.cleaned.max(cleaned);
            compacted.generation = compacted.generation.max(member.compacted.generation);
        }
        if group.class == Class::Dirty {
            segment.compacted.cleaned = now;
        }
        if let Some(file) = &self.file {
            segment.length_bytes = self.output.length;
            segment.compacted.generation = file.name.generation;
        }
        let until = self.end_of(group.members.end - 1);
        CompactedEntry { partition: self.id, segment, until }
    }
}
