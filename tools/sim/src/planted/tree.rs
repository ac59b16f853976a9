//! The copy of the work tree in which bugs are planted.
//!
//! Only what differs is written, so that cargo builds anew only what a patch has changed. What a
//! newcomer gets wrong: the copy is of the work tree, not of the last commit; whoever works on the
//! log sees at once whether a bug would still be caught.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::patch::Patch;

/// Makes `copy` what the work tree at `root` is.
pub(crate) fn sync(root: &Path, copy: &Path) -> Result<(), String> {
    let wanted = files_of(root)?;
    for file in &wanted {
        let (from, to) = (root.join(file), copy.join(file));
        bring(&from, &to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    let mut there = Vec::new();
    walk(copy, copy, &|_| true, &mut there)
        .map_err(|error| format!("{}: {error}", copy.display()))?;
    for file in there.into_iter().filter(|file| !wanted.contains(file)) {
        let path = copy.join(file);
        std::fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Changes the copy as the patch says. A patch that does not fit is an error: the code has moved
/// on, and the bug must be planted anew.
pub(crate) fn apply(copy: &Path, patch: &Patch) -> Result<(), String> {
    git_apply(copy, patch, &[])
}

/// Sees that a patch fits, and changes nothing.
pub(crate) fn try_on(copy: &Path, patch: &Patch) -> Result<(), String> {
    git_apply(copy, patch, &["--check"])
}

fn git_apply(copy: &Path, patch: &Patch, how: &[&str]) -> Result<(), String> {
    let path = patch.path.canonicalize().map_err(|e| format!("{}: {e}", patch.name))?;
    // The copy may lie in a repository, whose top would be taken for the place of the names.
    let above = copy.parent().unwrap_or(copy);
    let output = Command::new("git")
        .arg("apply")
        .args(how)
        .arg(path)
        .current_dir(copy)
        .env("GIT_CEILING_DIRECTORIES", above)
        .env_remove("GIT_DIR")
        .output()
        .map_err(|error| format!("git, which applies patches: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{} does not apply any more:\n{text}", patch.name))
}

/// What belongs to the work tree. In a checkout git says it: what it knows of, and what is new
/// and not ignored. Elsewhere it is all but what cargo has built.
fn files_of(root: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let listed = listed_by_git(root);
    if listed.contains(Path::new("Cargo.toml")) {
        return Ok(listed);
    }
    let mut found = Vec::new();
    walk(root, root, &is_source, &mut found).map_err(|e| format!("{}: {e}", root.display()))?;
    Ok(found.into_iter().collect())
}

/// Empty where git knows nothing, be it that the tree is no checkout or that it is another's.
fn listed_by_git(root: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    let Ok(output) = output else { return BTreeSet::new() };
    let names = String::from_utf8_lossy(&output.stdout);
    let names = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    names.filter(|name| root.join(name).is_file()).collect()
}

/// Cargo marks the directories that it builds in, wherever they are.
fn is_source(directory: &Path) -> bool {
    let is_built = directory.join("CACHEDIR.TAG").exists();
    !is_built && !directory.ends_with(".git") && !directory.ends_with("target")
}

fn bring(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = std::fs::read(from)?;
    if std::fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(to, bytes)
}

fn walk(
    root: &Path,
    directory: &Path,
    enters: &impl Fn(&Path) -> bool,
    found: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if enters(&entry.path()) {
                walk(root, &entry.path(), enters, found)?;
            }
        } else if kind.is_file()
            && let Ok(name) = entry.path().strip_prefix(root)
        {
            found.push(name.to_path_buf());
        }
    }
    Ok(())
}
