//! `plimsoll verify`: checks every byte of journals, segments and indexes, offline.
//!
//! A line for each damage: file, position, partition, what. It changes nothing, and it keeps the
//! data directory's lock, so that no server starts meanwhile. What a newcomer gets wrong: a `note`
//! is no damage. If nobody reads the lines any more it goes on, because the exit code is an answer
//! too.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use plimsoll_storage::{DataFiles, IoError, IoErrorKind, VerifySummary, verify};

use crate::topic_records::topic_record;

/// Check every byte of a data directory whose server is stopped; exit code 1 if any is damaged.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0: no damage; 1: damage; 2: not a data directory, or its server runs.

Example:
  plimsoll verify /var/lib/plimsoll")]
pub(crate) struct Args {
    /// The data directory.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// How long the lock of a server that has just ended is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Files that are open at once.
const FILES_OPEN_MAX: usize = 8;

/// Verifies.
pub(crate) fn run(args: &Args) -> ExitCode {
    let (code, text) = match verify_directory(&args.dir, &mut io::stdout().lock()) {
        Ok(summary) if summary.damages == 0 => (0, None),
        Ok(_) => (1, None),
        Err(sentence) => (2, Some(sentence)),
    };
    if let Some(sentence) = text {
        eprintln!("plimsoll: {}: {sentence}", args.dir.display());
    }
    ExitCode::from(code)
}

fn verify_directory(directory: &Path, out: &mut impl Write) -> Result<VerifySummary, String> {
    let _lock = lock(directory)?;
    let mut files = StoredFiles::new(directory.to_owned());
    let mut lines = Lines::new(out);
    let summary = verify(&mut files, topic_record, &mut |finding| lines.say(&finding))
        .map_err(|error| error.to_string())?;
    let VerifySummary { files, bytes, partitions, batches, frames, damages, .. } = summary;
    let verified = format!("verified {bytes} bytes in {files} files");
    let counted = format!("{partitions} partitions, {batches} batches, {frames} journal frames");
    match damages {
        0 => lines.say(&format_args!("{verified}: no damage ({counted})")),
        _ => lines.say(&format_args!("{verified}: {damages} damaged places ({counted})")),
    }
    Ok(summary)
}

/// Locks the data directory as a server does. A directory without a lock file was never served.
pub(crate) fn lock(directory: &Path) -> Result<Option<File>, String> {
    if !directory.is_dir() {
        return Err("there is no such directory: name what --data-dir names".to_owned());
    }
    let file = match File::open(directory.join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot open its lock file: {error}")),
    };
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            // The kernel lets go of a server's lock a moment after the server has ended.
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                return Err("its server runs: stop it first".to_owned());
            }
            Err(TryLockError::Error(error)) => return Err(format!("cannot lock it: {error}")),
        }
    }
}

/// Lines for whoever still reads them.
pub(crate) struct Lines<'a, W> {
    out: &'a mut W,
    is_open: bool,
}

impl<'a, W: Write> Lines<'a, W> {
    pub(crate) fn new(out: &'a mut W) -> Self {
        Self { out, is_open: true }
    }

    pub(crate) fn say(&mut self, line: &impl std::fmt::Display) {
        self.is_open = self.is_open && writeln!(self.out, "{line}").is_ok();
    }
}

/// Files below a directory, a few of them open.
pub(crate) struct StoredFiles {
    root: PathBuf,
    /// The last ones used, the latest in front.
    open: VecDeque<(String, File)>,
}

impl StoredFiles {
    pub(crate) fn new(root: PathBuf) -> StoredFiles {
        StoredFiles { root, open: VecDeque::new() }
    }

    fn file(&mut self, path: &str) -> io::Result<&File> {
        let known = self.open.iter().position(|(name, _)| name == path);
        let entry = match known.and_then(|at| self.open.remove(at)) {
            Some(entry) => entry,
            None => (path.to_owned(), File::open(self.root.join(path))?),
        };
        self.open.truncate(FILES_OPEN_MAX - 1);
        self.open.push_front(entry);
        Ok(&self.open[0].1)
    }
}

impl DataFiles for StoredFiles {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, IoError> {
        let entries = fs::read_dir(self.root.join(directory)).map_err(io_error)?;
        let names = entries.map(|entry| Ok(entry.map_err(io_error)?.file_name()));
        // A name that is not UTF-8 is none of ours; what is shown of it need not be exact.
        names.map(|name| name.map(|name| name.to_string_lossy().into_owned())).collect()
    }

    fn length_bytes(&mut self, path: &str) -> Result<u64, IoError> {
        let metadata = self.file(path).and_then(File::metadata).map_err(io_error)?;
        Ok(metadata.len())
    }

    fn read(
        &mut self,
        path: &str,
        position_bytes: u64,
        buffer: &mut [u8],
    ) -> Result<usize, IoError> {
        let file = self.file(path).map_err(io_error)?;
        let mut done = 0;
        while done < buffer.len() {
            match file.read_at(&mut buffer[done..], position_bytes.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing is that far out in a file.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
                Err(error) => return Err(io_error(error)),
            }
        }
        Ok(done)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(crate) fn io_error(error: io::Error) -> IoError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => IoErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => IoErrorKind::PermissionDenied,
        _ => IoErrorKind::Other,
    };
    IoError::new(kind, error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_storage::{DataDirId, Manifest};

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut block = [0; 4096];
        Manifest { data_dir: DataDirId([1; 16]), epoch: 1, shards: 1, counts: Default::default() }
            .encode(&mut block);
        fs::write(directory.path().join("MANIFEST"), block).unwrap();
        fs::write(directory.path().join("lock"), "1\n").unwrap();
        directory
    }

    #[test]
    fn a_sound_directory_ends_with_one_line_that_says_so() {
        let (directory, mut out) = (directory(), Vec::new());
        let summary = verify_directory(directory.path(), &mut out).unwrap();
        assert_eq!(summary.damages, 0);
        let text = String::from_utf8(out).unwrap();
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("verified 4096 bytes in 1 files: no damage"), "{text}");
    }

    #[test]
    fn damage_names_file_and_position_and_the_exit_code_is_1() {
        let (directory, mut out) = (directory(), Vec::new());
        let path = directory.path().join("MANIFEST");
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        verify_directory(directory.path(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("damage: MANIFEST at byte 0: "), "{text}");
        let code = run(&Args { dir: directory.path().to_owned() });
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(1)));
    }

    #[test]
    fn a_running_server_is_said_and_left_alone() {
        let directory = directory();
        let server = File::open(directory.path().join("lock")).unwrap();
        server.try_lock().unwrap();
        let refused = verify_directory(directory.path(), &mut io::sink()).unwrap_err();
        assert!(refused.contains("its server runs"), "{refused}");
        drop(server);
        assert!(verify_directory(directory.path(), &mut io::sink()).is_ok());
    }

    #[test]
    fn another_directory_is_no_data_directory() {
        let directory = tempfile::tempdir().unwrap();
        let refused = verify_directory(directory.path(), &mut io::sink()).unwrap_err();
        assert!(refused.contains("not a data directory"), "{refused}");
    }
}
