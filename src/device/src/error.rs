//! How an operation fails, reduced to what the logic decides upon.
//!
//! The logic decides by `kind` alone; `errno` is there for people, and differs between machines.
//! What a newcomer gets wrong: trying again. What may simply be repeated the machine has repeated
//! already, and a failed flush never may be.

use core::fmt;

/// The kinds of failure that the logic tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoErrorKind {
    /// No room on the device, or a quota is used up. Comes back by itself when room is made.
    NoSpace,
    /// The file or directory does not exist.
    NotFound,
    /// The file or directory exists already.
    AlreadyExists,
    /// The process may not do this.
    PermissionDenied,
    /// Too many open files.
    TooManyFiles,
    /// The other side closed the connection, or it broke.
    Disconnected,
    /// The operation was cancelled because its socket or file was closed.
    Cancelled,
    /// Any other failure: the device, the medium, the file system.
    Other,
}

/// A failed operation: the kind, and the kernel's number for people who search for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError {
    /// What the logic decides upon.
    pub kind: IoErrorKind,
    /// The kernel's errno, positive; 0 when the failure is not the kernel's.
    pub errno: i32,
}

impl IoError {
    /// An error of `kind` with the kernel's `errno` (positive).
    pub const fn new(kind: IoErrorKind, errno: i32) -> Self {
        Self { kind, errno }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.kind {
            IoErrorKind::NoSpace => "no space left on the device",
            IoErrorKind::NotFound => "not found",
            IoErrorKind::AlreadyExists => "exists already",
            IoErrorKind::PermissionDenied => "permission denied",
            IoErrorKind::TooManyFiles => "too many open files",
            IoErrorKind::Disconnected => "the connection is gone",
            IoErrorKind::Cancelled => "cancelled",
            IoErrorKind::Other => "input/output error",
        };
        match self.errno {
            0 => f.write_str(text),
            errno => write!(f, "{text} (errno {errno})"),
        }
    }
}

impl core::error::Error for IoError {}
