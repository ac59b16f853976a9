//! Where a server of a test lives: a data directory on a disk, an arena directory in tmpfs.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Start;

/// Directories that go when this does. A server may be started in it many times, one at a time.
#[derive(Debug)]
pub struct Place {
    data: TempDir,
    arenas: TempDir,
}

impl Place {
    /// New and empty: the data below the build's target directory (tmpfs is no disk).
    ///
    /// # Panics
    ///
    /// If the directories cannot be made.
    #[must_use]
    pub fn new() -> Place {
        let scratch = scratch();
        fs::create_dir_all(&scratch).expect("the target directory is writable");
        Place::with_data_below(&scratch)
    }

    /// The same with the data directory below this one.
    ///
    /// # Panics
    ///
    /// If the directories cannot be made.
    #[must_use]
    pub fn with_data_below(parent: &Path) -> Place {
        let directory = |parent: &Path| {
            let made = tempfile::Builder::new().prefix("plimsoll-test-").tempdir_in(parent);
            made.expect("a temporary directory can be made")
        };
        Place { data: directory(parent), arenas: directory(Path::new("/dev/shm")) }
    }

    /// What `--data-dir` names.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// What `--arena-dir` names.
    #[must_use]
    pub fn arena_dir(&self) -> &Path {
        self.arenas.path()
    }

    /// The stderr of all servers that were started here.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.arenas.path().join("server.log")
    }

    /// A file of the test's own, beside the data directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// The directories with arenas that are there.
    ///
    /// # Panics
    ///
    /// If the arena directory is gone.
    #[must_use]
    pub fn arenas(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.arenas.path()).expect("the arena directory is there");
        let paths = entries.map(|entry| entry.expect("it can be listed").path());
        paths.filter(|path| path.is_dir()).collect()
    }

    /// What a power loss does to memory.
    ///
    /// # Panics
    ///
    /// If they cannot be removed.
    pub fn remove_arenas(&self) {
        for arena in self.arenas() {
            fs::remove_dir_all(arena).expect("arenas can be removed");
        }
    }

    /// Stays for someone to look at; where the two directories are.
    #[must_use]
    pub fn keep(self) -> (PathBuf, PathBuf) {
        (self.data.keep(), self.arenas.keep())
    }

    /// A server here, with small memory so that it starts fast.
    #[must_use]
    pub fn server(&self) -> Start<'_> {
        Start::new(self)
    }
}

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

/// Below the target directory: `target/debug/deps/<test>` is this program.
fn scratch() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    let target = program.ancestors().nth(3).expect("tests are built in a target directory");
    target.join("tmp")
}
