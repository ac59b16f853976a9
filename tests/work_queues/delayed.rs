//! Delayed delivery: never early, and soon after.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plimsoll_client_blocking::{ConsumerOptions, DELIVER_AFTER_HEADER, NewRecord, ProducerOptions};
use plimsoll_tests::Place;

use crate::member::{TOPIC, WAIT, header, join, next, options, server, value, wait_until_done};

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// How late they are is printed, not tested: that depends on the machine.
#[test]
fn a_delayed_record_is_never_early_whether_the_server_restarts_or_not() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    let producer = client.producer(TOPIC, ProducerOptions::default()).unwrap();
    let begin = unix_ms();
    for delay_ms in (200..2600).step_by(100) {
        let at = (begin + delay_ms).to_string();
        let after = plimsoll_client_blocking::DeliverAfter::UnixMs(begin + delay_ms);
        let record = NewRecord {
            deliver_after: Some(after),
            ..NewRecord::of_value(at.as_bytes()).to_partition((delay_ms / 100 % 4) as u32)
        };
        producer.send(&record).unwrap();
    }
    assert_eq!(producer.close().acked, 24);
    let address = server.address().to_owned();
    let member = join(&client, options());
    let mut late = Vec::new();
    let take = |late: &mut Vec<i64>| {
        let record = next(&member);
        let early = value(&record).parse::<i64>().unwrap() - unix_ms();
        assert!(early <= 0, "{record:?} is early by {early} ms");
        assert_eq!(record.deliveries, 1, "a deferral is no delivery");
        late.push(-early);
        member.accept(&record);
    };
    (0..12).for_each(|_| take(&mut late));
    member.flush().unwrap();
    late.sort_unstable();
    println!("late by {} ms in the middle, {} ms at most", late[6], late[11]);
    server.kill();
    let server = place.server().shards(2).with(&["--listen", &address]).start();
    let mut after = Vec::new();
    loop {
        match member.next(WAIT) {
            Ok(Some(record)) => {
                let early = value(&record).parse::<i64>().unwrap() - unix_ms();
                assert!(early <= 0, "{record:?} is early by {early} ms");
                after.push(value(&record));
                member.accept(&record);
            }
            Ok(None) => panic!("{} of 12 came", after.len()),
            Err(error) => println!("{error}"),
        }
        if after.len() == 12 {
            break;
        }
    }
    member.flush().unwrap();
    wait_until_done(&server.client());
}

#[test]
fn a_plain_consumer_sees_a_delayed_record_at_once_with_its_header() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    let producer = client.producer(TOPIC, ProducerOptions::default()).unwrap();
    let record = NewRecord::of_value(b"later").delayed(Duration::from_secs(3600));
    producer.send(&record).unwrap();
    assert_eq!(producer.close().acked, 1);
    let mut consumer = client.consumer(TOPIC, ConsumerOptions::default()).unwrap();
    let record = consumer.next(WAIT).unwrap().expect("it is there");
    let after: i64 = header(&record, DELIVER_AFTER_HEADER).unwrap().parse().unwrap();
    assert_eq!(after, record.timestamp_ms + 3_600_000);
    let member = join(&client, options());
    assert!(member.next(Duration::from_millis(500)).unwrap().is_none(), "its time has not come");
    let group = client.describe_group(crate::member::GROUP).unwrap();
    assert_eq!(group.share.iter().map(|of| of.delayed).sum::<u64>(), 1);
}
