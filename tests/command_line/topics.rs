//! `topic`, the ready line, `doctor`, and help.

use plimsoll_tests::Place;
use serde_json::Value;

use crate::program::{ask, run};

#[test]
fn topics_are_created_listed_described_and_deleted_and_json_keeps_its_names() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    let words = [
        "topic",
        "create",
        "orders",
        "--partitions",
        "3",
        "--durability",
        "page-cache",
        "--flush-interval-ms",
        "250",
        "--segment-bytes",
        "64MiB",
        "--max-batch-bytes",
        "512KiB",
        "--json",
    ];
    let created: Value = serde_json::from_str(&ask(&server, &words).ok()).unwrap();
    assert_eq!(created["topic"], "orders");
    assert_eq!(created["partitions"], 3);
    assert_eq!(created["durability"], "page-cache");
    assert_eq!(created["flush_interval_ms"], 250);
    assert_eq!(created["segment_bytes"], 64 << 20);
    assert_eq!(created["max_batch_bytes"], 512 << 10);
    let listed: Value =
        serde_json::from_str(&ask(&server, &["topic", "list", "--json"]).ok()).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let described = ask(&server, &["topic", "describe", "orders", "--json"]).ok();
    let described: Value = serde_json::from_str(&described).unwrap();
    for partition in described["partition"].as_array().unwrap() {
        for name in ["start", "memory", "page_cache", "disk"] {
            assert_eq!(partition[name], 0, "{partition}");
        }
        assert_eq!(partition["state"], "healthy");
    }
    assert!(ask(&server, &["topic", "describe", "orders"]).ok().contains("PAGE-CACHE"));
    assert!(ask(&server, &["topic", "list"]).ok().contains("orders"));
    ask(&server, &["topic", "delete", "orders"]).ok();
    assert!(!ask(&server, &["topic", "list"]).ok().contains("orders"));
}

#[test]
fn records_are_deleted_up_to_an_offset_or_the_end_and_stay_deleted() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    ask(&server, &["topic", "create", "orders"]).ok();
    let words = ["topic", "delete-records", "orders", "--partition", "0", "--to", "end", "--json"];
    let deleted: Value = serde_json::from_str(&ask(&server, &words).ok()).unwrap();
    assert_eq!(deleted["start"], 0, "{deleted}");
    let beyond = ["topic", "delete-records", "orders", "--partition", "0", "--to", "7"];
    let refused = ask(&server, &beyond);
    assert!(refused.code == 1 && refused.stderr.contains("out of range"), "{refused:?}");
}

#[test]
fn the_ready_line_is_as_scripts_expect_it() {
    let place = Place::new();
    let server = place.server().start();
    let words: Vec<&str> = server.ready_line().split_whitespace().collect();
    let names: Vec<&str> = words.iter().map(|word| word.split('=').next().unwrap()).collect();
    assert_eq!(names, ["plimsoll", "ready", "listen", "shards", "pid", "recovered_ms"]);
    assert!(words[2].starts_with("listen=127.0.0.1:") && !words[2].ends_with(":0"));
    assert!(server.ready_line().ends_with('\n'));
}

#[test]
fn every_subcommand_has_help_with_an_example() {
    for words in [
        &["serve"][..],
        &["topic"],
        &["topic", "create"],
        &["topic", "list"],
        &["topic", "describe"],
        &["topic", "delete"],
        &["topic", "delete-records"],
        &["produce"],
        &["consume"],
        &["verify"],
        &["inspect"],
        &["doctor"],
    ] {
        let help = run(&[words, &["--help"]].concat()).ok();
        assert!(help.contains("Example"), "{words:?}: {help}");
        assert!(help.contains(&format!("plimsoll {}", words[0])), "{words:?}: {help}");
    }
    assert!(run(&["--version"]).ok().starts_with("plimsoll "));
}

#[test]
fn doctor_says_what_the_host_allows() {
    let place = Place::new();
    let looked = run(&["doctor", "--data-dir", place.data_dir().to_str().unwrap()]);
    assert_eq!(looked.code, 0, "a host on which the tests run is fit for a server: {looked:?}");
    for word in ["io_uring", "RWF_DSYNC", "direct"] {
        assert!(looked.stdout.contains(word), "no {word} in: {}", looked.stdout);
    }
}
