//! Kills the server in mid-load, and waits until it is back.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll_client_blocking::Client;

use crate::LoadError;
use crate::host_process::HostProcess;

/// How long the server may take to come back.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// How often to try.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// What ends the server, and when.
pub struct Kill {
    /// How long after the start of the load.
    pub after: Duration,
    /// Ends it. It is gone, or as good as gone, when this returns.
    pub action: Box<dyn FnOnce() -> Result<(), String>>,
}

impl fmt::Debug for Kill {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Kill").field("after", &self.after).finish_non_exhaustive()
    }
}

impl Kill {
    /// SIGKILL to the process `pid`; without `after` at a random moment of a run of `length`.
    #[must_use]
    pub fn of_pid(pid: i32, after: Option<Duration>, length: Duration) -> Kill {
        let after = after.unwrap_or_else(|| random_moment(length));
        let action = move || {
            kill(Pid::from_raw(pid), Signal::SIGKILL)
                .map_err(|error| format!("cannot kill process {pid}: {error}; is it the server?"))
        };
        Kill { after, action: Box::new(action) }
    }
}

/// A moment in the middle four fifths of a run.
#[must_use]
pub fn random_moment(length: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    length.mul_f64(0.1 + 0.8 * (random as f64 / u64::MAX as f64))
}

/// Waits until the killed process is gone, restarts it if `command` says how, and waits until
/// `server` answers. Gives the time that this took.
///
/// # Errors
///
/// It did not come back in time.
pub fn wait_until_back(
    server: &str,
    killed_pid: Option<u32>,
    command: Option<&str>,
) -> Result<Duration, LoadError> {
    let started = Instant::now();
    let killed = killed_pid.map(HostProcess::of_pid);
    while killed.is_some_and(HostProcess::is_alive) {
        if started.elapsed() > BACK_WITHIN {
            let sentence = "the killed server does not end; is the process stuck in the kernel?";
            return Err(LoadError::Restart(sentence.to_owned()));
        }
        std::thread::sleep(TRY_EVERY);
    }
    if let Some(command) = command {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null());
        shell.spawn().map_err(|error| {
            LoadError::Restart(format!("cannot run the restart command through sh: {error}"))
        })?;
    }
    loop {
        match Client::builder(server).connect_timeout(Duration::from_secs(1)).connect() {
            Ok(_) => return Ok(started.elapsed()),
            Err(error) if started.elapsed() > BACK_WITHIN => {
                return Err(LoadError::Restart(format!(
                    "the server was killed and did not come back within {} s: {error}",
                    BACK_WITHIN.as_secs()
                )));
            }
            Err(_) => std::thread::sleep(TRY_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_moment_lies_within_the_run() {
        for _ in 0..1000 {
            let moment = random_moment(Duration::from_secs(10));
            assert!((Duration::from_secs(1)..=Duration::from_secs(9)).contains(&moment));
        }
    }
}
