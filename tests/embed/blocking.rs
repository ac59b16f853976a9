//! The blocking client: many producers and consumers at once.

use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    AckLevel, Client, ConsumerOptions, Durability, DurabilityWanted, NewRecord, ProducerOptions,
    Visible,
};
use plimsoll_tests::{Place, value_id, value_of};

use crate::{RECORDS, TOPIC, server};

const PRODUCERS: u64 = 6;
const CONSUMERS: u64 = 6;

fn produce(client: &Client, first_id: u64) {
    let mut options = ProducerOptions::default();
    options.durability = DurabilityWanted::Level(Durability::PageCache);
    options.also = Some(AckLevel::Disk);
    let producer = client.producer(TOPIC, options).unwrap();
    for id in first_id..first_id + RECORDS {
        producer.send(&NewRecord::of_value(&value_of(id))).unwrap();
    }
    let summary = producer.close();
    assert_eq!((summary.acked, summary.refused, summary.unknown), (RECORDS, 0, 0));
}

/// Reads everything, and asserts that each record comes once and each partition in order.
fn consume(client: &Client) {
    let mut options = ConsumerOptions::default();
    options.visible = Visible::PageCache;
    options.credit_bytes = 64 << 10;
    let mut consumer = client.consumer(TOPIC, options).unwrap();
    let mut seen = vec![false; (PRODUCERS * RECORDS) as usize];
    let (mut next, mut count, begun) = ([0; 4], 0, Instant::now());
    while count < PRODUCERS * RECORDS {
        assert!(begun.elapsed() < Duration::from_secs(60), "{count} came");
        let Some(record) = consumer.next(Duration::from_secs(1)).unwrap() else { continue };
        let place = &mut next[record.partition as usize];
        assert_eq!(record.offset.value(), *place, "partition {}", record.partition);
        *place += 1;
        let id = value_id(record.value().unwrap()).expect("it is unchanged");
        assert!(!std::mem::replace(&mut seen[id as usize], true), "{id} came twice");
        count += 1;
    }
}

#[test]
fn many_producers_and_consumers_at_once_see_every_record_once_and_in_order() {
    let place = Place::new();
    let server = server(&place);
    std::thread::scope(|scope| {
        for _ in 0..CONSUMERS {
            scope.spawn(|| consume(&server.client()));
        }
        for index in 0..PRODUCERS {
            let client = server.client();
            scope.spawn(move || produce(&client, index * RECORDS));
        }
    });
}
