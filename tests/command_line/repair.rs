//! `repair`: a damaged directory starts again, says what it lost, and takes appends everywhere.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use plimsoll_client_blocking::{NewRecord, ProducerOptions};
use plimsoll_tests::{Place, Server};

use crate::program::{ask, ask_with, run};

/// Two topics with a few megabytes, on two shards.
fn loaded(place: &Place) -> Server {
    let server = place.server().shards(2).start();
    for topic in ["one", "two"] {
        ask(&server, &["topic", "create", topic, "--partitions", "2"]).ok();
        let line = "x".repeat(999) + "\n";
        let lines = line.repeat(3_000);
        ask_with(&server, &["produce", topic, "--batch-bytes", "32KiB"], lines.as_bytes()).ok();
    }
    server
}

fn flip(path: &Path, position: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 1], position).unwrap();
}

fn repair(place: &Place, more: &[&str]) -> crate::program::Run {
    let dir = place.data_dir();
    run(&[&["repair", dir.to_str().unwrap()], more].concat())
}

/// Every partition of these topics is written to and read to its end.
fn assert_takes_all(server: &Server, topics: &[&str]) {
    for topic in topics {
        let client = server.client();
        let producer = client.producer(topic, ProducerOptions::default()).unwrap();
        for number in 0..8_u64 {
            let key = number.to_le_bytes();
            let record = NewRecord::of_value(b"after").with_key(&key);
            producer.send(&record).unwrap().wait().unwrap();
        }
        let read = ask(server, &["consume", topic, "--until", "end"]);
        assert_eq!(read.code, 0, "{}", read.stderr);
    }
}

fn largest_segment(place: &Place) -> PathBuf {
    let mut found = Vec::new();
    for topic in fs::read_dir(place.data_dir().join("topics")).unwrap() {
        for partition in fs::read_dir(topic.unwrap().path()).unwrap() {
            let files = fs::read_dir(partition.unwrap().path()).unwrap();
            found.extend(files.map(|file| file.unwrap().path()));
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    found.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn a_damaged_batch_is_cut_with_what_follows_and_the_partition_goes_on() {
    let place = Place::new();
    assert!(loaded(&place).stop().success());
    assert_eq!(repair(&place, &["--apply"]).code, 0, "nothing is wrong yet");
    flip(&largest_segment(&place), 200_000);
    let said = repair(&place, &[]);
    assert!(said.code == 1 && said.stdout.contains("\ncut: partition "), "{said:?}");
    assert_eq!(run(&["verify", place.data_dir().to_str().unwrap()]).code, 1, "a dry run");
    let done = repair(&place, &["--apply"]);
    assert!(done.code == 1 && done.stdout.contains("repaired: "), "{done:?}");
    run(&["verify", place.data_dir().to_str().unwrap()]).ok();
    let server = place.server().shards(2).start();
    assert_takes_all(&server, &["one", "two"]);
    assert!(server.stop().success());
    run(&["verify", place.data_dir().to_str().unwrap()]).ok();
}

#[test]
fn a_damaged_journal_and_manifest_are_made_anew_and_the_fenced_shard_writes_again() {
    let place = Place::new();
    assert!(loaded(&place).stop().success());
    let journal = place.data_dir().join("journal/00001.journal");
    // Many frames were written after the third, and know that it was on disk.
    flip(&journal, 8192 + 2 * 4096 + 40);
    let fenced = place.server().shards(2).start();
    let log = fs::read_to_string(place.log()).unwrap();
    let damaged = log.lines().find(|line| line.contains("damaged: journal/00001.journal"));
    assert!(damaged.is_some_and(|line| line.contains("`plimsoll repair`")), "{log}");
    assert!(log.lines().any(|line| line.contains("recovered") && line.contains("damages=1")));
    fenced.kill();
    flip(&place.data_dir().join("MANIFEST"), 33);
    let done = repair(&place, &["--apply"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stdout.contains("change: MANIFEST: made anew"), "{}", done.stdout);
    run(&["verify", place.data_dir().to_str().unwrap()]).ok();
    let server = place.server().shards(2).start();
    assert_takes_all(&server, &["one", "two"]);
}

/// A frame in the middle of the journal's: later ones know that it was on disk.
fn flip_frame(journal: &Path) {
    let bytes = fs::read(journal).unwrap();
    let is_frame = |at: &usize| bytes[*at..].starts_with(b"PLJF");
    let frames: Vec<usize> = (8192..bytes.len()).step_by(4096).filter(is_frame).collect();
    flip(journal, frames[frames.len() / 2] as u64 + 40);
}

/// `consume --until end` wrote what was left and ended with 0, although records that had been acked
/// were missing. When it heard of damage, it lost what it had read and not written yet.
#[test]
fn who_reads_to_an_end_behind_damage_gets_all_that_is_sound_and_is_told() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    ask(&server, &["topic", "create", "one", "--partitions", "2"]).ok();
    // A commit or more of each shard each time.
    for _ in 0..20 {
        let lines = "line\n".repeat(150);
        ask_with(&server, &["produce", "one", "--batch-bytes", "200"], lines.as_bytes()).ok();
    }
    assert!(server.stop().success());
    flip_frame(&place.data_dir().join("journal/00001.journal"));
    let server = place.server().shards(2).start();
    let described = server.client().describe("one").unwrap();
    let left = |partition: usize| described[partition].watermarks.disk.value();
    assert!(left(0) > 0 && left(1) > 0 && left(0) + left(1) < 3_000, "{described:?}");
    let read = |more: &[&str]| {
        let read = ask(&server, &[&["consume", "one"], more].concat());
        (read.stdout.lines().count() as u64, read.code, read.stderr)
    };
    let (lines, code, said) = read(&["--partition", "1", "--until", "end"]);
    assert_eq!((lines, code), (left(1), 0), "nothing of it is lost: {said}");
    let (lines, code, said) = read(&["--partition", "0", "--until", "end"]);
    assert_eq!((lines, code), (left(0), 1), "{said}");
    assert!(said.contains("DATA_DAMAGED") && said.contains("00001.journal"), "{said}");
    let (lines, code, said) = read(&["--until", "end"]);
    assert_eq!((lines, code), (left(0) + left(1), 1), "{said}");
    let (lines, code, said) = read(&["--partition", "0"]);
    assert_eq!((lines, code), (left(0), 1), "without an end: {said}");
    assert!(said.contains("DATA_DAMAGED"), "{said}");
    let (lines, code, said) = read(&["--partition", "0", "--from", "end", "--until", "end"]);
    assert_eq!((lines, code), (0, 1), "{said}");
}

#[test]
fn topics_whose_names_are_lost_come_back_under_others() {
    let place = Place::new();
    assert!(loaded(&place).stop().success());
    fs::remove_file(place.data_dir().join("journal/00000.journal")).unwrap();
    let refused = place.server().shards(2).refusal();
    assert!(refused.sentence.contains("00000.journal is missing"), "{refused}");
    assert_eq!(repair(&place, &["--apply"]).code, 1);
    run(&["verify", place.data_dir().to_str().unwrap()]).ok();
    let server = place.server().shards(2).start();
    let topics = ask(&server, &["topic", "list"]).ok();
    assert!(topics.contains("recovered-1") && topics.contains("recovered-2"), "{topics}");
    assert_takes_all(&server, &["recovered-1", "recovered-2"]);
}
