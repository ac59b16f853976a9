//! The server as a child process: started, killed, started again.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cleanup::remember_server;
use crate::places::Places;

/// Appended to on a slow disk, a journal takes a while to be written for the first time.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    pub(crate) recovered_ms: u64,
}

impl ServerProcess {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(
        binary: &Path,
        places: &Places,
        listen: &str,
    ) -> Result<ServerProcess, String> {
        let log_path = places.server_log();
        let log = OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.map_err(|error| format!("cannot write {}: {error}", log_path.display()))?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data-dir").arg(places.data_dir());
        command.arg("--arena-dir").arg(places.arena_dir());
        command.args(["--listen", listen, "--arena-bytes", "64MiB", "--journal-bytes", "128MiB"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let child = command.spawn().map_err(|error| {
            format!("cannot start {}: {error}; run `make build`", binary.display())
        })?;
        remember_server(Some(child.id()));
        let mut server = ServerProcess { child, address: String::new(), recovered_ms: 0 };
        let ready = server.first_line().and_then(|line| Ready::parse(&line));
        match ready {
            Some(Ready { listen, recovered_ms }) => {
                server.address = listen;
                server.recovered_ms = recovered_ms;
                Ok(server)
            }
            None => Err(format!("the server did not start: {}", last_line(&log_path))),
        }
    }

    /// What it prints first; `None`: it ended, or prints nothing.
    fn first_line(&mut self) -> Option<String> {
        let stdout = self.child.stdout.take()?;
        let (told, hears) = mpsc::channel();
        let reading = move || {
            let mut line = String::new();
            let mut stdout = BufReader::new(stdout);
            if stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                // Nobody hears it when it came too late.
                let _ = told.send(line);
            }
        };
        thread::Builder::new().spawn(reading).ok()?;
        hears.recv_timeout(READY_WITHIN).ok()
    }

    /// Its process, to be killed from elsewhere.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of a killed server.
    pub(crate) fn wait_end(mut self) -> Result<(), String> {
        self.child.wait().map_err(|error| format!("cannot wait for the server: {error}"))?;
        remember_server(None);
        Ok(())
    }

    /// Asks it to stop, and says whether it ended as it should.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself; its status says how.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let status =
            self.child.wait().map_err(|error| format!("cannot stop the server: {error}"))?;
        remember_server(None);
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server did not stop cleanly: {status}"))
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It has ended already in every case but an error or a panic.
        let _ = self.child.kill();
        let _ = self.child.wait();
        remember_server(None);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Ready {
    listen: String,
    recovered_ms: u64,
}

impl Ready {
    /// `plimsoll ready listen=HOST:PORT shards=N pid=P recovered_ms=M`
    fn parse(line: &str) -> Option<Ready> {
        let fields = line.trim_end().strip_prefix("plimsoll ready ")?;
        let field = |name: &str| {
            fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let listen = field("listen")?.to_owned();
        Some(Ready { listen, recovered_ms: field("recovered_ms")?.parse().ok()? })
    }
}

fn last_line(log: &PathBuf) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().next_back().unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_says_where_it_listens() {
        let line = "plimsoll ready listen=127.0.0.1:4711 shards=2 pid=7 recovered_ms=12\n";
        let listen = "127.0.0.1:4711".to_owned();
        assert_eq!(Ready::parse(line), Some(Ready { listen, recovered_ms: 12 }));
        assert_eq!(Ready::parse("plimsoll: cannot listen"), None);
    }
}
