//! A place in the group, and the processes that had it, one after the other.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{GROUP, PipelineTally};
use crate::Place;
use crate::crew::{AGAIN_AFTER, PATIENCE, TOPIC};

/// Whoever follows takes the place over, by its static name, and writes into a new file: the last
/// line of the old one may be cut.
#[derive(Debug)]
pub(super) struct Seat {
    directory: PathBuf,
    instance: String,
    outputs: Vec<PathBuf>,
    process: Option<Child>,
    ended_at: Option<Instant>,
}

impl Seat {
    pub(super) fn new(place: &Place, number: usize) -> Seat {
        let instance = format!("seat-{number}");
        let directory = place.file(&instance);
        fs::create_dir(&directory).expect("a directory can be made");
        Seat { directory, instance, outputs: Vec::new(), process: None, ended_at: None }
    }

    /// Starts a process if the place is empty.
    pub(super) fn tend(&mut self, program: &Path, address: &str, tally: &mut PipelineTally) {
        if let Some(process) = &mut self.process {
            if process.try_wait().expect("a child can be waited for").is_none() {
                return;
            }
            tally.members_failed += 1;
            self.ended_at = Some(Instant::now());
            self.process = None;
        }
        if self.ended_at.is_none_or(|at| at.elapsed() >= AGAIN_AFTER) {
            let output = self.directory.join(self.outputs.len().to_string());
            let stdout = File::create(&output).expect("a file can be made");
            let stderr = File::create(self.directory.join("err")).expect("a file can be made");
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command.args(["consume", TOPIC, "--group", GROUP, "--instance", &self.instance]);
            command.args(["--format", "json", "--server", address]);
            command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
            self.process = Some(command.spawn().expect("it can be started"));
            self.outputs.push(output);
        }
    }

    /// SIGKILL. Whether somebody was there.
    pub(super) fn kill(&mut self) -> bool {
        let Some(mut process) = self.process.take() else { return false };
        process.kill().expect("a child can be killed");
        process.wait().expect("a child can be waited for");
        true
    }

    /// SIGTERM, and the end.
    pub(super) fn stop(&mut self) {
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
        format!("{}: {}", self.instance, said.trim())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.kill();
    }
}
