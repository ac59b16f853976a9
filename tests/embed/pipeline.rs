//! The two example programs as a user runs them, killed on the way: every line of every file comes
//! out, in order.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use plimsoll_tests::Place;

use crate::{TOPIC, server};

const FILES: usize = 3;
const ROUNDS: usize = 6;

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

/// The lines of one file, as all writers wrote them, without those that came again.
fn written(outputs: &[PathBuf], file: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for output in outputs {
        let text = fs::read_to_string(log_path(output, file)).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        for number in whole.map(|line| line.trim_end().parse::<u64>().unwrap()) {
            let is_again = numbers.last().is_some_and(|last| number <= *last);
            let next = numbers.last().map_or(0, |last| last + 1);
            assert!(is_again || number == next, "{number} in place of {next}");
            if !is_again {
                numbers.push(number);
            }
        }
    }
    numbers
}

#[test]
fn the_example_pipeline_writes_out_every_line_whatever_is_killed() {
    let place = Place::new();
    let server = server(&place);
    let (logs, positions) = (place.file("logs"), place.file("positions"));
    fs::create_dir_all(&logs).unwrap();
    let follow = || {
        let words = [server.address(), TOPIC, logs.to_str().unwrap(), positions.to_str().unwrap()];
        Program::start(env!("CARGO_BIN_EXE_tail-directory"), &words)
    };
    let write = |output: &Path| {
        let words = [server.address(), TOPIC, "archive", output.to_str().unwrap()];
        Program::start(env!("CARGO_BIN_EXE_write-out"), &words)
    };
    let mut outputs = vec![place.file("out-0")];
    let (mut tail, mut writer) = (follow(), write(&outputs[0]));
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
        if round == 3 {
            // Its group waits for it for as long as a session lasts.
            drop(writer);
            outputs.push(place.file("out-1"));
            writer = write(&outputs[1]);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(120);
    for file in 0..FILES {
        while written(&outputs, file).len() < lines as usize {
            assert!(Instant::now() < deadline, "file {file} is not whole");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(written(&outputs, file).len(), lines as usize);
    }
}
