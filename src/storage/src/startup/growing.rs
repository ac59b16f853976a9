//! A journal that is smaller than configured is written anew in a larger file.
//!
//! The arena may be at most half of its journal, or a checkpoint could need more room than there
//! is; so a larger arena needs larger journals, and so does a shard that takes over what more
//! shards had. The frames that are needed are copied to the front
//! of the new file, which takes the old one's name only when it is flushed. What a newcomer gets
//! wrong: a frame says where it stands and names its forerunner by check, so that all are sealed
//! anew, each as one that is known to be on disk; sequences, epochs and bodies stay as they are.

use alloc::vec::Vec;

use plimsoll_device::{Buffer, DiskAction};

use super::Startup;
use super::error::StartupError;
use super::making::NewJournal;
use super::steps::{CHUNK_BYTES, FILE, SOURCE, Step, read, write};
use crate::anchor::ANCHOR_BYTES;
use crate::frame::{FrameHeader, Sequence};
use crate::journal::{Journal, Mark, journal_path};
use crate::limits::{FRAME_BYTES_MAX, journal_bytes_min};
use crate::manifest::DataDirId;
use crate::seed::arena_bytes_for;

// A piece that begins with a frame holds all of it.
const _: () = assert!(CHUNK_BYTES >= FRAME_BYTES_MAX);

/// The frames of a journal that are still needed, on their way into a larger file.
pub(super) struct Chain {
    /// Where the chain begins in the new file.
    pub(super) head: Mark,
    /// The next frame to copy, in the file that there is.
    source: Mark,
    /// Where it goes.
    target: Mark,
    /// The first sequence that no frame has yet.
    end: Sequence,
    area_bytes: u64,
    /// Frames that were read, as they are to be written.
    sealed: Vec<u8>,
}

impl Chain {
    fn of(journal: &Journal) -> Self {
        let head = Mark { position: 0, ..journal.head };
        Self {
            head,
            source: journal.head,
            target: head,
            end: journal.next.sequence,
            area_bytes: journal.area_bytes,
            sealed: Vec::new(),
        }
    }

    fn is_copied(&self) -> bool {
        self.source.sequence >= self.end
    }

    /// Seals the frames at the front of `bytes` for their new places. Whether there were any.
    fn take(&mut self, bytes: &[u8], data_dir: DataDirId) -> bool {
        let mut at = 0;
        self.sealed.clear();
        while !self.is_copied()
            && let Some(rest) = bytes.get(at..)
            && let Some(header) = FrameHeader::decode(rest)
            && header.data_dir == data_dir
            && (header.sequence, header.position) == (self.source.sequence, self.source.position)
            && header.previous_check == self.source.previous_check
            && header.body(rest).is_some()
            && let Some(frame) = rest.get(..header.length_bytes)
        {
            let start = self.sealed.len();
            self.sealed.extend_from_slice(frame);
            let (position, previous_check) = (self.target.position, self.target.previous_check);
            // All that was found is flushed by now. What told so may be a frame that was cut.
            let durable_through = header.sequence;
            let moved = FrameHeader { position, previous_check, durable_through, ..header };
            let check = moved.encode(&mut self.sealed[start..]);
            let (sequence, length) = (header.sequence.next(), header.length_bytes as u64);
            self.source =
                Mark { sequence, position: header.position + length, previous_check: header.check };
            self.target = Mark { sequence, position: position + length, previous_check: check };
            at += header.length_bytes;
        }
        at > 0
    }

    /// Goes on at the front of the old file, where a frame stands that did not fit before its end.
    /// False when it was there already.
    fn turn(&mut self) -> bool {
        let at = self.source.position % self.area_bytes;
        if at > 0 {
            self.source.position += self.area_bytes - at;
        }
        at > 0
    }
}

impl Startup {
    /// Sound journals of this start that are too small are to be made larger.
    pub(super) fn consider_growing(&mut self) {
        for (index, (journal, replayed)) in &self.replayed {
            let file_bytes = self.config.journal_bytes.max(self.bytes_for_fewer_shards(*index));
            let smaller = journal.file_bytes() < file_bytes;
            if smaller && *index < self.config.shards && replayed.damage.is_none() {
                let chain = Some(Chain::of(journal));
                self.to_make.push_back(NewJournal { index: *index, file_bytes, chain });
            }
        }
    }

    /// A shard that takes over what more shards had may need a larger arena than is configured.
    fn bytes_for_fewer_shards(&self, index: u16) -> u64 {
        let shards = self.config.shards;
        if self.manifest.is_none_or(|manifest| manifest.shards <= shards) {
            return 0;
        }
        // One that has moved before is in two journals and counts twice: a little too much.
        let found = self.replayed.values().flat_map(|(_, replayed)| &replayed.partitions);
        let own = found.filter(|(id, _)| id.owner(shards) == index);
        journal_bytes_min(arena_bytes_for(own.map(|(_, partition)| partition), false))
    }

    fn chain(&mut self) -> Option<&mut Chain> {
        self.to_make.front_mut()?.chain.as_mut()
    }

    pub(super) fn is_growing(&self) -> bool {
        self.to_make.front().is_some_and(|new| new.chain.is_some())
    }

    /// The new file is there, all zeros.
    pub(super) fn filled_up(&mut self) -> Step {
        match self.chain() {
            Some(chain) if !chain.is_copied() => Step::OpenSource,
            _ => Step::WriteAnchor,
        }
    }

    pub(super) fn read_chain(&self) -> Option<DiskAction> {
        let chain = self.to_make.front()?.chain.as_ref()?;
        let at = chain.source.position % chain.area_bytes;
        let left = usize::try_from(chain.area_bytes - at).unwrap_or(usize::MAX);
        Some(read(SOURCE, ANCHOR_BYTES + at, left.min(CHUNK_BYTES)))
    }

    pub(super) fn chain_read(&mut self, bytes: &[u8]) -> Result<Step, StartupError> {
        let data_dir = self.data_dir();
        let new = self.to_make.front_mut();
        let Some(NewJournal { index, chain: Some(chain), .. }) = new else { return Ok(Step::Done) };
        if chain.take(bytes, data_dir) {
            return Ok(Step::WriteChain);
        }
        if chain.turn() {
            return Ok(Step::ReadChain);
        }
        Err(StartupError::Unsteady(journal_path(*index)))
    }

    pub(super) fn write_chain(&self) -> Option<DiskAction> {
        let chain = self.to_make.front()?.chain.as_ref()?;
        let mut buffer = Buffer::zeroed(chain.sealed.len());
        buffer.copy_from_slice(&chain.sealed);
        let end = ANCHOR_BYTES + chain.target.position;
        Some(write(FILE, end - chain.sealed.len() as u64, buffer))
    }

    pub(super) fn chain_written(&mut self) -> Step {
        match self.chain() {
            Some(chain) if !chain.is_copied() => Step::ReadChain,
            _ => Step::CloseSource,
        }
    }

    /// The larger file has the journal's name.
    pub(super) fn journal_grown(&mut self, (index, bytes): (u16, u64), chain: &Chain) {
        if let Some((journal, _)) = self.replayed.get_mut(&index) {
            self.grown.push(index);
            // The anchors of the file count from the beginning.
            *journal = Journal::new(index, bytes, chain.head, chain.target, 0);
        }
    }

    /// The disk has no room for the larger file: the journal stays as it is.
    pub(super) fn not_grown(&mut self) -> Result<Step, StartupError> {
        self.to_make.pop_front();
        self.next_journal()
    }
}
