//! What the tests have in common: a topic of jobs, and members that take them.

use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    Client, NewRecord, NewTopic, Offset, ProducerOptions, ShareConsumer, ShareOptions,
    SharedRecord, StartAt,
};
use plimsoll_client_blocking::{ConsumerOptions, Record};
use plimsoll_tests::{Place, Server};

pub(crate) const TOPIC: &str = "jobs";
pub(crate) const DEAD: &str = "jobs-dead";
pub(crate) const GROUP: &str = "workers";

/// Long enough for the slowest machine.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

pub(crate) fn server(place: &Place) -> Server {
    let server = place.server().shards(2).start();
    let topic = NewTopic { name: TOPIC, partitions: 4, ..NewTopic::default() };
    server.client().create_topic(&topic).unwrap();
    let topic = NewTopic { name: DEAD, partitions: 2, ..NewTopic::default() };
    server.client().create_topic(&topic).unwrap();
    server
}

pub(crate) fn produce(client: &Client, values: impl IntoIterator<Item = String>) {
    let producer = client.producer(TOPIC, ProducerOptions::default()).unwrap();
    let mut sent = 0;
    for value in values {
        let partition = (sent % 4) as u32;
        let record = NewRecord::of_value(value.as_bytes()).with_key(b"k").to_partition(partition);
        producer.send(&record).unwrap();
        sent += 1;
    }
    assert_eq!(producer.close().acked, sent);
}

pub(crate) fn options() -> ShareOptions {
    let mut options = ShareOptions::default();
    options.dead_letter = Some(DEAD.to_owned());
    options
}

pub(crate) fn join(client: &Client, options: ShareOptions) -> ShareConsumer {
    client.share_consumer(&[TOPIC], GROUP, options).unwrap()
}

pub(crate) fn value(record: &SharedRecord) -> String {
    String::from_utf8(record.value().unwrap().to_vec()).unwrap()
}

/// The next record, which must come.
pub(crate) fn next(member: &ShareConsumer) -> SharedRecord {
    member.next(WAIT).unwrap().expect("a record comes")
}

/// The first so many records of the dead-letter topic.
pub(crate) fn dead_letters(client: &Client, count: usize) -> Vec<Record> {
    let mut options = ConsumerOptions::default();
    options.from = StartAt::Offset(Offset::ZERO);
    let mut consumer = client.consumer(DEAD, options).unwrap();
    let letters = std::iter::from_fn(|| consumer.next(WAIT).unwrap());
    letters.take(count).collect()
}

pub(crate) fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let found = record.headers().find(|header| header.name == name.as_bytes())?;
    std::str::from_utf8(found.value?).ok()
}

/// Everything of the topic is done, sooner or later.
pub(crate) fn wait_until_done(client: &Client) {
    let deadline = Instant::now() + WAIT;
    loop {
        let group = client.describe_group(GROUP).unwrap();
        let ends = client.describe(TOPIC).unwrap();
        let is_done = ends.iter().all(|end| {
            let is_it = |of: &&plimsoll_client_blocking::ShareDescription| {
                of.partition.partition == end.partition
            };
            let share = group.share.iter().find(is_it);
            share.is_some_and(|of| of.start >= end.watermarks.disk)
        });
        if is_done {
            return;
        }
        assert!(Instant::now() < deadline, "{:?}", group.share);
        std::thread::sleep(Duration::from_millis(50));
    }
}
