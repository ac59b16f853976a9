//! A driver against a server in a thread: bytes really travel over loopback.
//!
//! The tests of each driver include this; they say which `driver` it is and how to `run` a future.

#[path = "../../../client/tests/fake/mod.rs"]
mod fake;

use crate::driver::{
    AckLevel, AppendError, Client, ConnectError, ConsumerOptions, Durability, NewRecord, NewTopic,
    Offset, OffsetsWhat, ProducerOptions, Visible,
};
use crate::run;
use fake::{FakeServer, Mischief, TOPIC};
use std::io::Read;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

#[test]
fn a_record_that_was_awaited_is_acked_and_can_be_read_back() {
    let server = FakeServer::start(3, Mischief::default());
    run(async {
        let client = Client::connect(&server.address).await.unwrap();
        let producer = client.producer(TOPIC, ProducerOptions::default()).await.unwrap();
        let record = NewRecord::of_value(b"value").with_key(b"key").to_partition(1);
        let ack = producer.send(&record).await.unwrap().await.unwrap();
        assert_eq!((ack.partition, ack.offset, ack.level), (1, Offset::ZERO, AckLevel::Disk));
        let mut consumer = client.consumer(TOPIC, ConsumerOptions::default()).await.unwrap();
        let record = consumer.next().await.unwrap();
        assert_eq!((record.key(), record.value()), (Some(&b"key"[..]), Some(&b"value"[..])));
        assert_eq!(consumer.position(1), Some(Offset::new(1)));
        assert_eq!(producer.close().await.acked, 1);
    });
}

#[test]
fn little_memory_and_little_credit_carry_many_records_in_order() {
    let server = FakeServer::start(2, Mischief::default());
    run(async {
        let client = Client::connect(&server.address).await.unwrap();
        let mut choices = ProducerOptions::default();
        choices.batch_bytes = 4 << 10;
        choices.buffer_bytes_max = 16 << 10;
        let producer = client.producer(TOPIC, choices).await.unwrap();
        for number in 0..10_000_u32 {
            let value = number.to_le_bytes();
            let record = NewRecord::of_value(&value).to_partition(number % 2);
            producer.send(&record).await.unwrap();
        }
        assert_eq!(producer.close().await.acked, 10_000);
        let mut choices = ConsumerOptions::default();
        choices.credit_bytes = 8 << 10;
        let mut consumer = client.consumer(TOPIC, choices).await.unwrap();
        let mut next = [0_u32, 1];
        for _ in 0..10_000 {
            let record = consumer.next().await.unwrap();
            let number = &mut next[record.partition as usize];
            assert_eq!(record.value(), Some(&number.to_le_bytes()[..]));
            *number += 2;
        }
    });
}

#[test]
fn both_levels_of_a_record_can_be_awaited() {
    let server = FakeServer::start(1, Mischief::default());
    run(async {
        let client = Client::connect(&server.address).await.unwrap();
        let mut choices = ProducerOptions::default();
        choices.durability = Durability::PageCache.into();
        choices.also = Some(AckLevel::Memory);
        let producer = client.producer(TOPIC, choices).await.unwrap();
        let receipt = producer.send(&NewRecord::of_value(b"x")).await.unwrap();
        assert_eq!(receipt.wait_for(AckLevel::Memory).await.unwrap().level, AckLevel::Memory);
        assert_eq!(receipt.wait().await.unwrap().level, AckLevel::PageCache);
        let error = receipt.wait_for(AckLevel::Disk).await.unwrap_err();
        assert_eq!(error, AppendError::LevelNotAsked { level: AckLevel::Disk });
    });
}

#[test]
fn without_idempotence_a_lost_connection_leaves_the_fate_unknown() {
    let mischief = Mischief { hang_up_at: Some(2), ..Mischief::default() };
    let server = FakeServer::start(1, mischief);
    run(async {
        let client = Client::connect(&server.address).await.unwrap();
        let mut options = ProducerOptions::default();
        options.idempotent = false;
        let producer = client.producer(TOPIC, options).await.unwrap();
        producer.send(&NewRecord::of_value(b"1")).await.unwrap().await.unwrap();
        let lost = producer.send(&NewRecord::of_value(b"2")).await.unwrap().await.unwrap_err();
        assert!(matches!(lost, AppendError::Unknown { .. }), "{lost}");
        producer.send(&NewRecord::of_value(b"3")).await.unwrap().await.unwrap();
    });
}

#[test]
fn what_was_on_a_lost_connection_is_sent_again_and_is_in_the_log_once() {
    let mischief = Mischief { hang_up_at: Some(2), keeps: true, ..Mischief::default() };
    let server = FakeServer::start(1, mischief);
    run(async {
        let client = Client::connect(&server.address).await.unwrap();
        let producer = client.producer(TOPIC, ProducerOptions::default()).await.unwrap();
        producer.send(&NewRecord::of_value(b"1")).await.unwrap().await.unwrap();
        let again = producer.send(&NewRecord::of_value(b"2")).await.unwrap().await.unwrap();
        assert_eq!(again.offset.value(), 1);
        producer.send(&NewRecord::of_value(b"3")).await.unwrap().await.unwrap();
    });
    assert_eq!(server.state.lock().unwrap().partitions[0].end, 3);
}

#[test]
fn the_administration_asks_and_is_answered() {
    let server = FakeServer::start(2, Mischief::default());
    run(async {
        let client = Client::connect(&server.address).await.unwrap();
        assert_eq!(client.topics().await.unwrap()[0].partitions(), 2);
        let new = NewTopic { name: "new", partitions: 1, ..NewTopic::default() };
        assert_eq!(client.create_topic(&new).await.unwrap(), 2);
        client.delete_topic("new").await.unwrap();
        assert_eq!(client.describe(TOPIC).await.unwrap().len(), 2);
        let end = client.offset(TOPIC, 1, OffsetsWhat::End, Visible::Disk).await.unwrap();
        assert_eq!(end, Offset::ZERO);
        assert_eq!(client.stats().await.unwrap(), [(String::from("commits"), 7)]);
    });
}

#[test]
fn no_server_is_an_error_that_says_what_to_do() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    run(async {
        let error = Client::connect(free.to_string()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Connection { .. }));
        assert!(error.to_string().contains("plimsoll serve"), "{error}");
    });
}

/// Also by a driver whose reads go on in the kernel when they are dropped.
#[test]
fn a_connection_on_which_nothing_is_answered_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.read_to_end(&mut Vec::new())
    });
    run(async {
        let client = Client::builder(address).request_timeout(Duration::from_millis(50));
        assert!(client.connect().await.is_err());
        // Here, not later: the end of the runtime would close it too.
        assert!(server.join().unwrap().is_ok());
    });
}
