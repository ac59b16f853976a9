//! The switch: a frame says that a new file takes the place of segments, and when it is durable it
//! does.
//!
//! What a newcomer gets wrong: the old files go only after that, and they may still be read by who
//! has found his place in them; a reader that comes back looks for it anew.

use crate::commit::Effect;
use crate::compacted::{COMPACTED_ENTRY_BYTES, CompactedEntry};
use crate::encoding::Writer;
use crate::entry::encode_compacted;
use crate::frame_draft::FrameDraft;
use crate::identity::{PartitionId, Slot};
use crate::storage::Storage;

use super::pass::Phase;

impl Storage {
    /// Whether a frame is wanted for what was compacted.
    pub(crate) fn has_compacted(&self) -> bool {
        let is_ready = |phase| matches!(phase, Phase::Ready(_));
        self.compaction.pass.as_ref().is_some_and(|pass| is_ready(pass.phase))
    }

    /// Logs that a segment takes the place of others.
    pub(crate) fn plan_compacted(&mut self, draft: &mut FrameDraft) {
        let Some(pass) = &self.compaction.pass else { return };
        let (slot, Phase::Ready(entry)) = (pass.slot, pass.phase) else { return };
        let has_room =
            draft.room() >= COMPACTED_ENTRY_BYTES && self.journal_admits(PartitionId::METADATA);
        let partition = self.partition(slot);
        // A start on its way has taken some of them: the pass ends with its next step.
        let is_whole = partition.first_planned <= entry.segment.base;
        if !has_room || !is_whole || partition.closing || partition.relog {
            return;
        }
        let at = self.body_range(draft, COMPACTED_ENTRY_BYTES);
        encode_compacted(&entry, &mut Writer::new(self.memory.arena_mut().bytes_mut(at)));
        draft.body_bytes += COMPACTED_ENTRY_BYTES;
        draft.effects.push(Effect::Compacted { slot, entry });
        self.partition_mut(slot).compaction.is_switching = true;
        if let Some(pass) = &mut self.compaction.pass {
            pass.phase = Phase::Switching;
        }
        self.need_frame(slot);
    }

    /// The frame is durable: the segment counts, and those that it stands for do not.
    pub(crate) fn compacted(&mut self, slot: Slot, entry: &CompactedEntry) {
        let partition = self.partition_mut(slot);
        partition.compaction.is_switching = false;
        let active = partition.active;
        let before = match entry.replace(&mut partition.sealed, active) {
            Ok(before) => before,
            Err(what) => panic!("no start moves while a frame says what was compacted: {what}"),
        };
        let bytes: u64 = before.iter().map(|sealed| sealed.length_bytes).sum();
        partition.sealed_bytes -= bytes - entry.segment.length_bytes;
        self.counters.compacted_away_bytes += bytes - entry.segment.length_bytes;
        if entry.is_new_file(&before) {
            self.let_go_of_old_files(slot, entry);
        }
        self.consider_trim(slot);
        self.group_switched(slot);
    }

    fn let_go_of_old_files(&mut self, slot: Slot, entry: &CompactedEntry) {
        let id = self.partition(slot).id;
        // What memory has of the segments lies at other places than in the new file.
        while let Some(span) = self.partition(slot).spans.front().copied()
            && self.memory.span(span).segment < entry.until
        {
            self.partition_mut(slot).spans.pop_front();
            self.memory.drop_span(span);
        }
        self.partition_mut(slot).files.retain(|file| file.segment >= entry.until);
        self.indexes.forget(id, entry.segment.base..entry.until);
        if !self.partition(slot).closing {
            self.want_sweep(id);
        }
    }
}
