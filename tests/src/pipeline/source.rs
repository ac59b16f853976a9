//! A file that grows, and the process that brings its lines into the log.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{PipelineTally, TOPIC};
use crate::Place;

/// A process that failed is started again after this.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// One file, one partition, one process at a time.
#[derive(Debug)]
pub(super) struct Source {
    partition: u32,
    lines: Vec<String>,
    file: PathBuf,
    /// What `--resume` keeps.
    kept: PathBuf,
    stderr: PathBuf,
    /// So many lines are in the file.
    given: usize,
    /// So many are in the log, as a process said.
    sent: usize,
    /// The process, and how many lines there were when it began.
    process: Option<(Child, usize)>,
    failed_at: Option<Instant>,
}

impl Source {
    pub(super) fn new(place: &Place, partition: u32, lines: Vec<String>) -> Source {
        let name = |ending: &str| place.file(&format!("source-{partition}.{ending}"));
        let file = name("txt");
        File::create(&file).expect("a file can be made");
        let (kept, stderr) = (name("kept"), name("err"));
        let (given, sent, process, failed_at) = (0, 0, None, None);
        Source { partition, lines, file, kept, stderr, given, sent, process, failed_at }
    }

    /// Writes so many more lines, or all that are left. A reader may see a part of the last one.
    pub(super) fn grow(&mut self, lines: usize) {
        let end = self.given.saturating_add(lines).min(self.lines.len());
        let text: String =
            self.lines[self.given..end].iter().flat_map(|line| [line, "\n"]).collect();
        let file = OpenOptions::new().append(true).open(&self.file);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a file can be written");
        self.given = end;
    }

    /// Starts a process if there is something to do and nobody is at it.
    pub(super) fn tend(&mut self, program: &Path, address: &str, tally: &mut PipelineTally) {
        if let Some((process, given)) = &mut self.process {
            let Some(status) = process.try_wait().expect("a child can be waited for") else {
                return;
            };
            if status.success() {
                self.sent = *given;
            } else {
                tally.producers_failed += 1;
                self.failed_at = Some(Instant::now());
            }
            self.process = None;
        }
        let rests = self.failed_at.is_some_and(|at| at.elapsed() < AGAIN_AFTER);
        if self.sent < self.given && !rests {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(["produce", TOPIC]);
            command.args(["--partition", &self.partition.to_string(), "--batch-bytes", "4KiB"]);
            command.arg("--resume").arg(&self.kept).args(["--server", address]).arg(&self.file);
            let stderr = File::create(&self.stderr).expect("a file can be made");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
            self.process = Some((command.spawn().expect("it can be started"), self.given));
        }
    }

    /// SIGKILL. Whether somebody was at it.
    pub(super) fn kill(&mut self) -> bool {
        let Some((mut process, given)) = self.process.take() else { return false };
        if let Ok(Some(status)) = process.try_wait() {
            self.sent = if status.success() { given } else { self.sent };
            return false;
        }
        process.kill().expect("a child can be killed");
        process.wait().expect("a child can be waited for");
        true
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.lines.len()
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    pub(super) fn trouble(&self) -> String {
        let Source { partition, sent, .. } = self;
        let said = fs::read_to_string(&self.stderr).unwrap_or_default();
        format!("source {partition}: {sent} of {} sent, {}", self.lines.len(), said.trim())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.kill();
    }
}
