//! Running the program to its end.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use plimsoll_tests::{Server, plimsoll, plimsoll_load};

/// What a run came to, as text.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Exit code 0, nothing on stderr but what is expected there; stdout.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }
}

/// Runs `plimsoll` with these words and this on stdin.
pub(crate) fn run_with(words: &[&str], stdin: &[u8]) -> Run {
    let mut command = Command::new(plimsoll());
    command.args(words);
    run_command(command, stdin)
}

/// Runs `plimsoll-load` with these words against a server.
pub(crate) fn load(address: &str, words: &[&str]) -> Run {
    let mut command = Command::new(plimsoll_load());
    command.args(words).args(["--server", address]);
    run_command(command, b"")
}

fn run_command(mut command: Command, stdin: &[u8]) -> Run {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    let feeds = std::thread::spawn(move || {
        // Who does not read its stdin closes it.
        let _ = pipe.write_all(&stdin);
    });
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    feeds.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    let code = status.code().expect("it was not killed");
    Run { code, stdout: text(stdout), stderr: text(stderr) }
}

/// The same with nothing on stdin.
pub(crate) fn run(words: &[&str]) -> Run {
    run_with(words, b"")
}

/// The same against a server.
pub(crate) fn ask(server: &Server, words: &[&str]) -> Run {
    ask_with(server, words, b"")
}

pub(crate) fn ask_with(server: &Server, words: &[&str], stdin: &[u8]) -> Run {
    let words: Vec<&str> =
        [words, &["--server", server.address()]].iter().copied().flatten().copied().collect();
    run_with(&words, stdin)
}

/// Text that people wrote: the sources of this workspace, and their lines.
pub(crate) fn real_text() -> (Vec<PathBuf>, Vec<String>) {
    let source = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../src"));
    let crates = fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path().join("src"));
    let mut files: Vec<PathBuf> = crates
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.sort();
    assert!(files.len() > 50, "the sources are there");
    let text = files.iter().map(|path| fs::read_to_string(path).unwrap());
    let lines = text.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let lines = lines.collect();
    (files, lines)
}
