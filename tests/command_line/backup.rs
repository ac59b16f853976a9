//! `backup` of a server under load: journals wrap, topics come and go, and what was acked at disk
//! before it began is in the copy.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_client_blocking::{
    AckLevel, Client, ConsumerOptions, Durability, DurabilityWanted, NewRecord, NewTopic, Offset,
    ProducerOptions, Visible,
};
use plimsoll_tests::{Place, Server};

use crate::program::run;

const TOPICS: [&str; 3] = ["small", "middling", "large"];
/// Inline in the journal, and written straight to the segment.
const RECORD_BYTES: [usize; 3] = [100, 20_000, 150_000];
/// Enough for journals to move their heads, and not for ever on a slow disk.
const PAUSE: [Duration; 3] =
    [Duration::from_micros(200), Duration::from_millis(2), Duration::from_millis(15)];
const WINDOW: usize = 32;

fn new_topic(name: &str) -> NewTopic<'_> {
    let (durability, flush_interval_ms) = (Some(AckLevel::Disk), 0);
    let (segment_bytes, batch_bytes_max) = (4 << 20, 0);
    NewTopic {
        name,
        partitions: 1,
        durability,
        flush_interval_ms,
        segment_bytes,
        batch_bytes_max,
        ..NewTopic::default()
    }
}

fn value(number: u64, length: usize) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(length, number as u8);
    value
}

/// Sends numbered records until it is told to stop; counts those acked at disk.
fn produce(address: &str, which: usize, acked: &AtomicU64, stop: &AtomicBool) {
    let client = Client::connect(address).unwrap();
    let mut options = ProducerOptions::default();
    options.durability = DurabilityWanted::Level(Durability::Disk);
    let producer = client.producer(TOPICS[which], options).unwrap();
    let mut waiting = VecDeque::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let bytes = value(number, RECORD_BYTES[which]);
        waiting.push_back(producer.send(&NewRecord::of_value(&bytes)).unwrap());
        number += 1;
        std::thread::sleep(PAUSE[which]);
        if waiting.len() >= WINDOW {
            let receipt = waiting.pop_front().unwrap();
            receipt.wait_for(AckLevel::Disk).unwrap();
            acked.fetch_add(1, Ordering::Release);
        }
    }
}

/// Topics that come, get a segment, and go.
fn churn(address: &str, stop: &AtomicBool) {
    let client = Client::connect(address).unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("passing-{number}");
        number += 1;
        client.create_topic(&new_topic(&name)).unwrap();
        let producer = client.producer(&name, ProducerOptions::default()).unwrap();
        let sent: Vec<_> = (0..5)
            .map(|it| producer.send(&NewRecord::of_value(&value(it, 100_000))).unwrap())
            .collect();
        for receipt in sent {
            receipt.wait().unwrap();
        }
        client.delete_topic(&name).unwrap();
    }
}

/// What is in a topic, up to a record that is sent for this: at the end there may be offsets that
/// were never given out. Gives the offset of that record as well.
fn read_all(server: &Server, topic: &str) -> (Vec<u64>, Offset) {
    let client = server.client();
    let producer = client.producer(topic, ProducerOptions::default()).unwrap();
    let last = producer.send(&NewRecord::of_value(b"")).unwrap().wait().unwrap().offset;
    let mut options = ConsumerOptions::default();
    options.visible = Visible::Disk;
    let mut consumer = client.consumer(topic, options).unwrap();
    let mut numbers = Vec::new();
    loop {
        let record = consumer.next(Duration::from_secs(60)).unwrap().expect("it goes on");
        if record.offset == last {
            return (numbers, last);
        }
        let value = record.value().unwrap();
        let (number, rest) = value.split_first_chunk().unwrap();
        let number = u64::from_le_bytes(*number);
        assert!(rest.iter().all(|byte| *byte == number as u8), "{topic}: {number}");
        numbers.push(number);
    }
}

fn back_up(from: &Path, to: &Path) -> crate::program::Run {
    run(&["backup", from.to_str().unwrap(), "--to", to.to_str().unwrap()])
}

#[test]
fn a_backup_under_load_starts_verifies_and_has_all_that_was_acked_before_it() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    let client = server.client();
    for topic in TOPICS {
        client.create_topic(&new_topic(topic)).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let acked: Vec<Arc<AtomicU64>> = TOPICS.iter().map(|_| Arc::default()).collect();
    let mut threads = Vec::new();
    for (which, acked) in acked.iter().enumerate() {
        let (address, acked) = (server.address().to_owned(), Arc::clone(acked));
        let stop = Arc::clone(&stop);
        threads.push(std::thread::spawn(move || produce(&address, which, &acked, &stop)));
    }
    let (address, stops) = (server.address().to_owned(), Arc::clone(&stop));
    threads.push(std::thread::spawn(move || churn(&address, &stops)));

    let mut copies = Vec::new();
    for number in 0..2 {
        std::thread::sleep(Duration::from_millis(700));
        let before: Vec<u64> = acked.iter().map(|acked| acked.load(Ordering::Acquire)).collect();
        let copy = place.file(&format!("copy-{number}"));
        let done = back_up(&place.data_dir(), &copy);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stdout.contains("journal=00001 through_frame="), "{done:?}");
        assert!(done.stdout.lines().last().unwrap().starts_with("backed up partitions="));
        let again = back_up(&place.data_dir(), &copy);
        assert!(again.code == 2 && again.stderr.contains("not empty"), "{again:?}");
        copies.push((copy, before));
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    for (copy, before) in copies {
        assert_is_sound(&place, &copy, &before);
    }
    assert!(server.stop().success(), "the original never noticed");
}

/// It verifies; a server on it, beside the original and in its arena directory, has the records.
fn assert_is_sound(place: &Place, copy: &Path, before: &[u64]) {
    let path = copy.to_str().unwrap();
    let verified = run(&["verify", path]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let server = place.server().shards(2).with(&["--data-dir", path]).start();
    for (topic, least) in TOPICS.iter().zip(before) {
        let (found, _) = read_all(&server, topic);
        let expected: Vec<u64> = (0..found.len() as u64).collect();
        assert_eq!(found, expected, "{topic} has a hole or another order");
        assert!(found.len() as u64 >= *least, "{topic}: {} of {least}", found.len());
        println!("{topic}: {} records, {least} were acked before", found.len());
    }
    assert!(server.stop().success());
    assert_eq!(run(&["verify", path]).code, 0);
    fs::remove_dir_all(copy).unwrap();
}

#[test]
fn a_backup_of_a_stopped_directory_is_the_same_log() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    server.client().create_topic(&new_topic("small")).unwrap();
    let client = server.client();
    let producer = client.producer("small", ProducerOptions::default()).unwrap();
    for number in 0..50 {
        producer.send(&NewRecord::of_value(&value(number, 100))).unwrap().wait().unwrap();
    }
    drop(producer);
    assert!(server.stop().success());
    let copy = place.file("copy");
    assert_eq!(back_up(&place.data_dir(), &copy).code, 0);
    let server = place.server().with(&["--data-dir", copy.to_str().unwrap()]).start();
    let (found, next) = read_all(&server, "small");
    assert_eq!(found, (0..50).collect::<Vec<u64>>());
    assert_eq!(next.value(), 50, "after a clean stop offsets go on without a gap");
}
