//! A topic that is compacted by key, from the command line: what an operator sees of it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_tests::{Place, Server};
use serde_json::Value;

use crate::program::{ask, ask_with, run};

const KEYS: u64 = 40;

/// So many rounds over all keys, a record of a kilobyte for each.
fn produce(server: &Server, rounds: core::ops::Range<u64>) {
    let mut lines = String::new();
    for round in rounds {
        for key in 0..KEYS {
            lines.push_str(&format!("k{key}={round}-{}\n", "x".repeat(1000)));
        }
    }
    let words = ["produce", "t", "--key-separator", "=", "--batch-bytes", "32KiB", "-"];
    ask_with(server, &words, lines.as_bytes()).ok();
}

/// Offset, key and value of every record, in the order in which a consumer gets them.
fn consume(server: &Server) -> Vec<(u64, String, Option<String>)> {
    let words = ["consume", "t", "--until", "end", "--format", "json"];
    let lines = ask(server, &words).ok();
    let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    records
        .map(|it| (it["offset"].as_u64().unwrap(), text(&it["key"]).unwrap(), text(&it["value"])))
        .collect()
}

/// The round in which each key was written last; no round if it was deleted.
fn latest(records: &[(u64, String, Option<String>)]) -> BTreeMap<String, Option<u64>> {
    let round = |value: &String| value.split('-').next().unwrap().parse().unwrap();
    let of = |it: &(u64, String, Option<String>)| (it.1.clone(), it.2.as_ref().map(round));
    records.iter().map(of).collect()
}

fn described(server: &Server) -> Value {
    let text = ask(server, &["topic", "describe", "t", "--json"]).ok();
    serde_json::from_str(&text).unwrap()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_compacted_topic_keeps_the_latest_of_each_key_over_kills_and_backup_and_verify_know_it() {
    let place = Place::new();
    let server = place.server().memory("16MiB", "64MiB").start();
    let words = ["topic", "create", "t", "--cleanup", "compact", "--segment-bytes", "1MiB"];
    ask(&server, &[&words[..], &["--tombstone-retention", "2h"]].concat()).ok();
    produce(&server, 0..150);
    let bytes = |server: &Server| described(server)["partition"][0]["bytes"].as_u64().unwrap();
    wait_until("6 MB become little", || bytes(&server) < 2_500_000);
    let before = consume(&server);
    assert!(before.len() < 2_600, "{} of 6000 records", before.len());
    assert!(before.windows(2).all(|pair| pair[0].0 < pair[1].0), "offsets only go up");
    let expected = |round| (0..KEYS).map(|key| (format!("k{key}"), Some(round))).collect();
    assert_eq!(latest(&before), expected(149));
    server.kill();

    let server = place.server().memory("16MiB", "64MiB").start();
    assert_eq!(latest(&consume(&server)), expected(149));
    ask_with(&server, &["produce", "t", "--tombstones", "-"], b"k3\nk4\n").ok();
    produce(&server, 150..152);
    ask_with(&server, &["produce", "t", "--tombstones", "-"], b"k5\n").ok();
    let after = latest(&consume(&server));
    assert_eq!((after["k5"], after["k4"]), (None, Some(151)));
    let topic = described(&server);
    assert_eq!(topic["cleanup"], "compact");
    assert_eq!(topic["tombstone_retention_ms"], 2 * 3600 * 1000);
    assert!(server.stop().success());
    let data_dir = place.data_dir();
    let verified = run(&["verify", data_dir.to_str().unwrap()]).ok();
    assert!(!verified.contains("damage at"), "{verified}");
}

#[test]
fn a_compressed_batch_is_refused_by_a_compacted_topic_with_what_to_do() {
    let place = Place::new();
    let server = place.server().start();
    ask(&server, &["topic", "create", "t", "--cleanup", "compact,delete"]).ok();
    let words = ["produce", "t", "--key-separator", "=", "--compression", "lz4", "-"];
    let lines = "k=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\n".repeat(50);
    let refused = ask_with(&server, &words, lines.as_bytes());
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("send without compression"), "{refused:?}");
    assert!(refused.stderr.contains("surely not written"), "{refused:?}");
    let altered =
        ["topic", "alter", "t", "--cleanup", "delete", "--compaction-lag", "1m", "--json"];
    let altered: Value = serde_json::from_str(&ask(&server, &altered).ok()).unwrap();
    assert_eq!(
        (&altered["cleanup"], &altered["compaction_lag_ms"]),
        (&"delete".into(), &60_000.into())
    );
    ask_with(&server, &words, lines.as_bytes()).ok();
}
