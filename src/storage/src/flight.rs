//! Operations in flight: what each one is for.
//!
//! A completion finds its way by its token alone. What a newcomer gets wrong: the partition that an
//! operation was for may be gone by now, so purposes name slots and handlers look first.

use alloc::vec::Vec;

use plimsoll_device::{ArenaRange, FileId, Token};

use crate::frame::Sequence;
use crate::identity::Slot;
use crate::span::SpanId;

/// A write that is not known to be complete yet; enough to ask for the rest of a short one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WritePart {
    pub(crate) file: FileId,
    pub(crate) position: u64,
    pub(crate) range: ArenaRange,
    pub(crate) durable: bool,
}

/// Why an operation was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// A file of the table is opened.
    Open(FileId),
    /// A file of the table is closed.
    Close(FileId),
    /// A frame or an extent of a commit.
    CommitWrite(Sequence, WritePart),
    /// A flush of a commit.
    CommitSync(Sequence, FileId),
    /// The blocks that a spill moves.
    SpillWrite(Slot, WritePart),
    /// Their flush.
    SpillSync(Slot, FileId),
    /// A step of a job that makes or grows a segment's file.
    Grow(Slot),
    /// The journal's anchor.
    AnchorWrite(WritePart),
    /// Its flush.
    AnchorSync,
    /// A piece of a read, into the run.
    ReadPiece(u64, SpanId),
    /// A step of reading or writing an index file.
    Index(u64),
    /// A step of removing files.
    Remove(u64),
    /// A step of removing files of segments that no longer count.
    Sweep,
    /// A step of compaction.
    Compact,
    /// The removal of a recycled file.
    RemoveRecycled,
}

/// The table of operations in flight. A token is used once.
pub(crate) struct Flight {
    entries: Vec<(u32, Option<Purpose>)>,
    free: Vec<u32>,
    count: usize,
}

impl Flight {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), count: 0 }
    }

    /// Operations in flight.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn start(&mut self, purpose: Purpose) -> Token {
        self.count += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.entries[index as usize];
        entry.0 = entry.0.wrapping_add(1);
        entry.1 = Some(purpose);
        Token(u64::from(entry.0) << 32 | u64::from(index))
    }

    /// The purpose of a completed operation.
    ///
    /// # Panics
    /// When the machine completes what was never asked, or twice: its bookkeeping is broken then,
    /// and what it says of the disk cannot be believed.
    pub(crate) fn finish(&mut self, token: Token) -> Purpose {
        let index = (token.0 & u64::from(u32::MAX)) as usize;
        let generation = token.0 >> 32;
        let entry = self.entries.get_mut(index).filter(|entry| u64::from(entry.0) == generation);
        let Some(purpose) = entry.and_then(|entry| entry.1.take()) else {
            panic!("{token:?} is not in flight");
        };
        self.free.push(index as u32);
        self.count -= 1;
        purpose
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_given_out_twice() {
        let mut flight = Flight::new();
        let first = flight.start(Purpose::AnchorSync);
        assert!(matches!(flight.finish(first), Purpose::AnchorSync));
        let second = flight.start(Purpose::AnchorSync);
        assert_ne!(first, second);
        assert_eq!(flight.count(), 1);
    }

    #[test]
    #[should_panic(expected = "is not in flight")]
    fn completing_twice_is_noticed() {
        let mut flight = Flight::new();
        let token = flight.start(Purpose::AnchorSync);
        flight.finish(token);
        flight.finish(token);
    }
}
