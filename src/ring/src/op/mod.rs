//! The operations, each in its own file: how it is submitted, and what its completion means.
//!
//! An operation in flight owns everything that the kernel reads or writes for it, on the heap, so
//! that the entry itself may move. A completion either ends the operation or makes it go on
//! (`Step`).

mod accept;
mod allocate;
mod close;
mod create_directory;
mod open;
mod read;
mod receive;
mod remove;
mod rename;
mod send;
mod sync_data;
mod sync_directory;
mod write;

use std::fs::File;

use io_uring::squeue::Entry;
use plimsoll_device::{DiskAction, DiskCompletion, DiskOp, DiskResult, IoError, Token};

pub(crate) use accept::{Accept, Accepted};
pub(crate) use receive::{Receive, ReceiveEnd};
pub(crate) use send::{Message, Send};

use crate::errands::Errand;
use crate::errno::Errno;
use crate::files::Files;
use crate::path::DataPath;
use crate::span::ArenaMemory;

/// What the disk operations need of the ring.
pub(crate) struct Disk {
    pub(crate) dir: File,
    pub(crate) files: Files,
    pub(crate) arena: Option<ArenaMemory>,
}

/// Anything that the kernel has been given.
pub(crate) enum InFlight {
    Disk(DiskInFlight),
    Accept(Accept),
    Receive(Receive),
    Send(Send),
    /// The read of the doorbell's eventfd, and where the kernel puts its counter.
    Doorbell(Box<[u8; 8]>),
}

/// A disk operation that the kernel has been given.
pub(crate) enum DiskInFlight {
    Allocate(allocate::Allocate),
    Close(close::Close),
    CreateDirectory(create_directory::CreateDirectory),
    Open(open::Open),
    Read(read::Read),
    Remove(remove::Remove),
    Rename(rename::Rename),
    SyncData(sync_data::SyncData),
    SyncDirectory(sync_directory::SyncDirectory),
    Write(write::Write),
}

/// What comes of an operation or of one of its completions.
pub(crate) enum Step {
    /// To be submitted (again).
    Submit(DiskInFlight),
    /// For the thread that does what io_uring cannot.
    Errand(Errand),
    /// It has ended.
    Done(DiskCompletion),
}

impl Disk {
    /// Takes an operation of the logic; what is wrong with it already ends it.
    pub(crate) fn start(&mut self, op: DiskOp) -> Step {
        let token = op.token;
        match op.action {
            DiskAction::Open { file, path, mode } => {
                open::Open::start(token, file, &path, mode, self)
            }
            DiskAction::Close { file } => close::Close::start(token, file, self),
            DiskAction::Allocate { file, length_bytes } => {
                allocate::Allocate::start(token, file, length_bytes, self)
            }
            DiskAction::Write { file, position_bytes, source, durable } => {
                write::Write::start(token, (file, position_bytes, source, durable), self)
            }
            DiskAction::Read { file, position_bytes, target } => {
                read::Read::start(token, file, position_bytes, target, self)
            }
            DiskAction::SyncData { file } => sync_data::SyncData::start(token, file, self),
            DiskAction::SyncAll => Step::Errand(Errand::SyncAll { token }),
            DiskAction::SyncDirectory { path } => {
                sync_directory::SyncDirectory::start(token, &path)
            }
            DiskAction::CreateDirectory { path } => {
                create_directory::CreateDirectory::start(token, &path)
            }
            DiskAction::List { path } => match DataPath::of_directory(&path) {
                Ok(_) => Step::Errand(Errand::List { token, path }),
                Err(errno) => {
                    let result = DiskResult::Listed(Err(errno.into()));
                    Step::Done(DiskCompletion { token, result })
                }
            },
            DiskAction::Rename { from, to } => rename::Rename::start(token, &from, &to),
            DiskAction::Remove { path } => remove::Remove::file(token, &path),
            DiskAction::RemoveDirectory { path } => remove::Remove::directory(token, &path),
        }
    }
}

impl DiskInFlight {
    /// The submission for the operation's present state. Valid as long as the operation lives.
    pub(crate) fn entry(&self, disk: &Disk) -> Entry {
        match self {
            Self::Allocate(op) => op.entry(),
            Self::Close(op) => op.entry(),
            Self::CreateDirectory(op) => op.entry(disk),
            Self::Open(op) => op.entry(disk),
            Self::Read(op) => op.entry(),
            Self::Remove(op) => op.entry(disk),
            Self::Rename(op) => op.entry(disk),
            Self::SyncData(op) => op.entry(),
            Self::SyncDirectory(op) => op.entry(disk),
            Self::Write(op) => op.entry(),
        }
    }

    /// Takes the kernel's answer. What the kernel merely did not get to is submitted again, except
    /// a flush: a failed flush is never repeated and believed.
    pub(crate) fn advance(self, result: i32, disk: &mut Disk) -> Step {
        let result = Errno::check(result);
        let again = result.is_err_and(Errno::is_transient);
        if again && !matches!(self, Self::SyncData(_) | Self::SyncDirectory(_)) {
            return Step::Submit(self);
        }
        match self {
            Self::Allocate(op) => done(op.token, result),
            Self::Close(op) => done(op.token, result),
            Self::CreateDirectory(op) => done(op.token, result),
            Self::Open(op) => op.advance(result, disk),
            Self::Read(op) => op.advance(result),
            Self::Remove(op) => done(op.token, result),
            Self::Rename(op) => done(op.token, result),
            Self::SyncData(op) => done(op.token, result),
            Self::SyncDirectory(op) => op.advance(result),
            Self::Write(op) => op.advance(result),
        }
    }
}

/// The end of an operation that has nothing to give back.
fn done<T>(token: Token, result: Result<T, Errno>) -> Step {
    let result = DiskResult::Done(result.map(|_| ()).map_err(IoError::from));
    Step::Done(DiskCompletion { token, result })
}
