//! A place among the members, and the processes that had it, one after the other.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{DEAD, GROUP, LOCK};
use crate::Place;
use crate::crew::{AGAIN_AFTER, TOPIC};

/// Who sits there.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A program that calls [`work_until_killed`](super::work_until_killed), with the words before
    /// its address and its output.
    Library(Vec<PathBuf>),
    /// `plimsoll consume --share --exec`, with this binary.
    Command(PathBuf),
}

/// Each process writes into a file of its own: the last line of the one before may be cut.
#[derive(Debug)]
pub(super) struct Seat {
    kind: Kind,
    directory: PathBuf,
    outputs: Vec<PathBuf>,
    process: Option<Child>,
    ended_at: Option<Instant>,
}

/// Writes out, then rejects what [`is_rejected`](super::is_rejected) says. Times are not told.
const SCRIPT: &str = "IFS= read -r line; P=$PLIMSOLL_PARTITION O=$PLIMSOLL_OFFSET
    printf 'did 0 %s %s %s %s\\n' $P $O $PLIMSOLL_DELIVERIES \"$line\" >> \"$OUTPUT\"
    test $(( (O + 31 * P) % 97 )) -ne 13 || exit 65";

impl Seat {
    pub(super) fn new(place: &Place, number: usize, kind: Kind) -> Seat {
        let directory = place.file(&format!("worker-{number}"));
        fs::create_dir(&directory).expect("a directory can be made");
        Seat { kind, directory, outputs: Vec::new(), process: None, ended_at: None }
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
            let mut command = self.command(address, &output);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
            self.process = Some(command.spawn().expect("it can be started"));
            self.outputs.push(output);
        }
        failed
    }

    fn command(&self, address: &str, output: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        match &self.kind {
            Kind::Library(words) => {
                command.args(words).arg(address).arg(output);
            }
            Kind::Command(program) => {
                let lock = format!("{}ms", LOCK.as_millis());
                command.arg(program).args(["consume", TOPIC, "--group", GROUP, "--share"]);
                command.args(["--lock", &lock, "--deliveries-max", "0", "--dead-letter", DEAD]);
                command.args(["--exec", SCRIPT, "--server", address]).env("OUTPUT", output);
            }
        }
        command
    }

    /// SIGKILL. Whether somebody was there.
    pub(super) fn kill(&mut self) -> bool {
        let Some(mut process) = self.process.take() else { return false };
        process.kill().expect("a child can be killed");
        process.wait().expect("a child can be waited for");
        true
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

impl Drop for Seat {
    fn drop(&mut self) {
        self.kill();
    }
}
