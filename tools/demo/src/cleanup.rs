//! Leaves nothing behind, also when it is interrupted: no server, no files.
//!
//! Guards do that when the demo ends or panics. A signal runs no guards, so one thread waits for
//! signals and does the same; all other threads have them blocked.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// What is to go when the demo is interrupted.
#[derive(Debug, Default)]
struct Leftovers {
    server: Option<Pid>,
    directories: Vec<PathBuf>,
}

static LEFTOVERS: Mutex<Leftovers> =
    Mutex::new(Leftovers { server: None, directories: Vec::new() });

fn leftovers() -> MutexGuard<'static, Leftovers> {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers the running server, or that there is none.
pub(crate) fn remember_server(pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    leftovers().server = pid.map(Pid::from_raw);
}

/// Remembers a directory of the demo's own.
pub(crate) fn remember_directory(path: PathBuf) {
    leftovers().directories.push(path);
}

/// Call it first: threads inherit what is blocked from the one that starts them.
pub(crate) fn on_interrupt() -> Result<(), String> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(|error| format!("cannot block signals: {error}"))?;
    let waiting = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        let leftovers = leftovers();
        if let Some(server) = leftovers.server {
            // It may have ended by itself.
            let _ = kill(server, Signal::SIGKILL);
        }
        for directory in &leftovers.directories {
            let _ = fs::remove_dir_all(directory);
        }
        std::process::exit(128 + signal as i32);
    });
    waiting.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}
