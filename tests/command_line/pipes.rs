//! `produce` and `consume` with real text, all the way through.

use std::collections::BTreeMap;
use std::fs;

use plimsoll_tests::Place;
use serde_json::Value;

use crate::program::{ask, ask_with, real_text};

#[test]
fn real_text_goes_in_and_comes_out_the_same_however_it_is_compressed() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    let (files, lines) = real_text();
    let files: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
    let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let acks = place.file("acks");
    let mut stored = Vec::new();
    for (topic, more) in [
        ("plain", ["--compression", "none", "--durability", "disk"]),
        ("lz4", ["--compression", "lz4", "--durability", "page-cache"]),
        ("zstd", ["--compression", "zstd", "--durability", "memory"]),
    ] {
        ask(&server, &["topic", "create", topic]).ok();
        let head = ["produce", topic, "--also", "disk", "--acks-out", acks.to_str().unwrap()];
        let words: Vec<&str> = [&head[..], &more, &files].concat();
        let produced = ask(&server, &words);
        assert_eq!(produced.code, 0, "{produced:?}");
        let told = format!("records {} acked {}", lines.len(), lines.len());
        assert!(produced.stderr.starts_with(&told), "{}", produced.stderr);
        let range =
            format!("partition 0 records {0} offsets 0..={1}", lines.len(), lines.len() - 1);
        assert!(produced.stderr.contains(&range), "{}", produced.stderr);
        let acked = fs::read_to_string(&acks).unwrap();
        assert!(acked.lines().eq((0..lines.len()).map(|offset| format!("0 {offset}"))));
        // `end` is what is visible when it is asked: ask for all that was acked.
        let until = lines.len().to_string();
        let consumed = ask(&server, &["consume", topic, "--until", &until]).ok();
        assert!(consumed == expected, "{topic}: what came out is not what went in");
        let described = ask(&server, &["topic", "describe", topic, "--json"]).ok();
        let described: Value = serde_json::from_str(&described).unwrap();
        stored.push(described["partition"][0]["bytes"].as_u64().unwrap());
    }
    assert!(stored[0] * 2 > stored[1] * 3 && stored[0] > stored[2] * 2, "{stored:?}");
}

#[test]
fn a_key_keeps_its_records_in_one_partition_and_json_shows_both() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    ask(&server, &["topic", "create", "keyed", "--partitions", "4"]).ok();
    let text: String = (0..100).map(|line| format!("k{}=v{line}\n", line % 10)).collect();
    let words = ["produce", "keyed", "--key-separator", "="];
    assert_eq!(ask_with(&server, &words, text.as_bytes()).code, 0);
    let json = ask(&server, &["consume", "keyed", "--until", "end", "--format", "json"]).ok();
    let mut partitions: BTreeMap<String, u64> = BTreeMap::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for line in json.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let key = record["key"].as_str().unwrap().to_owned();
        let number: u64 = record["value"].as_str().unwrap()[1..].parse().unwrap();
        let partition = record["partition"].as_u64().unwrap();
        assert_eq!(*partitions.entry(key.clone()).or_insert(partition), partition);
        assert!(last.insert(key, number).is_none_or(|before| before < number), "out of order");
    }
    assert_eq!((json.lines().count(), partitions.len()), (100, 10));
    assert!(partitions.values().collect::<std::collections::BTreeSet<_>>().len() > 1);
}

#[test]
fn from_until_and_max_records_cut_what_is_consumed() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "cut"]).ok();
    let text: String = (0..20).map(|line| format!("{line}\n")).collect();
    assert_eq!(ask_with(&server, &["produce", "cut", "-"], text.as_bytes()).code, 0);
    let consume = |more: &[&str]| {
        let out = ask(&server, &[&["consume", "cut"], more].concat()).ok();
        out.lines().map(|line| line.parse::<u32>().unwrap()).collect::<Vec<u32>>()
    };
    assert_eq!(consume(&["--until", "end"]), (0..20).collect::<Vec<u32>>());
    assert_eq!(consume(&["--from", "5", "--until", "8"]), [5, 6, 7]);
    assert_eq!(consume(&["--from", "beginning", "--max-records", "2"]), [0, 1]);
    assert_eq!(consume(&["--from", "end", "--until", "end"]), [0; 0]);
    assert_eq!(consume(&["--from", "@0", "--max-records", "1"]), [0]);
    assert_eq!(consume(&["--from", "@9999999999999", "--until", "end"]), [0; 0]);
    assert_eq!(consume(&["--partition", "0", "--from", "19", "--until", "end"]), [19]);
}

#[test]
fn lines_that_are_empty_or_without_an_end_are_records_as_well() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "odd"]).ok();
    let text = "\r\n\nümlaut\n\nlast";
    assert_eq!(ask_with(&server, &["produce", "odd"], text.as_bytes()).code, 0);
    assert_eq!(ask(&server, &["consume", "odd", "--until", "end"]).ok(), format!("{text}\n"));
    // No ack was asked for, and none is counted.
    let sent = ask_with(&server, &["produce", "odd", "--durability", "none"], b"a\nb\n");
    assert!(sent.code == 0 && sent.stderr.contains("records 2 sent 2"), "{sent:?}");
}

/// Three records in one batch, each with a time of its own. A group that was set to a time began at
/// the batch.
#[test]
fn a_time_begins_at_its_record_and_not_at_the_batch_that_holds_it() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "timed"]).ok();
    let mut batch = plimsoll_batch::BatchBuilder::new();
    for (time_ms, value) in [(1000, "a"), (2000, "b"), (3000, "c")] {
        batch.append(time_ms, None, Some(value.as_bytes()), &[]).unwrap();
    }
    let mut bytes = Vec::new();
    batch.finish_into(&mut bytes);
    let mut connection = plimsoll_tests::Connection::open(server.address());
    connection.bind(0, "timed", 0);
    connection.produce(0, 1, plimsoll_wire::AckLevel::Disk, None, &bytes).unwrap();
    connection.read().unwrap();
    let consume =
        |from: &str| ask(&server, &["consume", "timed", "--from", from, "--until", "end"]).ok();
    assert_eq!(consume("@1000"), "a\nb\nc\n");
    assert_eq!(consume("@1001"), "b\nc\n");
    assert_eq!(consume("@3000"), "c\n");
    assert_eq!(consume("@3001"), "");
    // So does a group, one that begins there and one that is set to it.
    for (number, from, lines) in
        [(0, "@1000", "a\nb\nc\n"), (1, "@1001", "b\nc\n"), (2, "@3000", "c\n"), (3, "@3001", "")]
    {
        let group = format!("new-{number}");
        let members = |group: &str, more: &[&str]| {
            let words = ["consume", "timed", "--group", group, "--until", "end"];
            ask(&server, &[&words, more].concat()).ok()
        };
        assert_eq!(members(&group, &["--from", from]), lines, "{from}");
        ask(&server, &["group", "reset", "set", "--topic", "timed", "--to", from]).ok();
        assert_eq!(members("set", &[]), lines, "{from}");
    }
}
