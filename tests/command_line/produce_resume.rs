//! `produce --resume`: a file goes into the log once, whatever becomes of the process.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{OffsetsWhat, Visible};
use plimsoll_tests::{Place, Server, plimsoll};

use crate::program::{ask, ask_with};

const LINES: u64 = 200_000;

fn end(server: &Server) -> u64 {
    let end = server.client().offset("t", 0, OffsetsWhat::End, Visible::Disk).unwrap();
    end.value()
}

fn begin(words: &[&str]) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(plimsoll()).args(words);
    command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Each process is killed as soon as it has brought the log a little further.
#[test]
fn a_file_is_in_the_log_once_and_in_order_however_often_its_producer_is_killed() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t"]).ok();
    let (file, kept) = (place.file("lines"), place.file("kept"));
    let text: String = (0..LINES).map(|line| format!("{line}\n")).collect();
    fs::write(&file, &text).unwrap();
    let (file, kept) = (file.to_str().unwrap(), kept.to_str().unwrap());
    let words = ["produce", "t", "--resume", kept, "--batch-bytes", "4KiB", file];
    let server_words = ["--server", server.address()];
    for kill in 0..8 {
        let mut process = begin(&[&words[..], &server_words].concat());
        let (before, begun) = (end(&server), Instant::now());
        // The first one dies at the latest when it has written the first line.
        while process.try_wait().unwrap().is_none() && end(&server) <= before + kill * 1_000 {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing comes");
            std::thread::sleep(Duration::from_millis(1));
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let done = ask(&server, &words);
    assert_eq!(done.code, 0, "{done:?}");
    let consumed = ask(&server, &["consume", "t", "--until", "end"]).ok();
    assert!(consumed == text, "{} lines are there", consumed.lines().count());
    let again = ask(&server, &words);
    assert_eq!((again.code, end(&server)), (0, LINES), "{again:?}");
    assert!(again.stderr.contains("200000 records were there already"), "{again:?}");
    fs::write(file, format!("{text}one more\n")).unwrap();
    assert_eq!((ask(&server, &words).code, end(&server)), (0, LINES + 1), "the file has grown");
}

#[test]
fn what_cannot_be_read_again_or_has_no_one_partition_is_not_resumed() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t", "--partitions", "2"]).ok();
    let (file, kept) = (place.file("lines"), place.file("kept"));
    fs::write(&file, "one\n").unwrap();
    let (file, kept) = (file.to_str().unwrap(), kept.to_str().unwrap());
    for (words, says) in [
        (&[file][..], "needs --partition"),
        (&["-", "--partition", "0"], "files that can be read again"),
        (&[file, "--partition", "0", "--durability", "none"], "needs acks"),
    ] {
        let run = ask_with(&server, &[&["produce", "t", "--resume", kept], words].concat(), b"");
        assert!(run.code == 2 && run.stderr.contains(says), "{run:?}");
    }
    assert!(!fs::exists(kept).unwrap(), "wrong use leaves nothing behind");
}

/// The record that was sent to ask was missing among the acks, and the first run said of some of
/// its own records that they were there already.
#[test]
fn the_first_run_finds_nothing_and_has_an_ack_for_every_line() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t"]).ok();
    let (file, kept, acks) = (place.file("lines"), place.file("kept"), place.file("acks"));
    let text =
        |range: std::ops::Range<u32>| -> String { range.map(|line| format!("{line}\n")).collect() };
    fs::write(&file, text(0..20)).unwrap();
    let paths = [&file, &kept, &acks].map(|path| path.to_str().unwrap());
    let words = ["produce", "t", "--resume", paths[1], "--acks-out", paths[2], paths[0]];
    let acked = |range: std::ops::Range<u32>| -> String {
        range.map(|offset| format!("0 {offset}\n")).collect()
    };
    let first = ask(&server, &words);
    assert!(first.code == 0 && first.stderr.contains("plimsoll: 0 records were"), "{first:?}");
    assert!(first.stderr.contains("records 20 acked 20 "), "{first:?}");
    assert_eq!(fs::read_to_string(&acks).unwrap(), acked(0..20));
    fs::write(&file, text(0..30)).unwrap();
    let second = ask(&server, &words);
    assert!(second.code == 0 && second.stderr.contains("plimsoll: 20 records were"), "{second:?}");
    assert_eq!(fs::read_to_string(&acks).unwrap(), acked(20..30));
}

/// It was left out without a word, and looked like a lost line.
#[test]
fn a_last_line_that_is_not_finished_waits_and_the_command_says_so() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t"]).ok();
    let (file, kept) = (place.file("lines"), place.file("kept"));
    fs::write(&file, "one\ntwo\nthree").unwrap();
    let words = ["produce", "t", "--resume", kept.to_str().unwrap(), file.to_str().unwrap()];
    for already in ["0", "2"] {
        let run = ask(&server, &words);
        let says = [&*format!("{already} records were there already"), "the last 5 bytes"];
        assert!(run.code == 0 && says.iter().all(|it| run.stderr.contains(it)), "{run:?}");
        assert!(run.stderr.contains(file.to_str().unwrap()), "{run:?}");
        assert_eq!(end(&server), 2);
    }
    fs::write(&file, "one\ntwo\nthree\n").unwrap();
    let run = ask(&server, &words);
    assert!(run.code == 0 && !run.stderr.contains("not produced"), "{run:?}");
    assert_eq!(end(&server), 3);
}
