//! The table of open files: each path is open at most once, idle ones are closed at the limit.
//!
//! It knows paths and numbers, not what is in a file. What a newcomer gets wrong: a file may be
//! named in operations while it is still being opened; those wait here.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_device::{DiskAction, DiskOp, FileId, IoError, OpenMode};

use crate::limits::FILES_OPEN_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Opening,
    Open,
    Closing,
    /// Its opening failed, and users still hold it.
    Failed(IoError),
}

struct File {
    path: String,
    state: State,
    /// Asked for while the file was being opened.
    waiting: Vec<DiskOp>,
    /// Users that hold the file: it is not closed under them.
    holds: u32,
    last_used: u64,
    /// Length when it was opened, in bytes.
    length_bytes: u64,
    /// Its name goes: to be closed when the last user lets go, or its blocks stay in use.
    doomed: bool,
}

/// What a caller has to do to get a file opened.
pub(crate) enum Opening {
    /// It is open, or its opening is under way: operations may name it at once.
    Known(FileId),
    /// The caller submits this `Open`.
    Submit(FileId, DiskAction),
}

/// What becomes of an operation on a held file.
pub(crate) enum Admitted {
    /// The machine gets it.
    Go(DiskOp),
    /// It is kept until the file is open.
    Waits,
    /// The file could not be opened, and so the operation fails.
    Failed(DiskOp, IoError),
}

/// Files by path and by number.
pub(crate) struct Files {
    files: Vec<File>,
    by_path: BTreeMap<String, FileId>,
    free: VecDeque<FileId>,
    /// Open files that nobody holds, by when they were last held.
    idle: BTreeMap<u64, FileId>,
    /// Doomed files that the last user let go of.
    leaving: Vec<FileId>,
    clock: u64,
    open: usize,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            files: Vec::new(),
            by_path: BTreeMap::new(),
            free: VecDeque::new(),
            idle: BTreeMap::new(),
            leaving: Vec::new(),
            clock: 0,
            open: 0,
        }
    }

    /// Holds the file of `path`, opening it if need be. The caller lets go with `release`.
    pub(crate) fn hold(&mut self, path: &str, mode: OpenMode) -> Opening {
        self.clock += 1;
        if let Some(&id) = self.by_path.get(path) {
            let clock = self.clock;
            let file = self.file_mut(id);
            file.holds += 1;
            let before = core::mem::replace(&mut file.last_used, clock);
            self.idle.remove(&before);
            return Opening::Known(id);
        }
        let id = self.free_number();
        let clock = self.clock;
        *self.file_mut(id) = File {
            path: path.into(),
            state: State::Opening,
            waiting: Vec::new(),
            holds: 1,
            last_used: clock,
            length_bytes: 0,
            doomed: false,
        };
        self.by_path.insert(path.into(), id);
        self.open += 1;
        Opening::Submit(id, DiskAction::Open { file: id, path: path.into(), mode })
    }

    /// Lets go of a file.
    pub(crate) fn release(&mut self, id: FileId) {
        let file = self.file_mut(id);
        assert!(file.holds > 0, "{id:?} is held");
        file.holds -= 1;
        let (state, last_used) = (file.state, file.last_used);
        match (file.holds, state) {
            (0, State::Failed(_)) => self.closed(id),
            (0, State::Open) if file.doomed => self.leaving.push(id),
            (0, State::Open) => {
                self.idle.insert(last_used, id);
            }
            _ => {}
        }
    }

    /// Passes the operation on if its file is open; keeps it until then otherwise.
    pub(crate) fn admit(&mut self, id: FileId, op: DiskOp) -> Admitted {
        let file = self.file_mut(id);
        match file.state {
            State::Opening => {
                file.waiting.push(op);
                Admitted::Waits
            }
            State::Failed(error) => Admitted::Failed(op, error),
            State::Free | State::Open | State::Closing => Admitted::Go(op),
        }
    }

    /// The file is open: what waited for it may go.
    pub(crate) fn opened(&mut self, id: FileId, length_bytes: u64) -> Vec<DiskOp> {
        let file = self.file_mut(id);
        file.state = State::Open;
        file.length_bytes = length_bytes;
        let waiting = core::mem::take(&mut file.waiting);
        let (holds, last_used, doomed) = (file.holds, file.last_used, file.doomed);
        match (holds, doomed) {
            (0, true) => self.leaving.push(id),
            (0, false) => {
                self.idle.insert(last_used, id);
            }
            _ => {}
        }
        waiting
    }

    /// The file could not be opened: what waited for it fails. Its number stays in use for as long
    /// as somebody holds it; who asks for the path from now on opens it anew.
    pub(crate) fn not_opened(&mut self, id: FileId, error: IoError) -> Vec<DiskOp> {
        let file = self.file_mut(id);
        file.state = State::Failed(error);
        let (path, holds) = (file.path.clone(), file.holds);
        let waiting = core::mem::take(&mut file.waiting);
        if self.by_path.get(&path) == Some(&id) {
            self.by_path.remove(&path);
        }
        if holds == 0 {
            self.closed(id);
        }
        waiting
    }

    /// A file that nobody holds and that should be closed, because too many are open.
    pub(crate) fn close_idle(&mut self) -> Option<(FileId, DiskAction)> {
        if self.open <= FILES_OPEN_MAX {
            return None;
        }
        let (_, id) = self.idle.pop_first()?;
        Some(self.close(id))
    }

    /// The name of the file goes: it is closed now, or when nobody holds it any more.
    /// Who asks for the path from now on gets another file.
    pub(crate) fn doom(&mut self, path: &str) -> Option<(FileId, DiskAction)> {
        let id = *self.by_path.get(path)?;
        let file = self.file_mut(id);
        if file.state == State::Open && file.holds == 0 {
            return Some(self.close(id));
        }
        file.doomed = true;
        self.by_path.remove(path);
        None
    }

    /// Whether a file of that path, whose name goes, is still in use.
    pub(crate) fn is_doomed(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.doomed && file.path == path)
    }

    /// A doomed file that nobody holds any more.
    pub(crate) fn close_doomed(&mut self) -> Option<(FileId, DiskAction)> {
        let id = self.leaving.pop()?;
        Some(self.close(id))
    }

    fn close(&mut self, id: FileId) -> (FileId, DiskAction) {
        let file = self.file_mut(id);
        file.state = State::Closing;
        let (path, last_used) = (core::mem::take(&mut file.path), file.last_used);
        if self.by_path.get(&path) == Some(&id) {
            self.by_path.remove(&path);
        }
        self.idle.remove(&last_used);
        (id, DiskAction::Close { file: id })
    }

    /// The file is closed.
    pub(crate) fn closed(&mut self, id: FileId) {
        let file = self.file_mut(id);
        file.state = State::Free;
        let path = core::mem::take(&mut file.path);
        if self.by_path.get(&path) == Some(&id) {
            self.by_path.remove(&path);
        }
        self.open -= 1;
        self.free.push_back(id);
    }

    /// Path of an open file.
    pub(crate) fn path(&self, id: FileId) -> &str {
        &self.files[id.0 as usize].path
    }

    /// Length of the file when it was opened, in bytes.
    pub(crate) fn length_bytes(&self, id: FileId) -> u64 {
        self.files[id.0 as usize].length_bytes
    }

    fn free_number(&mut self) -> FileId {
        if let Some(id) = self.free.pop_front() {
            return id;
        }
        self.files.push(File {
            path: String::new(),
            state: State::Free,
            waiting: Vec::new(),
            holds: 0,
            last_used: 0,
            length_bytes: 0,
            doomed: false,
        });
        FileId(u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX))
    }

    fn file_mut(&mut self, id: FileId) -> &mut File {
        &mut self.files[id.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_wait_for_the_opening_of_their_file() {
        let mut files = Files::new();
        let Opening::Submit(id, _) = files.hold("a", OpenMode::Existing) else { panic!("new") };
        let op =
            DiskOp { token: plimsoll_device::Token(1), action: DiskAction::SyncData { file: id } };
        assert!(matches!(files.admit(id, op), Admitted::Waits));
        assert!(matches!(files.hold("a", OpenMode::Existing), Opening::Known(same) if same == id));
        assert_eq!(files.opened(id, 77).len(), 1);
        assert_eq!(files.length_bytes(id), 77);
    }

    #[test]
    fn a_file_that_did_not_open_keeps_its_number_until_it_is_let_go() {
        let mut files = Files::new();
        let Opening::Submit(id, _) = files.hold("a", OpenMode::Existing) else { panic!("new") };
        files.not_opened(id, IoError::new(plimsoll_device::IoErrorKind::NotFound, 2));
        let op =
            DiskOp { token: plimsoll_device::Token(1), action: DiskAction::SyncData { file: id } };
        assert!(matches!(files.admit(id, op), Admitted::Failed(..)));
        let Opening::Submit(again, _) = files.hold("a", OpenMode::Existing) else { panic!("new") };
        assert_ne!(again, id);
        files.release(id);
        let Opening::Submit(reused, _) = files.hold("b", OpenMode::Existing) else { panic!("new") };
        assert_eq!(reused, id);
    }

    #[test]
    fn only_idle_files_are_closed_and_the_least_recently_used_first() {
        let mut files = Files::new();
        let mut ids = Vec::new();
        for number in 0..=FILES_OPEN_MAX {
            let path = alloc::format!("{number}");
            let Opening::Submit(id, _) = files.hold(&path, OpenMode::Existing) else {
                panic!("new")
            };
            files.opened(id, 0);
            ids.push(id);
        }
        assert!(files.close_idle().is_none());
        files.release(ids[5]);
        files.release(ids[3]);
        let (closing, _) = files.close_idle().unwrap();
        assert_eq!(closing, ids[3]);
        files.closed(closing);
        assert!(files.close_idle().is_none());
    }
}
