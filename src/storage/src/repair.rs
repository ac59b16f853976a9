//! Repairing a stopped data directory: what is damaged is cut off, the rest goes on.
//!
//! [`repair`] changes nothing itself. It says what is damaged, as `verify` does, and what it would
//! cut, and gives the steps that do it. Every partition keeps its longest sound beginning, and none
//! of its offsets is ever given out again. What a newcomer gets wrong: the journals say what
//! exists, so that a cut is a new journal, and the old one goes to the side.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use plimsoll_batch::Offset;
use plimsoll_device::IoError;

use crate::identity::PartitionId;
use crate::journal::JOURNALS_DIRECTORY;
use crate::manifest::ManifestError;
use crate::partition::TOPICS_DIRECTORY;
use crate::repair_plan::Plan;
use crate::repair_state::find;
use crate::repair_steps::RepairStep;
use crate::verify::{DataFiles, Finding, MANIFEST_PATH, VerifyError, journal_number, verify};

/// Where repairs keep what they cut, relative to the data directory.
pub const REPAIR_DIRECTORY: &str = "repair";

/// Lists what a repair still has to remove; the last thing that goes.
pub(crate) const UNFINISHED: &str = "unfinished";

/// What a repair is told.
#[derive(Clone, Debug)]
pub struct RepairConfig {
    /// Name of this repair's directory below [`REPAIR_DIRECTORY`]; a new one for each.
    pub name: String,
    /// Length of a journal that is made anew where none tells how long they are, in bytes.
    pub journal_bytes: u64,
    /// What the records of the metadata topic say; they are another crate's.
    pub topics: TopicRecords,
}

/// How to read and write records of the metadata topic.
#[derive(Clone, Copy, Debug)]
pub struct TopicRecords {
    /// Reads the value of a record, as [`verify`] wants it.
    pub read: fn(&[u8]) -> Option<TopicRecord>,
    /// The value of a record that creates the topic of this id with so many partitions, under a
    /// name that says that it was found again.
    pub create: fn(u32, u32) -> Vec<u8>,
}

/// A record of the metadata topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRecord {
    /// A topic was created.
    Created {
        /// Its id.
        topic: u32,
        /// How many partitions it has.
        partitions: u32,
    },
    /// A topic was deleted.
    Deleted {
        /// Its id.
        topic: u32,
    },
}

/// What comes to an end at a place, and is kept to the side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Whose records.
    pub partition: PartitionId,
    /// The file in which the first of them is, or was.
    pub path: String,
    /// Where in it, in bytes.
    pub position_bytes: u64,
    /// Bytes of data from there on, in this segment and later ones, as far as it is known.
    pub length_bytes: u64,
    /// The first offset that is cut.
    pub first: Offset,
    /// The offset after the last one that was known.
    pub end: Offset,
    /// Offsets go on here, at the least.
    pub next: Offset,
    /// Why.
    pub why: String,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, path, position_bytes, length_bytes, first, end, next, why } = self;
        write!(f, "partition {partition}: {path} from byte {position_bytes} on, ")?;
        write!(f, "{length_bytes} bytes, {} offsets ", end.value().saturating_sub(first.value()))?;
        write!(f, "({first} to before {end}); the next is {next} or more: {why}")
    }
}

/// A line of what a repair has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairLine {
    /// What [`verify`] says.
    Finding(Finding),
    /// Records that go.
    Cut(Cut),
    /// Anything else that is made anew or put right.
    Change {
        /// The file or directory.
        path: String,
        /// What becomes of it.
        what: String,
    },
}

impl fmt::Display for RepairLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finding(finding) => finding.fmt(f),
            Self::Cut(cut) => write!(f, "cut: {cut}"),
            Self::Change { path, what } => write!(f, "change: {path}: {what}"),
        }
    }
}

/// What a repair came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// How many times damage was found.
    pub damages: u64,
    /// How many partitions are cut.
    pub cuts: u64,
    /// What to do, in this order; nothing if nothing is wrong.
    pub steps: Vec<RepairStep>,
}

/// Why nothing can be repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairError {
    /// There is neither a `MANIFEST` nor a journal.
    NotADataDirectory,
    /// Neither the `MANIFEST` nor any journal says which data directory this is.
    NoIdentity,
    /// It was written by a newer version.
    Manifest(ManifestError),
    /// A file that was read before cannot be read.
    Unreadable(IoError),
}

impl fmt::Display for RepairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADataDirectory => {
                f.write_str("there is no MANIFEST and no journal: not a data directory")
            }
            Self::NoIdentity => f.write_str(
                "neither MANIFEST nor any journal says which data directory this is: restore it \
                 from a backup",
            ),
            Self::Manifest(error) => error.fmt(f),
            Self::Unreadable(error) => write!(f, "the data directory cannot be read: {error}"),
        }
    }
}

impl core::error::Error for RepairError {}

impl From<IoError> for RepairError {
    fn from(error: IoError) -> Self {
        Self::Unreadable(error)
    }
}

/// Finds what is damaged, says it and what is to be done, and gives the steps that do it. After all
/// of them [`verify`] finds no damage, and a server writes to every partition again.
pub fn repair<F: DataFiles, R: FnMut(RepairLine)>(
    files: &mut F,
    config: &RepairConfig,
    report: &mut R,
) -> Result<Repair, RepairError> {
    let verified = verify(files, config.topics.read, &mut |it| report(RepairLine::Finding(it)));
    let mut repair = Repair::default();
    match verified {
        Ok(summary) => repair.damages = summary.damages,
        Err(VerifyError::NotADataDirectory) if has_journals(files) => {
            let (path, what) = (MANIFEST_PATH.to_string(), "the file is missing".to_string());
            let damage = crate::error::Damage { path, position_bytes: 0, partition: None, what };
            report(RepairLine::Finding(Finding::Damage(damage)));
            repair.damages = 1;
        }
        Err(VerifyError::NotADataDirectory) => return Err(RepairError::NotADataDirectory),
        Err(VerifyError::Manifest(error)) => return Err(RepairError::Manifest(error)),
        Err(VerifyError::Unreadable(error)) => return Err(RepairError::Unreadable(error)),
    }
    if repair.damages > 0 {
        let silent = RefCell::new(Vec::new());
        let found = find(files, &config.topics, &silent)?;
        let mut plan = Plan::new(&config.name);
        plan.make(files, &found, config, report)?;
        repair.cuts = plan.cuts;
        repair.steps = plan.into_steps();
    }
    finish_earlier(files, &mut repair.steps, report);
    Ok(repair)
}

fn has_journals<F: DataFiles>(files: &mut F) -> bool {
    let names = files.list(JOURNALS_DIRECTORY).unwrap_or_default();
    names.iter().any(|name| journal_number(name).is_some())
}

/// A repair that was cut off after its journals were in place may have left files that they do not
/// name.
fn finish_earlier<F: DataFiles, R: FnMut(RepairLine)>(
    files: &mut F,
    steps: &mut Vec<RepairStep>,
    report: &mut R,
) {
    let mut names = files.list(REPAIR_DIRECTORY).unwrap_or_default();
    names.sort();
    for name in names {
        let path = format!("{REPAIR_DIRECTORY}/{name}/{UNFINISHED}");
        let Ok(length) = files.length_bytes(&path) else { continue };
        let mut bytes = alloc::vec![0; usize::try_from(length).unwrap_or(0)];
        let Ok(read) = files.read(&path, 0, &mut bytes) else { continue };
        let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
        let is_ours = |path: &&str| path.starts_with(TOPICS_DIRECTORY) && !path.contains("..");
        let paths: Vec<&str> = text.lines().filter(is_ours).collect();
        let what = format!("an earlier repair was cut off: {} files go", paths.len());
        report(RepairLine::Change { path: path.clone(), what });
        let paths = paths.into_iter().map(ToString::to_string);
        steps.extend(paths.map(|path| RepairStep::Remove { path }));
        steps.push(RepairStep::Remove { path });
    }
}
