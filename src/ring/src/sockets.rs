//! What is in flight on each socket, so that a close can wait for it.
//!
//! A socket's number is its descriptor. It may have been accepted by another ring: there is nothing
//! to know about a socket on which this ring has nothing in flight.

use std::os::fd::RawFd;

use plimsoll_device::SocketId;

use crate::errno::Errno;

/// Descriptors are small numbers; the kernel's own limit (fs.nr_open) is this by default.
const SOCKETS_MAX: usize = 1 << 20;

#[derive(Default)]
pub(crate) struct Sockets {
    states: Vec<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    receiving: bool,
    sending: bool,
    closing: bool,
}

/// The two directions of a socket.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Receive,
    Send,
}

impl State {
    fn busy(&mut self, direction: Direction) -> &mut bool {
        match direction {
            Direction::Receive => &mut self.receiving,
            Direction::Send => &mut self.sending,
        }
    }

    fn may_be_closed(self) -> bool {
        self.closing && !self.receiving && !self.sending
    }
}

impl Sockets {
    /// Refuses a socket that is closing (`ECANCELED`) or has one in flight already (`EBUSY`).
    pub(crate) fn begin(&mut self, socket: SocketId, direction: Direction) -> Result<(), Errno> {
        let state = self.state(socket)?;
        if state.closing {
            return Err(Errno(libc::ECANCELED));
        }
        if std::mem::replace(state.busy(direction), true) {
            return Err(Errno(libc::EBUSY));
        }
        Ok(())
    }

    /// True: the socket waits for nothing more and has been closed.
    pub(crate) fn end(&mut self, socket: SocketId, direction: Direction) -> bool {
        let Ok(state) = self.state(socket) else { return false };
        *state.busy(direction) = false;
        self.close_if_quiet(socket)
    }

    /// Makes what is in flight end, and closes the socket when it has. True: it is closed already.
    pub(crate) fn close(&mut self, socket: SocketId) -> bool {
        let Ok(state) = self.state(socket) else { return true };
        if std::mem::replace(&mut state.closing, true) {
            return false;
        }
        // SAFETY: takes no pointers. It fails when the other side has reset the connection, and
        // then what is in flight ends by itself.
        unsafe { libc::shutdown(socket.0 as RawFd, libc::SHUT_RDWR) };
        self.close_if_quiet(socket)
    }

    fn close_if_quiet(&mut self, socket: SocketId) -> bool {
        let Ok(state) = self.state(socket) else { return false };
        if !state.may_be_closed() {
            return false;
        }
        *state = State::default();
        // SAFETY: the logic owns the socket and gave it up with its close operation; nothing of
        // this ring is in flight on it.
        unsafe { libc::close(socket.0 as RawFd) };
        true
    }

    fn state(&mut self, socket: SocketId) -> Result<&mut State, Errno> {
        let index = socket.0 as usize;
        if index >= SOCKETS_MAX {
            return Err(Errno(libc::EBADF));
        }
        if index >= self.states.len() {
            self.states.resize_with(index + 1, State::default);
        }
        Ok(&mut self.states[index])
    }
}
