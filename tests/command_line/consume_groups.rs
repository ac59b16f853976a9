//! `consume --group`: what a member writes, what it says, and when it ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll_client_blocking::{NewRecord, ProducerOptions};
use plimsoll_tests::{Place, Server, plimsoll};

use crate::program::{ask, ask_with};

/// What does not happen within this does not happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// A member that runs beside the test.
struct Member {
    process: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Member {
    fn start(place: &Place, address: &str, name: &str, words: &[&str]) -> Member {
        let (stdout, stderr) = (place.file(name), place.file(&format!("{name}.err")));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(plimsoll()).arg("consume").args(words);
        command.args(["--server", address]).stdin(Stdio::null());
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Member { process: command.spawn().unwrap(), stdout, stderr }
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    fn wait_for(&self, what: &str, is_there: impl Fn(&Member) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(self) {
            assert!(Instant::now() < deadline, "{what}: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for_word(&self, word: &str) {
        self.wait_for(word, |member| member.said().contains(word));
    }

    /// Its exit code, once it has ended by itself or, if `stop`, because it is told to.
    fn end(&mut self, stop: bool) -> i32 {
        if stop {
            kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM).unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code().expect("it was not killed");
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn counts<'a>(lines: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    lines.into_iter().for_each(|line| *counts.entry(line.clone()).or_default() += 1);
    counts
}

fn text(range: std::ops::Range<u32>) -> String {
    range.map(|line| format!("{line}\n")).collect()
}

/// Records in batches of their own, from `first` on.
fn produce_one_by_one(server: &Server, topic: &str, range: std::ops::Range<u32>) {
    let mut options = ProducerOptions::default();
    options.batch_bytes = 1;
    let producer = server.client().producer(topic, options).unwrap();
    let count = u64::from(range.end - range.start);
    for number in range {
        producer.send(&NewRecord::of_value(number.to_string().as_bytes())).unwrap();
    }
    assert_eq!(producer.close().acked, count);
}

/// What a member says when the server is not there, or has not taken a commit.
fn tells_of_trouble(line: &str) -> bool {
    line.contains("no connection") || line.contains("not committed")
}

/// Each batch that waited in the member had a line of its own on stderr. The server stays away
/// until the member has said so: a restart that it does not notice is nothing to tell.
#[test]
fn an_outage_of_the_server_is_told_when_it_begins_and_when_it_is_over() {
    let place = Place::new();
    let server = place.server().start();
    let address = server.address().to_owned();
    ask(&server, &["topic", "create", "t", "--partitions", "2"]).ok();
    produce_one_by_one(&server, "t", 0..2000);
    let mut member = Member::start(&place, &address, "out", &["t", "--group", "g"]);
    member.wait_for("it is at work", |member| member.lines().len() > 20);
    server.kill();
    member.wait_for("it says so", |member| member.said().lines().any(tells_of_trouble));
    let server = place.server().with(&["--listen", &address]).start();
    produce_one_by_one(&server, "t", 2000..2100);
    let is_all = |member: &Member| counts(&member.lines()).len() == 2100;
    member.wait_for("all is written", is_all);
    member.wait_for_word("it goes on");
    member.wait_for("what was written is committed in the end", |_| {
        let described = ask(&server, &["group", "describe", "g", "--json"]).ok();
        let described: serde_json::Value = serde_json::from_str(&described).unwrap();
        described["partitions"].as_array().unwrap().iter().all(|of| of["lag"] == 0)
    });
    assert_eq!(member.end(true), 0);
    let said = member.said();
    let began = said.lines().filter(|line| tells_of_trouble(line)).count();
    let over = said.lines().filter(|line| line.contains("it goes on")).count();
    // Perhaps a second time, if it comes back as one whom the server has forgotten.
    assert!(began == over && (1..=2).contains(&began), "{said}");
}

/// Its output is a pipe that nobody reads for a while: the server dies while a batch is half
/// written.
#[test]
fn a_member_that_is_stopped_during_an_outage_says_what_it_could_not_commit() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t"]).ok();
    let lines = format!("{}\n", "x".repeat(999)).repeat(200);
    let words = ["produce", "t", "-", "--batch-bytes", "512KiB"];
    assert_eq!(ask_with(&server, &words, lines.as_bytes()).code, 0);
    let pipe = place.file("out");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Open at both ends, so that nobody waits for the other to come.
    let mut reads = File::options().read(true).write(true).open(&pipe).unwrap();
    let mut member = Member::start(&place, server.address(), "out", &["t", "--group", "g"]);
    let mut written = vec![0; lines.len()];
    let (first, rest) = written.split_at_mut(1);
    reads.read_exact(first).unwrap();
    server.kill();
    reads.read_exact(rest).unwrap();
    assert!(written == lines.as_bytes(), "an outage does not keep back what is there");
    member.wait_for_word("not committed");
    assert_eq!(member.end(true), 0);
    assert!(member.said().contains("t/0 is written up to 200"), "{}", member.said());
}

#[test]
fn records_that_were_removed_are_passed_over_or_an_error_as_the_caller_chooses() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t"]).ok();
    assert_eq!(ask_with(&server, &["produce", "t", "-"], text(0..10).as_bytes()).code, 0);
    for group in ["start", "end", "error"] {
        let words = ["consume", "t", "--group", group, "--max-records", "5"];
        assert_eq!(ask(&server, &words).ok(), text(0..5));
    }
    ask(&server, &["topic", "delete-records", "t", "--partition", "0", "--to", "8"]).ok();
    let consume = |words: &[&str]| ask(&server, &[&["consume", "t", "--group"], words].concat());
    let start = consume(&["start", "--max-records", "2"]);
    assert!(start.stderr.contains("goes on at 8: 3 records from 5"), "{}", start.stderr);
    assert_eq!(start.ok(), text(8..10));
    let error = consume(&["error", "--on-removed", "error"]);
    assert_eq!(error.code, 1);
    assert!(error.stderr.contains("t/0: the group would go on at 5"), "{}", error.stderr);
    assert!(error.stderr.contains("begins at 8"), "{}", error.stderr);
    let words = ["t", "--group", "end", "--on-removed", "end", "--max-records", "1"];
    let mut end = Member::start(&place, server.address(), "end", &words);
    end.wait_for_word("goes on at 10: 5 records from 5");
    assert_eq!(ask_with(&server, &["produce", "t", "-"], b"new\n").code, 0);
    assert_eq!(end.end(false), 0);
    assert_eq!(end.lines(), ["new"]);
}

#[test]
fn members_that_are_to_stop_at_the_end_stop_when_the_group_has_come_there() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    ask(&server, &["topic", "create", "t", "--partitions", "4"]).ok();
    assert_eq!(ask(&server, &["consume", "t", "--group", "g", "--until", "end"]).ok(), "");
    produce_one_by_one(&server, "t", 0..1000);
    let words = ["t", "--group", "g", "--until", "end"];
    let mut one = Member::start(&place, server.address(), "one", &words);
    let mut two = Member::start(&place, server.address(), "two", &words);
    assert_eq!((one.end(false), two.end(false)), (0, 0), "{}{}", one.said(), two.said());
    let seen = counts(one.lines().iter().chain(&two.lines()));
    assert_eq!(seen.len(), 1000);
    assert!(seen.values().all(|count| *count == 1), "none twice");
    produce_one_by_one(&server, "t", 1000..1010);
    let rest = ask(&server, &["consume", "t", "--group", "g", "--until", "end"]).ok();
    assert_eq!(rest.lines().count(), 10);
    assert_eq!(ask(&server, &["consume", "t", "--group", "g", "--until", "end"]).ok(), "");
    let words = ["consume", "t", "--group", "g", "--until", "end", "--commit", "auto"];
    assert_eq!(ask(&server, &words).code, 2, "auto would commit what lies behind the end");
}

/// One wants both topics, the other one of them: what only the first wants is its own, the rest is
/// shared.
#[test]
fn members_of_a_group_may_want_different_topics() {
    let place = Place::new();
    let server = place.server().start();
    for topic in ["a", "b"] {
        ask(&server, &["topic", "create", topic, "--partitions", "2"]).ok();
    }
    let words = ["a", "b", "--group", "g", "--format", "json"];
    let mut both = Member::start(&place, server.address(), "both", &words);
    let mut one = Member::start(&place, server.address(), "one", &["b", "--group", "g"]);
    both.wait_for("each has its share", |_| {
        let described = ask(&server, &["group", "describe", "g", "--json"]);
        let Ok(described) = serde_json::from_str::<serde_json::Value>(&described.stdout) else {
            return false;
        };
        let members = described["members"].as_array().unwrap();
        let held = members.iter().map(|of| of["partitions"].as_array().unwrap());
        let mut held: Vec<Vec<String>> = held
            .map(|of| of.iter().map(|at| at["topic"].as_str().unwrap().to_owned()).collect())
            .collect();
        held.sort();
        held == [vec!["a", "a"], vec!["b", "b"]]
    });
    produce_one_by_one(&server, "a", 0..100);
    produce_one_by_one(&server, "b", 100..200);
    both.wait_for("its topic is written", |member| member.lines().len() == 100);
    one.wait_for("its topic is written", |member| member.lines().len() == 100);
    assert!(both.lines().iter().all(|line| line.starts_with("{\"topic\":\"a\",\"partition\":")));
    assert_eq!(one.end(true), 0);
    produce_one_by_one(&server, "b", 200..210);
    both.wait_for("it takes over the other topic", |member| member.lines().len() == 110);
    assert_eq!(both.end(true), 0);
    let words = ["consume", "a", "b", "--group", "g", "--until", "end"];
    assert_eq!(ask(&server, &words).ok(), "", "of both topics all is committed");
    let words = ["consume", "a", "b", "--group", "h", "--until", "end", "--format", "topic-value"];
    let told = ask(&server, &words).ok();
    let of = |topic: &str| told.lines().filter(|line| line.starts_with(topic)).count();
    assert_eq!((of("a\t"), of("b\t"), told.lines().count()), (100, 110, 210));
    assert_eq!(ask(&server, &["consume", "a", "b"]).code, 2, "several topics need a group");
}

#[test]
fn a_batch_in_which_the_end_lies_is_written_and_committed_up_to_there() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t"]).ok();
    assert_eq!(ask_with(&server, &["produce", "t", "-"], text(0..10).as_bytes()).code, 0);
    let consume = |until: &str| ask(&server, &["consume", "t", "--group", "g", "--until", until]);
    assert_eq!(consume("4").ok(), text(0..4));
    assert_eq!(consume("end").ok(), text(4..10));
}

#[test]
fn a_group_that_is_deleted_starts_anew_and_one_that_is_not_there_is_told() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t"]).ok();
    assert_eq!(ask_with(&server, &["produce", "t", "-"], text(0..3).as_bytes()).code, 0);
    let consume = || ask(&server, &["consume", "t", "--group", "g", "--until", "end"]).ok();
    assert_eq!((consume(), consume()), (text(0..3), String::new()));
    ask(&server, &["group", "delete", "g"]).ok();
    let again = ask(&server, &["group", "delete", "g"]);
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(again.stderr.contains("there is no group g;"), "{}", again.stderr);
    assert_eq!(consume(), text(0..3), "nothing is committed any more");
}

/// The end was looked up at each start: what came between the death of a member that had committed
/// nothing yet and the start of the next one was never handed out, and nobody said so.
#[test]
fn a_group_that_begins_at_the_end_goes_on_from_there_after_its_member_was_killed() {
    let place = Place::new();
    let server = place.server().start();
    let address = server.address().to_owned();
    ask(&server, &["topic", "create", "t"]).ok();
    produce_one_by_one(&server, "t", 0..5);
    let words = ["t", "--group", "g", "--from", "end"];
    let first = Member::start(&place, &address, "first", &words);
    let committed = || {
        let described = ask(&server, &["group", "describe", "g", "--json"]);
        let described: serde_json::Value = serde_json::from_str(&described.stdout).ok()?;
        described["partitions"].as_array()?.first()?["committed"].as_u64()
    };
    first.wait_for("it is durable where the group begins", |_| committed() == Some(5));
    assert!(first.lines().is_empty(), "{:?}", first.lines());
    // Killed.
    drop(first);
    produce_one_by_one(&server, "t", 5..8);
    let mut next = Member::start(&place, &address, "next", &words);
    next.wait_for("what came meanwhile", |member| member.lines().len() >= 3);
    assert_eq!(next.lines(), ["5", "6", "7"]);
    assert_eq!(next.end(true), 0);
}
