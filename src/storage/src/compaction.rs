//! Compaction by key: of each key the latest record stays, the ones before it go.
//!
//! One pass at a time, over sealed and wholly stored segments from the front on, in the background
//! of whatever else there is to do; the entries and the switch are in `compaction/switch.rs`. What
//! a newcomer gets wrong: a segment is clean when everything that its keys had *before* it is gone;
//! later records of its keys come later.

mod ended;
mod keys;
mod output;
mod pass;
mod source;
mod steps;
mod switch;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::Offset;
use plimsoll_device::Instant;

use self::pass::{Pass, Phase};

use crate::entry::Sealed;
use crate::grow::Grow;
use crate::identity::{Compaction, Slot};
use crate::limits::{COMPACTION_DIRTY_PARTS, COMPACTION_SEAL_BYTES, SEGMENTS_MAX};
use crate::partition::Partition;
use crate::storage::{Seeding, StopState, Storage};
use crate::written::Written;

/// The compaction of a shard's partitions.
#[derive(Default)]
pub(crate) struct Compactor {
    /// When to look at which partition.
    pub(crate) due: BTreeSet<(Instant, Slot)>,
    /// Partitions that are to be compacted.
    waiting: VecDeque<Slot>,
    pass: Option<Pass>,
    /// Not before then, so that others have the disk too.
    resume_at: Option<Instant>,
    /// What was read and written since the last pause.
    burst_bytes: u64,
}

impl Compactor {
    /// Partitions that are being compacted, or wait for it.
    pub(crate) fn backlog(&self) -> usize {
        self.waiting.len() + usize::from(self.pass.is_some())
    }

    /// When it goes on by itself.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let due = self.due.first().map(|(due, _)| *due);
        let pauses = |pass: &Pass| !pass.in_flight && pass.phase != Phase::Switching;
        let resume_at = self.resume_at.filter(|_| self.pass.as_ref().is_some_and(pauses));
        [due, resume_at].into_iter().flatten().min()
    }
}

/// What a partition's compaction remembers between passes; a restart begins anew with what the
/// segments say.
#[derive(Debug, Default)]
pub(crate) struct CompactionState {
    due: Option<Instant>,
    waits: bool,
    /// Keys are known up to here of a segment that has too many for one pass.
    compared_to: Offset,
    /// Deletions cannot go: batches before them cannot be looked into.
    is_blind: bool,
    /// Damage, or a file that cannot be read: it is left alone until its settings change.
    is_stopped: bool,
    /// No files of earlier lives are left that a pass could be about to write.
    pub(crate) is_swept: bool,
    /// A frame in flight puts a segment in the place of others.
    pub(crate) is_switching: bool,
}

/// When the next pass is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Now,
    /// In so many milliseconds there is more to look at.
    InMs(i64),
    Never,
}

impl Storage {
    /// New settings, or a start: everything is looked at again.
    pub(crate) fn compact_anew(&mut self, slot: Slot) {
        self.partition_mut(slot).compaction.is_stopped = false;
        self.consider_compaction(slot);
    }

    /// Begins a pass over the partition if there is enough to be gained, or sets a timer.
    pub(crate) fn consider_compaction(&mut self, slot: Slot) {
        let Some(settings) = self.partition(slot).config.compaction else { return };
        self.forget_compaction(slot);
        let Some(now_ms) = self.aging.clock.now_ms() else { return };
        if !self.may_compact(slot) || self.partition(slot).compaction.is_stopped {
            return;
        }
        let written = self.aging.clock.written();
        self.partition_mut(slot).count_unknown_from(written);
        self.seal_for_compaction(slot, (settings, now_ms));
        let is_at_it = self.compaction.pass.as_ref().is_some_and(|pass| pass.slot == slot);
        match self.next_pass(slot, (settings, now_ms)) {
            // Its end looks again.
            _ if is_at_it => {}
            Next::Never => {}
            Next::InMs(in_ms) => self.look_again(slot, in_ms),
            Next::Now => {
                self.partition_mut(slot).compaction.waits = true;
                self.compaction.waiting.push_back(slot);
            }
        }
    }

    /// After an append: so much more, and the segment that takes data is worth sealing.
    pub(crate) fn compact_after_append(&mut self, slot: Slot, before: u64) {
        let after = self.partition(slot).published.position;
        let is_step = before / COMPACTION_SEAL_BYTES < after / COMPACTION_SEAL_BYTES;
        if is_step && self.partition(slot).config.compaction.is_some() {
            self.consider_compaction(slot);
        }
    }

    pub(crate) fn compact_due(&mut self) {
        while let Some(&(due, slot)) = self.compaction.due.first()
            && due <= self.clock
        {
            self.consider_compaction(slot);
            // It may have set no timer, or one that is due at once.
            if self.partition(slot).compaction.due == Some(due) {
                return;
            }
        }
    }

    /// The partition neither waits for a pass nor for a time.
    pub(crate) fn forget_compaction(&mut self, slot: Slot) {
        let state = &mut self.partition_mut(slot).compaction;
        let (due, waits) = (state.due.take(), core::mem::take(&mut state.waits));
        if let Some(due) = due {
            self.compaction.due.remove(&(due, slot));
        }
        if waits {
            self.compaction.waiting.retain(|other| *other != slot);
        }
    }

    fn look_again(&mut self, slot: Slot, in_ms: i64) {
        let in_ms = u64::try_from(in_ms.max(1)).unwrap_or(1);
        let due = self.clock + Duration::from_millis(in_ms);
        let ends = self.aging.clock.leap_ends();
        let due = ends.map_or(due, |ends| ends.max(self.clock).min(due));
        self.partition_mut(slot).compaction.due = Some(due);
        self.compaction.due.insert((due, slot));
    }

    /// Whether anything of the partition may be rewritten now.
    fn may_compact(&self, slot: Slot) -> bool {
        let partition = self.partition(slot);
        partition.config.compaction.is_some()
            && !partition.closing
            && partition.damage.is_none()
            && self.journal_damage.is_none()
            && self.failure.is_none()
            && self.stop == StopState::Running
            && self.seeding == Seeding::Done
            // Of a time when more were allowed; a snapshot would have no room.
            && partition.sealed.len() <= SEGMENTS_MAX
    }

    /// Only sealed segments are compacted: one that has taken much for long is sealed for it.
    fn seal_for_compaction(&mut self, slot: Slot, (settings, now_ms): (Compaction, i64)) {
        let partition = self.partition(slot);
        let position = partition.published.position;
        let clean = partition.sealed.iter().filter(|it| it.compacted.is_clean());
        let clean_bytes: u64 = clean.map(|it| it.length_bytes).sum();
        let is_old = left_ms(partition.active_written.first, settings.lag, now_ms) == 0;
        let is_much = position >= COMPACTION_SEAL_BYTES
            && is_worth(position, clean_bytes)
            && partition.sealed.len() < SEGMENTS_MAX;
        if is_old && is_much {
            self.roll(slot);
        }
    }

    fn next_pass(&self, slot: Slot, (settings, now_ms): (Compaction, i64)) -> Next {
        let partition = self.partition(slot);
        let stored = self.stored_before(slot);
        let (mut clean_bytes, mut dirty_bytes, mut next_ms) = (0, 0, i64::MAX);
        let first = partition.first_planned;
        let kept = partition.sealed.iter().skip_while(|it| it.base < first);
        for sealed in kept.take_while(|it| it.base < stored) {
            let young_ms = left_ms(sealed.written, settings.lag, now_ms);
            if young_ms > 0 {
                next_ms = next_ms.min(young_ms);
                break;
            }
            if !sealed.compacted.is_clean() {
                dirty_bytes += sealed.length_bytes;
                continue;
            }
            clean_bytes += sealed.length_bytes;
            if sealed.compacted.tombstones > 0 && !partition.compaction.is_blind {
                let ripe_ms = ripe_in_ms(sealed, settings, now_ms);
                if ripe_ms == 0 {
                    return Next::Now;
                }
                next_ms = next_ms.min(ripe_ms);
            }
        }
        let active = partition.active_written.first;
        if partition.published.position >= COMPACTION_SEAL_BYTES {
            next_ms = match left_ms(active, settings.lag, now_ms) {
                0 => next_ms,
                young_ms => next_ms.min(young_ms),
            };
        }
        match is_worth(dirty_bytes, clean_bytes) {
            true => Next::Now,
            false if next_ms < i64::MAX => Next::InMs(next_ms),
            false => Next::Never,
        }
    }

    /// The first segment of which not all is in its file and logged as such, as it has to be for
    /// another file to take its place: then no frame to come names it.
    fn stored_before(&self, slot: Slot) -> Offset {
        let partition = self.partition(slot);
        let spans = partition.spans.iter().map(|id| self.memory.span(*id));
        let unsettled = spans.filter(|span| !span.is_settled()).map(|span| span.segment);
        let growing = self.grows.get(&slot).map(Grow::segment);
        unsettled.chain(growing).chain([partition.active]).min().unwrap_or(partition.active)
    }
}

/// Whether so much that was not compacted is worth a pass beside what was.
fn is_worth(dirty_bytes: u64, clean_bytes: u64) -> bool {
    dirty_bytes > 0 && dirty_bytes * COMPACTION_DIRTY_PARTS >= dirty_bytes + clean_bytes
}

/// Until what was written then is of this age; 0 if it is.
fn left_ms(written: Written, age: Duration, now_ms: i64) -> i64 {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let written_ms = written.unix_ms().unwrap_or(now_ms);
    written_ms.saturating_add(age_ms).saturating_sub(now_ms).max(0)
}

/// Until the deletions in a clean segment may go; 0 if they may.
fn ripe_in_ms(sealed: &Sealed, settings: Compaction, now_ms: i64) -> i64 {
    left_ms(sealed.compacted.cleaned, settings.tombstone_retention, now_ms)
}

impl Partition {
    /// Segments from the front that may be touched: stored, and older than the lag.
    fn compactable(&self, stored: Offset, lag: Duration, now_ms: i64) -> Vec<Sealed> {
        let is_ready = |it: &&Sealed| it.base < stored && left_ms(it.written, lag, now_ms) == 0;
        let kept = self.sealed.iter().skip_while(|it| it.base < self.first_planned);
        kept.take_while(is_ready).copied().collect()
    }
}
