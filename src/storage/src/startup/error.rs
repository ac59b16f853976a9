//! Why a start came to nothing, in sentences for an operator.
//!
//! What a newcomer gets wrong: damage is none of these. A damaged journal starts, and is read only.

use alloc::string::String;
use core::fmt;

use plimsoll_device::{DiskResult, IoError, IoErrorKind};

use crate::error::Failure;
use crate::manifest::ManifestError;

/// Why a start came to nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StartupError {
    /// An operation failed.
    Failed(Failure),
    /// The manifest cannot be used.
    Manifest(ManifestError),
    /// There are journals and no manifest.
    MissingManifest,
    /// The manifest is older than what the journals hold.
    OldManifest {
        /// The last start that it knows.
        known: u64,
        /// A journal with a frame of a later one.
        path: String,
        /// That later one.
        epoch: u64,
    },
    /// A journal that the last start had is gone, and with it what only it named.
    MissingJournal(String),
    /// A journal's file has another length than when it was written: a part of it is gone, or it is
    /// not that file.
    JournalLength {
        /// The journal.
        path: String,
        /// How long the file is.
        found_bytes: u64,
        /// How long its anchor says that it is.
        expected_bytes: u64,
    },
    /// A journal read differently the second time.
    Unsteady(String),
}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Manifest(error) => error.fmt(f),
            Self::MissingManifest => f.write_str(
                "MANIFEST is missing, and there are journals: put it back, or have `plimsoll \
                 repair` make it anew (nothing was changed)",
            ),
            Self::OldManifest { known, path, epoch } => write!(
                f,
                "MANIFEST is an older one: it knows {known} starts, and {path} has a frame of \
                 start {epoch}: put the newest one back, or have `plimsoll repair` make it anew \
                 (nothing was changed)"
            ),
            Self::MissingJournal(path) => write!(
                f,
                "{path} is missing, and with it what was acked and is not in segments: put it \
                 back (the manifest says that the last start had it)"
            ),
            Self::JournalLength { path, found_bytes, expected_bytes } => write!(
                f,
                "{path} has {found_bytes} bytes, and had {expected_bytes} when it was written: put \
                 the whole file back, or have `plimsoll repair` cut off what is lost with the rest \
                 (nothing in it was changed)"
            ),
            Self::Unsteady(path) => write!(
                f,
                "{path} did not read the same twice, so that it was not copied to a larger file; \
                 nothing was changed: start again, and look at the drive if it comes back"
            ),
        }
    }
}

impl core::error::Error for StartupError {}

pub(super) fn made(result: &DiskResult, path: &str) -> Result<(), StartupError> {
    match result {
        DiskResult::Done(Err(error)) if error.kind == IoErrorKind::AlreadyExists => Ok(()),
        DiskResult::Done(result) => done(*result, "making a directory", path),
        other => panic!("{other:?} does not answer the making of a directory"),
    }
}

pub(super) fn done<T>(
    result: Result<T, IoError>,
    operation: &'static str,
    path: &str,
) -> Result<T, StartupError> {
    result.map_err(|error| {
        let path = String::from(path);
        let (position_bytes, length_bytes) = (0, 0);
        StartupError::Failed(Failure { operation, path, position_bytes, length_bytes, error })
    })
}
