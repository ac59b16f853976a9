//! Wakes a ring from another thread, for next to nothing when it is awake.
//!
//! The ring's thread says before it parks that it is about to (`arm`), and whoever rings says what
//! it found. Only a bell that finds the ring parked, or about to park, pays for a system call. What
//! a newcomer gets wrong: put the work where the ring's thread looks for it *first*, ring *then*;
//! and on the other side look for work after every turn, not only after a ring.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::errno::Errno;

// A copy of these states runs in the tests of the mailboxes between shards: keep the two the same.
/// The ring's thread runs, and will look for work before it parks.
const AWAKE: u32 = 0;
/// The ring's thread sleeps in the kernel, or goes there without another look.
const PARKED: u32 = 1;
/// Somebody rang since the ring's thread last looked.
const RUNG: u32 = 2;

/// A ring's bell. Any thread may hold one and ring it.
#[derive(Clone)]
pub struct Doorbell {
    bell: Arc<Bell>,
}

struct Bell {
    state: AtomicU32,
    /// An eventfd that the ring reads from for as long as it lives.
    eventfd: File,
}

impl Doorbell {
    pub(crate) fn new() -> Result<Self, Errno> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(Errno::last());
        }
        // SAFETY: a fresh descriptor that nothing else owns.
        let eventfd = unsafe { File::from_raw_fd(fd) };
        Ok(Self { bell: Arc::new(Bell { state: AtomicU32::new(AWAKE), eventfd }) })
    }

    /// Makes the ring's current or next turn return. What the caller wrote before is visible to
    /// the ring's thread once that turn has returned.
    pub fn ring(&self) {
        // AcqRel: releases what the caller wrote to the thread whose `disarm` or `arm` reads RUNG.
        if self.bell.state.swap(RUNG, Ordering::AcqRel) == PARKED {
            // Fails only when the counter is full, and then the ring is being woken already.
            let _ = (&self.bell.eventfd).write(&1_u64.to_le_bytes());
        }
    }

    /// Before parking. False: somebody rang, do not park.
    pub(crate) fn arm(&self) -> bool {
        // A ring between this exchange and the kernel's wait finds PARKED and writes to the
        // eventfd, and the read that is in flight on it ends the wait.
        self.bell.state.compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// After the kernel has returned, before the caller looks for work.
    pub(crate) fn disarm(&self) {
        self.bell.state.swap(AWAKE, Ordering::AcqRel);
    }

    pub(crate) fn eventfd(&self) -> RawFd {
        self.bell.eventfd.as_raw_fd()
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doorbell")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_parking_forbids_to_park_once() {
        let bell = Doorbell::new().unwrap();
        bell.ring();
        assert!(!bell.arm());
        bell.disarm();
        assert!(bell.arm());
    }

    #[test]
    fn only_a_ring_that_finds_the_thread_parked_writes_to_the_eventfd() {
        let bell = Doorbell::new().unwrap();
        let written = || {
            let mut poll = libc::pollfd { fd: bell.eventfd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd.
            (unsafe { libc::poll(&raw mut poll, 1, 0) }) == 1
        };
        bell.ring();
        assert!(!written());
        bell.disarm();
        assert!(bell.arm());
        bell.ring();
        assert!(written());
    }
}
