//! Group commit: what waits is planned into one frame, written, flushed, and then it is durable.
//!
//! `Writing -> Flushing -> Durable`. A flush is submitted only when every write that it covers has
//! completed with its full length; a commit takes effect only after all commits before it. What a
//! newcomer gets wrong: an extent and the frame that names it are written side by side, so that a
//! frame alone proves nothing: recovery checks the extents of the last frames.

use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::{DiskAction, FileId, IoError};

use crate::compacted::CompactedEntry;
use crate::flight::{Purpose, WritePart};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, Sequence};
use crate::frame_draft::FrameDraft;
use crate::identity::Slot;
use crate::limits::{COMMITS_MAX, FRAME_BYTES_MAX, READS_MAX, SECOND_COMMIT_BYTES};
use crate::partition::Point;
use crate::span::SpanId;
use crate::storage::{Seeding, StopState, Storage};

/// News of moved data that is worth a commit of its own while more is on its way.
const STORED_A_COMMIT: usize = 8;

/// One group commit in flight.
pub(crate) struct Commit {
    pub(crate) sequence: Sequence,
    run: SpanId,
    phase: Phase,
    writes_left: usize,
    syncs_left: usize,
    /// Files of segments that it writes; the flush covers them too.
    segment_files: Vec<FileId>,
    effects: Vec<Effect>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Writing,
    Flushing,
    Durable,
}

/// What becomes true when a commit is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// A span is logged up to this mark, and up to `stored` in its segment if the frame says so;
    /// pinned meanwhile. Blocks of a spill that is under way are not the frame's to speak for.
    Span { slot: Slot, span: SpanId, logged: u32, stored: Option<u32> },
    /// Everything of the partition before the point is durable.
    Point { slot: Slot, point: Point },
    /// Offsets below this may be shown.
    Lease { slot: Slot, lease: Offset },
    /// The partition needs no older frame than this one.
    Snapshot { slot: Slot },
    /// Nothing below `start` can be read, and no segment before `first` counts.
    Start { slot: Slot, start: Offset, first: Offset },
    /// A segment takes the place of others.
    Compacted { slot: Slot, entry: CompactedEntry },
}

impl Effect {
    fn slot(&self) -> Slot {
        match self {
            Self::Span { slot, .. }
            | Self::Point { slot, .. }
            | Self::Lease { slot, .. }
            | Self::Start { slot, .. }
            | Self::Compacted { slot, .. }
            | Self::Snapshot { slot } => *slot,
        }
    }
}

impl Commit {
    /// Whether the partition has a part in it.
    pub(crate) fn concerns(&self, slot: Slot) -> bool {
        self.effects.iter().any(|effect| effect.slot() == slot)
    }
}

impl Storage {
    /// Begins commits as long as there is work and room for them.
    pub(crate) fn start_commits(&mut self) {
        if self.checkpoint_to.is_none() && self.waits_for_journal() {
            self.advance_checkpoint();
        }
        while self.may_start_commit() {
            let Some(run) = self.frame_runs.pop() else { return };
            let mut draft = FrameDraft::new(run);
            self.fill_frame(&mut draft);
            if draft.is_empty() {
                self.frame_runs.push(draft.run);
                return;
            }
            self.submit_commit(draft);
        }
    }

    fn may_start_commit(&mut self) -> bool {
        if self.failure.is_some() || self.journal_damage.is_some() {
            return false;
        }
        let wanted = match self.commits.len() {
            0 => true,
            COMMITS_MAX.. => false,
            _ => self.urgent_bytes >= SECOND_COMMIT_BYTES,
        };
        wanted && self.stop <= StopState::Flushing && self.has_commit_work()
    }

    fn has_commit_work(&self) -> bool {
        !self.urgent.is_empty()
            || !self.leases_wanted.is_empty()
            || !self.trims.is_empty()
            || self.has_compacted()
            || !self.leases_void.is_empty()
            || self.marker_wanted
            || !self.snapshots_wanted.is_empty()
            || self.stored.len() >= STORED_A_COMMIT
            || (self.spills == 0 && !self.stored.is_empty())
            || self.checkpoint_has_work()
            || (self.stop == StopState::Flushing && self.commits.is_empty())
    }

    fn fill_frame(&mut self, draft: &mut FrameDraft) {
        self.plan_snapshots(draft);
        self.plan_checkpoint(draft);
        self.plan_stored(draft);
        self.plan_leases(draft);
        self.plan_urgent(draft);
        self.plan_trims(draft);
        self.plan_compacted(draft);
        draft.marker = self.marker_wanted && self.journal.fits(FRAME_BYTES_MAX as u64, 0);
        let all_planned = self.urgent.is_empty() && self.stored.is_empty() && draft.is_empty();
        let settled = self.spills == 0 && self.commits.is_empty();
        if self.stop == StopState::Flushing && all_planned && settled {
            self.plan_last_frame(draft);
        }
    }

    /// Writes the frame behind the last one of a clean stop, if there is room for it.
    pub(crate) fn write_witness(&mut self) {
        if self.failure.is_some() || !self.journal.fits(FRAME_BYTES_MAX as u64, 0) {
            return;
        }
        let Some(run) = self.frame_runs.pop() else { return };
        self.submit_commit(FrameDraft { clean: true, ..FrameDraft::new(run) });
    }

    fn submit_commit(&mut self, draft: FrameDraft) {
        self.marker_wanted = false;
        let header = self.seal_frame(&draft);
        let FrameDraft { run, effects, extents, clean, .. } = draft;
        let mut commit = Commit {
            sequence: header.sequence,
            run,
            phase: Phase::Writing,
            writes_left: 1 + extents.len(),
            syncs_left: 0,
            segment_files: Vec::new(),
            effects,
            bytes: header.length_bytes as u64,
        };
        let frame = WritePart {
            file: self.journal_file,
            position: self.journal.file_position(header.position),
            range: self.memory.range(run, 0, crate::span::narrow(header.length_bytes as u64)),
            durable: self.durable_writes,
        };
        for part in &extents {
            commit.bytes += part.range.length_bytes as u64;
            self.counters.extent_bytes += part.range.length_bytes as u64;
            // Two extents in one file hold it twice; one flush of it is enough.
            if commit.segment_files.contains(&part.file) {
                self.files.release(part.file);
            } else {
                commit.segment_files.push(part.file);
            }
        }
        for part in extents.into_iter().chain([frame]) {
            let purpose = Purpose::CommitWrite(header.sequence, part);
            self.submit_on(part.file, purpose, Self::write_action(&part));
        }
        if clean && self.stop < StopState::LastFrame {
            self.stop = StopState::LastFrame;
        }
        self.commits.push_back(commit);
    }

    /// Writes the header over the planned body, and moves the journal on.
    fn seal_frame(&mut self, draft: &FrameDraft) -> FrameHeader {
        let length_bytes = FrameHeader::frame_bytes(draft.body_bytes);
        let length = length_bytes as u64;
        let position = self.journal.place(length);
        let body_end = FRAME_HEADER_BYTES + draft.body_bytes;
        let range = self.memory.range(draft.run, 0, crate::span::narrow(length));
        let frame = self.memory.arena_mut().bytes_mut(range);
        frame[body_end..].fill(0);
        let mut header = FrameHeader {
            clean: draft.clean,
            length_bytes,
            body_bytes: draft.body_bytes,
            data_dir: self.data_dir,
            journal: self.journal.index,
            epoch: self.epoch,
            sequence: self.journal.next.sequence,
            position,
            durable_through: self.durable_frame,
            body_crc: crate::encoding::crc(&frame[FRAME_HEADER_BYTES..body_end]),
            previous_check: self.journal.next.previous_check,
            check: 0,
        };
        header.check = header.encode(frame);
        self.journal.advance(position, length, header.check);
        header
    }

    pub(crate) fn handle_commit_write(
        &mut self,
        sequence: Sequence,
        part: WritePart,
        result: Result<usize, IoError>,
    ) {
        match Self::rest_of_write(part, result) {
            Ok(Some(rest)) => {
                let purpose = Purpose::CommitWrite(sequence, rest);
                self.submit_on(rest.file, purpose, Self::write_action(&rest));
            }
            Ok(None) => self.commit_written(sequence),
            Err(error) => {
                let place = (part.position, part.range.length_bytes as u64);
                self.fail_on("write", part.file, place, error);
            }
        }
    }

    fn commit_written(&mut self, sequence: Sequence) {
        let durable_writes = self.durable_writes;
        let journal_file = self.journal_file;
        let Some(commit) = self.commit_mut(sequence) else { return };
        commit.writes_left -= 1;
        if commit.writes_left > 0 {
            return;
        }
        if durable_writes {
            commit.phase = Phase::Durable;
            self.apply_commits();
            return;
        }
        commit.phase = Phase::Flushing;
        let mut files = commit.segment_files.clone();
        files.push(journal_file);
        commit.syncs_left = files.len();
        for file in files {
            let purpose = Purpose::CommitSync(sequence, file);
            self.submit_on(file, purpose, DiskAction::SyncData { file });
        }
    }

    pub(crate) fn handle_commit_sync(
        &mut self,
        sequence: Sequence,
        file: FileId,
        result: Result<(), IoError>,
    ) {
        if let Err(error) = result {
            self.fail_on("flush", file, (0, 0), error);
            return;
        }
        let Some(commit) = self.commit_mut(sequence) else { return };
        commit.syncs_left -= 1;
        if commit.syncs_left == 0 {
            commit.phase = Phase::Durable;
            self.apply_commits();
        }
    }

    fn commit_mut(&mut self, sequence: Sequence) -> Option<&mut Commit> {
        self.commits.iter_mut().find(|commit| commit.sequence == sequence)
    }

    /// Takes durable commits into effect, in order. After a failure none does any more.
    fn apply_commits(&mut self) {
        while self.failure.is_none()
            && self.commits.front().is_some_and(|commit| commit.phase == Phase::Durable)
        {
            let Some(commit) = self.commits.pop_front() else { return };
            self.durable_frame = commit.sequence;
            for effect in &commit.effects {
                self.apply(*effect, commit.sequence);
            }
            for effect in &commit.effects {
                self.go_on_with_removal(effect.slot());
            }
            for file in commit.segment_files {
                self.files.release(file);
            }
            self.frame_runs.push(commit.run);
            self.counters.commits += 1;
            self.counters.commit_bytes += commit.bytes;
        }
        self.start_removals();
        self.advance_checkpoint();
        self.check_seeded();
        self.tell_room();
    }

    fn apply(&mut self, effect: Effect, sequence: Sequence) {
        match effect {
            Effect::Span { slot, span, logged, stored } => {
                let state = self.memory.span_mut(span);
                state.logged_durable = state.logged_durable.max(logged);
                if let Some(stored) = stored {
                    state.stored_durable = state.stored_durable.max(stored);
                }
                let segment = state.segment;
                self.memory.settle(span);
                self.memory.unpin(span);
                if !self.partition(slot).closing {
                    self.drop_finished_files(slot);
                    self.consider_spill(slot);
                    self.consider_trim(slot);
                    if segment != self.partition(slot).active {
                        self.consider_compaction(slot);
                    }
                }
            }
            Effect::Point { slot, point } => {
                let partition = self.partition_mut(slot);
                if point.offset > partition.durable.offset {
                    partition.durable = point;
                    partition.show();
                    self.notify_advanced(slot);
                }
                self.consider_trim(slot);
            }
            Effect::Start { slot, start, first } => {
                self.start_moved(slot, start, first);
                // Of what is left, more may be worth a pass.
                self.consider_compaction(slot);
            }
            Effect::Compacted { slot, entry } => self.compacted(slot, &entry),
            Effect::Lease { slot, lease } => {
                let partition = self.partition_mut(slot);
                partition.lease = lease;
                if partition.show() {
                    self.notify_advanced(slot);
                }
            }
            Effect::Snapshot { slot } => {
                self.partition_mut(slot).snapshot_planned = false;
                if !self.partition(slot).closing {
                    self.set_oldest_frame(slot, sequence);
                    self.consider_trim(slot);
                }
            }
        }
    }

    /// Notes the oldest frame that the partition needs.
    pub(crate) fn set_oldest_frame(&mut self, slot: Slot, sequence: Sequence) {
        if let Some(before) = self.partition_mut(slot).oldest_frame.replace(sequence) {
            self.by_oldest.remove(&(before, slot));
        }
        self.by_oldest.insert((sequence, slot));
    }

    pub(crate) fn tell_room(&mut self) {
        let enough = self.memory.available_pages() >= self.memory.pages() / 16;
        let readable = self.read_room_wanted
            && self.reads.len() < READS_MAX
            && (enough || self.memory.is_idle_run(self.read_run, 1));
        if (self.room_wanted && enough) || readable {
            self.room_wanted = false;
            self.read_room_wanted = false;
            self.notices.push_back(crate::notice::Notice::Room);
        } else if self.room_wanted {
            self.relieve_memory();
        }
    }

    fn go_on_with_removal(&mut self, slot: Slot) {
        if self.is_open(slot) && self.partition(slot).closing {
            self.continue_removal(slot);
        }
    }

    /// Whether the journal may take new data, or only what makes room in it.
    pub(crate) fn journal_reserve_bytes(&self) -> u64 {
        match self.seeding {
            // A checkpoint may have to log anew all that the arena holds, and an arena is at most
            // half of its journal.
            Seeding::Done => self.journal.area_bytes / 2,
            // Nothing can make room before all shards have started.
            _ => 0,
        }
    }
}
