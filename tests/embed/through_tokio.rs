//! The tokio client.

use std::time::Duration;

use plimsoll_client_tokio::{
    AckLevel, Client, ConsumerOptions, NewRecord, Offset, OffsetsWhat, ProducerOptions, Visible,
};
use plimsoll_tests::{Place, value_id, value_of};

use crate::{RECORDS, TOPIC, server};

#[tokio::test]
async fn what_the_tokio_client_sends_it_reads_back() {
    let place = Place::new();
    let server = server(&place);
    let client = Client::connect(server.address()).await.unwrap();
    let mut options = ProducerOptions::default();
    options.also = Some(AckLevel::Memory);
    let producer = client.producer(TOPIC, options).await.unwrap();
    let mut receipts = Vec::new();
    for id in 0..RECORDS {
        let (key, value) = (id.to_le_bytes(), value_of(id));
        receipts.push(producer.send(&NewRecord::of_value(&value).with_key(&key)).await.unwrap());
    }
    for receipt in &receipts {
        let early = receipt.wait_for(AckLevel::Memory).await.unwrap();
        let late = receipt.wait().await.unwrap();
        assert_eq!((early.offset, late.level), (late.offset, AckLevel::Disk));
    }
    assert_eq!(producer.close().await.acked, RECORDS);
    let mut consumer = client.consumer(TOPIC, ConsumerOptions::default()).await.unwrap();
    let mut missing: std::collections::BTreeSet<u64> = (0..RECORDS).collect();
    while !missing.is_empty() {
        let next = tokio::time::timeout(Duration::from_secs(60), consumer.next());
        let record = next.await.expect("what was acked is delivered").unwrap();
        let id = value_id(record.value().unwrap()).expect("it is unchanged");
        assert!(missing.remove(&id), "{id} came twice");
    }
    // The answer leads to another question.
    let first = OffsetsWhat::Timestamp { unix_ms: 0 };
    let first = client.offset(TOPIC, 0, first, Visible::Disk).await.unwrap();
    assert_eq!(first, Offset::ZERO);
}
