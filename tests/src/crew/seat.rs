//! A place in a group, and the processes that had it, one after the other.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;
use super::source::AGAIN_AFTER;
use crate::Place;

/// What whoever sits there does.
pub(crate) trait Duty {
    /// Adds the program and its words. What it gets it writes into this file, which is there.
    fn assign(&self, command: &mut Command, address: &str, output: &Path);
}

/// Each process writes into a file of its own: the last line of the one before may be cut.
#[derive(Debug)]
pub(crate) struct Seat<D> {
    duty: D,
    directory: PathBuf,
    outputs: Vec<PathBuf>,
    process: Option<Child>,
    ended_at: Option<Instant>,
}

impl<D: Duty> Seat<D> {
    /// Empty. No other seat has this name.
    pub(crate) fn new(place: &Place, name: &str, duty: D) -> Seat<D> {
        let directory = place.file(name);
        fs::create_dir(&directory).expect("a directory can be made");
        Seat { duty, directory, outputs: Vec::new(), process: None, ended_at: None }
    }

    /// Starts a process if the place is empty. How many have ended by themselves: one or none.
    pub(super) fn tend(&mut self, address: &str) -> u64 {
        let mut failed = 0;
        if let Some(process) = &mut self.process {
            if process.try_wait().expect("a child can be waited for").is_none() {
                return 0;
            }
            failed = 1;
            self.ended_at = Some(Instant::now());
            self.process = None;
        }
        if self.ended_at.is_none_or(|at| at.elapsed() >= AGAIN_AFTER) {
            let output = self.directory.join(self.outputs.len().to_string());
            File::create(&output).expect("a file can be made");
            let stderr = File::create(self.directory.join("err")).expect("a file can be made");
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
            self.duty.assign(&mut command, address, &output);
            self.process = Some(command.spawn().expect("it can be started"));
            self.outputs.push(output);
        }
        failed
    }
}

impl<D> Seat<D> {
    /// SIGKILL. Whether somebody was there.
    pub(crate) fn kill(&mut self) -> bool {
        let Some(mut process) = self.process.take() else { return false };
        process.kill().expect("a child can be killed");
        process.wait().expect("a child can be waited for");
        true
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let begun = Instant::now();
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM);
        while process.try_wait().expect("a child can be waited for").is_none() {
            assert!(begun.elapsed() < PATIENCE, "a member does not stop: {}", self.trouble());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How much the one who is here has written.
    pub(super) fn written_bytes(&self) -> u64 {
        let output = self.outputs.last().and_then(|path| fs::metadata(path).ok());
        output.map_or(0, |it| it.len())
    }

    pub(super) fn outputs(&self) -> &[PathBuf] {
        &self.outputs
    }

    pub(super) fn trouble(&self) -> String {
        let said = fs::read_to_string(self.directory.join("err")).unwrap_or_default();
        format!("{}: {}", self.directory.display(), said.trim())
    }
}

impl<D> Drop for Seat<D> {
    fn drop(&mut self) {
        self.kill();
    }
}
