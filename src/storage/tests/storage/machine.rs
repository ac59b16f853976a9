//! One disk below several shards: tokens and file numbers are made unique, arena memory is copied.

use std::collections::BTreeMap;

use plimsoll_device::{
    ArenaRange, Buffer, DiskAction, DiskCompletion, DiskOp, DiskResult, FileId, Memory, Token,
};
use plimsoll_sim::{Disk, Random, heap_arena};
use plimsoll_storage::Storage;

/// Who issues operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Issuer {
    Host,
    Shard(usize),
}

impl Issuer {
    fn number(self) -> u32 {
        match self {
            Self::Host => 0,
            Self::Shard(shard) => shard as u32 + 1,
        }
    }
}

struct Flown {
    issuer: Issuer,
    token: Token,
    range: Option<ArenaRange>,
    /// What a write takes from the arena.
    bytes: Option<Vec<u8>>,
}

/// The disk, and what is in flight on it.
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    flown: BTreeMap<u64, Flown>,
    next_token: u64,
    arena: plimsoll_device::Arena,
}

impl Machine {
    pub(crate) fn new(random: &Random) -> Self {
        let arena = heap_arena(4096);
        Self { disk: Disk::new(random), flown: BTreeMap::new(), next_token: 0, arena }
    }

    /// The same disk once more, with nothing in flight that anybody waits for.
    pub(crate) fn fork(&self) -> Self {
        Self {
            disk: self.disk.fork(),
            flown: BTreeMap::new(),
            next_token: self.next_token,
            arena: heap_arena(4096),
        }
    }

    pub(crate) fn submit_host(&mut self, op: DiskOp) {
        let flown = Flown { issuer: Issuer::Host, token: op.token, range: None, bytes: None };
        self.fly(flown, op.action);
    }

    pub(crate) fn submit(&mut self, shard: usize, op: DiskOp, storage: &Storage) {
        let mut flown =
            Flown { issuer: Issuer::Shard(shard), token: op.token, range: None, bytes: None };
        let action = match op.action {
            DiskAction::Write { file, position_bytes, source: Memory::Arena(range), durable } => {
                self.assert_free(shard, range, false);
                let bytes = storage.arena().bytes(range);
                let mut buffer = Buffer::zeroed(range.length_bytes);
                buffer.copy_from_slice(bytes);
                flown.bytes = Some(bytes.to_vec());
                flown.range = Some(range);
                DiskAction::Write { file, position_bytes, source: Memory::Buffer(buffer), durable }
            }
            DiskAction::Read { file, position_bytes, target: Memory::Arena(range) } => {
                self.assert_free(shard, range, true);
                flown.range = Some(range);
                let target = Memory::Buffer(Buffer::zeroed(range.length_bytes));
                DiskAction::Read { file, position_bytes, target }
            }
            other => other,
        };
        self.fly(flown, action);
    }

    /// Memory that is being filled is nobody else's; memory that is being written is not filled.
    fn assert_free(&self, shard: usize, range: ArenaRange, fills: bool) {
        let others = self.flown.values().filter(|flown| flown.issuer == Issuer::Shard(shard));
        for other in others.filter(|flown| fills || flown.bytes.is_none()) {
            let Some(used) = other.range else { continue };
            let apart =
                used.end_bytes() <= range.start_bytes || range.end_bytes() <= used.start_bytes;
            assert!(apart, "{range:?} of shard {shard} is in flight");
        }
    }

    fn fly(&mut self, flown: Flown, mut action: DiskAction) {
        let shift = |file: &mut FileId| file.0 |= flown.issuer.number() << 20;
        match &mut action {
            DiskAction::Open { file, .. }
            | DiskAction::Close { file }
            | DiskAction::Allocate { file, .. }
            | DiskAction::Write { file, .. }
            | DiskAction::Read { file, .. }
            | DiskAction::SyncData { file } => shift(file),
            _ => {}
        }
        self.next_token += 1;
        self.flown.insert(self.next_token, flown);
        self.disk.submit(DiskOp { token: Token(self.next_token), action }, &self.arena);
    }

    /// Completes any operation in flight, and fills the arena of its shard.
    pub(crate) fn complete_one(
        &mut self,
        shards: &mut [Storage],
    ) -> Option<(Issuer, DiskCompletion)> {
        let completion = self.disk.complete_one(&mut self.arena)?;
        let flown = self.flown.remove(&completion.token.0).expect("it was in flight");
        let result = match (completion.result, flown.range, flown.issuer) {
            (DiskResult::Written(_, result), Some(range), Issuer::Shard(shard)) => {
                let now = shards[shard].arena().bytes(range);
                let unchanged = flown.bytes.as_deref() == Some(now);
                assert!(unchanged, "the memory of a write in flight was changed: {range:?}");
                DiskResult::Written(Memory::Arena(range), result)
            }
            (
                DiskResult::Read(Memory::Buffer(buffer), result),
                Some(range),
                Issuer::Shard(shard),
            ) => {
                shards[shard].arena_mut().bytes_mut(range).copy_from_slice(&buffer);
                DiskResult::Read(Memory::Arena(range), result)
            }
            (result, ..) => result,
        };
        Some((flown.issuer, DiskCompletion { token: flown.token, result }))
    }

    /// What was in flight when the life ended reaches the disk, and no flush has covered it.
    pub(crate) fn land(&mut self) {
        self.disk.land();
    }

    /// The process is gone: nothing in flight is reported any more.
    pub(crate) fn forget(&mut self) {
        self.flown.clear();
    }
}
