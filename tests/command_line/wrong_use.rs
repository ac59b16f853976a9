//! What cannot be done: exit code 1; what was asked wrongly: 2; one sentence for each.

use std::fs::File;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{OffsetsWhat, Visible};
use plimsoll_tests::Place;

use crate::program::{Run, ask, ask_with, run, run_with};

fn says(run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.code, code, "{run:?}");
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    for word in words {
        assert!(run.stderr.contains(word), "no {word:?} in {run:?}");
    }
}

#[test]
fn wrong_words_are_wrong_use() {
    says(&run(&[]), 2, &["Usage"]);
    says(&run(&["flood"]), 2, &["flood"]);
    says(&run(&["produce"]), 2, &["<T>"]);
    says(&run(&["consume", "t", "--visible", "none"]), 2, &["none"]);
    says(&run(&["topic", "create", "t", "--partitions", "0"]), 2, &["--partitions"]);
    says(&run(&["serve"]), 2, &["--data-dir"]);
    says(&run(&["serve", "--data-dir", "d", "--listen", "nowhere"]), 2, &["HOST:PORT"]);
    says(&run(&["serve", "--config", "/nonexistent.toml"]), 2, &["/nonexistent.toml"]);
    says(&run(&["verify", "/nonexistent"]), 2, &["/nonexistent"]);
}

#[test]
fn no_server_at_the_address_is_a_failure_that_names_it() {
    // It belongs to nobody, and is none that the kernel gives to a server of another test.
    let free = "127.0.0.1:1";
    says(&run(&["topic", "list", "--server", free]), 1, &[free, "is the server running?"]);
    says(&run(&["topic", "list", "--server", "no-such-host:1"]), 1, &["no-such-host:1"]);
}

#[test]
fn what_the_server_refuses_is_a_failure_in_its_words() {
    let place = Place::new();
    let server = place.server().start();
    says(&ask(&server, &["topic", "describe", "missing"]), 1, &["missing"]);
    says(&ask(&server, &["topic", "delete", "missing"]), 1, &["TOPIC_NOT_FOUND"]);
    says(&ask_with(&server, &["produce", "missing"], b"x\n"), 1, &["missing"]);
    says(&ask(&server, &["consume", "missing"]), 1, &["missing"]);
    ask(&server, &["topic", "create", "t", "--max-batch-bytes", "4KiB"]).ok();
    says(&ask(&server, &["topic", "create", "t"]), 1, &["TOPIC_EXISTS"]);
    says(&ask(&server, &["topic", "create", "a/b"]), 1, &["INVALID_TOPIC"]);
    says(&ask_with(&server, &["produce", "t", "--partition", "7"], b"x\n"), 2, &["partition 7"]);
    let long = vec![b'x'; 5000];
    says(&ask_with(&server, &["produce", "t"], &long), 1, &["line 1"]);
    says(&ask(&server, &["produce", "t", "/nonexistent"]), 1, &["/nonexistent"]);
    says(
        &ask(&server, &["consume", "t", "--from", "99", "--until", "100"]),
        1,
        &["OFFSET_OUT_OF_RANGE", "offset 99 is", "from 0 to 0 "],
    );
}

/// A full stdout made a panic of the ready line, in a server that was ready.
#[test]
fn a_server_whose_stdout_is_full_says_so_and_serves() {
    let place = Place::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let log = File::create(place.log()).unwrap();
    let command = &mut place.server().command();
    let mut server = command.stdout(full).stderr(log).spawn().unwrap();
    let begun = Instant::now();
    let line = loop {
        let log = std::fs::read_to_string(place.log()).unwrap();
        if let Some(line) = log.lines().find(|line| line.contains("plimsoll ready listen=")) {
            break line.to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{log}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("listen="));
    let listed = run(&["topic", "list", "--server", address.unwrap()]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(line.contains("No space left on device"), "{line}");
}

#[test]
fn what_cannot_be_looked_at_is_named_for_what_it_is() {
    let place = Place::new();
    let (directory, empty) = (place.arena_dir().to_str().unwrap(), place.file("empty"));
    File::create(&empty).unwrap();
    says(&run(&["inspect", directory]), 2, &[directory, "a directory"]);
    says(&run(&["inspect", empty.to_str().unwrap()]), 2, &["it is empty"]);
    says(&run(&["verify", "/nonexistent"]), 2, &["no such directory"]);
    let doctor = run(&["doctor", "--arena-dir", "/nonexistent"]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    assert!(doctor.stdout.contains("Make the directory /nonexistent"), "{doctor:?}");
    let config = place.file("wrong.toml");
    std::fs::write(&config, "dta-dir = \"d\"").unwrap();
    let config = config.to_str().unwrap();
    says(&run(&["serve", "--config", config]), 2, &[config, "dta-dir", "data-dir"]);
}

/// What was on its way to the dead server may be there or not: `produce` sends it again, and it is
/// there once.
#[test]
fn produce_to_a_server_that_dies_and_comes_back_has_every_line_in_the_log_once() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t"]).ok();
    let address = server.address().to_owned();
    let lines: Vec<u8> = (0..3_000_000).flat_map(|line| format!("{line}\n").into_bytes()).collect();
    let words = ["produce", "t", "--batch-bytes", "1KiB", "--server", &address];
    let produced = std::thread::scope(|scope| {
        let produces = scope.spawn(|| run_with(&words, &lines));
        while server.counter("acked_disk") < 10 {
            std::thread::sleep(Duration::from_millis(1));
        }
        server.kill();
        let server = place.server().with(&["--listen", &address]).start();
        let produced = produces.join().unwrap();
        let end = server.client().offset("t", 0, OffsetsWhat::End, Visible::Disk).unwrap();
        assert_eq!(end.value(), 3_000_000, "no offset is left out, and no line is there twice");
        produced
    });
    says(&produced, 0, &["records 3000000 acked 3000000"]);
}
