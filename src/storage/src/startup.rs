//! A start, from the directory to what every shard begins with; as operations and their
//! completions.
//!
//! In order: the manifest is read, every journal that there is gets replayed and flushed, the
//! manifest's epoch is raised, durably, and journals that are missing or too small are made. What
//! was found stays as it is, or is there under its name in a larger file, so that a start may be
//! cut off anywhere and run again. What a newcomer gets wrong: data is never scanned; only the
//! extents that the last frames name are looked at.

mod collecting;
mod error;
mod extents;
mod growing;
mod journals;
mod making;
mod manifest;
mod recycled;
mod steps;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_device::{DiskAction, DiskCompletion, DiskOp, Token};

pub use self::error::StartupError;

use self::journals::Reading;
use self::making::NewJournal;
use self::steps::Step;
use crate::journal::Journal;
use crate::manifest::{DataDirId, Manifest};
use crate::replay::Replayed;
use crate::started::Started;

/// What a start is told.
#[derive(Clone, Debug)]
pub struct StartupConfig {
    /// Number of shards of this start.
    pub shards: u16,
    /// Size of journals that are made. Smaller ones grow to it, or, with fewer shards than before,
    /// to what these need, if they are sound and the disk has room; larger ones stay as they are.
    pub journal_bytes: u64,
    /// The id of the data directory, if it turns out to be new.
    pub new_data_dir: DataDirId,
}

/// A start in progress: `poll_op` and `handle` until `outcome` gives something.
pub struct Startup {
    config: StartupConfig,
    step: Step,
    ops: VecDeque<DiskOp>,
    next_token: u64,
    in_flight: u32,
    manifest: Option<Manifest>,
    is_new: bool,
    /// The manifest with the epoch of this start is durable.
    has_epoch: bool,
    /// All journals are there; the manifest is written a second time.
    has_journals: bool,
    found: VecDeque<u16>,
    to_make: VecDeque<NewJournal>,
    grown: Vec<u16>,
    /// Files that an earlier start kept.
    recycled: VecDeque<String>,
    current: Option<Reading>,
    replayed: BTreeMap<u16, (Journal, Replayed)>,
    read_bytes: u64,
    outcome: Option<Result<(), StartupError>>,
}

impl Startup {
    /// A start in the data directory, which exists.
    pub fn new(config: StartupConfig) -> Self {
        let mut startup = Self {
            config,
            step: Step::MakeTopics,
            ops: VecDeque::new(),
            next_token: 0,
            in_flight: 0,
            manifest: None,
            is_new: false,
            has_epoch: false,
            has_journals: false,
            found: VecDeque::new(),
            to_make: VecDeque::new(),
            grown: Vec::new(),
            recycled: VecDeque::new(),
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
        if self.in_flight > 0 {
            return None;
        }
        match self.outcome.take()? {
            Err(error) => Some(Err(error)),
            Ok(()) => Some(Ok(self.collect())),
        }
    }

    /// Takes in the end of an operation.
    pub fn handle(&mut self, completion: DiskCompletion) {
        self.in_flight -= 1;
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
        self.in_flight += 1;
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
}
