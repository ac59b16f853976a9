//! Moving a partition's start: what lies below it is gone for good, and whole segments go with it.
//!
//! A frame says where the start is and which segment is the first that counts; when that frame is
//! durable, the start moves, and then the files go. Nothing is ever rewritten. What a newcomer
//! gets wrong: a segment counts until the frame is durable, so that readers find it until then, and
//! a snapshot that is planned meanwhile must leave it out already.

use alloc::vec::Vec;
use core::fmt;

use plimsoll_batch::Offset;

use crate::commit::Effect;
use crate::encoding::Writer;
use crate::entry::{START_BYTES, Sealed, encode_start};
use crate::error::{Damage, Failure};
use crate::frame_draft::FrameDraft;
use crate::identity::{PartitionId, Slot};
use crate::limits::SEGMENTS_MAX;
use crate::notice::Notice;
use crate::partition::Partition;
use crate::storage::{Seeding, StopState, Storage};

/// Why records were not deleted. In every case the start stays where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrimError {
    /// The offset is beyond the memory watermark.
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// First offset that can be read.
        start: Offset,
        /// The memory watermark.
        end: Offset,
    },
    /// A write or a flush failed on this shard.
    Failed(Failure),
    /// The shard's journal or this partition is damaged: it can be read only.
    Damaged(Damage),
    /// The shard is stopping.
    Stopping,
}

impl fmt::Display for TrimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { asked, start, end } => write!(
                f,
                "offset {asked} is out of range: records can be deleted up to an offset from \
                 {start} to {end}"
            ),
            Self::Failed(failure) => write!(f, "the shard's disk failed ({failure}); restart it"),
            Self::Damaged(damage) => write!(f, "damaged, reads only: {damage}"),
            Self::Stopping => f.write_str("the server is stopping"),
        }
    }
}

impl core::error::Error for TrimError {}

impl Storage {
    /// Deletes all records below `to`. Done when the partition's start is not below `to`; look at
    /// once, then at each [`Notice::StartMoved`]. Files follow.
    pub fn delete_records(&mut self, slot: Slot, to: Offset) -> Result<(), TrimError> {
        if self.stop != StopState::Running {
            return Err(TrimError::Stopping);
        }
        if let Some(failure) = &self.failure {
            return Err(TrimError::Failed(failure.clone()));
        }
        let partition = self.partition(slot);
        if let Some(damage) = partition.damage.as_ref().or(self.journal_damage.as_ref()) {
            return Err(TrimError::Damaged(damage.clone()));
        }
        let (start, end) = (partition.start, partition.shown.offset);
        if to > end {
            return Err(TrimError::OutOfRange { asked: to, start, end });
        }
        self.want_start(slot, to);
        Ok(())
    }

    /// The start is to be at `to`, as soon as everything before it is durable.
    pub(crate) fn want_start(&mut self, slot: Slot, to: Offset) {
        let partition = self.partition_mut(slot);
        if to <= partition.start_wanted {
            return;
        }
        partition.start_wanted = to;
        let is_all = to == partition.published.offset && partition.published.position > 0;
        if is_all && partition.sealed.len() < SEGMENTS_MAX {
            // The active segment can go only when it takes no more data.
            self.roll(slot);
        }
        if self.partition(slot).durable.offset < to {
            self.want_commit(slot);
        }
        self.consider_trim(slot);
    }

    /// Lists the partition for the next frame if its start can move, or segments can go.
    pub(crate) fn consider_trim(&mut self, slot: Slot) {
        if self.seeding == Seeding::Done
            && self.partition(slot).wants_trim()
            && !self.partition(slot).trim_listed
            && self.next_start(slot).is_some()
        {
            self.partition_mut(slot).trim_listed = true;
            self.trims.push_back(slot);
        }
    }

    /// The start and the first segment that counts, as they can be logged now; if either moves.
    fn next_start(&self, slot: Slot) -> Option<(Offset, Offset)> {
        let partition = self.partition(slot);
        if partition.closing || partition.relog || partition.compaction.is_switching {
            return None;
        }
        // An entry must not name offsets that no frame before it has.
        let is_durable = partition.durable.offset >= partition.start_wanted;
        let start = if is_durable { partition.start_wanted } else { partition.start_planned };
        let mut first = partition.first_planned;
        while let Some(next) = partition.segment_after(first)
            && next <= start
            && self.is_stored(slot, first)
        {
            first = next;
        }
        (start > partition.start_planned || first > partition.first_planned)
            .then_some((start, first))
    }

    /// Whether the segment is sealed, and all of it durable in its file and logged as such: then
    /// no frame to come names it, and every frame that does is known to be durable.
    pub(crate) fn is_stored(&self, slot: Slot, segment: Offset) -> bool {
        let partition = self.partition(slot);
        let mut spans = partition.spans.iter().map(|id| self.memory.span(*id));
        segment != partition.active
            && self.grows.get(&slot).is_none_or(|grow| grow.segment() != segment)
            && spans.all(|span| span.segment != segment || span.is_settled())
    }

    /// Logs the starts that can move. On a full disk this is what makes room, so that it has the
    /// metadata topic's share of the journal.
    pub(crate) fn plan_trims(&mut self, draft: &mut FrameDraft) {
        while draft.room() >= START_BYTES
            && self.journal_admits(PartitionId::METADATA)
            && let Some(slot) = self.trims.pop_front()
        {
            if !self.is_open(slot) {
                continue;
            }
            self.partition_mut(slot).trim_listed = false;
            if let Some((start, first)) = self.next_start(slot) {
                self.put_start(slot, (start, first), draft);
            }
        }
    }

    fn put_start(&mut self, slot: Slot, (start, first): (Offset, Offset), draft: &mut FrameDraft) {
        let id = self.partition(slot).id;
        let at = self.body_range(draft, START_BYTES);
        encode_start(id, (start, first), &mut Writer::new(self.memory.arena_mut().bytes_mut(at)));
        draft.body_bytes += START_BYTES;
        let partition = self.partition_mut(slot);
        partition.start_planned = start;
        partition.first_planned = first;
        draft.effects.push(Effect::Start { slot, start, first });
        self.need_frame(slot);
    }

    /// The frame is durable: the start moves, and the segments before `first` are nothing.
    pub(crate) fn start_moved(&mut self, slot: Slot, start: Offset, first: Offset) {
        if self.partition(slot).closing {
            return;
        }
        let partition = self.partition_mut(slot);
        partition.start = start;
        partition.files.retain(|file| file.segment >= first);
        let gone = partition.sealed.partition_point(|sealed| sealed.base < first);
        let gone: Vec<Sealed> = partition.sealed.drain(..gone).collect();
        let bytes: u64 = gone.iter().map(|sealed| sealed.length_bytes).sum();
        partition.sealed_bytes -= bytes;
        self.counters.removed_segments += gone.len() as u64;
        self.counters.removed_bytes += bytes;
        while let Some(id) = self.partition(slot).spans.front().copied()
            && self.memory.span(id).segment < first
        {
            self.partition_mut(slot).spans.pop_front();
            self.memory.drop_span(id);
        }
        if !gone.is_empty() {
            self.promise_files(slot, &gone, first);
            self.want_sweep(self.partition(slot).id);
        }
        self.notices.push_back(Notice::StartMoved(slot));
        self.consider_trim(slot);
    }
}

impl Partition {
    /// Whether anything is left to be done for the start; cheap, asked at each commit.
    fn wants_trim(&self) -> bool {
        self.start_wanted > self.start_planned
            || self.segment_after(self.first_planned).is_some_and(|next| next <= self.start_planned)
    }
}
