//! SIGTERM and SIGINT as something to wait for, instead of something that interrupts.
//!
//! No handler runs, so that no code has to be safe in one. What a newcomer gets wrong: a thread
//! that was started before the block can still be killed by the signal; block first, then start
//! threads.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// A request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: from an init system or an operator.
    Terminate,
    /// SIGINT: from a terminal.
    Interrupt,
}

/// The termination signals, blocked and waited for. To be made on the main thread before any other
/// is started: threads inherit the block, and a signal goes to any thread that has none.
#[derive(Debug)]
pub struct Signals {
    set: libc::sigset_t,
}

impl Signals {
    /// Blocks SIGTERM and SIGINT on this thread and those that it starts from now on.
    pub fn block() -> io::Result<Self> {
        // SAFETY: a plain bit set, initialised by sigemptyset below.
        let mut set = unsafe { std::mem::zeroed::<libc::sigset_t>() };
        // SAFETY: `set` is valid; the signals exist; no old mask is asked for.
        let error = unsafe {
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGINT);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
        };
        if error == 0 { Ok(Self { set }) } else { Err(io::Error::from_raw_os_error(error)) }
    }

    /// Lets a child process have these signals: it would inherit the block, and not be stopped by
    /// them.
    pub fn unblock_in(&self, command: &mut Command) {
        let set = self.set;
        let unblock = move || {
            // SAFETY: `set` is valid; no old mask is asked for.
            let error = unsafe {
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut())
            };
            if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
        };
        // SAFETY: between fork and exec it makes one system call, which is safe in a signal handler
        // and allocates nothing.
        unsafe { command.pre_exec(unblock) };
    }

    /// Waits for a request to stop.
    pub fn wait(&self) -> io::Result<Signal> {
        loop {
            if let Some(signal) = self.wait_timeout(Duration::from_secs(3600))? {
                return Ok(signal);
            }
        }
    }

    /// As `wait`, for at most this long.
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<Option<Signal>> {
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
        };
        // SAFETY: the set and the time are valid; no details of the signal are asked for.
        let signal = unsafe {
            libc::sigtimedwait(&raw const self.set, std::ptr::null_mut(), &raw const time)
        };
        match signal {
            libc::SIGTERM => Ok(Some(Signal::Terminate)),
            libc::SIGINT => Ok(Some(Signal::Interrupt)),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EAGAIN) => Ok(None),
                error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                error => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_waited_for_and_kills_nobody() {
        let thread = std::thread::spawn(|| {
            let signals = Signals::block().unwrap();
            assert_eq!(signals.wait_timeout(Duration::ZERO).unwrap(), None);
            // SAFETY: sends a signal to this very thread, which blocks it.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGTERM) };
            assert_eq!(signals.wait().unwrap(), Signal::Terminate);
        });
        thread.join().unwrap();
    }
}
