//! The two calls that io_uring has no opcode for, on a thread of their own.
//!
//! `syncfs` and reading a directory may take long; the ring's thread never waits for them. The
//! thread is started with the first errand and ends with the ring.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};

use plimsoll_device::{DiskCompletion, DiskResult, IoError, Token};

use crate::doorbell::Doorbell;
use crate::errno::Errno;

/// How many errands wait in the channel; more wait in the ring.
const CHANNEL_ERRANDS_MAX: usize = 16;

/// What the thread is asked to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Names in a directory, relative to the data directory.
    List { token: Token, path: String },
    /// syncfs of the data directory.
    SyncAll { token: Token },
}

pub(crate) struct Errands {
    data_dir: Arc<(PathBuf, File)>,
    doorbell: Doorbell,
    thread: Option<Thread>,
    waiting: VecDeque<Errand>,
    in_flight: usize,
}

struct Thread {
    errands: SyncSender<Errand>,
    done: Receiver<DiskCompletion>,
}

impl Errands {
    /// `path` and `dir` both name the data directory.
    pub(crate) fn new(path: PathBuf, dir: File, doorbell: Doorbell) -> Self {
        Self {
            data_dir: Arc::new((path, dir)),
            doorbell,
            thread: None,
            waiting: VecDeque::new(),
            in_flight: 0,
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn start(&mut self, errand: Errand) {
        self.in_flight += 1;
        self.waiting.push_back(errand);
    }

    /// Hands waiting errands to the thread, and takes one that is done.
    pub(crate) fn poll(&mut self) -> Option<DiskCompletion> {
        if self.in_flight == 0 {
            return None;
        }
        let done = self.poll_thread();
        self.in_flight -= usize::from(done.is_some());
        done
    }

    fn poll_thread(&mut self) -> Option<DiskCompletion> {
        let Ok(thread) = self.started() else {
            // No thread can be had: the errand fails as the call itself would.
            return self.waiting.pop_front().map(|errand| errand.failed(Errno(libc::EAGAIN)));
        };
        let (errands, done) = (thread.errands.clone(), thread.done.try_recv());
        while let Some(errand) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(errand) | TrySendError::Disconnected(errand)) =
                errands.try_send(errand)
            {
                self.waiting.push_front(errand);
                break;
            }
        }
        done.ok()
    }

    fn started(&mut self) -> std::io::Result<&Thread> {
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => self.spawn()?,
        };
        Ok(self.thread.insert(thread))
    }

    fn spawn(&self) -> std::io::Result<Thread> {
        let (errands, to_do) = mpsc::sync_channel::<Errand>(CHANNEL_ERRANDS_MAX);
        let (sender, done) = mpsc::sync_channel(CHANNEL_ERRANDS_MAX);
        let (data_dir, doorbell) = (Arc::clone(&self.data_dir), self.doorbell.clone());
        std::thread::Builder::new().name("plimsoll-errands".to_owned()).spawn(move || {
            for errand in to_do {
                let completion = errand.run(&data_dir.0, &data_dir.1);
                if sender.send(completion).is_err() {
                    return;
                }
                doorbell.ring();
            }
        })?;
        Ok(Thread { errands, done })
    }
}

impl Errand {
    fn run(self, path: &Path, dir: &File) -> DiskCompletion {
        match self {
            Self::List { token, path: below } => {
                let names = list(&path.join(below)).map_err(IoError::from);
                DiskCompletion { token, result: DiskResult::Listed(names) }
            }
            Self::SyncAll { token } => {
                let synced = sync_all(dir).map_err(IoError::from);
                DiskCompletion { token, result: DiskResult::Done(synced) }
            }
        }
    }

    fn failed(self, errno: Errno) -> DiskCompletion {
        let error = IoError::from(errno);
        match self {
            Self::List { token, .. } => {
                DiskCompletion { token, result: DiskResult::Listed(Err(error)) }
            }
            Self::SyncAll { token } => {
                DiskCompletion { token, result: DiskResult::Done(Err(error)) }
            }
        }
    }
}

fn list(dir: &Path) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| Errno::of(&error))? {
        let entry = entry.map_err(|error| Errno::of(&error))?;
        // The logic creates UTF-8 names only; whatever else is there, it did not put there.
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn sync_all(dir: &File) -> Result<(), Errno> {
    // SAFETY: takes no pointers; the descriptor is open.
    match unsafe { libc::syncfs(dir.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}
