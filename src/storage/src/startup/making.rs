//! Journals that are made: written in full under another name, then renamed.
//!
//! Written in full, so that each later write is a pure overwrite and needs one flush. What a
//! newcomer gets wrong: a cut-off start leaves the other name; nobody reads it, the next start
//! writes it anew.

use alloc::collections::BTreeMap;

use plimsoll_device::{BLOCK_BYTES, Buffer, DiskAction};

use super::Startup;
use super::error::StartupError;
use super::growing::Chain;
use super::steps::{FILE, Step, write};
use crate::anchor::Anchor;
use crate::journal::Journal;
use crate::replay::Replayed;

/// A journal to be made: one that is missing, or a larger one in the place of one that is there.
pub(super) struct NewJournal {
    pub(super) index: u16,
    pub(super) file_bytes: u64,
    /// What the one that is there holds.
    pub(super) chain: Option<Chain>,
}

impl Startup {
    /// Length of the journal that is being made.
    pub(super) fn new_bytes(&self) -> u64 {
        self.to_make.front().map_or(self.config.journal_bytes, |new| new.file_bytes)
    }

    pub(super) fn filled(&mut self, filled: u64) -> Step {
        if filled < self.new_bytes() { Step::FillJournal { filled } } else { self.filled_up() }
    }

    pub(super) fn write_first_anchor(&self) -> Option<DiskAction> {
        let new = self.to_make.front()?;
        let empty = Journal::empty(new.index, new.file_bytes);
        let head = new.chain.as_ref().map_or(empty.head, |chain| chain.head);
        let anchor = Anchor {
            data_dir: self.data_dir(),
            journal: new.index,
            generation: empty.generation,
            head: head.sequence,
            head_position: head.position,
            previous_check: head.previous_check,
            file_bytes: empty.file_bytes(),
        };
        let mut buffer = Buffer::zeroed(BLOCK_BYTES);
        anchor.encode(&mut buffer);
        Some(write(FILE, anchor.file_position(), buffer))
    }

    pub(super) fn journal_made(&mut self) -> Result<Step, StartupError> {
        match self.to_make.pop_front() {
            Some(NewJournal { index, file_bytes, chain: Some(chain) }) => {
                self.journal_grown((index, file_bytes), &chain);
            }
            Some(NewJournal { index, file_bytes, chain: None }) => {
                let journal = Journal::empty(index, file_bytes);
                let replayed = Replayed {
                    partitions: BTreeMap::new(),
                    next: journal.next,
                    damage: None,
                    frames: 0,
                    cut_bytes: 0,
                    newest_epoch: 0,
                };
                self.replayed.insert(index, (journal, replayed));
            }
            None => {}
        }
        self.next_journal()
    }
}
