//! A data directory in memory, and a machine that carries operations on it out, at once and without
//! a fault: what is wrong here is in the bytes.

#![expect(clippy::expect_used, reason = "a panic is how a broken promise is reported")]

use std::collections::{BTreeMap, VecDeque};

use plimsoll_device::{
    DiskAction, DiskCompletion, DiskOp, DiskResult, FileId, IoError, IoErrorKind, Memory, OpenMode,
};
use plimsoll_storage::{
    DataDirId, DataFiles, Manifest, RepairStep, Started, Startup, StartupConfig, StartupError,
    Storage, adopt_arenas,
};

use crate::journal_file::{BLOCK_BYTES, DIR};

const NOT_FOUND: IoError = IoError::new(IoErrorKind::NotFound, 2);

/// A data directory in memory.
#[derive(Clone, Default)]
pub(crate) struct Directory(pub(crate) BTreeMap<String, File>);

/// A file's blocks; those that are not there are zeros. A journal has megabytes of them.
#[derive(Clone, Default)]
pub(crate) struct File {
    blocks: BTreeMap<usize, Vec<u8>>,
    length: usize,
}

impl File {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut file = Self::default();
        file.write(0, bytes);
        file
    }

    pub(crate) fn lengthen(&mut self, length: usize) {
        self.length = self.length.max(length);
    }

    pub(crate) fn write(&mut self, position: usize, mut bytes: &[u8]) {
        self.lengthen(position + bytes.len());
        let (mut block, mut at) = (position / BLOCK_BYTES, position % BLOCK_BYTES);
        while !bytes.is_empty() {
            let (here, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - at));
            let content = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK_BYTES]);
            content[at..at + here.len()].copy_from_slice(here);
            (block, at, bytes) = (block + 1, 0, rest);
        }
    }

    /// Gives less than asked at the file's end.
    fn read(&self, position: u64, buffer: &mut [u8]) -> usize {
        let start = usize::try_from(position).map_or(self.length, |start| start.min(self.length));
        let end = self.length.min(start.saturating_add(buffer.len()));
        let buffer = &mut buffer[..end - start];
        buffer.fill(0);
        for (block, content) in self.blocks.range(start / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)) {
            let first = block * BLOCK_BYTES;
            let (from, to) = (start.max(first), end.min(first + BLOCK_BYTES));
            buffer[from - start..to - start].copy_from_slice(&content[from - first..to - first]);
        }
        end - start
    }

    fn part(&self, position: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.length.min(length as usize)];
        let read = self.read(position, &mut bytes);
        bytes.truncate(read);
        bytes
    }
}

impl Directory {
    /// With nothing but a manifest, of one shard and the ninth start.
    pub(crate) fn with_manifest() -> Self {
        let mut manifest = vec![0; BLOCK_BYTES];
        Manifest { data_dir: DataDirId(DIR), epoch: 9, shards: 1, counts: Default::default() }
            .encode(&mut manifest);
        Self(BTreeMap::from([("MANIFEST".to_owned(), File::of(&manifest))]))
    }

    /// Does what a repair asks for.
    pub(crate) fn carry_out(&mut self, step: RepairStep) {
        match step {
            RepairStep::Copy { from, position_bytes, length_bytes, more, to } => {
                let file = self.0.get(&from).cloned().unwrap_or_default();
                let copy = File::of(&[file.part(position_bytes, length_bytes), more].concat());
                self.0.insert(to, copy);
            }
            RepairStep::Link { from, to } => {
                if let Some(file) = self.0.get(&from).cloned() {
                    self.0.insert(to, file);
                }
            }
            RepairStep::Create { path, bytes, length_bytes } => {
                let mut file = File::of(&bytes);
                file.lengthen(length_bytes as usize);
                self.0.insert(path, file);
            }
            RepairStep::WriteAt { path, position_bytes, bytes } => {
                self.write(path, position_bytes, &bytes);
            }
            RepairStep::Rename { from, to } => {
                let file = self.0.remove(&from).expect("a repair renames what it has made");
                self.0.insert(to, file);
            }
            RepairStep::Remove { path } => drop(self.0.remove(&path)),
        }
    }

    fn write(&mut self, path: String, position_bytes: u64, bytes: &[u8]) {
        self.0.entry(path).or_default().write(position_bytes as usize, bytes);
    }
}

/// A start, one operation after the other. The only thing that may stop it here is a frame of an
/// epoch that the manifest does not know.
pub(crate) fn recover(
    directory: &mut Directory,
    journal_bytes: usize,
) -> Result<Started, StartupError> {
    let mut machine = Machine::new(directory);
    let new_data_dir = DataDirId([4; 16]);
    let config = StartupConfig { shards: 1, journal_bytes: journal_bytes as u64, new_data_dir };
    let mut startup = Startup::new(config);
    for _ in 0..10_000 {
        while let Some(op) = startup.poll_op() {
            machine.submit(op);
        }
        if let Some(outcome) = startup.outcome() {
            return match outcome {
                Ok(mut started) => {
                    adopt_arenas(&mut started.partitions, &[]);
                    Ok(started)
                }
                Err(StartupError::OldManifest { known, path, epoch }) => {
                    Err(StartupError::OldManifest { known, path, epoch })
                }
                Err(other) => panic!("no operation failed: {other}"),
            };
        }
        let completion = machine.done.pop_front().expect("a start has something in flight");
        startup.handle(completion);
    }
    panic!("a start ends");
}

impl DataFiles for Directory {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, IoError> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let within = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut names: Vec<String> =
            within.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
        names.dedup();
        Ok(names)
    }

    fn length_bytes(&mut self, path: &str) -> Result<u64, IoError> {
        self.0.get(path).map(|file| file.length as u64).ok_or(NOT_FOUND)
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let file = self.0.get(path).ok_or(NOT_FOUND)?;
        Ok(file.read(position, buffer))
    }
}

/// Carries out operations at once and gives their ends in the order of asking.
pub(crate) struct Machine<'a> {
    directory: &'a mut Directory,
    open: BTreeMap<FileId, String>,
    pub(crate) done: VecDeque<DiskCompletion>,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(directory: &'a mut Directory) -> Self {
        Self { directory, open: BTreeMap::new(), done: VecDeque::new() }
    }

    /// An operation of a shard, whose memory is in its arena.
    pub(crate) fn submit_of(&mut self, storage: &mut Storage, op: DiskOp) {
        let result = match op.action {
            DiskAction::Read { file, position_bytes, target: Memory::Arena(range) } => {
                let path = self.open[&file].clone();
                let target = storage.arena_mut().bytes_mut(range);
                let read = self.directory.read(&path, position_bytes, target);
                DiskResult::Read(Memory::Arena(range), read)
            }
            DiskAction::Write { file, position_bytes, source: Memory::Arena(range), .. } => {
                let path = self.open[&file].clone();
                self.directory.write(path, position_bytes, storage.arena().bytes(range));
                DiskResult::Written(Memory::Arena(range), Ok(range.length_bytes))
            }
            action => self.perform(action),
        };
        self.done.push_back(DiskCompletion { token: op.token, result });
    }

    pub(crate) fn submit(&mut self, op: DiskOp) {
        let result = self.perform(op.action);
        self.done.push_back(DiskCompletion { token: op.token, result });
    }

    fn perform(&mut self, action: DiskAction) -> DiskResult {
        match action {
            DiskAction::Open { file, path, mode } => {
                if mode != OpenMode::Existing {
                    self.directory.0.insert(path.clone(), File::default());
                }
                let length = self.directory.length_bytes(&path);
                self.open.insert(file, path);
                DiskResult::Opened(length)
            }
            DiskAction::Read { file, position_bytes, target: Memory::Buffer(mut buffer) } => {
                let path = self.open[&file].clone();
                let read = self.directory.read(&path, position_bytes, &mut buffer);
                DiskResult::Read(Memory::Buffer(buffer), read)
            }
            DiskAction::Write { file, position_bytes, source: Memory::Buffer(buffer), .. } => {
                let length = buffer.len();
                self.directory.write(self.open[&file].clone(), position_bytes, &buffer);
                DiskResult::Written(Memory::Buffer(buffer), Ok(length))
            }
            DiskAction::Rename { from, to } => {
                let renamed = self.directory.0.remove(&from).ok_or(NOT_FOUND);
                let renamed = renamed.map(|file| drop(self.directory.0.insert(to, file)));
                DiskResult::Done(renamed)
            }
            DiskAction::Allocate { file, length_bytes } => {
                let content = self.directory.0.entry(self.open[&file].clone()).or_default();
                content.lengthen(length_bytes as usize);
                DiskResult::Done(Ok(()))
            }
            DiskAction::Remove { path } => {
                DiskResult::Done(self.directory.0.remove(&path).map(drop).ok_or(NOT_FOUND))
            }
            DiskAction::List { path } => DiskResult::Listed(self.directory.list(&path)),
            DiskAction::Close { file } => {
                self.open.remove(&file);
                DiskResult::Done(Ok(()))
            }
            _ => DiskResult::Done(Ok(())),
        }
    }
}
