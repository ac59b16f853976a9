//! The journal of a shard: where the next frame goes, and what may be written over.
//!
//! It counts positions over all laps of the circular file, so that none is ever seen twice. What a
//! newcomer gets wrong: room is given back by a durable anchor, not by a finished checkpoint.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;

use crate::anchor::{ANCHOR_BYTES, Anchor};
use crate::frame::Sequence;
use crate::manifest::DataDirId;

/// Directory of the journals, relative to the data directory.
pub const JOURNALS_DIRECTORY: &str = "journal";

/// Marks are at least this far apart, in bytes.
const MARK_BYTES: u64 = 256 << 10;

/// Path of a journal, relative to the data directory.
pub fn journal_path(journal: u16) -> String {
    format!("{JOURNALS_DIRECTORY}/{journal:05}.journal")
}

/// A frame at which the head may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its number.
    pub sequence: Sequence,
    /// Where it begins, counted on over all laps.
    pub position: u64,
    /// `check` of the frame before it.
    pub previous_check: u32,
}

/// State of a journal, as recovery leaves it and as commits move it on.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The journal's number, and its shard's.
    pub index: u16,
    /// Bytes for frames.
    pub area_bytes: u64,
    /// Where the oldest frame needed lies.
    pub head: Mark,
    /// Where the next frame goes.
    pub next: Mark,
    /// Generation of the newest anchor.
    pub generation: u64,
    marks: VecDeque<Mark>,
}

impl Journal {
    /// A journal in a file of `file_bytes`, whose oldest frame needed is at `head` and whose next
    /// one goes to `next`.
    pub fn new(index: u16, file_bytes: u64, head: Mark, next: Mark, generation: u64) -> Self {
        let area_bytes = file_bytes - ANCHOR_BYTES;
        Self { index, area_bytes, head, next, generation, marks: VecDeque::new() }
    }

    /// A journal that was never written to.
    pub fn empty(index: u16, file_bytes: u64) -> Self {
        let origin = Mark { sequence: Sequence(1), position: 0, previous_check: 0 };
        Self::new(index, file_bytes, origin, origin, 0)
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        ANCHOR_BYTES + self.area_bytes
    }

    /// Where a frame of `length` bytes goes: it never wraps around the end of the file.
    pub(crate) fn place(&self, length: u64) -> u64 {
        let at = self.next.position % self.area_bytes;
        if at + length > self.area_bytes {
            self.next.position - at + self.area_bytes
        } else {
            self.next.position
        }
    }

    /// Bytes between head and the place of the next frame.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.next.position - self.head.position
    }

    /// Whether a frame of `length` bytes fits with `reserve_bytes` left.
    pub(crate) fn fits(&self, length: u64, reserve_bytes: u64) -> bool {
        let end = self.place(length) + length + reserve_bytes;
        end - self.head.position <= self.area_bytes
    }

    /// Where in the file a position of the frames' area lies.
    pub(crate) fn file_position(&self, position: u64) -> u64 {
        ANCHOR_BYTES + position % self.area_bytes
    }

    /// Notes that a frame was written at `position`.
    pub(crate) fn advance(&mut self, position: u64, length: u64, check: u32) {
        let far = self.marks.back().is_none_or(|mark| position >= mark.position + MARK_BYTES);
        if far {
            self.marks.push_back(Mark { position, ..self.next });
        }
        self.next = Mark {
            sequence: self.next.sequence.next(),
            position: position + length,
            previous_check: check,
        };
    }

    /// The last mark at or before `needed`, at which the head may stand.
    pub(crate) fn mark_before(&self, needed: Sequence) -> Option<Mark> {
        if needed >= self.next.sequence {
            return Some(self.next);
        }
        let after = self.marks.partition_point(|mark| mark.sequence <= needed);
        self.marks.get(after.checked_sub(1)?).copied()
    }

    /// The head has moved, durably.
    pub(crate) fn set_head(&mut self, head: Mark) {
        self.head = head;
        while self.marks.front().is_some_and(|mark| mark.sequence < head.sequence) {
            self.marks.pop_front();
        }
    }

    /// The anchor for `head`, newer than all before.
    pub(crate) fn anchor(&mut self, data_dir: DataDirId, head: Mark) -> Anchor {
        self.generation += 1;
        Anchor {
            data_dir,
            journal: self.index,
            generation: self.generation,
            head: head.sequence,
            head_position: head.position,
            previous_check: head.previous_check,
            file_bytes: self.file_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_wraps_around_the_end() {
        let mut journal = Journal::empty(0, ANCHOR_BYTES + 10 * 4096);
        journal.advance(journal.place(8 * 4096), 8 * 4096, 1);
        assert_eq!(journal.place(2 * 4096), 8 * 4096);
        assert_eq!(journal.place(3 * 4096), 10 * 4096);
        assert_eq!(journal.file_position(10 * 4096), ANCHOR_BYTES);
    }

    #[test]
    fn what_is_still_needed_is_not_written_over() {
        let mut journal = Journal::empty(0, ANCHOR_BYTES + 10 * 4096);
        journal.advance(0, 8 * 4096, 1);
        assert!(journal.fits(2 * 4096, 0));
        assert!(!journal.fits(2 * 4096, 1));
        assert!(!journal.fits(3 * 4096, 0), "it would begin at 10 blocks and end at 13");
        let head = journal.mark_before(Sequence(2)).unwrap();
        journal.set_head(head);
        assert!(journal.fits(3 * 4096, 0));
    }
}
