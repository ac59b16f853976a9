//! Pinning: the server's side of a probe runs on core 0, its peer on core 1.
//!
//! A child process inherits the affinity of the thread that spawned it, so pinning a thread and
//! spawning from it pins the child. With one core only, nothing is pinned.

use std::io;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Where what is measured runs.
pub(crate) const SERVER_CORE: usize = 0;
/// Where what drives it runs.
pub(crate) const PEER_CORE: usize = 1;

/// Runs `work` to its end on a thread of its own that is pinned to `core`.
pub(crate) fn on_core<T: Send>(
    core: usize,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    thread::scope(|scope| join(scope.spawn(|| pin(core).and_then(|()| work()))))
}

/// Joins a thread; its panic becomes an error.
pub(crate) fn join<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().map_err(|_| io::Error::other("a thread of the probe panicked"))?
}

/// Pins the calling thread to `core`, where the process may use it.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let this = Pid::from_raw(0);
    if !sched_getaffinity(this)?.is_set(core).unwrap_or(false) {
        return Ok(());
    }
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(this, &cores)?)
}
