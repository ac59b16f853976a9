//! What a group of readers did, in figures.

use crate::tally::all_happened;

/// Counts over all lives on a disk, or on several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadersTally {
    /// Records that were handed out, each as often as it was, and those that were so again.
    pub(super) handed: u64,
    pub(super) again: u64,
    /// Commits of partitions that were answered: after batches, after a record.
    pub(super) by_batch: u64,
    pub(super) by_record: u64,
    /// Offsets that somebody was about to commit without waiting.
    pub(super) unawaited: u64,
    /// Committed offsets that were compared, and those where somebody began before.
    pub(super) compared: u64,
    pub(super) begun: u64,
    /// Partitions of which a cut left more asked for than answered: of that, something was taken,
    /// or nothing.
    pub(super) taken: u64,
    pub(super) not_taken: u64,
    /// Resets of partitions: answered; left open by a cut, by what became of them.
    pub(super) resets: u64,
    pub(super) resets_taken: u64,
    pub(super) resets_not_taken: u64,
    /// How often everything was read, and nothing was missing.
    pub(super) worked_off: u64,
}

impl ReadersTally {
    /// Did anything happen, in however few cuts? Otherwise, in words, what did not.
    pub(crate) fn happened(&self) -> Result<(), String> {
        all_happened(&[
            (self.handed, "no member of a group was handed anything"),
            (self.by_batch + self.by_record, "no commit was answered"),
            (self.begun, "nobody began where a group was"),
            (self.compared, "no committed offset was compared"),
            (self.worked_off, "a group never came to its end"),
        ])
    }

    /// Did all that it is about happen? Otherwise, in words, what did not.
    pub(crate) fn proved(&self) -> Result<(), String> {
        all_happened(&[
            (self.again, "no record was handed out again"),
            (self.by_record, "no commit of a record was answered"),
            (self.unawaited, "nobody committed without waiting"),
            (self.taken + self.not_taken, "no commit was under way when the power was cut"),
            (self.resets, "no reset was answered"),
        ])
    }

    /// Both together.
    pub(crate) fn and(self, other: ReadersTally) -> ReadersTally {
        ReadersTally {
            handed: self.handed + other.handed,
            again: self.again + other.again,
            by_batch: self.by_batch + other.by_batch,
            by_record: self.by_record + other.by_record,
            unawaited: self.unawaited + other.unawaited,
            compared: self.compared + other.compared,
            begun: self.begun + other.begun,
            taken: self.taken + other.taken,
            not_taken: self.not_taken + other.not_taken,
            resets: self.resets + other.resets,
            resets_taken: self.resets_taken + other.resets_taken,
            resets_not_taken: self.resets_not_taken + other.resets_not_taken,
            worked_off: self.worked_off + other.worked_off,
        }
    }

    /// Names and values for a table.
    pub(crate) fn rows(&self) -> [(&'static str, String); 6] {
        let ReadersTally { by_batch, by_record, unawaited, .. } = *self;
        let ReadersTally { resets, resets_taken, resets_not_taken, .. } = *self;
        let pair = |one, other| format!("{one} / {other}");
        [
            ("pages handed out / of them again", pair(self.handed, self.again)),
            ("commits answered after batches / a record / not awaited", {
                format!("{by_batch} / {by_record} / {unawaited}")
            }),
            ("  under way at a cut: taken / not taken", pair(self.taken, self.not_taken)),
            ("  committed offsets compared / begun at", pair(self.compared, self.begun)),
            ("  all read and none left out, so often", self.worked_off.to_string()),
            ("resets answered / under way at a cut: taken / not taken", {
                format!("{resets} / {resets_taken} / {resets_not_taken}")
            }),
        ]
    }
}
