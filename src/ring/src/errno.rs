//! The kernel's error numbers, reduced to what the logic decides upon.
//!
//! The only place where a number becomes a kind. What a newcomer gets wrong: a completion carries
//! its error as a negative result, and the thread's own `errno` then says nothing about it.

use plimsoll_device::{IoError, IoErrorKind};

/// An error number of the kernel, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    /// That of the system call that this thread made last.
    pub(crate) fn last() -> Self {
        Self::of(&std::io::Error::last_os_error())
    }

    pub(crate) fn of(error: &std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The result field of a completion: what was counted, or a negated error number.
    pub(crate) fn check(result: i32) -> Result<usize, Self> {
        usize::try_from(result).map_err(|_| Self(result.saturating_neg()))
    }

    /// The operation did nothing and may simply be submitted again.
    pub(crate) fn is_transient(self) -> bool {
        matches!(self.0, libc::EINTR | libc::EAGAIN)
    }
}

impl From<Errno> for IoError {
    fn from(errno: Errno) -> Self {
        let kind = match errno.0 {
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => IoErrorKind::NoSpace,
            libc::ENOENT => IoErrorKind::NotFound,
            libc::EEXIST => IoErrorKind::AlreadyExists,
            libc::EACCES | libc::EPERM | libc::EROFS => IoErrorKind::PermissionDenied,
            libc::EMFILE | libc::ENFILE => IoErrorKind::TooManyFiles,
            libc::ECONNRESET
            | libc::EPIPE
            | libc::ECONNABORTED
            | libc::ENOTCONN
            | libc::ESHUTDOWN
            | libc::ETIMEDOUT
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTUNREACH => IoErrorKind::Disconnected,
            libc::ECANCELED => IoErrorKind::Cancelled,
            _ => IoErrorKind::Other,
        };
        Self::new(kind, errno.0)
    }
}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(errno: i32) -> IoErrorKind {
        IoError::from(Errno(errno)).kind
    }

    #[test]
    fn every_way_of_running_out_of_room_is_no_space() {
        for errno in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG] {
            assert_eq!(kind(errno), IoErrorKind::NoSpace);
        }
    }

    #[test]
    fn a_broken_connection_is_disconnected_and_a_broken_medium_is_not() {
        assert_eq!(kind(libc::ECONNRESET), IoErrorKind::Disconnected);
        assert_eq!(kind(libc::EPIPE), IoErrorKind::Disconnected);
        assert_eq!(kind(libc::EIO), IoErrorKind::Other);
    }

    #[test]
    fn a_negative_result_is_an_error_and_keeps_its_number() {
        assert_eq!(Errno::check(7), Ok(7));
        assert_eq!(Errno::check(-libc::EIO), Err(Errno(libc::EIO)));
        assert_eq!(IoError::from(Errno(libc::EIO)).errno, libc::EIO);
    }
}
