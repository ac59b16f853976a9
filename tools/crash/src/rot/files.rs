//! A data directory as bytes: loaded from a real one, damaged in memory, verified in memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use plimsoll_storage::{DataFiles, IoError, IoErrorKind};

const PIECE_BYTES: usize = 64 << 10;

/// All files of a data directory, by their path in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl Files {
    /// Reads a directory whose server is gone.
    pub(crate) fn load(directory: &Path) -> Result<Files, String> {
        let mut files = Files::default();
        files.load_below(directory, "")?;
        Ok(files)
    }

    fn load_below(&mut self, root: &Path, prefix: &str) -> Result<(), String> {
        let directory = root.join(prefix);
        let failed = |error| format!("{}: {error}", directory.display());
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if entry.path().is_dir() {
                self.load_below(root, &path)?;
            } else {
                self.0.insert(path, fs::read(entry.path()).map_err(failed)?);
            }
        }
        Ok(())
    }

    /// Writes them all into a directory, in place of what is there.
    pub(crate) fn store(&self, root: &Path) -> Result<(), String> {
        let failed = |error| format!("{}: {error}", root.display());
        if root.exists() {
            fs::remove_dir_all(root).map_err(failed)?;
        }
        for (path, bytes) in &self.0 {
            let path = root.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            write_sparse(&path, bytes).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().map(|bytes| bytes.len() as u64).sum()
    }

    fn file(&self, path: &str) -> Result<&Vec<u8>, IoError> {
        self.0.get(path).ok_or(IoError::new(IoErrorKind::NotFound, 2))
    }
}

/// Most of a journal is zeros, which a file need not hold.
fn write_sparse(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let file = fs::File::create(path)?;
    for (piece, position) in bytes.chunks(PIECE_BYTES).zip((0..).step_by(PIECE_BYTES)) {
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, position)?;
        }
    }
    file.set_len(bytes.len() as u64)
}

impl DataFiles for Files {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, IoError> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let within = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let names = within.filter_map(|rest| rest.split('/').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.dedup();
        Ok(names)
    }

    fn length_bytes(&mut self, path: &str) -> Result<u64, IoError> {
        Ok(self.file(path)?.len() as u64)
    }

    fn read(
        &mut self,
        path: &str,
        position_bytes: u64,
        buffer: &mut [u8],
    ) -> Result<usize, IoError> {
        let from = usize::try_from(position_bytes).unwrap_or(usize::MAX);
        let rest = self.file(path)?.get(from..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}
