//! Delayed delivery: never early, and soon after.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plimsoll_client_blocking::{ConsumerOptions, DELIVER_AFTER_HEADER, NewRecord, ProducerOptions};
use plimsoll_tests::Place;

use crate::member::{TOPIC, WAIT, header, join, next, options, server, value, wait_until_done};

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// What a loaded machine keeps. The 100 ms of the promise are held in simulated time
/// (`what_is_to_be_delivered_later_is_there_within_its_100_ms`).
const LATE_MS_MAX: i64 = 5_000;

/// By how much what has waited came late, shortest first.
fn told(when: &str, late: &mut [i64]) {
    late.sort_unstable();
    let (middle, most) = (late[late.len() / 2], late[late.len() - 1]);
    println!("{when} late by {middle} ms in the middle, {most} ms at most");
    assert!(most < LATE_MS_MAX, "{when}: {late:?}");
}

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
    told("before the restart", &mut late);
    server.kill();
    let server = place.server().shards(2).with(&["--listen", &address]).start();
    let (ready, mut late) = (unix_ms(), Vec::new());
    loop {
        match member.next(WAIT) {
            Ok(Some(record)) => {
                let (due, now) = (value(&record).parse::<i64>().unwrap(), unix_ms());
                assert!(due <= now, "{record:?} is early by {} ms", due - now);
                // Nobody hands out what is due while there is no server.
                late.push(now - due.max(ready));
                member.accept(&record);
            }
            Ok(None) => panic!("{} of 12 came", late.len()),
            Err(error) => println!("{error}"),
        }
        if late.len() == 12 {
            break;
        }
    }
    told("after the restart", &mut late);
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
