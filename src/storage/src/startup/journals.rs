//! Every journal that there is, read once around from its anchor.
//!
//! Also of shards that are gone. What a newcomer gets wrong: reads are in flight together and end
//! in any order; the replay is fed in the order of the lap.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;

use plimsoll_batch::Offset;
use plimsoll_device::{
    BLOCK_BYTES, Buffer, DiskCompletion, DiskResult, IoError, IoErrorKind, Memory,
};

use super::Startup;
use super::error::{StartupError, done};
use super::making::NewJournal;
use super::steps::{CHUNK_BYTES, FILE, Step, read};
use crate::anchor::{ANCHOR_BYTES, Anchor};
use crate::entry::Extent;
use crate::error::Damage;
use crate::frame::Sequence;
use crate::identity::PartitionId;
use crate::journal::{Journal, Mark, journal_path};
use crate::replay::{Replay, Replayed};

/// Reads of a journal in flight at once.
const READS_AHEAD: usize = 4;

/// The journal that is being read.
pub(super) struct Reading {
    pub(super) journal: u16,
    pub(super) file_bytes: u64,
    pub(super) anchor: Option<Anchor>,
    pub(super) replay: Option<Replay>,
    /// Where in the lap the next read begins, and how far it was fed.
    pub(super) next_read: u64,
    pub(super) fed: u64,
    pub(super) arrived: BTreeMap<u64, (Buffer, usize)>,
    pub(super) in_flight: BTreeMap<u64, u64>,
    /// Extents of the held frame that are still to be looked at.
    pub(super) extents: VecDeque<(PartitionId, Offset, Extent)>,
    pub(super) unreadable: Option<Damage>,
}

impl Startup {
    pub(super) fn list_journals(&mut self, names: &[String]) -> Result<Step, StartupError> {
        let numbers: BTreeSet<u16> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".journal"))
            .filter_map(|number| number.parse().ok())
            .collect();
        if self.is_new && !numbers.is_empty() {
            return Err(StartupError::MissingManifest);
        }
        let had = self.manifest.map_or(0, |manifest| manifest.shards);
        if let Some(gone) = (0..had).find(|it| !numbers.contains(it)) {
            return Err(StartupError::MissingJournal(journal_path(gone)));
        }
        let file_bytes = self.config.journal_bytes;
        let missing = (0..self.config.shards).filter(|it| !numbers.contains(it));
        self.to_make = missing.map(|index| NewJournal { index, file_bytes, chain: None }).collect();
        self.found = numbers.into_iter().collect();
        // A start that was cut off may have given a journal its name, and not for good.
        Ok(Step::SyncNames)
    }

    pub(super) fn next_journal(&mut self) -> Result<Step, StartupError> {
        match (self.found.is_empty(), self.to_make.is_empty()) {
            (false, _) => Ok(Step::OpenJournal),
            (true, _) if !self.has_epoch => self.say_epoch(),
            (true, false) => Ok(Step::CreateJournal),
            (true, true) => Ok(self.say_shards()),
        }
    }

    pub(super) fn begin_journal(&mut self, file_bytes: u64) {
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

    pub(super) fn anchors_read(&mut self, bytes: &[u8]) -> Result<Step, StartupError> {
        let data_dir = self.data_dir();
        let Some(reading) = &mut self.current else { return Ok(Step::Done) };
        let anchor = Anchor::newest(bytes, data_dir, reading.journal);
        let found_bytes = reading.file_bytes;
        let expected_bytes = anchor.map_or(found_bytes, |anchor| anchor.length_or(found_bytes));
        if found_bytes != expected_bytes {
            let path = journal_path(reading.journal);
            return Err(StartupError::JournalLength { path, found_bytes, expected_bytes });
        }
        let sound = found_bytes > ANCHOR_BYTES && found_bytes % BLOCK_BYTES as u64 == 0;
        let anchor = anchor.filter(|_| sound);
        let Some(anchor) = anchor else {
            reading.unreadable = Some(Damage {
                path: journal_path(reading.journal),
                position_bytes: 0,
                partition: None,
                what: String::from("neither anchor of the journal checks"),
            });
            return Ok(Step::CloseJournal);
        };
        reading.anchor = Some(anchor);
        reading.replay = Some(Replay::new(&anchor, reading.file_bytes - ANCHOR_BYTES));
        Ok(Step::ReadJournal)
    }

    /// Keeps reads of the journal in flight, from the head around to the head.
    pub(super) fn read_ahead(&mut self) {
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

    pub(super) fn handle_journal_read(&mut self, completion: DiskCompletion) {
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

    pub(super) fn end_journal(&mut self) -> Result<Step, StartupError> {
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
                    cut_bytes: 0,
                    newest_epoch: 0,
                },
            };
            let generation = anchor.map_or(0, |anchor| anchor.generation);
            let bytes = reading.file_bytes.max(ANCHOR_BYTES + BLOCK_BYTES as u64);
            let journal = Journal::new(reading.journal, bytes, head, replayed.next, generation);
            self.replayed.insert(reading.journal, (journal, replayed));
        }
        self.next_journal()
    }
}
