//! A process on the simulated disk that does one thing after the other.

use plimsoll_device::{
    Arena, BLOCK_BYTES, Buffer, DiskAction, DiskOp, DiskResult, FileId, IoError, Memory, OpenMode,
    Token,
};
use plimsoll_sim::{Disk, Random, heap_arena};

/// The file that most tests use.
pub(crate) const FILE: FileId = FileId(1);

/// A disk and the arena of the process that uses it.
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    pub(crate) arena: Arena,
    submitted: u64,
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Self {
        let disk = Disk::new(&Random::new(seed));
        Self { disk, arena: heap_arena(16 * BLOCK_BYTES), submitted: 0 }
    }

    /// A machine with an open, durable file `a` of `blocks` zero blocks.
    pub(crate) fn with_file(seed: u64, blocks: usize) -> Self {
        let mut machine = Self::new(seed);
        machine.disk.write_file("a", &vec![0; blocks * BLOCK_BYTES]);
        machine.open(FILE, "a", OpenMode::Existing).unwrap();
        machine
    }

    pub(crate) fn submit(&mut self, action: DiskAction) -> Token {
        self.submitted += 1;
        let token = Token(self.submitted);
        self.disk.submit(DiskOp { token, action }, &self.arena);
        token
    }

    /// Submits, and completes everything that is in flight; gives the result of this one.
    pub(crate) fn run(&mut self, action: DiskAction) -> DiskResult {
        let token = self.submit(action);
        let mut result = None;
        while let Some(completion) = self.disk.complete_one(&mut self.arena) {
            if completion.token == token {
                result = Some(completion.result);
            }
        }
        result.unwrap()
    }

    pub(crate) fn done(&mut self, action: DiskAction) -> Result<(), IoError> {
        match self.run(action) {
            DiskResult::Done(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn open(
        &mut self,
        file: FileId,
        path: &str,
        mode: OpenMode,
    ) -> Result<u64, IoError> {
        match self.run(DiskAction::Open { file, path: path.into(), mode }) {
            DiskResult::Opened(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn write(&mut self, block: u64, blocks: usize, value: u8) -> Result<usize, IoError> {
        match self.run(write(FILE, block, blocks, value)) {
            DiskResult::Written(_, result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn sync(&mut self) -> Result<(), IoError> {
        self.done(DiskAction::SyncData { file: FILE })
    }

    pub(crate) fn sync_directory(&mut self, path: &str) {
        self.done(DiskAction::SyncDirectory { path: path.into() }).unwrap();
    }
}

/// A write of `blocks` blocks full of `value`.
pub(crate) fn write(file: FileId, block: u64, blocks: usize, value: u8) -> DiskAction {
    let mut buffer = Buffer::zeroed(blocks * BLOCK_BYTES);
    buffer.fill(value);
    let position_bytes = block * BLOCK_BYTES as u64;
    DiskAction::Write { file, position_bytes, source: Memory::Buffer(buffer), durable: false }
}
