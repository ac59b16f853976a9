//! A server as a child process: started, killed, stopped, never left behind.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll_client_blocking::Client;

use crate::Place;

/// The command line under test, where a test has been built.
///
/// # Panics
///
/// If it was not built.
#[must_use]
pub fn plimsoll() -> PathBuf {
    built("plimsoll-under-test")
}

/// The load generator under test.
///
/// # Panics
///
/// If it was not built.
#[must_use]
pub fn plimsoll_load() -> PathBuf {
    built("plimsoll-load-under-test")
}

fn built(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    let profile = program.ancestors().nth(2).expect("tests are built in a target directory");
    let binary = profile.join(name);
    assert!(binary.exists(), "{} is built with the tests", binary.display());
    binary
}

/// How a server is to be started.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    place: &'a Place,
    shards: usize,
    arena_bytes: String,
    journal_bytes: String,
    program: Option<PathBuf>,
    more: Vec<String>,
}

impl<'a> Start<'a> {
    pub(crate) fn new(place: &'a Place) -> Start<'a> {
        let (arena_bytes, journal_bytes) = ("16MiB".to_owned(), "32MiB".to_owned());
        Start { place, shards: 1, arena_bytes, journal_bytes, program: None, more: Vec::new() }
    }

    /// This program instead of the one that was built with the tests.
    #[must_use]
    pub fn program(self, program: &Path) -> Start<'a> {
        Start { program: Some(program.to_owned()), ..self }
    }

    /// On so many cores, or on as many as there are.
    #[must_use]
    pub fn shards(self, shards: usize) -> Start<'a> {
        Start { shards, ..self }
    }

    /// With arenas and journals of this size, `16MiB` say.
    #[must_use]
    pub fn memory(self, arena_bytes: &str, journal_bytes: &str) -> Start<'a> {
        let (arena_bytes, journal_bytes) = (arena_bytes.to_owned(), journal_bytes.to_owned());
        Start { arena_bytes, journal_bytes, ..self }
    }

    /// With these words as well. A flag may stand once only.
    #[must_use]
    pub fn with(mut self, words: &[&str]) -> Start<'a> {
        self.more.extend(words.iter().map(ToString::to_string));
        self
    }

    /// The whole command line.
    ///
    /// # Panics
    ///
    /// If this process may use no core.
    #[must_use]
    pub fn command(&self) -> Command {
        let cores = plimsoll_ring::available_cores().expect("there are cores").numbers;
        let cores: Vec<String> = cores.iter().take(self.shards).map(ToString::to_string).collect();
        // The kernel kills the server when the test is gone, however that happens.
        let mut command = Command::new("setpriv");
        let program = self.program.clone().unwrap_or_else(plimsoll);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).arg("serve");
        let says = |flag: &str| self.more.iter().any(|word| word == flag);
        if !says("--data-dir") {
            command.arg("--data-dir").arg(self.place.data_dir());
        }
        if !says("--arena-dir") {
            command.arg("--arena-dir").arg(self.place.arena_dir());
        }
        if !says("--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(["--cores", &cores.join(",")]);
        command.args(["--arena-bytes", &self.arena_bytes, "--journal-bytes", &self.journal_bytes]);
        command.args(&self.more).stdin(Stdio::null());
        command
    }

    /// The command line for a shell, on this address. Nobody ends such a server but the test.
    ///
    /// # Panics
    ///
    /// If a path is not UTF-8.
    #[must_use]
    pub fn shell_line(self, address: &str) -> String {
        let command = self.with(&["--listen", address]).command();
        let words = command.get_args().map(|word| word.to_str().expect("paths are UTF-8"));
        // The words of `setpriv` are in front: the shell that it would bind the server to ends.
        let quoted: Vec<String> = words.skip(3).map(|word| format!("'{word}'")).collect();
        quoted.join(" ")
    }

    /// Starts it, and does not wait until it is ready.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn spawn(&self) -> Starting {
        let log = OpenOptions::new().create(true).append(true).open(self.place.log());
        let log = log.expect("the log can be written");
        let child = self.command().stdout(Stdio::piped()).stderr(log).spawn();
        let child = ChildGuard(child.expect("setpriv of util-linux is there"));
        Starting { child, log: self.place.log() }
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    #[must_use]
    pub fn start(&self) -> Server {
        self.spawn().ready()
    }

    /// Starts it, expecting that it refuses to.
    ///
    /// # Panics
    ///
    /// If it cannot be started at all, or starts.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        Refusal::of(self.command())
    }
}

/// A server that is not ready yet.
#[derive(Debug)]
pub struct Starting {
    child: ChildGuard,
    log: PathBuf,
}

impl Starting {
    /// Waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it ends, or prints something else than it should.
    #[must_use]
    pub fn ready(mut self) -> Server {
        let line = self.line();
        self.told_ready(line)
    }

    /// The first line that it prints; empty if it ends before.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.child.0.stdout.take().expect("stdout is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("stdout can be read");
        line
    }

    fn told_ready(self, line: String) -> Server {
        let log = || fs::read_to_string(&self.log).unwrap_or_default();
        assert!(line.starts_with("plimsoll ready "), "{line:?}; the log:\n{}", log());
        let field = |name: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
        };
        let number = |name: &str| field(name).parse::<u64>().expect("it is a number");
        assert_eq!(number("pid="), u64::from(self.child.0.id()), "{line:?}");
        let (address, shards) = (field("listen="), number("shards=") as usize);
        let recovered = Duration::from_millis(number("recovered_ms="));
        Server { child: self.child, address, shards, recovered, ready_line: line, log: self.log }
    }

    /// SIGKILL, and the end of the process.
    pub fn kill(self) {
        drop(self);
    }

    /// Waits until it is ready, or has refused to start.
    ///
    /// # Panics
    ///
    /// If it prints something else than it should.
    #[must_use]
    pub fn ready_or_ended(mut self) -> Option<Server> {
        let line = self.line();
        (!line.is_empty()).then(|| self.told_ready(line))
    }

    /// SIGKILL, without waiting for the end.
    pub fn kill_soon(&mut self) {
        // It may have ended by itself.
        let _ = self.child.0.kill();
    }
}

/// A server that is ready. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: ChildGuard,
    address: String,
    shards: usize,
    recovered: Duration,
    ready_line: String,
    log: PathBuf,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many shards it has.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// How long it took to be ready, as it says.
    #[must_use]
    pub fn recovered(&self) -> Duration {
        self.recovered
    }

    /// What it printed.
    #[must_use]
    pub fn ready_line(&self) -> &str {
        &self.ready_line
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// A client of it.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(&self.address).unwrap_or_else(|error| {
            panic!("{error}; the log:\n{}", fs::read_to_string(&self.log).unwrap_or_default())
        })
    }

    /// One of its counters.
    ///
    /// # Panics
    ///
    /// If it has none of the name.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let stats = self.client().stats().expect("the server tells its counters");
        let found = stats.into_iter().find(|(counter, _)| counter == name);
        found.unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// SIGKILL, and the end of the process.
    pub fn kill(self) {
        drop(self);
    }

    /// SIGKILL, without waiting for the end: what other threads do meanwhile meets a dying server.
    ///
    /// # Panics
    ///
    /// If it runs no more.
    pub fn kill_soon(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// SIGTERM, without waiting for the end.
    ///
    /// # Panics
    ///
    /// If it runs no more.
    pub fn stop_soon(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// SIGSTOP: the kernel takes what is sent to it, and it does nothing.
    ///
    /// # Panics
    ///
    /// If it runs no more.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT, after a [`pause`](Server::pause).
    ///
    /// # Panics
    ///
    /// If it runs no more.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGTERM, and the end of the process.
    ///
    /// # Panics
    ///
    /// If it does not end.
    #[must_use]
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.0.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not stop");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, signal).expect("the server runs");
    }
}

/// Kills and waits.
#[derive(Debug)]
struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a program ended that was not to go on.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its last line on stderr. Lines before it are the log.
    pub sentence: String,
    /// All of stderr.
    pub stderr: String,
}

impl Refusal {
    /// Runs a command to its end, which must come soon.
    ///
    /// # Panics
    ///
    /// If it cannot be run, or does not end.
    #[must_use]
    pub fn of(mut command: Command) -> Refusal {
        let stderr = tempfile::tempfile().expect("a temporary file can be made");
        let copy = stderr.try_clone().expect("a descriptor can be copied");
        let child = command.stdout(Stdio::null()).stderr(copy).spawn();
        let mut child = ChildGuard(child.expect("the command can be started"));
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.0.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it was to refuse, and runs");
            std::thread::sleep(Duration::from_millis(2));
        };
        let stderr = read_from_start(stderr);
        let sentence = stderr.lines().last().unwrap_or_default().to_owned();
        Refusal { code: status.code(), sentence, stderr }
    }

    /// Exit code 2, and one sentence that names these things and ends in a remedy.
    ///
    /// # Panics
    ///
    /// If it is otherwise.
    pub fn assert_says(&self, words: &[&str]) {
        assert_eq!(self.code, Some(2), "{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        assert!(self.sentence.starts_with("plimsoll: "), "{self}");
        let sentences = self.stderr.lines().filter(|line| line.starts_with("plimsoll: "));
        assert_eq!(sentences.count(), 1, "{self}");
        for word in words {
            assert!(self.sentence.contains(word), "no {word:?} in: {self}");
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "exit code {:?}, stderr: {}", self.code, self.stderr)
    }
}

fn read_from_start(mut file: fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind().expect("a file can be read again");
    file.read_to_string(&mut text).expect("stderr is UTF-8");
    text
}
