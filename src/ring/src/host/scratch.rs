//! A nameless file for probes: a probe that is killed leaves nothing behind.
//!
//! Not every file system has nameless files; there a name exists for a moment. What a newcomer gets
//! wrong: it opens with the caller's flags, so that a direct file needs aligned memory and lengths.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a nameless file in `dir`; where the file system cannot, a file that is removed at once.
pub(super) fn scratch_file(dir: &Path, flags: i32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(flags | libc::O_TMPFILE).open(dir) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        opened => return opened,
    }
    let path = dir.join(format!(".probe-{}", std::process::id()));
    let file = options.create(true).truncate(true).custom_flags(flags).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
