//! What each operation does when it completes.
//!
//! Effects come at completion, in an order that the seed chooses, never at submission. What a
//! newcomer gets wrong: a flush covers what had completed when the flush was submitted. Writes that
//! end while it is in flight stay unflushed.

use core::ops::Range;

use plimsoll_device::{
    Arena, BLOCK_BYTES, DiskAction, DiskResult, FileId, IoError, IoErrorKind, Memory, OpenMode,
};

use super::faults::Fault;
use super::inode::Inode;
use super::names::{Entry, InodeId, parent_of};
use super::survival::Fate;
use super::{Disk, OpenFile, Pending};
use crate::issuer::Issuer;

const SECTOR_BYTES: usize = 512;

/// How much of new room holds stale bytes, at most; more would be slow, and says nothing more.
const STALE_BYTES_MAX: u64 = 256 << 10;

const NOT_FOUND: IoError = IoError::new(IoErrorKind::NotFound, 2);
const INPUT_OUTPUT: IoError = IoError::new(IoErrorKind::Other, 5);
const ALREADY_EXISTS: IoError = IoError::new(IoErrorKind::AlreadyExists, 17);
const NOT_A_DIRECTORY: IoError = IoError::new(IoErrorKind::Other, 20);
const IS_A_DIRECTORY: IoError = IoError::new(IoErrorKind::Other, 21);
const NO_SPACE: IoError = IoError::new(IoErrorKind::NoSpace, 28);
const NOT_EMPTY: IoError = IoError::new(IoErrorKind::Other, 39);

impl Disk {
    /// Lets an operation take effect and says how it ended.
    pub(super) fn perform(&mut self, pending: Pending, arena: &mut Arena) -> DiskResult {
        self.completed += 1;
        if let DiskAction::Write { position_bytes, durable, .. } = pending.op.action {
            let written = self.write(&pending, position_bytes, durable);
            let DiskAction::Write { source, .. } = pending.op.action else {
                unreachable!("it is a write")
            };
            return DiskResult::Written(source, written);
        }
        let Pending { issuer, op, inode, submitted_at, fault, .. } = pending;
        match op.action {
            DiskAction::Open { file, path, mode } => {
                let name = (issuer, file);
                DiskResult::Opened(fail_if(fault).and_then(|()| self.open(name, path, mode)))
            }
            DiskAction::Close { file } => {
                self.open.remove(&(issuer, file));
                self.forget_unnamed();
                DiskResult::Done(Ok(()))
            }
            DiskAction::Allocate { length_bytes, .. } => {
                let allocated = fail_if(fault).and_then(|()| self.allocate(inode, length_bytes));
                DiskResult::Done(allocated)
            }
            DiskAction::Read { position_bytes, target, .. } => {
                self.read(inode, position_bytes, target, arena, fault)
            }
            DiskAction::SyncData { .. } => {
                DiskResult::Done(self.sync_data(inode.into_iter().collect(), submitted_at, fault))
            }
            DiskAction::SyncAll => {
                let all = self.inodes.keys().copied().collect();
                let result = self.sync_data(all, submitted_at, fault);
                if result.is_ok() {
                    self.names.sync(None, submitted_at);
                    self.forget_unnamed();
                }
                DiskResult::Done(result)
            }
            DiskAction::List { path } => DiskResult::Listed(match self.names.lookup(&path) {
                Some(Entry::Directory) => Ok(self.names.children(&path)),
                Some(Entry::File(_)) => Err(NOT_A_DIRECTORY),
                None => Err(NOT_FOUND),
            }),
            action => {
                let result =
                    fail_if(fault).and_then(|()| self.perform_on_names(action, submitted_at));
                DiskResult::Done(result)
            }
        }
    }

    fn perform_on_names(&mut self, action: DiskAction, submitted_at: u64) -> Result<(), IoError> {
        match action {
            DiskAction::SyncDirectory { path } => {
                if !self.names.is_directory(&path) {
                    return Err(NOT_FOUND);
                }
                self.names.sync(Some(&path), submitted_at);
                self.forget_unnamed();
            }
            DiskAction::CreateDirectory { path } => {
                self.admit_new(&path)?;
                self.names.change(self.completed, vec![(path, Some(Entry::Directory))]);
            }
            DiskAction::Rename { from, to } => {
                let inode = self.named_file(&from)?;
                match self.names.lookup(&to) {
                    Some(Entry::Directory) => return Err(IS_A_DIRECTORY),
                    None if !self.names.is_directory(parent_of(&to)) => return Err(NOT_FOUND),
                    // Also a rename of a name to itself, which changes nothing.
                    Some(Entry::File(there)) if there == inode => return Ok(()),
                    Some(Entry::File(_)) | None => {}
                }
                let meanings = vec![(from, None), (to, Some(Entry::File(inode)))];
                self.names.change(self.completed, meanings);
            }
            DiskAction::Remove { path } => {
                self.named_file(&path)?;
                self.counts.removed += 1;
                self.names.change(self.completed, vec![(path, None)]);
            }
            DiskAction::RemoveDirectory { path } => {
                match self.names.lookup(&path) {
                    Some(Entry::Directory) => {}
                    Some(Entry::File(_)) => return Err(NOT_A_DIRECTORY),
                    None => return Err(NOT_FOUND),
                }
                if !self.names.children(&path).is_empty() {
                    return Err(NOT_EMPTY);
                }
                self.names.change(self.completed, vec![(path, None)]);
            }
            action => unreachable!("{action:?} is not about names"),
        }
        Ok(())
    }

    fn open(
        &mut self,
        name: (Issuer, FileId),
        path: String,
        mode: OpenMode,
    ) -> Result<u64, IoError> {
        let inode = match (self.names.lookup(&path), mode) {
            (Some(Entry::Directory), _) => return Err(IS_A_DIRECTORY),
            (Some(Entry::File(_)), OpenMode::CreateNew) => return Err(ALREADY_EXISTS),
            (None, OpenMode::Existing) => return Err(NOT_FOUND),
            (Some(Entry::File(inode)), OpenMode::Existing) => inode,
            (Some(Entry::File(inode)), OpenMode::CreateEmpty) => {
                let at = self.completed;
                self.file(inode).empty(at);
                inode
            }
            (None, OpenMode::CreateNew | OpenMode::CreateEmpty) => {
                self.admit_new(&path)?;
                let inode = self.create_inode(Inode::default());
                self.names.change(self.completed, vec![(path, Some(Entry::File(inode)))]);
                inode
            }
        };
        self.open.insert(name, OpenFile { inode, closing: false });
        Ok(self.file(inode).visible().length_bytes())
    }

    fn allocate(&mut self, inode: Option<InodeId>, length_bytes: u64) -> Result<(), IoError> {
        if self.faults.no_space {
            return Err(NO_SPACE);
        }
        let at = self.completed;
        assert!(length_bytes > 0, "Allocate of nothing, which the kernel refuses");
        let file = self.file_of(inode);
        let now_bytes = file.visible().length_bytes();
        assert!(length_bytes >= now_bytes, "Allocate shrinks from {now_bytes} to {length_bytes}");
        file.grow(at, length_bytes);
        if self.faults.stale_room {
            self.recycle(inode, now_bytes..length_bytes);
        }
        Ok(())
    }

    /// Fills the front of the room that a file was given with what another one of its kind holds at
    /// the same place.
    fn recycle(&mut self, inode: Option<InodeId>, room: Range<u64>) {
        let ends = |path: &str| path.rsplit_once('.').map(|(_, end)| end.to_string());
        let named = self.names.files().find(|(_, file)| Some(*file) == inode);
        let Some(end) = named.and_then(|(path, _)| ends(path)) else { return };
        let others = self
            .names
            .files()
            .filter(|(path, file)| Some(*file) != inode && ends(path).as_ref() == Some(&end));
        let others: Vec<InodeId> = others.map(|(_, file)| file).collect();
        if others.is_empty() {
            return;
        }
        let donor = others[self.damage.index(others.len())];
        let length = (room.end - room.start).min(STALE_BYTES_MAX);
        let mut bytes = vec![0; length as usize];
        let count = self.file(donor).visible().read(room.start, &mut bytes);
        let at = self.completed;
        self.file_of(inode).write(at, room.start, &bytes[..count], false);
    }

    fn write(
        &mut self,
        pending: &Pending,
        position_bytes: u64,
        durable: bool,
    ) -> Result<usize, IoError> {
        let (inode, bytes, fault) = (pending.inode, pending.written(), pending.fault);
        let at = self.completed;
        let position_bytes = self.misdirected(inode, position_bytes, bytes.len());
        let end_bytes = position_bytes + bytes.len() as u64;
        if self.faults.no_space && end_bytes > self.file_of(inode).visible().length_bytes() {
            return Err(NO_SPACE);
        }
        match fault {
            Some(Fault::Fail) => {
                let fate = Fate::of_write_in_flight(&mut self.damage);
                self.file_of(inode).write_part(at, position_bytes, bytes, &fate);
                Err(INPUT_OUTPUT)
            }
            Some(Fault::Short) => {
                let sectors = 1 + self.damage.index(bytes.len() / SECTOR_BYTES - 1);
                let written = &bytes[..sectors * SECTOR_BYTES];
                self.file_of(inode).write(at, position_bytes, written, durable);
                Ok(written.len())
            }
            _ => {
                self.file_of(inode).write(at, position_bytes, bytes, durable);
                Ok(bytes.len())
            }
        }
    }

    /// Where a write of so many bytes really goes: a file gets no longer by it.
    fn misdirected(&mut self, inode: Option<InodeId>, position_bytes: u64, bytes: usize) -> u64 {
        let Some(end) = self.faults.misdirect_write_to else { return position_bytes };
        let is_meant = |(path, file): (&str, _)| Some(file) == inode && path.ends_with(end);
        if !self.names.files().any(is_meant) {
            return position_bytes;
        }
        self.faults.misdirect_write_to = None;
        let room_bytes = self.file_of(inode).visible().length_bytes().saturating_sub(bytes as u64);
        self.damage.below(room_bytes / BLOCK_BYTES as u64 + 1) * BLOCK_BYTES as u64
    }

    fn read(
        &mut self,
        inode: Option<InodeId>,
        position_bytes: u64,
        mut target: Memory,
        arena: &mut Arena,
        fault: Option<Fault>,
    ) -> DiskResult {
        if let Err(error) = fail_if(fault) {
            return DiskResult::Read(target, Err(error));
        }
        let filled = match &mut target {
            Memory::Arena(range) => arena.bytes_mut(*range),
            Memory::Buffer(buffer) => &mut buffer[..],
            Memory::None => &mut [],
        };
        let count = self.file_of(inode).visible().read(position_bytes, filled);
        if fault == Some(Fault::Flip) && count > 0 {
            filled[self.damage.index(count)] ^= 1 << self.damage.below(8);
        }
        self.trace.note(&filled[..count]);
        DiskResult::Read(target, Ok(count))
    }

    fn sync_data(
        &mut self,
        inodes: Vec<InodeId>,
        submitted_at: u64,
        fault: Option<Fault>,
    ) -> Result<(), IoError> {
        let result = fail_if(fault);
        let drops = self.faults.flush_drops_on_failure;
        for inode in inodes {
            match result {
                Ok(()) => self.file(inode).sync(submitted_at),
                Err(_) if drops => self.file(inode).drop_unflushed(submitted_at),
                Err(_) => {}
            }
        }
        result
    }

    /// Whether something new may be created at `path`.
    fn admit_new(&self, path: &str) -> Result<(), IoError> {
        match self.names.lookup(parent_of(path)) {
            None => return Err(NOT_FOUND),
            Some(Entry::File(_)) => return Err(NOT_A_DIRECTORY),
            Some(Entry::Directory) => {}
        }
        match self.names.lookup(path) {
            Some(_) => Err(ALREADY_EXISTS),
            None if self.faults.no_space => Err(NO_SPACE),
            None => Ok(()),
        }
    }

    fn named_file(&self, path: &str) -> Result<InodeId, IoError> {
        match self.names.lookup(path) {
            Some(Entry::File(inode)) => Ok(inode),
            Some(Entry::Directory) => Err(IS_A_DIRECTORY),
            None => Err(NOT_FOUND),
        }
    }

    fn file_of(&mut self, inode: Option<InodeId>) -> &mut Inode {
        match inode {
            Some(inode) => self.file(inode),
            None => unreachable!("the operation was admitted with an open file"),
        }
    }

    pub(super) fn file(&mut self, inode: InodeId) -> &mut Inode {
        match self.inodes.get_mut(&inode) {
            Some(file) => file,
            None => unreachable!("{inode:?} is open or named, and so it exists"),
        }
    }

    /// Frees the files that have no name, now or after any power loss, and that nobody uses.
    pub(super) fn forget_unnamed(&mut self) {
        let mut used = self.names.mentioned();
        used.extend(self.open.values().map(|open| open.inode));
        used.extend(self.pending.iter().filter_map(|pending| pending.inode));
        self.inodes.retain(|inode, _| used.contains(inode));
    }
}

fn fail_if(fault: Option<Fault>) -> Result<(), IoError> {
    match fault {
        Some(Fault::Fail) => Err(INPUT_OUTPUT),
        _ => Ok(()),
    }
}
