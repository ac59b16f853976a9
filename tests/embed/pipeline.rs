//! The two example programs as a user runs them, killed on the way, and their server with them:
//! every line of every file comes out, whole and in order.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use plimsoll_tests::Place;

use crate::{TOPIC, server};

const FILES: usize = 3;
const ROUNDS: usize = 8;

/// A program of `examples`, which ends with the test.
struct Program(Child);

impl Program {
    fn start(program: &str, words: &[&str]) -> Program {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(words);
        Program(command.spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log_path(directory: &Path, file: usize) -> PathBuf {
    directory.join(format!("app-{file}.log"))
}

/// The lines of one file, as the writers wrote them, without those that came again. One that is
/// being written may be at its end.
fn written(output: &Path, file: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    let text = fs::read_to_string(log_path(output, file)).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    for line in whole {
        let number: u64 = line.parse().unwrap_or_else(|_| panic!("{line:?} is no whole line"));
        let is_again = numbers.last().is_some_and(|last| number <= *last);
        let next = numbers.last().map_or(0, |last| last + 1);
        assert!(is_again || number == next, "{number} in place of {next}");
        if !is_again {
            numbers.push(number);
        }
    }
    numbers
}

/// What a writer leaves that is killed within a line.
fn leave_half_a_line(output: &Path) {
    for file in 0..FILES {
        let path = log_path(output, file);
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(&[b'x'; 5_000]).unwrap();
    }
}

/// A writer that began again on its directory wrote behind the half line that it found: one line
/// was glued to that for ever.
#[test]
fn the_example_pipeline_writes_out_every_line_whatever_is_killed() {
    let place = Place::new();
    let mut server = server(&place);
    let address = server.address().to_owned();
    let (logs, positions) = (place.file("logs"), place.file("positions"));
    fs::create_dir_all(&logs).unwrap();
    let follow = || {
        let words = [&address, TOPIC, logs.to_str().unwrap(), positions.to_str().unwrap()];
        Program::start(env!("CARGO_BIN_EXE_tail-directory"), &words)
    };
    let output = place.file("out");
    let write = || {
        let words = [&address, TOPIC, "archive", output.to_str().unwrap()];
        Program::start(env!("CARGO_BIN_EXE_write-out"), &words)
    };
    let again = || place.server().shards(2).with(&["--listen", &address]).start();
    let (mut tail, mut writer) = (follow(), write());
    let mut lines = 0_u64;
    for round in 0..ROUNDS {
        for file in 0..FILES {
            let path = log_path(&logs, file);
            let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
            let text: String = (lines..lines + 2_000).map(|number| format!("{number}\n")).collect();
            file.write_all(text.as_bytes()).unwrap();
        }
        lines += 2_000;
        std::thread::sleep(Duration::from_millis(150));
        if round == 1 {
            drop(tail);
            tail = follow();
        }
        if round == 2 || round == 6 {
            server.kill();
            server = again();
        }
        if round == 3 || round == 6 {
            // Its group waits for it for as long as a session lasts, or until the server starts.
            drop(writer);
            leave_half_a_line(&output);
            writer = write();
        }
        if round == 4 {
            server.kill();
            // Long enough for both programs to find nobody there.
            std::thread::sleep(Duration::from_secs(2));
            server = again();
        }
    }
    let deadline = Instant::now() + Duration::from_secs(120);
    for file in 0..FILES {
        while written(&output, file).len() < lines as usize {
            assert!(Instant::now() < deadline, "file {file} is not whole");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(written(&output, file).len(), lines as usize);
    }
}
