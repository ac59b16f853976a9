//! Text that people wrote, a million lines of it.
//!
//! It is not kept with this program: whoever builds it has the sources of its dependencies.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 1_000_000;

/// All lines of a file, or as many as there are, up to a million, of the sources that Cargo keeps.
pub(crate) fn lines(file: Option<&Path>) -> Result<Vec<String>, String> {
    if let Some(file) = file {
        let text = fs::read_to_string(file);
        let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
        return Ok(text.lines().map(str::to_owned).collect());
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let registry = home.unwrap_or_default().join("registry/src");
    let mut lines = Vec::new();
    gather(&registry, &mut lines);
    if lines.is_empty() {
        return Err(format!("no text below {}: give some with --lines", registry.display()));
    }
    lines.truncate(LINES_MAX);
    Ok(lines)
}

fn gather(directory: &Path, lines: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if lines.len() >= LINES_MAX {
            return;
        }
        let is_text = path.extension().is_some_and(|it| it == "rs" || it == "md");
        if path.is_dir() {
            gather(&path, lines);
        } else if is_text && let Ok(text) = fs::read_to_string(&path) {
            lines.extend(text.lines().map(str::to_owned));
        }
    }
}
