//! Checking a stopped data directory: every stored byte that has a check, against its check.
//!
//! It reads what recovery reads, and then all that recovery takes on trust: every batch of every
//! segment up to where the journal says that it ends. It changes nothing, keeps a few megabytes,
//! and does no I/O itself: the caller gives it [`DataFiles`]. What a newcomer gets wrong: a torn
//! last frame is not damage but what a crash leaves, so that it is noted only. `FORMAT.md` says
//! what no check can tell.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use plimsoll_device::{BLOCK_BYTES, IoError, IoErrorKind};

use crate::anchor::Anchor;
use crate::error::Damage;
use crate::identity::PartitionId;
use crate::journal::{JOURNALS_DIRECTORY, journal_path};
use crate::known_topics::KnownTopics;
use crate::manifest::{DataDirId, Manifest, ManifestError};
use crate::partition::{RECYCLED_DIRECTORY, TOPICS_DIRECTORY, partition_directory};
use crate::recovered::RecoveredPartition;
use crate::repair::{REPAIR_DIRECTORY, TopicRecord};
use crate::verify_journal::VerifiedJournal;

pub(crate) const MANIFEST_PATH: &str = "MANIFEST";
const LOCK_PATH: &str = "lock";

/// Read-only files of a data directory that no server has open. Paths are relative to the data
/// directory.
pub trait DataFiles {
    /// Names in a directory, in any order; `""` is the data directory.
    fn list(&mut self, directory: &str) -> Result<Vec<String>, IoError>;

    /// Length of a file in bytes.
    fn length_bytes(&mut self, path: &str) -> Result<u64, IoError>;

    /// Fills `buffer` from `position_bytes` on; gives less than its length only at the file's end.
    fn read(
        &mut self,
        path: &str,
        position_bytes: u64,
        buffer: &mut [u8],
    ) -> Result<usize, IoError>;
}

/// Something that [`verify`] has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Stored bytes that do not match their check, or are not there.
    Damage(Damage),
    /// What is unusual but no damage: a torn tail, an unknown file, what a deleted topic left.
    Note {
        /// Which file or directory, relative to the data directory.
        path: String,
        /// What is unusual.
        what: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage(damage) => write!(f, "damage: {damage}"),
            Self::Note { path, what } => write!(f, "note: {path}: {what}"),
        }
    }
}

/// What was verified, and how it came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifySummary {
    /// Files that were read.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Partitions.
    pub partitions: u64,
    /// Batches in segments and in the journals' tails.
    pub batches: u64,
    /// Frames of the journals.
    pub frames: u64,
    /// How many times damage was reported.
    pub damages: u64,
}

/// Why nothing could be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is no `MANIFEST`.
    NotADataDirectory,
    /// It was written by a newer version, whose checks this one does not know.
    Manifest(ManifestError),
    /// The directory itself cannot be read.
    Unreadable(IoError),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADataDirectory => f.write_str("there is no MANIFEST: not a data directory"),
            Self::Manifest(error) => error.fmt(f),
            Self::Unreadable(error) => write!(f, "the data directory cannot be read: {error}"),
        }
    }
}

impl core::error::Error for VerifyError {}

/// Verifies a data directory and reports what it finds as it goes.
///
/// `topic_record` reads the value of a record of the metadata topic, if it creates or deletes a
/// topic. What is missing of a deleted topic is no damage.
pub fn verify<F: DataFiles, R: FnMut(Finding)>(
    files: &mut F,
    topic_record: fn(&[u8]) -> Option<TopicRecord>,
    report: &mut R,
) -> Result<VerifySummary, VerifyError> {
    let mut verification = Verification::new(files, topic_record, report);
    let manifest = verification.check_manifest()?;
    let journals = verification.check_journals(manifest)?;
    let partitions = partitions_of(&journals);
    for (id, partition) in &partitions {
        // The metadata topic comes first, and says which of the others are deleted.
        if verification.is_deleted(*id) {
            let what = "of a deleted topic: its files go at the next start";
            verification.note(partition_directory(*id), what.to_string());
        } else {
            verification.check_partition(*id, partition);
        }
    }
    for journal in &journals {
        let _rotten = verification.check_chain(journal, &partitions);
    }
    verification.note_unknown_files(&partitions);
    Ok(verification.summary)
}

/// Where each partition was logged last; as a start puts it together.
fn partitions_of(journals: &[VerifiedJournal]) -> BTreeMap<PartitionId, RecoveredPartition> {
    let mut partitions: BTreeMap<PartitionId, RecoveredPartition> = BTreeMap::new();
    for (id, partition) in journals.iter().flat_map(|journal| &journal.partitions) {
        if partitions.get(id).is_none_or(|other| other.epoch < partition.epoch) {
            partitions.insert(*id, partition.clone());
        }
    }
    partitions
}

/// A verification in progress.
pub(crate) struct Verification<'a, F, R> {
    pub(crate) files: &'a mut F,
    report: &'a mut R,
    pub(crate) topic_record: fn(&[u8]) -> Option<TopicRecord>,
    pub(crate) topics: KnownTopics,
    /// Starts of the server so far, if the manifest says.
    pub(crate) epoch_max: u64,
    /// From the manifest, or, if that is damaged, from a journal.
    pub(crate) data_dir: Option<DataDirId>,
    pub(crate) summary: VerifySummary,
}

impl<'a, F: DataFiles, R: FnMut(Finding)> Verification<'a, F, R> {
    pub(crate) fn new(
        files: &'a mut F,
        topic_record: fn(&[u8]) -> Option<TopicRecord>,
        report: &'a mut R,
    ) -> Self {
        Self {
            files,
            report,
            topic_record,
            topics: KnownTopics::default(),
            epoch_max: u64::MAX,
            data_dir: None,
            summary: VerifySummary::default(),
        }
    }

    /// The manifest, or nothing if it is damaged, which is reported.
    pub(crate) fn check_manifest(&mut self) -> Result<Option<Manifest>, VerifyError> {
        let mut block = vec![0; BLOCK_BYTES];
        let length = match self.files.read(MANIFEST_PATH, 0, &mut block) {
            Ok(length) => length,
            Err(error) if error.kind == IoErrorKind::NotFound => {
                return Err(VerifyError::NotADataDirectory);
            }
            Err(error) => return Err(VerifyError::Unreadable(error)),
        };
        self.count_file(length as u64);
        match Manifest::decode(&block[..length]) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error @ ManifestError::NewerFormat { .. }) => Err(VerifyError::Manifest(error)),
            Err(error) => {
                self.damage(MANIFEST_PATH.to_string(), 0, None, error.to_string());
                Ok(None)
            }
        }
    }

    /// Reads every journal. Without a manifest, the first anchor says whose they are.
    fn check_journals(
        &mut self,
        manifest: Option<Manifest>,
    ) -> Result<Vec<VerifiedJournal>, VerifyError> {
        let names = match self.files.list(JOURNALS_DIRECTORY) {
            Err(error) if error.kind != IoErrorKind::NotFound => {
                return Err(VerifyError::Unreadable(error));
            }
            names => names.unwrap_or_default(),
        };
        let mut numbers = BTreeSet::new();
        for name in names {
            match journal_number(&name) {
                Some(number) => {
                    numbers.insert(number);
                }
                None => self.note_unknown(format!("{JOURNALS_DIRECTORY}/{name}")),
            }
        }
        self.check_missing_journals(manifest, &numbers);
        let data_dir = manifest.map(|manifest| manifest.data_dir);
        let data_dir = data_dir.or_else(|| self.data_dir_of(&numbers));
        self.epoch_max = manifest.map_or(u64::MAX, |manifest| manifest.epoch);
        self.data_dir = data_dir;
        let Some(data_dir) = data_dir else { return Ok(Vec::new()) };
        let journals = numbers.into_iter();
        let journals: Vec<VerifiedJournal> =
            journals.filter_map(|number| self.check_journal(number, data_dir)).collect();
        self.check_epoch(&journals);
        Ok(journals)
    }

    /// A manifest that knows of fewer starts than the journals do is an older copy.
    fn check_epoch(&mut self, journals: &[VerifiedJournal]) {
        let newest = journals.iter().max_by_key(|journal| journal.newest_epoch);
        let Some(journal) = newest.filter(|it| it.newest_epoch > self.epoch_max) else { return };
        let (known, epoch) = (self.epoch_max, journal.newest_epoch);
        let path = journal_path(journal.place.journal);
        let what =
            format!("an older MANIFEST: it knows {known} starts, {path} has a frame of {epoch}");
        self.damage(MANIFEST_PATH.to_string(), 0, None, what);
        // It is named once, and not again with every batch.
        self.epoch_max = epoch;
    }

    fn check_missing_journals(&mut self, manifest: Option<Manifest>, found: &BTreeSet<u16>) {
        let shards = manifest.map_or(0, |manifest| manifest.shards);
        let is_first_start = manifest.is_some_and(|manifest| manifest.epoch == 1);
        for number in (0..shards).filter(|number| !found.contains(number)) {
            let what = "the journal is missing (or a start that adds shards was cut off: start the \
                        server, stop it, and verify again)";
            if is_first_start && found.is_empty() {
                self.note(journal_path(number), "the first start was cut off".to_string());
            } else {
                self.damage(journal_path(number), 0, None, what.to_string());
            }
        }
    }

    pub(crate) fn data_dir_of(&mut self, numbers: &BTreeSet<u16>) -> Option<DataDirId> {
        let mut blocks = vec![0; 2 * BLOCK_BYTES];
        numbers.iter().find_map(|number| {
            let length = self.files.read(&journal_path(*number), 0, &mut blocks).ok()?;
            let blocks = &blocks[..length];
            let second = blocks.get(BLOCK_BYTES..).and_then(Anchor::decode);
            Anchor::decode(blocks).or(second).map(|anchor| anchor.data_dir)
        })
    }

    /// Names what nobody will ever read.
    fn note_unknown_files(&mut self, partitions: &BTreeMap<PartitionId, RecoveredPartition>) {
        for name in self.names("") {
            let files = [MANIFEST_PATH, LOCK_PATH];
            let folders =
                [JOURNALS_DIRECTORY, TOPICS_DIRECTORY, RECYCLED_DIRECTORY, REPAIR_DIRECTORY];
            let known = [&files[..], &folders].concat();
            if !known.contains(&name.as_str()) {
                self.note_unknown(name);
            }
        }
        for topic in self.names(TOPICS_DIRECTORY) {
            let directory = format!("{TOPICS_DIRECTORY}/{topic}");
            let Ok(topic) = topic.parse() else {
                self.note_unknown(directory);
                continue;
            };
            for partition in self.names(&directory) {
                let Ok(partition) = partition.parse() else {
                    self.note_unknown(format!("{directory}/{partition}"));
                    continue;
                };
                let id = PartitionId { topic, partition };
                self.note_unknown_files_of(id, partitions.get(&id));
            }
        }
    }

    fn note_unknown_files_of(&mut self, id: PartitionId, partition: Option<&RecoveredPartition>) {
        let directory = partition_directory(id);
        let Some(partition) = partition else {
            return self.note(directory, "no journal names this partition".to_string());
        };
        if self.is_deleted(id) {
            return;
        }
        let sealed = partition.sealed.iter().map(|sealed| sealed.base);
        let segments = sealed.chain([partition.active]);
        let names = segments.map(|base| partition.name_of(base));
        let known: BTreeSet<String> =
            names.flat_map(|name| [name.path(id), name.index_path(id)]).collect();
        for name in self.names(&directory) {
            let path = format!("{directory}/{name}");
            if !known.contains(&path) {
                self.note_unknown(path);
            }
        }
    }

    fn names(&mut self, directory: &str) -> Vec<String> {
        let mut names = self.files.list(directory).unwrap_or_default();
        names.sort();
        names
    }

    fn note_unknown(&mut self, path: String) {
        self.note(path, "not a file that the journals name: it is never read".to_string());
    }

    pub(crate) fn is_deleted(&self, id: PartitionId) -> bool {
        self.topics.is_deleted(id)
    }

    pub(crate) fn count_file(&mut self, bytes: u64) {
        self.summary.files += 1;
        self.summary.bytes += bytes;
    }

    pub(crate) fn damage(
        &mut self,
        path: String,
        position_bytes: u64,
        partition: Option<PartitionId>,
        what: String,
    ) {
        self.damaged(Damage { path, position_bytes, partition, what });
    }

    pub(crate) fn damaged(&mut self, damage: Damage) {
        self.summary.damages += 1;
        (self.report)(Finding::Damage(damage));
    }

    pub(crate) fn note(&mut self, path: String, what: String) {
        (self.report)(Finding::Note { path, what });
    }
}

pub(crate) fn journal_number(name: &str) -> Option<u16> {
    name.strip_suffix(".journal")?.parse().ok()
}
