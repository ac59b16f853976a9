//! Accepts connections: one standing request that brings many.
//!
//! It never looks at who connects: whether there is a place for a connection is the shard's
//! decision. What a newcomer gets wrong: the kernel may end the standing request with any
//! completion, and it then has to be made anew.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::{opcode, types::Fd};
use plimsoll_device::{Instant, SocketId};

use crate::errno::Errno;

/// How long to wait after the kernel could not accept, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The standing request.
pub(crate) struct Accept {
    pub(crate) listener: RawFd,
}

impl Accept {
    pub(crate) fn of(listener: &TcpListener) -> Self {
        Self { listener: listener.as_raw_fd() }
    }

    pub(crate) fn entry(&self) -> Entry {
        opcode::AcceptMulti::new(Fd(self.listener)).flags(libc::SOCK_CLOEXEC).build()
    }
}

/// What one completion of the standing request says.
pub(crate) enum Accepted {
    /// A connection.
    Socket(SocketId),
    /// The connection was gone before it was accepted; the next may be fine.
    Lost,
    /// Nothing can be accepted before this time: asking at once would spin.
    Exhausted(Instant),
}

impl Accepted {
    pub(crate) fn of(result: i32, now: Instant) -> Self {
        match u32::try_from(result).map_err(|_| Errno(result.saturating_neg())) {
            Ok(fd) => {
                set_no_delay(fd as RawFd);
                Self::Socket(SocketId(fd))
            }
            Err(Errno(libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO)) => {
                Self::Lost
            }
            Err(_) => Self::Exhausted(now + PAUSE),
        }
    }
}

/// Without it a small answer may wait for the acknowledgement of the one before it.
fn set_no_delay(fd: RawFd) {
    let on: libc::c_int = 1;
    // SAFETY: `on` is a valid option value of the length given. A failure (the listener is not of
    // TCP) costs speed only.
    unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_pauses_and_a_lost_connection_does_not() {
        let now = Instant::from_nanos(5);
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            let Accepted::Exhausted(until) = Accepted::of(-errno, now) else { panic!("{errno}") };
            assert_eq!(until.since(now), PAUSE);
        }
        assert!(matches!(Accepted::of(-libc::ECONNABORTED, now), Accepted::Lost));
    }
}
