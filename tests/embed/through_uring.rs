//! The io_uring client.

use plimsoll_client_uring::{Client, ConsumerOptions, NewRecord, ProducerOptions};
use plimsoll_tests::{Place, value_id, value_of};

use crate::{RECORDS, TOPIC, server};

#[test]
fn what_the_uring_client_sends_it_reads_back() {
    let place = Place::new();
    let server = server(&place);
    tokio_uring::start(async {
        let client = Client::connect(server.address()).await.unwrap();
        let producer = client.producer(TOPIC, ProducerOptions::default()).await.unwrap();
        let mut receipts = Vec::new();
        for id in 0..RECORDS {
            let value = value_of(id);
            receipts.push(producer.send(&NewRecord::of_value(&value)).await.unwrap());
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        assert_eq!(producer.close().await.acked, RECORDS);
        let mut consumer = client.consumer(TOPIC, ConsumerOptions::default()).await.unwrap();
        let mut missing: std::collections::BTreeSet<u64> = (0..RECORDS).collect();
        while !missing.is_empty() {
            let record = consumer.next().await.unwrap();
            let id = value_id(record.value().unwrap()).expect("it is unchanged");
            assert!(missing.remove(&id), "{id} came twice");
        }
    });
}
