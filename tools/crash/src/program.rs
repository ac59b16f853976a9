//! Where the server's binary is, and where its data goes.

use std::fs;
use std::path::{Path, PathBuf};

use plimsoll_tests::Place;

/// The `plimsoll` that was built with this program.
pub(crate) fn plimsoll() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let program = own.with_file_name("plimsoll");
    if program.exists() {
        return Ok(program);
    }
    Err(format!("{} is not there: `make build` builds it", program.display()))
}

/// A directory on a disk: the given one, or one beside what was built.
pub(crate) fn scratch(given: Option<&Path>) -> Result<PathBuf, String> {
    let scratch = match given {
        Some(given) => given.to_owned(),
        None => {
            let program = plimsoll()?;
            let target = program.ancestors().nth(2).unwrap_or(Path::new("/var/tmp"));
            target.join("tmp")
        }
    };
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    Ok(scratch)
}

/// Bytes that the files below a directory take.
pub(crate) fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        // A server may just have removed it.
        Err(_) => 0,
    });
    sizes.sum()
}

/// A new place for a server below this directory.
pub(crate) fn place(scratch: &Path) -> Place {
    Place::with_data_below(scratch)
}
