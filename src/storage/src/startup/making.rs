//! Journals that are not there yet: written in full under another name, then renamed.
//!
//! Written in full, so that each later write is a pure overwrite and needs one flush.

use alloc::collections::BTreeMap;

use plimsoll_device::{BLOCK_BYTES, Buffer, DiskAction};

use super::Startup;
use super::steps::{FILE, Step, write};
use crate::anchor::Anchor;
use crate::frame::Sequence;
use crate::journal::Journal;
use crate::replay::Replayed;

impl Startup {
    pub(super) fn filled(&self, filled: u64) -> Step {
        if filled < self.config.journal_bytes {
            Step::FillJournal { filled }
        } else {
            Step::WriteAnchor
        }
    }

    pub(super) fn write_first_anchor(&self, journal: u16) -> DiskAction {
        let mut buffer = Buffer::zeroed(BLOCK_BYTES);
        let anchor = Anchor {
            data_dir: self.data_dir(),
            journal,
            generation: 0,
            head: Sequence(1),
            head_position: 0,
            previous_check: 0,
        };
        anchor.encode(&mut buffer);
        write(FILE, anchor.file_position(), buffer)
    }

    pub(super) fn journal_made(&mut self) -> Step {
        if let Some(index) = self.missing.pop_front() {
            let journal = Journal::empty(index, self.config.journal_bytes);
            let replayed = Replayed {
                partitions: BTreeMap::new(),
                next: journal.next,
                damage: None,
                frames: 0,
            };
            self.replayed.insert(index, (journal, replayed));
        }
        self.next_journal()
    }
}
