//! Data that goes by itself, seen from outside: files vanish, offsets go on, readers begin at what
//! is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    ConsumerOptions, NewRecord, NewTopic, ProducerOptions, TopicChanges, TopicRetention,
};
use plimsoll_tests::Place;

/// The segments of all topics but the server's own.
fn segments(data_dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for topic in fs::read_dir(data_dir.join("topics")).unwrap() {
        let topic = topic.unwrap().path();
        if topic.ends_with("0") {
            continue;
        }
        let Ok(partitions) = fs::read_dir(&topic) else { continue };
        for partition in partitions {
            let Ok(files) = fs::read_dir(partition.unwrap().path()) else { continue };
            let paths = files.map(|file| file.unwrap().path());
            found.extend(paths.filter(|path| path.extension().is_some_and(|it| it == "segment")));
        }
    }
    found
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn old_and_surplus_segments_vanish_and_a_consumer_from_the_start_begins_at_what_is_left() {
    let place = Place::new();
    let server = place.server().memory("16MiB", "64MiB").start();
    let client = server.client();
    let retention = TopicRetention { age_ms: 0, bytes: 3 << 20 };
    let segment_bytes = 1 << 20;
    let topic =
        NewTopic { name: "t", partitions: 1, segment_bytes, retention, ..NewTopic::default() };
    client.create_topic(&topic).unwrap();
    let value = vec![7; 100_000];
    let send = |count: u64| {
        let producer = client.producer("t", ProducerOptions::default()).unwrap();
        for _ in 0..count {
            producer.send(&NewRecord::of_value(&value)).unwrap();
        }
        assert_eq!(producer.close().acked, count);
    };
    let marks = || client.describe("t").unwrap()[0].watermarks;
    send(200);
    wait_until("20 MB go down to 3 MiB", || segments(&place.data_dir()).len() <= 5);
    let start = marks().start.value();
    // 3 MiB are 31 records and a part; what stays is less than a segment more.
    assert!((140..=168).contains(&start), "start {start}");

    let changes = TopicChanges {
        name: "t",
        retention_ms: Some(2000),
        retention_bytes: Some(0),
        ..TopicChanges::default()
    };
    client.alter_topic(&changes).unwrap();
    // Nobody does anything: what is there goes all the same.
    wait_until("an idle topic is empty", || marks().start.value() == 200);
    wait_until("its files are gone", || segments(&place.data_dir()).is_empty());
    client.alter_topic(&TopicChanges { retention_ms: Some(0), ..changes }).unwrap();
    send(3);
    server.kill();

    let server = place.server().memory("16MiB", "64MiB").start();
    let client = server.client();
    assert_eq!(client.topic("t").unwrap().retention, TopicRetention::UNLIMITED);
    let watermarks = client.describe("t").unwrap()[0].watermarks;
    assert_eq!((watermarks.start.value(), watermarks.disk.value()), (200, 203));
    let mut consumer = client.consumer("t", ConsumerOptions::default()).unwrap();
    for offset in 200..203 {
        let record = consumer.next(Duration::from_secs(60)).unwrap().expect("it is there");
        assert_eq!(record.offset.value(), offset);
    }
}
