//! The driver against a server in a thread: bytes really travel over loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../../client/tests/fake/mod.rs"]
mod fake;

use fake::{FakeServer, Mischief, TOPIC};
use plimsoll_client_blocking::{
    AckLevel, AppendError, AppendOutcome, Client, ConnectError, ConsumerOptions, Durability,
    ErrorCode, NewRecord, NewTopic, Offset, OffsetsWhat, ProducerOptions, RequestError, StartAt,
    Visible,
};
use std::sync::mpsc;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(10);

fn options() -> ProducerOptions {
    ProducerOptions::default()
}

#[test]
fn a_record_that_was_waited_for_is_acked_and_can_be_read_back() {
    let server = FakeServer::start(3, Mischief::default());
    let client = Client::connect(&server.address).unwrap();
    let producer = client.producer(TOPIC, options()).unwrap();
    let record = NewRecord::of_value(b"value").with_key(b"key").to_partition(1);
    let ack = producer.send(&record).unwrap().wait().unwrap();
    assert_eq!((ack.partition, ack.offset, ack.level), (1, Offset::ZERO, AckLevel::Disk));
    let mut consumer = client.consumer(TOPIC, ConsumerOptions::default()).unwrap();
    let record = consumer.next(WAIT).unwrap().unwrap();
    assert_eq!((record.partition, record.offset), (1, Offset::ZERO));
    assert_eq!((record.key(), record.value()), (Some(&b"key"[..]), Some(&b"value"[..])));
    assert!(record.timestamp_ms > 1_600_000_000_000);
    assert_eq!(consumer.position(1), Some(Offset::new(1)));
    assert_eq!(producer.close().acked, 1);
}

#[test]
fn each_link_greets_the_shard_that_owns_its_partitions() {
    let server = FakeServer::start(2, Mischief::default());
    let client = Client::connect(&server.address).unwrap();
    let producer = client.producer(TOPIC, options()).unwrap();
    for partition in [0, 1] {
        producer.send(&NewRecord::of_value(b"x").to_partition(partition)).unwrap();
    }
    producer.flush();
    let mut greeted = server.state.lock().unwrap().hellos.clone();
    greeted.sort();
    assert_eq!(greeted.iter().map(|shard| shard.0).collect::<Vec<_>>(), [0, 1, u16::MAX]);
}

#[test]
fn many_threads_send_and_a_consumer_with_little_credit_reads_all_of_it_in_order() {
    let server = FakeServer::start(4, Mischief::default());
    let client = Client::connect(&server.address).unwrap();
    let mut choices = options();
    choices.batch_bytes = 4 << 10;
    choices.buffer_bytes_max = 64 << 10;
    let producer = client.producer(TOPIC, choices).unwrap();
    std::thread::scope(|scope| {
        for partition in 0..4 {
            let producer = &producer;
            scope.spawn(move || {
                for number in 0..5000_u32 {
                    let value = number.to_le_bytes();
                    let record = NewRecord::of_value(&value).to_partition(partition);
                    producer.send(&record).unwrap();
                }
            });
        }
    });
    assert_eq!(producer.close().acked, 20_000);
    let mut choices = ConsumerOptions::default();
    choices.credit_bytes = 8 << 10;
    let mut consumer = client.consumer(TOPIC, choices).unwrap();
    let mut next = [0_u32; 4];
    for _ in 0..20_000 {
        let record = consumer.next(WAIT).unwrap().unwrap();
        let number = &mut next[record.partition as usize];
        assert_eq!(record.value(), Some(&number.to_le_bytes()[..]));
        assert_eq!(record.offset.value(), u64::from(*number));
        *number += 1;
    }
    assert_eq!(next, [5000; 4]);
}

#[test]
fn both_levels_of_a_record_can_be_waited_for_and_no_third() {
    let server = FakeServer::start(1, Mischief::default());
    let client = Client::connect(&server.address).unwrap();
    let mut choices = options();
    choices.durability = Durability::PageCache.into();
    choices.also = Some(AckLevel::Memory);
    let producer = client.producer(TOPIC, choices).unwrap();
    let receipt = producer.send(&NewRecord::of_value(b"x")).unwrap();
    assert_eq!(receipt.wait_for(AckLevel::Memory).unwrap().level, AckLevel::Memory);
    assert_eq!(receipt.wait().unwrap().level, AckLevel::PageCache);
    let error = receipt.wait_for(AckLevel::Disk).unwrap_err();
    assert_eq!(error, AppendError::LevelNotAsked { level: AckLevel::Disk });
}

#[test]
fn a_callback_is_called_once_for_each_record() {
    let server = FakeServer::start(1, Mischief::default());
    let client = Client::connect(&server.address).unwrap();
    let producer = client.producer(TOPIC, options()).unwrap();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..100 {
        let sender = sender.clone();
        let told = move |outcome| sender.send(outcome).unwrap();
        producer.send_with(&NewRecord::of_value(b"x"), told).unwrap();
    }
    drop(sender);
    producer.flush();
    let offsets: Vec<u64> =
        receiver.iter().map(|outcome: AppendOutcome| outcome.acked().unwrap().1.value()).collect();
    assert_eq!(offsets, (0..100).collect::<Vec<u64>>());
}

#[test]
fn without_idempotence_a_lost_connection_leaves_the_fate_unknown() {
    let mischief = Mischief { hang_up_at: Some(2), ..Mischief::default() };
    let server = FakeServer::start(1, mischief);
    let client = Client::connect(&server.address).unwrap();
    let mut options = options();
    options.idempotent = false;
    let producer = client.producer(TOPIC, options).unwrap();
    producer.send(&NewRecord::of_value(b"1")).unwrap().wait().unwrap();
    let lost = producer.send(&NewRecord::of_value(b"2")).unwrap().wait().unwrap_err();
    assert!(matches!(lost, AppendError::Unknown { .. }), "{lost}");
    producer.send(&NewRecord::of_value(b"3")).unwrap().wait().unwrap();
    let summary = producer.close();
    assert_eq!((summary.acked, summary.unknown, summary.refused), (2, 1, 0));
}

#[test]
fn what_was_on_a_lost_connection_is_sent_again_and_is_in_the_log_once() {
    let mischief = Mischief { hang_up_at: Some(2), keeps: true, ..Mischief::default() };
    let server = FakeServer::start(1, mischief);
    let client = Client::connect(&server.address).unwrap();
    let producer = client.producer(TOPIC, options()).unwrap();
    producer.send(&NewRecord::of_value(b"1")).unwrap().wait().unwrap();
    let again = producer.send(&NewRecord::of_value(b"2")).unwrap().wait().unwrap();
    assert_eq!(again.offset.value(), 1);
    producer.send(&NewRecord::of_value(b"3")).unwrap().wait().unwrap();
    let summary = producer.close();
    assert_eq!((summary.acked, summary.unknown, summary.refused), (3, 0, 0));
    assert_eq!(server.state.lock().unwrap().partitions[0].end, 3);
}

#[test]
fn a_full_disk_is_waited_out() {
    let server = FakeServer::start(1, Mischief { refuse: 3, ..Mischief::default() });
    let client = Client::connect(&server.address).unwrap();
    let producer = client.producer(TOPIC, options()).unwrap();
    producer.send(&NewRecord::of_value(b"1")).unwrap().wait().unwrap();
    assert_eq!(server.state.lock().unwrap().produced, 4);
}

#[test]
fn a_record_that_cannot_be_sent_in_time_is_refused_and_says_why() {
    let server = FakeServer::start(1, Mischief { refuse: u32::MAX, ..Mischief::default() });
    let client = Client::connect(&server.address).unwrap();
    let mut choices = options();
    choices.delivery_timeout = Duration::from_millis(200);
    let producer = client.producer(TOPIC, choices).unwrap();
    let error = producer.send(&NewRecord::of_value(b"1")).unwrap().wait().unwrap_err();
    assert!(matches!(error, AppendError::Refused { .. }), "{error}");
}

#[test]
fn a_dropped_producer_tells_what_it_gave_up() {
    let server = FakeServer::start(1, Mischief::default());
    let client = Client::connect(&server.address).unwrap();
    let mut choices = options();
    choices.linger = Duration::from_secs(60);
    let producer = client.producer(TOPIC, choices).unwrap();
    let receipt = producer.send(&NewRecord::of_value(b"1")).unwrap();
    drop(producer);
    assert!(matches!(receipt.wait(), Err(AppendError::Refused { .. })));
}

#[test]
fn a_consumer_begins_where_it_is_told_to() {
    let server = FakeServer::start(1, Mischief::default());
    let client = Client::connect(&server.address).unwrap();
    let producer = client.producer(TOPIC, options()).unwrap();
    for number in 0..10_u8 {
        producer.send(&NewRecord::of_value(&[number])).unwrap();
    }
    assert_eq!(producer.close().acked, 10);
    let mut choices = ConsumerOptions::default();
    choices.from = StartAt::Offset(Offset::new(7));
    let mut consumer = client.consumer(TOPIC, choices).unwrap();
    for number in 7..10_u8 {
        assert_eq!(consumer.next(WAIT).unwrap().unwrap().value(), Some(&[number][..]));
    }
    let mut choices = ConsumerOptions::default();
    choices.from = StartAt::End;
    let mut consumer = client.consumer(TOPIC, choices).unwrap();
    assert!(consumer.next(Duration::from_millis(100)).unwrap().is_none());
}

#[test]
fn the_administration_asks_and_is_answered() {
    let server = FakeServer::start(2, Mischief::default());
    let client = Client::builder(&server.address).client_name("test").connect().unwrap();
    client.ping().unwrap();
    assert_eq!(client.topics().unwrap()[0].partitions(), 2);
    let new = NewTopic { name: "new", partitions: 1, ..NewTopic::default() };
    assert_eq!(client.create_topic(&new).unwrap(), 2);
    let exists = client.create_topic(&NewTopic { name: TOPIC, ..new }).unwrap_err();
    assert_eq!(exists.server_error().unwrap().code, ErrorCode::TopicExists);
    client.delete_topic("new").unwrap();
    assert_eq!(client.describe(TOPIC).unwrap().len(), 2);
    let end = client.offset(TOPIC, 1, OffsetsWhat::End, Visible::Disk).unwrap();
    assert_eq!(end, Offset::ZERO);
    assert_eq!(client.stats().unwrap(), [(String::from("commits"), 7)]);
    let missing = client.topic("nowhere").unwrap_err();
    assert!(matches!(missing.error, RequestError::TopicNotFound { .. }));
    assert!(missing.to_string().contains("plimsoll topic create nowhere"), "{missing}");
}

#[test]
fn no_server_is_an_error_that_says_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::connect(free.to_string()).unwrap_err();
    assert!(matches!(error, ConnectError::Connection { .. }));
    assert!(error.to_string().contains("plimsoll serve"), "{error}");
    let error = Client::connect("no port here").unwrap_err();
    assert!(matches!(error, ConnectError::Resolve { .. }));
}
