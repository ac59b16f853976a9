//! The two sides of a backup: files that a server may be writing to, and their copy.
//!
//! The source is read past the page cache, because only that is what the disk has. What a newcomer
//! gets wrong: journals are read from where they were copied to, segments from the source.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use plimsoll_ring::DirectFile;
use plimsoll_storage::{
    BackupJournal, DataDirId, DataFiles, IoError, JOURNALS_DIRECTORY, TOPICS_DIRECTORY,
    journal_path,
};

use crate::verify::io_error;

const CHUNK_BYTES: usize = 1 << 20;
/// What is read again of a journal where it was being written.
const AGAIN_BYTES: u64 = 8 << 20;
/// Segments that are open at once.
const FILES_OPEN_MAX: usize = 4;

/// The file is not there: its records were deleted, or its topic.
pub(crate) fn missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// What is copied.
pub(crate) struct Source {
    root: PathBuf,
    /// Where raw copies of journals are kept meanwhile.
    copies: PathBuf,
    open: VecDeque<(String, DirectFile)>,
    /// Segments that were asked for and not there.
    pub(crate) missing: Vec<String>,
}

impl Source {
    pub(crate) fn new(root: PathBuf, copies: PathBuf) -> Source {
        Source { root, copies, open: VecDeque::new(), missing: Vec::new() }
    }

    /// Copies a journal, from its anchors around to them; or a part of it once more.
    pub(crate) fn copy_journal(&mut self, number: u16, again: Option<u64>) -> io::Result<()> {
        let path = journal_path(number);
        let mut source = DirectFile::open(&self.root.join(&path))?;
        let mut options = OpenOptions::new();
        let copy = options.write(true).create(true).truncate(false).open(self.raw_copy(&path))?;
        let length = source.length_bytes()?;
        copy.set_len(length)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let (start, mut left) = match again {
            Some(position) => (position.min(length), AGAIN_BYTES.min(length)),
            None => (0, length),
        };
        let mut at = start;
        while left > 0 {
            if at >= length {
                at = 0;
            }
            let wanted = left.min(length - at).min(CHUNK_BYTES as u64);
            let piece = &mut buffer[..usize::try_from(wanted).unwrap_or(CHUNK_BYTES)];
            if source.read_at(at, piece)? < piece.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            copy.write_all_at(piece, at)?;
            at += wanted;
            left -= wanted;
        }
        Ok(())
    }

    /// Copies a part of a segment.
    pub(crate) fn copy_segment(
        &mut self,
        target: &Target,
        path: &str,
        (from, to): (u64, u64),
        mut copied: impl FnMut(u64),
    ) -> io::Result<()> {
        let copy = target.segment(path)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = from;
        while at < to {
            let wanted = (to - at).min(CHUNK_BYTES as u64);
            let piece = &mut buffer[..usize::try_from(wanted).unwrap_or(CHUNK_BYTES)];
            if self.read_segment(path, at, piece)? < piece.len() {
                let what = "it is shorter than its journal says: run `plimsoll verify`";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            copy.write_all_at(piece, at)?;
            copied(wanted);
            at += wanted;
        }
        copy.sync_all()
    }

    fn segment(&mut self, path: &str) -> io::Result<&mut DirectFile> {
        let known = self.open.iter().position(|(name, _)| name == path);
        let entry = match known.and_then(|at| self.open.remove(at)) {
            Some(entry) => entry,
            None => (path.to_owned(), DirectFile::open(&self.root.join(path))?),
        };
        self.open.truncate(FILES_OPEN_MAX - 1);
        self.open.push_front(entry);
        Ok(&mut self.open[0].1)
    }

    /// Reads a part of a segment that is still one: the file of a deleted segment may become
    /// another's, and what is read of it then is somebody else's.
    fn read_segment(&mut self, path: &str, at: u64, out: &mut [u8]) -> io::Result<usize> {
        let file = self.segment(path)?;
        let read = file.read_at(at, out)?;
        self.still_named(path)?;
        Ok(read)
    }

    fn still_named(&mut self, path: &str) -> io::Result<()> {
        let full = self.root.join(path);
        let named = self.segment(path)?.is_named(&full);
        if !matches!(named, Ok(true)) {
            self.open.retain(|(open, _)| open != path);
        }
        match named? {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn raw_copy(&self, path: &str) -> PathBuf {
        self.copies.join(format!("{path}.raw"))
    }

    fn length_of(&mut self, path: &str) -> io::Result<u64> {
        match path.starts_with(JOURNALS_DIRECTORY) {
            true => Ok(fs::metadata(self.raw_copy(path))?.len()),
            false => {
                let length = self.segment(path)?.length_bytes()?;
                self.still_named(path).map(|()| length)
            }
        }
    }

    fn read_at(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if path.starts_with(JOURNALS_DIRECTORY) {
            let copy = File::open(self.raw_copy(path))?;
            let length = copy.metadata()?.len().saturating_sub(position);
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
            copy.read_exact_at(&mut buffer[..length], position)?;
            return Ok(length);
        }
        self.read_segment(path, position, buffer)
    }

    fn note_missing(&mut self, path: &str, error: io::Error) -> IoError {
        if missing(&error) && path.ends_with(".segment") {
            self.missing.push(path.to_owned());
        }
        io_error(error)
    }
}

impl DataFiles for Source {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, IoError> {
        let entries = fs::read_dir(self.root.join(directory)).map_err(io_error)?;
        let names = entries.map(|entry| Ok(entry.map_err(io_error)?.file_name()));
        names.map(|name| name.map(|name| name.to_string_lossy().into_owned())).collect()
    }

    fn length_bytes(&mut self, path: &str) -> Result<u64, IoError> {
        self.length_of(path).map_err(|error| self.note_missing(path, error))
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        self.read_at(path, position, buffer).map_err(|error| self.note_missing(path, error))
    }
}

/// The copy.
pub(crate) struct Target {
    root: PathBuf,
}

impl Target {
    /// Makes the directory, unless there is something in it.
    pub(crate) fn make(root: &Path) -> io::Result<Target> {
        fs::create_dir_all(root)?;
        if fs::read_dir(root)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is not empty"));
        }
        fs::create_dir(root.join(JOURNALS_DIRECTORY))?;
        fs::create_dir(root.join(TOPICS_DIRECTORY))?;
        Ok(Target { root: root.to_owned() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn segment(&self, path: &str) -> io::Result<File> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new().write(true).create(true).truncate(false).open(path)
    }

    /// Writes the copy's own journal, in full, and removes the raw one.
    pub(crate) fn write_journal(
        &self,
        source: &mut Source,
        journal: &BackupJournal,
        id: DataDirId,
    ) -> io::Result<bool> {
        let path = journal_path(journal.number());
        let file = File::create_new(self.root.join(&path))?;
        let zeros = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < journal.file_bytes() {
            let wanted = (journal.file_bytes() - at).min(CHUNK_BYTES as u64);
            file.write_all_at(&zeros[..usize::try_from(wanted).unwrap_or(CHUNK_BYTES)], at)?;
            at += wanted;
        }
        let mut put = |position, bytes: &[u8]| file.write_all_at(bytes, position);
        let is_whole = journal.write(source, id, &mut put)?;
        file.sync_all()?;
        fs::remove_file(source.raw_copy(&path))?;
        Ok(is_whole)
    }

    /// Flushes every directory, and then makes it a data directory.
    pub(crate) fn finish(&self, manifest: &[u8]) -> io::Result<()> {
        for directory in directories(&self.root)? {
            File::open(directory)?.sync_all()?;
        }
        let file = File::create_new(self.root.join("MANIFEST"))?;
        file.write_all_at(manifest, 0)?;
        file.sync_all()?;
        File::open(&self.root)?.sync_all()?;
        match self.root.canonicalize()?.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn directories(root: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::from([root.to_owned()]);
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.append(&mut directories(&entry.path())?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server renames the file of a deleted segment, and writes another partition's data to it.
    #[test]
    fn of_a_file_that_became_another_segment_nothing_is_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = Target::make(to.path()).unwrap();
        let (path, other) = ("topics/1/0/00000000000000000000.segment", "topics/1/1.segment");
        let full = from.path().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(&full, [1; 8192]).unwrap();
        let mut source = Source::new(from.path().to_owned(), to.path().to_owned());
        source.copy_segment(&target, path, (0, 4096), |_| {}).unwrap();
        // The file is open now, and goes on to be read.
        fs::rename(&full, from.path().join(other)).unwrap();
        fs::write(from.path().join(other), [2; 8192]).unwrap();
        let gone = source.copy_segment(&target, path, (4096, 8192), |_| {}).unwrap_err();
        assert!(missing(&gone), "{gone}");
        let mut bytes = [0; 10];
        assert!(DataFiles::read(&mut source, path, 0, &mut bytes).is_err());
        assert!(DataFiles::length_bytes(&mut source, path).is_err());
        assert_eq!(source.missing, [path, path], "the journal is to be copied again");
    }
}
