//! Why a server did not start, each with its remedy, in one sentence.
//!
//! What goes wrong with one client or one append never comes here: the shard answers it. What a
//! newcomer gets wrong: the sentence is for an operator who has never seen the code, so that it
//! says what to do, with the name of the flag.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use plimsoll_ring::{ArenaError, LockError, SetupError, TurnError};
use plimsoll_storage::StartupError;

/// Why a server did not start, or ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The data directory cannot be made or written.
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory for the arenas cannot be used.
    ArenaDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Direct I/O does not work there.
    DirectIo(String),
    /// Another server has the directory, or its lock file cannot be used.
    Lock(LockError),
    /// io_uring is not to be had.
    Setup(String),
    /// As `Setup`, on a shard's thread.
    Ring(SetupError),
    /// What the directory holds cannot be started from.
    Startup(StartupError),
    /// An arena cannot be made.
    Arena(ArenaError),
    /// The arena directory has too little room for all arenas.
    ArenaRoom {
        /// Where they go.
        directory: PathBuf,
        /// How many there are.
        shards: usize,
        /// What all of them take.
        needed_bytes: u64,
        /// What the file system has left.
        available_bytes: u64,
        /// What a dead server's arenas take beside that.
        held_bytes: u64,
    },
    /// An arena of another version or data directory is there.
    ForeignArena(String),
    /// A setting cannot work.
    Setting(String),
    /// The address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The machine failed in mid-run.
    Turn(TurnError),
    /// A system call failed at the start.
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A shard's thread ended.
    ShardEnded(String),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDir { path, .. } if path.exists() && !path.is_dir() => write!(
                f,
                "the data directory {} is a file: name another with --data-dir",
                path.display()
            ),
            Self::ArenaDir { path, source } => write!(
                f,
                "the arena directory {} cannot be used ({source}): make it, in tmpfs and readable \
                 and writable for this user, or name another with --arena-dir",
                path.display()
            ),
            Self::DataDir { path, source } => write!(
                f,
                "the data directory {} cannot be used ({source}): make it writable for this user, \
                 or name another with --data-dir",
                path.display()
            ),
            Self::Listen { address, source } => write!(
                f,
                "cannot listen on {address} ({source}): stop what uses the port, or choose another \
                 with --listen (port 0 picks a free one)"
            ),
            Self::System { what, source } => write!(f, "{what} failed: {source}"),
            Self::DirectIo(text)
            | Self::Setup(text)
            | Self::ForeignArena(text)
            | Self::Setting(text)
            | Self::ShardEnded(text) => f.write_str(text),
            Self::Lock(error @ LockError::Held { .. }) => {
                write!(f, "{error}: stop that server first, or name another --data-dir")
            }
            Self::Lock(error) => write!(
                f,
                "the data directory cannot be locked ({error}): make it writable for this user, \
                 or name another --data-dir"
            ),
            Self::Ring(error) => error.fmt(f),
            Self::Startup(error) => error.fmt(f),
            Self::ArenaRoom { held_bytes: 0, .. } => write!(
                f,
                "{}, and a start after a kill needs twice as much: lower --arena-bytes, or name a \
                 larger tmpfs with --arena-dir (in a container, give /dev/shm more room)",
                self.want_of_room()
            ),
            Self::ArenaRoom { held_bytes, .. } => write!(
                f,
                "{}; {held_bytes} more are held by the arenas of the server before, which go when \
                 the new ones have taken them over: make the tmpfs larger (mount -o \
                 remount,size=...), or lower --arena-bytes; do not remove the old arenas, what was \
                 acked and is not on disk is in them",
                self.want_of_room()
            ),
            Self::Arena(error @ ArenaError::NoRoom { .. }) => write!(
                f,
                "{error}: lower --arena-bytes, or name a larger tmpfs with --arena-dir (in a \
                 container, give /dev/shm more room)"
            ),
            Self::Arena(error) => error.fmt(f),
            Self::Turn(error) => error.fmt(f),
        }
    }
}

impl ServeError {
    fn want_of_room(&self) -> String {
        let Self::ArenaRoom { directory, shards, needed_bytes, available_bytes, .. } = self else {
            return String::new();
        };
        format!(
            "{}: the arenas of {shards} shards need {needed_bytes} bytes and {available_bytes} are \
             available",
            directory.display()
        )
    }
}

impl std::error::Error for ServeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_and_one_that_cannot_be_locked_have_different_remedies() {
        let path = PathBuf::from("/data/lock");
        let held = LockError::Held { path: path.clone(), pid: Some(7) };
        let text = ServeError::Lock(held).to_string();
        assert_eq!(
            text,
            "/data/lock is held by process 7: stop that server first, or name another --data-dir"
        );
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = ServeError::Lock(LockError::Io { path, source }).to_string();
        assert!(text.contains("/data/lock") && text.contains("make it writable"), "{text}");
    }
}
