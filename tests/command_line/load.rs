//! The load generator as a command: how long it reads, and what it says of a server that it killed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll_tests::{Place, Server, plimsoll_load};
use serde_json::Value;

use crate::program::{Run, ask, ask_with, load};

/// A server that a restart command starts and whose process nobody else knows. Killed at the end.
struct Restarted {
    pid_file: PathBuf,
}

impl Restarted {
    /// The command: `before`, then the server in the background.
    fn command(&self, place: &Place, server: &Server, before: &str) -> String {
        let line = place.server().shell_line(server.address());
        // With the load's stderr the server would hold the test's pipe open.
        let (log, pid_file) = (place.log(), self.pid_file.display());
        format!("{before} {line} 2>> '{}' & echo $! > '{pid_file}'", log.display())
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        // None if the test ended before the restart.
        let pid = fs::read_to_string(&self.pid_file).ok();
        if let Some(pid) = pid.and_then(|text| text.trim().parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

const VERIFIED: [&str; 8] =
    ["produce", "--verify", "--topic", "v", "--seconds", "2", "--kill-after-seconds", "1"];

/// Loads, kills and restarts a server, with `before` between kill and restart.
fn kill_and_verify(before: impl FnOnce(&Place) -> String) -> Run {
    let place = Place::new();
    let server = place.server().start();
    let restarted = Restarted { pid_file: place.file("pid") };
    let command = restarted.command(&place, &server, &before(&place));
    let pid = server.pid().to_string();
    let more = ["--kill-server-pid", &pid, "--restart-command", &command];
    load(server.address(), &[&VERIFIED[..], &more].concat())
}

#[test]
fn a_server_that_keeps_its_promise_through_a_kill_passes() {
    let run = kill_and_verify(|_| String::new());
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("killed, and back after"), "{run:?}");
    let verified = run.stdout.lines().find(|line| line.starts_with("verified")).unwrap();
    assert!(verified.ends_with(" 0 lost, 0 changed, 0 out of order"), "{verified}");
    assert!(!verified.contains(" 0 acked"), "there was something to lose: {verified}");
}

#[test]
fn data_that_goes_between_kill_and_restart_is_counted_as_lost_and_fails() {
    let run = kill_and_verify(|place| format!("rm -rf '{}';", place.data_dir().display()));
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("what was acked at disk is not all there"), "{run:?}");
    assert!(run.stderr.contains("the topic v itself is not there any more"), "{run:?}");
    let verified = run.stdout.lines().find(|line| line.starts_with("verified")).unwrap();
    assert!(verified.contains(" 0 found"), "{verified}");
}

/// The process of a wrapper was killed, the server lived on, and the verdict was that nothing is
/// lost.
#[test]
fn a_kill_of_something_else_than_the_server_gives_no_verdict() {
    let place = Place::new();
    let server = place.server().start();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = other.id().to_string();
    let run = load(server.address(), &[&VERIFIED[..], &["--kill-server-pid", &pid]].concat());
    other.wait().unwrap();
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("the server goes on"), "{run:?}");
    assert!(!run.stdout.contains("verified"), "{run:?}");
}

#[test]
fn a_consuming_run_reads_on_at_the_end_until_its_time_is_over_or_it_has_enough() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t"]).ok();
    let produce = |lines: &str| {
        let produced = ask_with(&server, &["produce", "t"], lines.as_bytes());
        assert_eq!(produced.code, 0, "{produced:?}");
    };
    let consume = |words: &[&str]| -> (u64, Duration) {
        let begun = Instant::now();
        let words = [&["consume", "--topic", "t", "--json"], words].concat();
        let report: Value = serde_json::from_str(&load(server.address(), &words).ok()).unwrap();
        (report["records"].as_u64().unwrap(), begun.elapsed())
    };
    produce("a\nb\nc\n");
    let delivered = || server.counter("delivered_bytes");
    let waits_until_it_reads = |before: u64| {
        let begun = Instant::now();
        while delivered() == before {
            assert!(begun.elapsed() < Duration::from_secs(60), "it reads nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    std::thread::scope(|scope| {
        let (before, reads) = (delivered(), scope.spawn(|| consume(&["--seconds", "6"])));
        waits_until_it_reads(before);
        produce("d\ne\n");
        let (records, took) = reads.join().unwrap();
        assert_eq!(records, 5, "what came while it read");
        assert!(took >= Duration::from_secs(6), "{took:?}");
    });
    assert_eq!(consume(&["--records", "4"]).0, 5, "whole batches, until there are enough");
    std::thread::scope(|scope| {
        let (before, reads) = (delivered(), scope.spawn(|| consume(&["--records", "6"])));
        waits_until_it_reads(before);
        produce("f\n");
        assert_eq!(reads.join().unwrap().0, 6, "it waits for what is missing");
    });
}

/// It was a panic.
#[test]
fn a_report_that_cannot_be_written_is_a_failure_that_says_so() {
    let place = Place::new();
    let server = place.server().start();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(plimsoll_load());
    command.args(["--seconds", "0.1", "--partitions", "1", "--server", server.address()]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write to stdout"), "{stderr}");
}
