//! Paths of the logic: relative to the data directory, and never out of it.
//!
//! A check of form, not of the file system: it follows no link and asks nobody. What a newcomer
//! gets wrong: the kernel reads the text when the entry is submitted, which may be later than the
//! entry was made; the path stays with its operation.

use std::ffi::CString;

use crate::errno::Errno;

/// A path below the data directory, in the kernel's form.
#[derive(Debug)]
pub(crate) struct DataPath(CString);

impl DataPath {
    /// Refuses what could name anything outside of the data directory (`EINVAL`).
    pub(crate) fn of_entry(path: &str) -> Result<Self, Errno> {
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if !path.split('/').all(plain) {
            return Err(Errno(libc::EINVAL));
        }
        CString::new(path).map(Self).map_err(|_| Errno(libc::EINVAL))
    }

    /// As `of_entry`; the empty path is the data directory itself.
    pub(crate) fn of_directory(path: &str) -> Result<Self, Errno> {
        if path.is_empty() { Ok(Self(c".".to_owned())) } else { Self::of_entry(path) }
    }

    /// Stays where it is when the value moves.
    pub(crate) fn as_ptr(&self) -> *const libc::c_char {
        self.0.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_data_directory_is_refused() {
        for path in ["/etc/passwd", "../x", "a/../../x", "a//b", "", "a/", ".", "a\0b"] {
            assert_eq!(DataPath::of_entry(path).unwrap_err(), Errno(libc::EINVAL), "{path:?}");
        }
        assert!(DataPath::of_entry("topic/3/00.segment").is_ok());
        assert!(DataPath::of_directory("").is_ok());
    }
}
