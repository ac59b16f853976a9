//! A start, from the directory to what every shard begins with; as operations and their
//! completions.
//!
//! In order: the manifest is read and its epoch made durable, every journal that there is gets
//! replayed, what was found is flushed, and journals that are missing are made. Nothing that was
//! found is changed, so that a start may be cut off anywhere and run again. What a newcomer gets
//! wrong: data is never scanned; only the extents that the last frames name are looked at.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use plimsoll_device::{
    BLOCK_BYTES, Buffer, DiskAction, DiskCompletion, DiskOp, DiskResult, FileId, IoError,
    IoErrorKind, Memory, OpenMode, Token,
};

use crate::anchor::{ANCHOR_BYTES, Anchor};
use crate::encoding::{block_floor, crc};
use crate::entry::{Entries, Entry, Extent};
use crate::error::{Damage, Failure};
use crate::frame::Sequence;
use crate::identity::PartitionId;
use crate::journal::{JOURNALS_DIRECTORY, Journal, Mark, journal_path};
use crate::manifest::{DataDirId, Manifest, ManifestError};
use crate::partition::{TOPICS_DIRECTORY, segment_path};
use crate::recovered::RecoveredPartition;
use crate::replay::{Replay, Replayed};

const MANIFEST_PATH: &str = "MANIFEST";
const MANIFEST_NEW_PATH: &str = "MANIFEST.new";
const FILE: FileId = FileId(0);
const SEGMENT: FileId = FileId(1);
const CHUNK_BYTES: usize = 1 << 20;
/// Reads of a journal in flight at once.
const READS_AHEAD: usize = 4;

/// What a start is told.
#[derive(Clone, Debug)]
pub struct StartupConfig {
    /// Number of shards of this start.
    pub shards: u16,
    /// Size of journals that are made; those that exist keep theirs.
    pub journal_bytes: u64,
    /// The id of the data directory, if it turns out to be new.
    pub new_data_dir: DataDirId,
}

/// What a start found.
pub struct Started {
    /// The manifest of this start.
    pub manifest: Manifest,
    /// Whether the data directory was new.
    pub is_new: bool,
    /// Journals of this start's shards, by number.
    pub journals: Vec<StartedJournal>,
    /// Journals whose shard is gone; to be removed when all shards have logged what was in them.
    pub orphans: Vec<u16>,
    /// The partitions, wherever they were found.
    pub partitions: BTreeMap<PartitionId, RecoveredPartition>,
    /// Frames that were replayed.
    pub frames: u64,
    /// Bytes of journals that were read.
    pub read_bytes: u64,
    /// Damage in journals, of whichever shard.
    pub damages: Vec<Damage>,
}

/// A journal, ready for its shard.
pub struct StartedJournal {
    /// Where it goes on.
    pub journal: Journal,
    /// Damage in it: the shard then appends nothing.
    pub damage: Option<Damage>,
}

/// Why a start came to nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StartupError {
    /// An operation failed.
    Failed(Failure),
    /// The manifest cannot be used.
    Manifest(ManifestError),
    /// A journal that the last start had is gone, and with it what only it named.
    MissingJournal(String),
}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Manifest(error) => error.fmt(f),
            Self::MissingJournal(path) => write!(
                f,
                "{path} is missing, and with it what was acked and is not in segments: put it \
                 back (the manifest says that the last start had it)"
            ),
        }
    }
}

impl core::error::Error for StartupError {}

#[derive(Debug)]
enum Step {
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
    WriteAnchor,
    SyncNewJournal,
    CloseNewJournal,
    RenameJournal,
    SyncJournals,
    Done,
}

/// A start in progress: `poll_op` and `handle` until `outcome` gives something.
pub struct Startup {
    config: StartupConfig,
    step: Step,
    ops: VecDeque<DiskOp>,
    next_token: u64,
    manifest: Option<Manifest>,
    is_new: bool,
    /// All journals are there; the manifest is written a second time.
    has_journals: bool,
    found: VecDeque<u16>,
    missing: VecDeque<u16>,
    current: Option<Reading>,
    replayed: BTreeMap<u16, (Journal, Replayed)>,
    read_bytes: u64,
    outcome: Option<Result<(), StartupError>>,
}

/// The journal that is being read.
struct Reading {
    journal: u16,
    file_bytes: u64,
    anchor: Option<Anchor>,
    replay: Option<Replay>,
    /// Where in the lap the next read begins, and how far it was fed.
    next_read: u64,
    fed: u64,
    arrived: BTreeMap<u64, (Buffer, usize)>,
    in_flight: BTreeMap<u64, u64>,
    /// Extents of the held frame that are still to be looked at.
    extents: VecDeque<(PartitionId, plimsoll_batch::Offset, Extent)>,
    unreadable: Option<Damage>,
}

impl Startup {
    /// A start in the data directory, which exists.
    pub fn new(config: StartupConfig) -> Self {
        let mut startup = Self {
            config,
            step: Step::MakeTopics,
            ops: VecDeque::new(),
            next_token: 0,
            manifest: None,
            is_new: false,
            has_journals: false,
            found: VecDeque::new(),
            missing: VecDeque::new(),
            current: None,
            replayed: BTreeMap::new(),
            read_bytes: 0,
            outcome: None,
        };
        startup.enter(Step::MakeTopics);
        startup
    }

    /// The next operation for the machine.
    pub fn poll_op(&mut self) -> Option<DiskOp> {
        self.ops.pop_front()
    }

    /// The end, once it is reached; nothing is in flight then.
    pub fn outcome(&mut self) -> Option<Result<Started, StartupError>> {
        match self.outcome.take()? {
            Err(error) => Some(Err(error)),
            Ok(()) => Some(Ok(self.collect())),
        }
    }

    /// Takes in the end of an operation.
    pub fn handle(&mut self, completion: DiskCompletion) {
        if self.outcome.is_some() {
            return;
        }
        if matches!(self.step, Step::ReadJournal) {
            return self.handle_journal_read(completion);
        }
        match self.advance(completion.result) {
            Ok(step) => self.enter(step),
            Err(error) => self.outcome = Some(Err(error)),
        }
    }

    fn submit(&mut self, action: DiskAction) -> u64 {
        self.next_token += 1;
        self.ops.push_back(DiskOp { token: Token(self.next_token), action });
        self.next_token
    }

    /// Begins a step: submits its operation.
    fn enter(&mut self, step: Step) {
        let action = self.action(&step);
        self.step = step;
        match action {
            Some(action) => {
                self.submit(action);
            }
            None if matches!(self.step, Step::ReadJournal) => self.read_ahead(),
            None => self.outcome = Some(Ok(())),
        }
    }

    fn action(&self, step: &Step) -> Option<DiskAction> {
        let journal = self.current.as_ref().map(|reading| reading.journal);
        let new = self.missing.front().copied();
        let new_path = || format!("{}.new", journal_path(new.unwrap_or(0)));
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
            | Step::CloseNewJournal => DiskAction::Close { file: FILE },
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
                DiskAction::Allocate { file: FILE, length_bytes: self.config.journal_bytes }
            }
            Step::FillJournal { filled } => {
                let left = self.config.journal_bytes - filled;
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
                write(FILE, *filled, Buffer::zeroed(length))
            }
            Step::WriteAnchor => self.write_first_anchor(new.unwrap_or(0)),
            Step::RenameJournal => {
                DiskAction::Rename { from: new_path(), to: journal_path(new.unwrap_or(0)) }
            }
            Step::SyncJournals => {
                DiskAction::SyncDirectory { path: JOURNALS_DIRECTORY.to_string() }
            }
            Step::ReadJournal | Step::Done => return None,
        })
    }

    /// The step after this one, given how its operation ended.
    fn advance(&mut self, result: DiskResult) -> Result<Step, StartupError> {
        match (&self.step, result) {
            (Step::MakeTopics, result) => made(&result, "topics").map(|()| Step::MakeJournals),
            (Step::MakeJournals, result) => made(&result, "journal").map(|()| Step::OpenManifest),
            (Step::OpenManifest, DiskResult::Opened(Err(error)))
                if error.kind == IoErrorKind::NotFound =>
            {
                self.is_new = true;
                self.begin_epoch(None)
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
                Ok(self.after_done())
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
            | Step::SyncNewJournal => journal_path(self.missing.front().copied().unwrap_or(0)),
            _ => MANIFEST_PATH.to_string(),
        }
    }

    fn after_open(&self) -> Step {
        match self.step {
            Step::OpenManifest => Step::ReadManifest,
            Step::CreateManifest => Step::WriteManifest,
            Step::OpenSegment => Step::ReadExtent,
            _ => Step::AllocateJournal,
        }
    }

    fn after_write(&self) -> Step {
        match self.step {
            Step::WriteManifest => Step::SyncManifest,
            _ => Step::SyncNewJournal,
        }
    }

    fn after_done(&mut self) -> Step {
        match self.step {
            Step::CloseManifest => Step::CreateManifest,
            Step::SyncManifest => Step::CloseNewManifest,
            Step::CloseNewManifest => Step::RenameManifest,
            Step::RenameManifest => Step::SyncRoot,
            Step::SyncRoot if self.has_journals => Step::Done,
            Step::SyncRoot => Step::ListJournals,
            Step::SyncSegment => Step::CloseSegment { held: true },
            Step::CloseSegment { held } => self.extent_seen(held),
            Step::SyncJournal => Step::CloseJournal,
            Step::CloseJournal => self.end_journal(),
            Step::AllocateJournal => Step::FillJournal { filled: 0 },
            Step::SyncNewJournal => Step::CloseNewJournal,
            Step::CloseNewJournal => Step::RenameJournal,
            Step::RenameJournal => Step::SyncJournals,
            Step::SyncJournals => self.journal_made(),
            _ => Step::Done,
        }
    }

    fn after_read(&mut self, bytes: &[u8]) -> Result<Step, StartupError> {
        match self.step {
            Step::ReadManifest => {
                let manifest = Manifest::decode(bytes).map_err(StartupError::Manifest)?;
                self.begin_epoch(Some(manifest))?;
                Ok(Step::CloseManifest)
            }
            Step::ReadAnchors => Ok(self.anchors_read(bytes)),
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

    fn begin_epoch(&mut self, found: Option<Manifest>) -> Result<Step, StartupError> {
        let data_dir = found.map_or(self.config.new_data_dir, |manifest| manifest.data_dir);
        let epoch = found.map_or(0, |manifest| manifest.epoch) + 1;
        // The new number of shards is not said before their journals are there.
        let shards = found.map_or(0, |manifest| manifest.shards);
        self.manifest = Some(Manifest { data_dir, epoch, shards });
        Ok(Step::CreateManifest)
    }

    fn write_manifest(&self) -> DiskAction {
        let mut buffer = Buffer::zeroed(BLOCK_BYTES);
        if let Some(manifest) = &self.manifest {
            manifest.encode(&mut buffer);
        }
        write(FILE, 0, buffer)
    }

    fn data_dir(&self) -> DataDirId {
        self.manifest.map_or(self.config.new_data_dir, |manifest| manifest.data_dir)
    }

    fn list_journals(&mut self, names: &[String]) -> Result<Step, StartupError> {
        let numbers: BTreeSet<u16> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".journal"))
            .filter_map(|number| number.parse().ok())
            .collect();
        let had = self.manifest.map_or(0, |manifest| manifest.shards);
        if let Some(gone) = (0..had).find(|it| !numbers.contains(it)) {
            return Err(StartupError::MissingJournal(journal_path(gone)));
        }
        self.missing = (0..self.config.shards).filter(|it| !numbers.contains(it)).collect();
        self.found = numbers.into_iter().collect();
        Ok(self.next_journal())
    }

    fn next_journal(&mut self) -> Step {
        match (self.found.is_empty(), self.missing.is_empty()) {
            (false, _) => Step::OpenJournal,
            (true, false) => Step::CreateJournal,
            (true, true) => self.say_shards(),
        }
    }

    /// Every journal of this start is there: the manifest says so, if it does not yet.
    fn say_shards(&mut self) -> Step {
        match &mut self.manifest {
            Some(manifest) if manifest.shards != self.config.shards => {
                manifest.shards = self.config.shards;
                self.has_journals = true;
                Step::CreateManifest
            }
            _ => Step::Done,
        }
    }

    fn begin_journal(&mut self, file_bytes: u64) {
        let Some(journal) = self.found.pop_front() else { return };
        self.current = Some(Reading {
            journal,
            file_bytes,
            anchor: None,
            replay: None,
            next_read: 0,
            fed: 0,
            arrived: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            extents: VecDeque::new(),
            unreadable: None,
        });
    }

    fn anchors_read(&mut self, bytes: &[u8]) -> Step {
        let data_dir = self.data_dir();
        let Some(reading) = &mut self.current else { return Step::Done };
        let sound =
            reading.file_bytes > ANCHOR_BYTES && reading.file_bytes % BLOCK_BYTES as u64 == 0;
        let anchor = Anchor::newest(bytes, data_dir, reading.journal).filter(|_| sound);
        let Some(anchor) = anchor else {
            reading.unreadable = Some(Damage {
                path: journal_path(reading.journal),
                position_bytes: 0,
                partition: None,
                what: String::from("neither anchor of the journal checks"),
            });
            return Step::CloseJournal;
        };
        reading.anchor = Some(anchor);
        reading.replay = Some(Replay::new(&anchor, reading.file_bytes - ANCHOR_BYTES));
        Step::ReadJournal
    }

    /// Keeps reads of the journal in flight, from the head around to the head.
    fn read_ahead(&mut self) {
        loop {
            let Some(reading) = &self.current else { return };
            let area = reading.file_bytes - ANCHOR_BYTES;
            let waiting = reading.in_flight.len() + reading.arrived.len();
            if waiting >= READS_AHEAD || reading.next_read >= area {
                return;
            }
            let head = reading.anchor.map_or(0, |anchor| anchor.head_position);
            let lap = reading.next_read;
            let at = (head + lap) % area;
            let length = (area - lap).min(area - at).min(CHUNK_BYTES as u64);
            let length = usize::try_from(length).unwrap_or(CHUNK_BYTES);
            let token = self.submit(read(FILE, ANCHOR_BYTES + at, length));
            let Some(reading) = &mut self.current else { return };
            reading.in_flight.insert(token, lap);
            reading.next_read += length as u64;
        }
    }

    fn handle_journal_read(&mut self, completion: DiskCompletion) {
        let path = self.current.as_ref().map(|it| journal_path(it.journal)).unwrap_or_default();
        let Some(reading) = &mut self.current else { return };
        let Some(lap) = reading.in_flight.remove(&completion.token.0) else { return };
        let DiskResult::Read(Memory::Buffer(buffer), result) = completion.result else {
            panic!("a read ends with what was read")
        };
        let length = match done(result, "read", &path) {
            Ok(length) if length == buffer.len() => length,
            Ok(_) => {
                let short = Err::<(), _>(IoError::new(IoErrorKind::Other, 0));
                let failed = done(short, "short read", &path);
                self.outcome = Some(failed);
                return;
            }
            Err(error) => {
                self.outcome = Some(Err(error));
                return;
            }
        };
        self.read_bytes += length as u64;
        reading.arrived.insert(lap, (buffer, length));
        while let Some((buffer, length)) = reading.arrived.remove(&reading.fed) {
            if let Some(replay) = &mut reading.replay {
                replay.feed(&buffer[..length]);
            }
            reading.fed += length as u64;
        }
        let finished = reading.fed >= reading.file_bytes - ANCHOR_BYTES;
        if finished {
            if let Some(replay) = &mut reading.replay {
                replay.finish();
            }
            let step = self.next_extent();
            self.enter(step);
        } else {
            self.read_ahead();
        }
    }

    fn extent(&self) -> Option<(PartitionId, plimsoll_batch::Offset, Extent)> {
        self.current.as_ref()?.extents.front().copied()
    }

    /// Looks at the extents of the held frames, one after the other.
    fn next_extent(&mut self) -> Step {
        let Some(Reading { replay: Some(replay), extents, .. }) = &mut self.current else {
            return Step::SyncJournal;
        };
        while extents.is_empty() {
            let Some(frame) = replay.front_held() else { return Step::SyncJournal };
            for entry in Entries::new(&frame.body) {
                if let Ok(Entry::Append(entry)) = entry
                    && let Some(extent) = entry.extent
                {
                    extents.push_back((entry.partition, entry.segment, extent));
                }
            }
            if extents.is_empty() {
                replay.take_held();
            }
        }
        Step::OpenSegment
    }

    /// The extent at the front was looked at, and was there or not.
    fn extent_seen(&mut self, held: bool) -> Step {
        if !held {
            self.cut();
            return Step::SyncJournal;
        }
        if let Some(Reading { replay: Some(replay), extents, .. }) = &mut self.current {
            extents.pop_front();
            if extents.is_empty() {
                replay.take_held();
            }
        }
        self.next_extent()
    }

    fn cut(&mut self) {
        if let Some(Reading { replay: Some(replay), extents, .. }) = &mut self.current {
            extents.clear();
            replay.cut_held();
        }
    }

    fn end_journal(&mut self) -> Step {
        if let Some(reading) = self.current.take() {
            let origin = Mark { sequence: Sequence(1), position: 0, previous_check: 0 };
            let anchor = reading.anchor;
            let head = anchor.map_or(origin, |anchor| Mark {
                sequence: anchor.head,
                position: anchor.head_position,
                previous_check: anchor.previous_check,
            });
            let replayed = match reading.replay {
                Some(replay) => replay.outcome(),
                None => Replayed {
                    partitions: BTreeMap::new(),
                    next: origin,
                    damage: reading.unreadable,
                    frames: 0,
                },
            };
            let generation = anchor.map_or(0, |anchor| anchor.generation);
            let bytes = reading.file_bytes.max(ANCHOR_BYTES + BLOCK_BYTES as u64);
            let journal = Journal::new(reading.journal, bytes, head, replayed.next, generation);
            self.replayed.insert(reading.journal, (journal, replayed));
        }
        self.next_journal()
    }

    fn filled(&self, filled: u64) -> Step {
        if filled < self.config.journal_bytes {
            Step::FillJournal { filled }
        } else {
            Step::WriteAnchor
        }
    }

    fn write_first_anchor(&self, journal: u16) -> DiskAction {
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

    fn journal_made(&mut self) -> Step {
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

    fn collect(&mut self) -> Started {
        let mut partitions: BTreeMap<PartitionId, RecoveredPartition> = BTreeMap::new();
        let (mut journals, mut orphans, mut damages) = (Vec::new(), Vec::new(), Vec::new());
        let mut frames = 0;
        for (index, (journal, replayed)) in core::mem::take(&mut self.replayed) {
            frames += replayed.frames;
            damages.extend(replayed.damage.clone());
            for (id, mut partition) in replayed.partitions {
                partition.damage = replayed.damage.clone();
                // A partition that has moved is in two journals: the later start's is true.
                match partitions.get(&id) {
                    Some(other) if other.epoch >= partition.epoch => {}
                    _ => {
                        partitions.insert(id, partition);
                    }
                }
            }
            if index < self.config.shards {
                journals.push(StartedJournal { journal, damage: replayed.damage });
            } else if replayed.damage.is_none() {
                orphans.push(index);
            }
        }
        let data_dir = self.data_dir();
        let manifest = self.manifest.unwrap_or(Manifest { data_dir, epoch: 1, shards: 1 });
        Started {
            manifest,
            is_new: self.is_new,
            journals,
            orphans,
            partitions,
            frames,
            read_bytes: self.read_bytes,
            damages,
        }
    }
}

fn read(file: FileId, position_bytes: u64, length: usize) -> DiskAction {
    DiskAction::Read { file, position_bytes, target: Memory::Buffer(Buffer::zeroed(length)) }
}

fn write(file: FileId, position_bytes: u64, buffer: Buffer) -> DiskAction {
    DiskAction::Write { file, position_bytes, source: Memory::Buffer(buffer), durable: false }
}

fn made(result: &DiskResult, path: &str) -> Result<(), StartupError> {
    match result {
        DiskResult::Done(Err(error)) if error.kind == IoErrorKind::AlreadyExists => Ok(()),
        DiskResult::Done(result) => done(*result, "making a directory", path),
        other => panic!("{other:?} does not answer the making of a directory"),
    }
}

fn done<T>(
    result: Result<T, IoError>,
    operation: &'static str,
    path: &str,
) -> Result<T, StartupError> {
    result.map_err(|error| {
        let path = String::from(path);
        let (position_bytes, length_bytes) = (0, 0);
        StartupError::Failed(Failure { operation, path, position_bytes, length_bytes, error })
    })
}
