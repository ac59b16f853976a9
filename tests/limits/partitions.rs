//! Many partitions are normal: a topic of ten thousand is there in seconds and takes disk only
//! where something was written.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{ConsumerOptions, NewRecord, NewTopic, ProducerOptions};
use plimsoll_tests::{Place, Start};

const PARTITIONS: u32 = 10_000;

fn large(place: &Place) -> Start<'_> {
    place.server().shards(2).memory("96MiB", "192MiB")
}

/// Segments of topics. The metadata topic keeps blocks of its own from the beginning.
fn segments(directory: &Path) -> usize {
    if directory.ends_with("topics/0") {
        return 0;
    }
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let paths = entries.map(|entry| entry.unwrap().path());
    let count = |path: std::path::PathBuf| match path.is_dir() {
        true => segments(&path),
        false => usize::from(path.extension().is_some_and(|extension| extension == "segment")),
    };
    paths.map(count).sum()
}

#[test]
fn ten_thousand_partitions_are_there_in_seconds_and_survive_a_restart() {
    let place = Place::new();
    let server = large(&place).start();
    let client = server.client();
    let before = plimsoll_tests::rss_bytes(server.pid());
    let begun = Instant::now();
    let topic = NewTopic { name: "wide", partitions: PARTITIONS, ..NewTopic::default() };
    client.create_topic(&topic).unwrap();
    let elapsed = begun.elapsed();
    let grown = plimsoll_tests::rss_bytes(server.pid()).saturating_sub(before);
    eprintln!("{PARTITIONS} partitions in {elapsed:?}, {} bytes each", grown / 10_000);
    assert!(elapsed < Duration::from_secs(60), "it is no work of minutes: {elapsed:?}");
    assert_eq!(segments(&place.data_dir()), 0, "nothing was written yet");
    assert_eq!(client.describe("wide").unwrap().len() as u32, PARTITIONS);

    let producer = client.producer("wide", ProducerOptions::default()).unwrap();
    for partition in [0, 4_999, 9_999] {
        let record = NewRecord::of_value(b"here").to_partition(partition);
        assert_eq!(producer.send(&record).unwrap().wait().unwrap().offset.value(), 0);
    }
    drop(producer);
    server.kill();

    let server = large(&place).start();
    eprintln!("restarted in {:?}", server.recovered());
    let client = server.client();
    let described = client.describe("wide").unwrap();
    let written = described.iter().filter(|partition| partition.watermarks.disk.value() > 0);
    assert_eq!((described.len() as u32, written.count()), (PARTITIONS, 3));
    let mut consumer = client.consumer("wide", ConsumerOptions::default()).unwrap();
    for _ in 0..3 {
        let record = consumer.next(Duration::from_secs(60)).unwrap().expect("it is there");
        assert_eq!(record.value(), Some(&b"here"[..]));
    }
    drop(consumer);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn deleting_a_topic_removes_its_files_and_they_stay_gone() {
    let place = Place::new();
    let server = place.server().start();
    let client = server.client();
    let topic = NewTopic { name: "gone", partitions: 3, ..NewTopic::default() };
    client.create_topic(&topic).unwrap();
    let producer = client.producer("gone", ProducerOptions::default()).unwrap();
    let value = vec![7; 200_000];
    for index in 0..30 {
        let record = NewRecord::of_value(&value).to_partition(index % 3);
        producer.send(&record).unwrap();
    }
    assert_eq!(producer.close().acked, 30);
    assert!(segments(&place.data_dir()) >= 3);
    client.delete_topic("gone").unwrap();
    let begun = Instant::now();
    while segments(&place.data_dir()) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the files stay");
        std::thread::sleep(Duration::from_millis(10));
    }
    server.kill();
    let server = place.server().start();
    assert!(server.client().topics().unwrap().is_empty());
    assert_eq!(segments(&place.data_dir()), 0);
}
