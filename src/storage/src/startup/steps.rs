//! Which operation each step of a start is, and which step follows.
//!
//! One operation is in flight at a time, but for the reading of a journal. What a newcomer gets
//! wrong: a step is entered when its operation is submitted, and left when that has ended.

use alloc::format;
use alloc::string::{String, ToString};

use plimsoll_device::{
    BLOCK_BYTES, Buffer, DiskAction, DiskResult, FileId, IoError, IoErrorKind, Memory, OpenMode,
};

use super::Startup;
use super::error::{StartupError, done, made};
use super::recycled::{LIST_RECYCLED, MAKE_RECYCLED, RecycledStep};
use crate::anchor::ANCHOR_BYTES;
use crate::encoding::{block_floor, crc};
use crate::journal::{JOURNALS_DIRECTORY, journal_path};
use crate::manifest::Manifest;
use crate::partition::{TOPICS_DIRECTORY, segment_path};

const MANIFEST_PATH: &str = "MANIFEST";
const MANIFEST_NEW_PATH: &str = "MANIFEST.new";
/// The manifest or the journal that is at work.
pub(super) const FILE: FileId = FileId(0);
const SEGMENT: FileId = FileId(1);
/// The journal in whose place a larger one is made.
pub(super) const SOURCE: FileId = FileId(2);
/// What is read or written at once.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) enum Step {
    MakeTopics,
    MakeJournals,
    OpenManifest,
    ReadManifest,
    CloseManifest,
    CreateManifest,
    WriteManifest,
    SyncManifest,
    CloseNewManifest,
    RenameManifest,
    SyncRoot,
    ListJournals,
    SyncNames,
    OpenJournal,
    ReadAnchors,
    ReadJournal,
    OpenSegment,
    ReadExtent,
    SyncSegment,
    CloseSegment { held: bool },
    SyncJournal,
    CloseJournal,
    CreateJournal,
    AllocateJournal,
    FillJournal { filled: u64 },
    OpenSource,
    ReadChain,
    WriteChain,
    CloseSource,
    WriteAnchor,
    SyncNewJournal,
    CloseNewJournal,
    RenameJournal,
    SyncJournals,
    GiveUpJournal,
    RemoveJournal,
    Recycled(RecycledStep),
    Done,
}

impl Startup {
    pub(super) fn action(&self, step: &Step) -> Option<DiskAction> {
        let journal = self.current.as_ref().map(|reading| reading.journal);
        let new = self.to_make.front().map_or(0, |new| new.index);
        let new_path = || format!("{}.new", journal_path(new));
        let open = |file, path, mode| DiskAction::Open { file, path, mode };
        Some(match step {
            Step::MakeTopics => DiskAction::CreateDirectory { path: TOPICS_DIRECTORY.to_string() },
            Step::MakeJournals => {
                DiskAction::CreateDirectory { path: JOURNALS_DIRECTORY.to_string() }
            }
            Step::OpenManifest => open(FILE, MANIFEST_PATH.to_string(), OpenMode::Existing),
            Step::ReadManifest => read(FILE, 0, BLOCK_BYTES),
            Step::CloseManifest
            | Step::CloseNewManifest
            | Step::CloseJournal
            | Step::CloseNewJournal
            | Step::GiveUpJournal => DiskAction::Close { file: FILE },
            Step::CreateManifest => {
                open(FILE, MANIFEST_NEW_PATH.to_string(), OpenMode::CreateEmpty)
            }
            Step::WriteManifest => self.write_manifest(),
            Step::SyncManifest | Step::SyncJournal | Step::SyncNewJournal => {
                DiskAction::SyncData { file: FILE }
            }
            Step::RenameManifest => DiskAction::Rename {
                from: MANIFEST_NEW_PATH.to_string(),
                to: MANIFEST_PATH.to_string(),
            },
            Step::SyncRoot => DiskAction::SyncDirectory { path: String::new() },
            Step::ListJournals => DiskAction::List { path: JOURNALS_DIRECTORY.to_string() },
            Step::OpenJournal => {
                let path = journal_path(self.found.front().copied().or(journal).unwrap_or(0));
                open(FILE, path, OpenMode::Existing)
            }
            Step::ReadAnchors => read(FILE, 0, ANCHOR_BYTES as usize),
            Step::OpenSegment => {
                let (id, segment, _) = self.extent()?;
                open(SEGMENT, segment_path(id, segment), OpenMode::Existing)
            }
            Step::ReadExtent => {
                let (_, _, extent) = self.extent()?;
                read(SEGMENT, extent.position, extent.length_bytes as usize)
            }
            Step::SyncSegment => DiskAction::SyncData { file: SEGMENT },
            Step::CloseSegment { .. } => DiskAction::Close { file: SEGMENT },
            Step::CreateJournal => open(FILE, new_path(), OpenMode::CreateEmpty),
            Step::AllocateJournal => {
                DiskAction::Allocate { file: FILE, length_bytes: self.new_bytes() }
            }
            Step::FillJournal { filled } => {
                let left = self.new_bytes() - filled;
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
                write(FILE, *filled, Buffer::zeroed(length))
            }
            Step::OpenSource => open(SOURCE, journal_path(new), OpenMode::Existing),
            Step::ReadChain => self.read_chain()?,
            Step::WriteChain => self.write_chain()?,
            Step::CloseSource => DiskAction::Close { file: SOURCE },
            Step::WriteAnchor => self.write_first_anchor()?,
            Step::RenameJournal => DiskAction::Rename { from: new_path(), to: journal_path(new) },
            Step::RemoveJournal => DiskAction::Remove { path: new_path() },
            Step::Recycled(step) => self.recycled_action(*step)?,
            Step::SyncNames | Step::SyncJournals => {
                DiskAction::SyncDirectory { path: JOURNALS_DIRECTORY.to_string() }
            }
            Step::ReadJournal | Step::Done => return None,
        })
    }

    /// The step after this one, given how its operation ended.
    pub(super) fn advance(&mut self, result: DiskResult) -> Result<Step, StartupError> {
        match (&self.step, result) {
            (Step::MakeTopics, result) => made(&result, "topics").map(|()| Step::MakeJournals),
            (Step::MakeJournals, result) => made(&result, "journal").map(|()| MAKE_RECYCLED),
            (Step::Recycled(step), result) => self.advance_recycled(*step, result),
            (Step::OpenManifest, DiskResult::Opened(Err(error)))
                if error.kind == IoErrorKind::NotFound =>
            {
                self.is_new = true;
                self.begin_epoch(None);
                Ok(Step::ListJournals)
            }
            (Step::ListJournals, DiskResult::Listed(Ok(names))) => self.list_journals(&names),
            (Step::OpenJournal, DiskResult::Opened(Ok(file_bytes))) => {
                self.begin_journal(file_bytes);
                Ok(Step::ReadAnchors)
            }
            (Step::OpenSegment, DiskResult::Opened(Err(error)))
                if error.kind == IoErrorKind::NotFound =>
            {
                self.cut();
                Ok(Step::SyncJournal)
            }
            (Step::CreateJournal, DiskResult::Opened(Err(error)))
                if error.kind == IoErrorKind::NoSpace && self.is_growing() =>
            {
                self.not_grown()
            }
            (Step::AllocateJournal, DiskResult::Done(Err(error)))
                if error.kind == IoErrorKind::NoSpace && self.is_growing() =>
            {
                Ok(Step::GiveUpJournal)
            }
            (_, DiskResult::Opened(result)) => {
                let result = result.map(|_| ());
                done(result, "opening", &self.path()).map(|()| self.after_open())
            }
            (Step::FillJournal { filled }, DiskResult::Written(_, result)) => {
                let filled = *filled;
                let written = done(result, "write", &self.path())? as u64;
                if written < BLOCK_BYTES as u64 {
                    let short = Err(IoError::new(IoErrorKind::Other, 0));
                    done(short, "short write", &self.path())?;
                }
                Ok(self.filled(filled + block_floor(written)))
            }
            (_, DiskResult::Written(memory, result)) => {
                let written = done(result, "write", &self.path())?;
                if written < memory.length_bytes() {
                    let short = Err(IoError::new(IoErrorKind::Other, 0));
                    done(short, "short write", &self.path())?;
                }
                Ok(self.after_write())
            }
            (_, DiskResult::Read(memory, result)) => {
                let length = done(result, "read", &self.path())?;
                let Memory::Buffer(buffer) = memory else { panic!("a start reads into buffers") };
                self.after_read(&buffer[..length])
            }
            (_, DiskResult::Listed(result)) => {
                done(result.map(|_| ()), "listing", JOURNALS_DIRECTORY).map(|()| Step::Done)
            }
            (_, DiskResult::Done(result)) => {
                done(result, "operation", &self.path())?;
                self.after_done()
            }
        }
    }

    fn path(&self) -> String {
        match &self.step {
            Step::OpenSegment
            | Step::ReadExtent
            | Step::SyncSegment
            | Step::CloseSegment { .. } => {
                self.extent().map(|(id, segment, _)| segment_path(id, segment)).unwrap_or_default()
            }
            Step::OpenJournal | Step::ReadAnchors | Step::SyncJournal | Step::CloseJournal => {
                self.current.as_ref().map(|it| journal_path(it.journal)).unwrap_or_default()
            }
            Step::CreateJournal
            | Step::AllocateJournal
            | Step::FillJournal { .. }
            | Step::WriteAnchor
            | Step::OpenSource
            | Step::ReadChain
            | Step::WriteChain
            | Step::SyncNewJournal
            | Step::RemoveJournal => {
                self.to_make.front().map(|new| journal_path(new.index)).unwrap_or_default()
            }
            _ => MANIFEST_PATH.to_string(),
        }
    }

    fn after_open(&self) -> Step {
        match self.step {
            Step::OpenManifest => Step::ReadManifest,
            Step::CreateManifest => Step::WriteManifest,
            Step::OpenSegment => Step::ReadExtent,
            Step::OpenSource => Step::ReadChain,
            _ => Step::AllocateJournal,
        }
    }

    fn after_write(&mut self) -> Step {
        match self.step {
            Step::WriteChain => self.chain_written(),
            Step::WriteManifest => Step::SyncManifest,
            _ => Step::SyncNewJournal,
        }
    }

    fn after_done(&mut self) -> Result<Step, StartupError> {
        Ok(match self.step {
            Step::CloseManifest => Step::ListJournals,
            Step::SyncManifest => Step::CloseNewManifest,
            Step::CloseNewManifest => Step::RenameManifest,
            Step::RenameManifest => Step::SyncRoot,
            Step::SyncRoot if self.has_journals => LIST_RECYCLED,
            Step::SyncRoot => return self.epoch_said(),
            Step::SyncSegment => Step::CloseSegment { held: true },
            Step::CloseSegment { held } => self.extent_seen(held),
            Step::SyncJournal => Step::CloseJournal,
            Step::CloseJournal => return self.end_journal(),
            Step::AllocateJournal => Step::FillJournal { filled: 0 },
            Step::SyncNewJournal => Step::CloseNewJournal,
            Step::CloseNewJournal => Step::RenameJournal,
            Step::RenameJournal => Step::SyncJournals,
            Step::SyncNames => return self.next_journal(),
            Step::SyncJournals => return self.journal_made(),
            Step::CloseSource => Step::WriteAnchor,
            Step::GiveUpJournal => Step::RemoveJournal,
            Step::RemoveJournal => return self.not_grown(),
            _ => Step::Done,
        })
    }

    fn after_read(&mut self, bytes: &[u8]) -> Result<Step, StartupError> {
        match self.step {
            Step::ReadManifest => {
                let manifest = Manifest::decode(bytes).map_err(StartupError::Manifest)?;
                self.begin_epoch(Some(manifest));
                Ok(Step::CloseManifest)
            }
            Step::ReadAnchors => self.anchors_read(bytes),
            Step::ReadChain => self.chain_read(bytes),
            _ => {
                let matches = self.extent().is_some_and(|(_, _, extent)| {
                    bytes.len() == extent.length_bytes as usize && crc(bytes) == extent.crc
                });
                if matches {
                    return Ok(Step::SyncSegment);
                }
                Ok(Step::CloseSegment { held: false })
            }
        }
    }
}

pub(super) fn read(file: FileId, position_bytes: u64, length: usize) -> DiskAction {
    DiskAction::Read { file, position_bytes, target: Memory::Buffer(Buffer::zeroed(length)) }
}

pub(super) fn write(file: FileId, position_bytes: u64, buffer: Buffer) -> DiskAction {
    DiskAction::Write { file, position_bytes, source: Memory::Buffer(buffer), durable: false }
}
