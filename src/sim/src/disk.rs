//! The simulated disk: one data directory on one device, in memory.
//!
//! # The crash model
//!
//! **An operation takes effect when it completes**, at once and whole, and operations in flight
//! complete in any order. The bytes of a write are those of the moment of its submission; the
//! memory of an operation in flight belongs to the disk, and a write whose arena bytes were
//! changed before its completion is a broken contract: the disk panics. So it does at other broken
//! rules: an unknown file, a position, length or address that is not a whole block, a file shrunk
//! by `Allocate`.
//!
//! **The process dies** ([`Disk::kill`]). Each operation in flight takes effect, or does not; a
//! write may also take effect in part, sector by sector (512 bytes). Nothing is reported, all
//! files are closed. What had completed is there: the operating system has it, flushed or not.
//! Writes that land later than the kill, while the next process runs, are not simulated: the lock
//! prevents them.
//!
//! **Power fails** ([`Disk::power_loss`]). First everything of a kill happens. Then of all changes
//! that are not durable any subset is lost:
//! - A write is durable by a `SyncData` of *its own file* (or a `SyncAll`) that was submitted
//!   after the write's completion was delivered and that succeeded; a write asked to be `durable`,
//!   by its completion. A flush of another file never counts, since the write may lie in blocks
//!   that were allocated but never written, and only a flush of the file makes them readable. A
//!   write that is not durable survives whole, in part by sectors, or not. Where writes overlap,
//!   one that survives covers those completed before it.
//! - A file's length (by `Allocate` or a write past the end) becomes durable like a write, and is
//!   lost or kept independently of the bytes: bytes beyond the length that survived are gone, and
//!   length without bytes reads as zeros. A `durable` write takes the length with it.
//! - A name (created, renamed, removed) is durable by a `SyncDirectory` of each directory that the
//!   change touched, or by a `SyncAll`. Before that, each change is kept or lost, whole: a rename
//!   leaves the old or the new file under the name, never neither. A change depends on earlier
//!   ones of the same names and is lost with them. A file whose name is lost is lost, flushed or
//!   not, and so is all that is in a lost directory.
//!
//! **A failed flush** makes nothing durable. With `flush_drops_on_failure` the device has thrown
//! away the writes in question: reads no longer show them, and the next flush succeeds without
//! them.

mod content;
mod crash;
mod faults;
mod inode;
mod names;
mod noted;
mod perform;
mod survival;

use std::collections::BTreeMap;

use plimsoll_device::{
    Arena, ArenaRange, BLOCK_BYTES, DiskAction, DiskCompletion, DiskOp, FileId, Memory,
};

use self::faults::Fault;
use self::inode::Inode;
use self::names::{InodeId, Names};
use self::noted::{note_end, note_op};
use crate::issuer::Issuer;
use crate::random::Random;
use crate::trace::Trace;

pub(crate) use self::content::is_zero;
pub use self::faults::{Counts, Faults};
pub use self::survival::Survival;

/// One data directory. It outlives the process that uses it; see the crash model above.
#[derive(Debug)]
pub struct Disk {
    /// What shall go wrong from now on.
    pub faults: Faults,
    counts: Counts,
    names: Names,
    inodes: BTreeMap<InodeId, Inode>,
    inodes_created: u64,
    open: BTreeMap<(Issuer, FileId), OpenFile>,
    pending: Vec<Pending>,
    /// Which of them completes next, once that is drawn.
    chosen: Option<usize>,
    /// How many operations took effect: the stamp of the last one.
    completed: u64,
    order: Random,
    fates: Random,
    damage: Random,
    trace: Trace,
}

#[derive(Debug)]
struct OpenFile {
    inode: InodeId,
    closing: bool,
}

/// An operation in flight.
#[derive(Debug)]
struct Pending {
    issuer: Issuer,
    op: DiskOp,
    /// The file that the operation names, if it names an open one.
    inode: Option<InodeId>,
    /// What a write takes from an arena, when it was submitted. A buffer cannot change meanwhile.
    bytes: Option<Vec<u8>>,
    /// The last completion when it was submitted.
    submitted_at: u64,
    fault: Option<Fault>,
    /// It does not complete before it is released.
    held: bool,
}

impl Pending {
    /// What a write writes.
    fn written(&self) -> &[u8] {
        match (&self.bytes, &self.op.action) {
            (Some(bytes), _) => bytes,
            (None, DiskAction::Write { source: Memory::Buffer(buffer), .. }) => buffer,
            _ => &[],
        }
    }
}

impl Disk {
    /// An empty data directory, with its fate drawn from streams of `random`.
    pub fn new(random: &Random) -> Self {
        Self {
            faults: Faults::default(),
            counts: Counts::default(),
            names: Names::default(),
            inodes: BTreeMap::new(),
            inodes_created: 0,
            open: BTreeMap::new(),
            pending: Vec::new(),
            chosen: None,
            completed: 0,
            order: random.stream("disk order"),
            fates: random.stream("disk crash"),
            damage: random.stream("disk damage"),
            trace: Trace::new(),
        }
    }

    /// The same disk once more, with no file open and nothing in flight: for trying several ends of
    /// one life.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            faults: self.faults,
            counts: self.counts,
            names: self.names.clone(),
            inodes: self.inodes.clone(),
            inodes_created: self.inodes_created,
            open: BTreeMap::new(),
            pending: Vec::new(),
            chosen: None,
            completed: self.completed,
            order: self.order.clone(),
            fates: self.fates.clone(),
            damage: self.damage.clone(),
            trace: self.trace,
        }
    }

    /// Takes on an operation of the only process part that uses this disk; it is in flight until
    /// [`Self::complete_one`] gives its completion. `arena` is the one whose ranges the operations
    /// name.
    ///
    /// # Panics
    /// When the operation breaks the contract of `plimsoll_device`.
    pub fn submit(&mut self, op: DiskOp, arena: &Arena) {
        self.submit_as(Issuer(0), op, arena);
    }

    /// As [`Self::submit`], for one of several that share the disk. Tokens, numbers of files and
    /// ranges of the arena are each issuer's own.
    ///
    /// # Panics
    /// When the operation breaks the contract of `plimsoll_device`.
    pub fn submit_as(&mut self, issuer: Issuer, op: DiskOp, arena: &Arena) {
        let fault = self.counts.count(&op.action, &self.faults);
        let inode = self.admit(issuer, &op.action);
        note_op(&mut self.trace, issuer, &op);
        let mut bytes = None;
        if let DiskAction::Write { source, .. } = &op.action {
            let written = bytes_of(source, arena);
            self.trace.note(written);
            bytes = matches!(source, Memory::Arena(_)).then(|| written.to_vec());
        }
        let held = self.is_to_be_held(&op.action, inode);
        let submitted_at = self.completed;
        self.pending.push(Pending { issuer, op, inode, bytes, submitted_at, fault, held });
    }

    fn is_to_be_held(&self, action: &DiskAction, inode: Option<InodeId>) -> bool {
        let DiskAction::Write { position_bytes, .. } = action else { return false };
        let ends_so =
            |end| self.names.files().any(|(path, file)| Some(file) == inode && path.ends_with(end));
        *position_bytes < self.faults.hold_writes_below
            || self.faults.hold_writes_to.is_some_and(ends_so)
    }

    /// Completes one of the operations in flight, any of them; without one there is no completion.
    ///
    /// # Panics
    /// When the arena bytes of a write were changed while it was in flight.
    pub fn complete_one(&mut self, arena: &mut Arena) -> Option<DiskCompletion> {
        self.choose()?;
        Some(self.complete_chosen(arena))
    }

    /// Draws which operation in flight completes next, and says whose it is, so that
    /// [`Self::complete_chosen`] can be handed that one's arena.
    pub fn choose(&mut self) -> Option<Issuer> {
        let free = self.pending.iter().filter(|pending| !pending.held).count();
        if free == 0 {
            return None;
        }
        let drawn = self.order.index(free);
        let mut free = self.pending.iter().enumerate().filter(|(_, pending)| !pending.held);
        let (chosen, _) = free.nth(drawn)?;
        self.chosen = Some(chosen);
        Some(self.pending[chosen].issuer)
    }

    /// Completes the operation that was drawn.
    ///
    /// # Panics
    /// When none was drawn, or the arena bytes of a write were changed while it was in flight.
    pub fn complete_chosen(&mut self, arena: &mut Arena) -> DiskCompletion {
        let Some(chosen) = self.chosen.take() else { panic!("no operation was drawn") };
        let pending = self.pending.remove(chosen);
        if let (DiskAction::Write { source, .. }, Some(bytes)) =
            (&pending.op.action, &pending.bytes)
        {
            let unchanged = bytes_of(source, arena) == bytes;
            assert!(unchanged, "the memory of a write in flight was changed: {:?}", pending.op);
        }
        let token = pending.op.token;
        let result = self.perform(pending, arena);
        let completion = DiskCompletion { token, result };
        note_end(&mut self.trace, &completion);
        completion
    }

    /// Writes that were held back complete like all others from now on.
    pub fn release(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.held = false);
    }

    /// Whether an operation in flight may complete.
    pub fn can_go_on(&self) -> bool {
        self.pending.iter().any(|pending| !pending.held)
    }

    /// How many operations are in flight.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How many operations of each kind were submitted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A hash of all that happened so far: the same for the same seed and the same operations.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// The content of a file as the operating system shows it.
    pub fn read_file(&self, path: &str) -> Option<Vec<u8>> {
        let (_, inode) = self.names.files().find(|(name, _)| *name == path)?;
        self.inodes.get(&inode).map(|inode| inode.visible().to_vec())
    }

    /// The content of a file after a power loss that takes all it may.
    pub fn durable_file(&self, path: &str) -> Option<Vec<u8>> {
        let inode = self.names.durable_file(path)?;
        self.inodes.get(&inode).map(|inode| inode.durable_content().to_vec())
    }

    /// Plants a durable file, in place of any of that name; directories above it are created.
    ///
    /// # Panics
    /// When a part of the path is a file.
    pub fn write_file(&mut self, path: &str, bytes: &[u8]) {
        assert_is_path(path);
        assert!(!self.names.is_directory(path), "{path} is a directory");
        let inode = self.create_inode(Inode::durable(bytes));
        self.names.plant(path, inode);
    }

    /// Takes a file away, for good.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn remove_file(&mut self, path: &str) {
        assert!(self.names.uproot(path), "there is no file {path}");
    }

    /// Flips bit `bit` (0 to 7) of the byte at `position_bytes` of a file, for good.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip_bit(&mut self, path: &str, position_bytes: u64, bit: u8) {
        let found = self.names.files().find(|(name, _)| *name == path).map(|(_, inode)| inode);
        match found.and_then(|inode| self.inodes.get_mut(&inode)) {
            Some(inode) => inode.flip_bit(position_bytes, bit),
            None => panic!("there is no file {path}"),
        }
    }

    /// A file that has two names, if there is one.
    pub fn twins(&self) -> Option<(String, String)> {
        let mut first = BTreeMap::new();
        let mut files = self.names.files();
        files.find_map(|(path, inode)| {
            let other: &str = first.insert(inode, path)?;
            Some((other.to_string(), path.to_string()))
        })
    }

    /// The paths of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        self.names.files().map(|(path, _)| path.to_owned()).collect()
    }

    /// Checks an operation against the contract; gives the open file that it names.
    fn admit(&mut self, issuer: Issuer, action: &DiskAction) -> Option<InodeId> {
        match action {
            DiskAction::Open { file, path, .. } => {
                assert_is_path(path);
                let is_opening = self.pending.iter().any(|pending| match pending.op.action {
                    DiskAction::Open { file: other, .. } => {
                        pending.issuer == issuer && other == *file
                    }
                    _ => false,
                });
                let is_open = self.open.contains_key(&(issuer, *file));
                assert!(!is_open && !is_opening, "{file:?} is in use, cannot open {path}");
                None
            }
            DiskAction::Close { file } => {
                let inode = self.opened(issuer, *file);
                self.open.insert((issuer, *file), OpenFile { inode, closing: true });
                Some(inode)
            }
            DiskAction::Write { file, position_bytes, source, .. } => {
                assert_is_direct(*position_bytes, source);
                self.assert_not_filled(issuer, source);
                Some(self.opened(issuer, *file))
            }
            DiskAction::Read { file, position_bytes, target } => {
                assert_is_direct(*position_bytes, target);
                self.assert_unused(issuer, target);
                Some(self.opened(issuer, *file))
            }
            DiskAction::Allocate { file, .. } | DiskAction::SyncData { file } => {
                Some(self.opened(issuer, *file))
            }
            DiskAction::SyncAll => None,
            DiskAction::SyncDirectory { path } | DiskAction::List { path } => {
                assert!(path.is_empty() || is_path(path), "{path:?} is not a path");
                None
            }
            DiskAction::CreateDirectory { path }
            | DiskAction::Remove { path }
            | DiskAction::RemoveDirectory { path } => {
                assert_is_path(path);
                None
            }
            DiskAction::Rename { from, to } => {
                assert_is_path(from);
                assert_is_path(to);
                None
            }
        }
    }

    fn opened(&self, issuer: Issuer, file: FileId) -> InodeId {
        match self.open.get(&(issuer, file)) {
            Some(open) if !open.closing => open.inode,
            _ => panic!("{file:?} is not open"),
        }
    }

    fn create_inode(&mut self, inode: Inode) -> InodeId {
        self.inodes_created += 1;
        let id = InodeId(self.inodes_created);
        self.inodes.insert(id, inode);
        id
    }

    /// Nothing in flight uses the memory that a read will fill.
    fn assert_unused(&self, issuer: Issuer, target: &Memory) {
        for pending in self.of(issuer) {
            let (DiskAction::Write { source: used, .. } | DiskAction::Read { target: used, .. }) =
                &pending.op.action
            else {
                continue;
            };
            assert!(!overlap(target, used), "{target:?} is in flight with {:?}", pending.op);
        }
    }

    fn of(&self, issuer: Issuer) -> impl Iterator<Item = &Pending> {
        self.pending.iter().filter(move |pending| pending.issuer == issuer)
    }

    /// No read in flight fills the memory that a write takes.
    fn assert_not_filled(&self, issuer: Issuer, source: &Memory) {
        for pending in self.of(issuer) {
            if let DiskAction::Read { target, .. } = &pending.op.action {
                assert!(!overlap(source, target), "{source:?} is filled by {:?}", pending.op);
            }
        }
    }
}

fn bytes_of<'a>(memory: &'a Memory, arena: &'a Arena) -> &'a [u8] {
    match memory {
        Memory::Arena(range) => arena.bytes(*range),
        Memory::Buffer(buffer) => buffer,
        Memory::None => &[],
    }
}

fn overlap(one: &Memory, other: &Memory) -> bool {
    match (one, other) {
        (Memory::Arena(one), Memory::Arena(other)) => {
            one.start_bytes < other.end_bytes() && other.start_bytes < one.end_bytes()
        }
        _ => false,
    }
}

fn assert_is_direct(position_bytes: u64, memory: &Memory) {
    let length_bytes = memory.length_bytes();
    let start_bytes = match memory {
        Memory::Arena(ArenaRange { start_bytes, .. }) => *start_bytes,
        Memory::Buffer(_) | Memory::None => 0,
    };
    assert!(
        position_bytes.is_multiple_of(BLOCK_BYTES as u64)
            && length_bytes.is_multiple_of(BLOCK_BYTES)
            && start_bytes.is_multiple_of(BLOCK_BYTES)
            && length_bytes > 0,
        "not whole blocks: {memory:?} at {position_bytes}"
    );
}

fn assert_is_path(path: &str) {
    assert!(is_path(path), "{path:?} is not a path in the data directory");
}

fn is_path(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
