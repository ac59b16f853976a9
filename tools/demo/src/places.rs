//! Where the demo's files lie: the data on a disk that takes direct I/O, the arenas in tmpfs.

use std::path::{Path, PathBuf};

use plimsoll_ring::host::{Finding, Verdict, direct_io, file_system};
use tempfile::TempDir;

use crate::cleanup::remember_directory;

/// The directories of one demo. They go when this is dropped.
#[derive(Debug)]
pub(crate) struct Places {
    data: TempDir,
    arenas: TempDir,
}

impl Places {
    /// Makes them: the data in the temporary directory, or beside `binary` where that is memory.
    pub(crate) fn make(binary: &Path) -> Result<Places, String> {
        let beside = binary.parent().map(|folder| folder.with_file_name("demo"));
        let candidates = [Some(std::env::temp_dir()), beside];
        let mut refusals = Vec::new();
        for base in candidates.into_iter().flatten() {
            match data_directory(&base) {
                Ok(data) => {
                    remember_directory(data.path().to_owned());
                    let arenas = directory(Path::new("/dev/shm"))?;
                    remember_directory(arenas.path().to_owned());
                    return Ok(Places { data, arenas });
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(format!("no place for the data ({}); set TMPDIR to one on ext4", refusals.join("; ")))
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data.path().join("data")
    }

    pub(crate) fn server_log(&self) -> PathBuf {
        self.data.path().join("server.log")
    }

    pub(crate) fn arena_dir(&self) -> &Path {
        self.arenas.path()
    }
}

fn data_directory(base: &Path) -> Result<TempDir, String> {
    std::fs::create_dir_all(base).map_err(|error| format!("{}: {error}", base.display()))?;
    let made = directory(base)?;
    let kind = file_system(made.path()).map_err(|error| format!("{}: {error}", base.display()))?;
    if kind.verdict() == Verdict::Failure {
        return Err(kind.to_string());
    }
    let direct_io = direct_io(made.path());
    if direct_io.verdict() == Verdict::Failure { Err(direct_io.to_string()) } else { Ok(made) }
}

fn directory(base: &Path) -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("plimsoll-demo-").tempdir_in(base);
    made.map_err(|error| format!("cannot make a directory in {}: {error}", base.display()))
}
