//! The patches: each begins with a line that says what it plants, and one that says which promise
//! that breaks.
//!
//! It reads and names them. A third line, `Caught-by:`, is for what a simulated machine cannot
//! show: it names a test against the real one, as `cargo test` is told it. What a newcomer gets
//! wrong: the order is that of the names, so that a number in front keeps what belongs together.

use std::path::{Path, PathBuf};

/// A bug to be planted.
pub(crate) struct Patch {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) plants: String,
    pub(crate) breaks: String,
    /// The test that is to fail, for a bug that no seed can show.
    pub(crate) caught_by: Option<String>,
}

/// All of them, by name.
pub(crate) fn read_all(directory: &Path) -> Result<Vec<Patch>, String> {
    let failed = |error| format!("{}: {error}", directory.display());
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(failed)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    paths.sort();
    paths.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Result<Patch, String> {
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut lines = text.lines();
    let mut said = |word: &str| {
        let said = lines.next().filter(|line| line.starts_with(word));
        said.map(ToString::to_string)
            .ok_or_else(|| format!("{} has no line `{word} ...` at its front", path.display()))
    };
    let (plants, breaks) = (said("Plants: ")?, said("Breaks: ")?);
    let caught_by = lines.next().and_then(|line| line.strip_prefix("Caught-by: "));
    let caught_by = caught_by.map(ToString::to_string);
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Patch { name, path, plants, breaks, caught_by })
}
