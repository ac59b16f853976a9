//! A file that grows, and the process that brings its lines into the log.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{Client, ConsumerOptions};

use super::{PATIENCE, TOPIC};
use crate::Place;

/// A process that failed is started again after this.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// One file, one partition, one process at a time.
#[derive(Debug)]
pub(crate) struct Source {
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
    pub(crate) fn new(place: &Place, partition: u32, lines: Vec<String>) -> Source {
        let name = |ending: &str| place.file(&format!("source-{partition}.{ending}"));
        let file = name("txt");
        File::create(&file).expect("a file can be made");
        let (kept, stderr) = (name("kept"), name("err"));
        let (given, sent, process, failed_at) = (0, 0, None, None);
        Source { partition, lines, file, kept, stderr, given, sent, process, failed_at }
    }

    /// Writes so many more lines, or all that are left. A reader may see a part of the last one.
    pub(crate) fn grow(&mut self, lines: usize) {
        let end = self.given.saturating_add(lines).min(self.lines.len());
        let text: String =
            self.lines[self.given..end].iter().flat_map(|line| [line, "\n"]).collect();
        let file = OpenOptions::new().append(true).open(&self.file);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a file can be written");
        self.given = end;
    }

    /// Starts a process if there is something to do and nobody is at it. How many have failed: one
    /// or none.
    pub(crate) fn tend(&mut self, program: &Path, address: &str) -> u64 {
        let mut failed = 0;
        if let Some((process, given)) = &mut self.process {
            let Some(status) = process.try_wait().expect("a child can be waited for") else {
                return 0;
            };
            if status.success() {
                self.sent = *given;
            } else {
                failed = 1;
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
        failed
    }

    /// SIGKILL. Whether somebody was at it.
    pub(crate) fn kill(&mut self) -> bool {
        let Some((mut process, given)) = self.process.take() else { return false };
        if let Ok(Some(status)) = process.try_wait() {
            self.sent = if status.success() { given } else { self.sent };
            return false;
        }
        process.kill().expect("a child can be killed");
        process.wait().expect("a child can be waited for");
        true
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.lines.len()
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The offsets of its lines, each of which is in the log once and in its place.
    pub(crate) fn offsets_in_log(&self, client: &Client) -> Vec<u64> {
        let Source { partition, lines, .. } = self;
        let mut options = ConsumerOptions::default();
        options.partitions = Some(vec![*partition]);
        let mut consumer = client.consumer(TOPIC, options).expect("the topic is there");
        let mut offsets = Vec::with_capacity(lines.len());
        while offsets.len() < lines.len() {
            let batch = consumer.next_batch(PATIENCE).expect("the log can be read");
            let batch = batch.unwrap_or_else(|| panic!("source {partition} ends early"));
            for record in batch.records() {
                let record = record.expect("a record decodes");
                let (at, offset) = (offsets.len(), record.offset.value());
                let expected = lines.get(at).map(String::as_bytes);
                assert_eq!(record.value, expected, "line {at} of source {partition}, at {offset}");
                offsets.push(offset);
            }
        }
        let more = consumer.next_batch(Duration::from_secs(1)).expect("the log can be read");
        assert!(more.is_none(), "source {partition} has more in the log than lines");
        offsets
    }

    pub(crate) fn trouble(&self) -> String {
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
