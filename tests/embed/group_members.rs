//! Members of a consumer group that come, go, and forget to ask.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    Client, CommitPolicy, GroupConsumer, GroupError, GroupOptions, NewRecord, Offset,
    ProducerOptions,
};
use plimsoll_tests::{Place, value_id, value_of};

use crate::{TOPIC, server};

const GROUP: &str = "workers";
const WAIT: Duration = Duration::from_secs(60);

/// Each record in a batch of its own.
fn produce(client: &Client, records: u64) {
    let producer = client.producer(TOPIC, ProducerOptions::default()).unwrap();
    for id in 0..records {
        let partition = (id % 4) as u32;
        producer.send(&NewRecord::of_value(&value_of(id)).to_partition(partition)).unwrap();
        if partition == 3 {
            producer.flush();
        }
    }
    assert_eq!(producer.close().acked, records);
}

/// Works batch by batch, each committed when it is done, until told to stop.
fn work(mut member: GroupConsumer, seen: &Mutex<BTreeMap<u64, u32>>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let Some(batch) = member.next_batch(Duration::from_millis(20)).unwrap() else { continue };
        // A rebalance is likely to find it here.
        std::thread::sleep(Duration::from_millis(5));
        for record in batch.records() {
            let id = value_id(record.unwrap().value.unwrap()).expect("it is unchanged");
            *seen.lock().unwrap().entry(id).or_default() += 1;
        }
        member.commit().unwrap();
    }
    member.close().unwrap();
}

/// A partition that was withdrawn from a member at work went to the next one before the member
/// could commit: what it had done was done again.
#[test]
fn no_record_comes_twice_when_live_members_that_commit_each_batch_share_anew() {
    const RECORDS: u64 = 1000;
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    produce(&client, RECORDS);
    let (seen, is_over) = (Mutex::new(BTreeMap::new()), AtomicBool::new(false));
    let join = || client.group_consumer(TOPIC, GROUP, GroupOptions::default()).unwrap();
    let mut rebalances = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| work(join(), &seen, &is_over));
        let deadline = Instant::now() + Duration::from_secs(60);
        while seen.lock().unwrap().len() < RECORDS as usize {
            assert!(Instant::now() < deadline, "{} came", seen.lock().unwrap().len());
            let is_enough = AtomicBool::new(false);
            std::thread::scope(|visit| {
                visit.spawn(|| work(join(), &seen, &is_enough));
                std::thread::sleep(Duration::from_millis(120));
                is_enough.store(true, Ordering::Relaxed);
            });
            rebalances += 2;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let again = seen.lock().unwrap().values().filter(|count| **count > 1).count();
    assert_eq!(again, 0, "of {RECORDS} records, in {rebalances} rebalances");
    assert!(rebalances >= 4, "{rebalances} rebalances tell nothing");
}

fn committed(client: &Client) -> Option<u64> {
    let found = client.describe_group(GROUP).ok()?;
    found.offsets.iter().map(|of| of.offset.value()).max()
}

/// A member under `auto` that has been handed ten records, and has not asked again since.
fn after_ten_records(client: &Client) -> GroupConsumer {
    let mut options = GroupOptions::default();
    options.commit = CommitPolicy::Auto { interval: Duration::from_secs(3600) };
    let mut member = client.group_consumer(TOPIC, GROUP, options).unwrap();
    for _ in 0..10 {
        member.next(WAIT).unwrap().unwrap();
    }
    member
}

#[test]
fn auto_commits_at_the_end_all_but_what_the_last_call_handed_out() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    let producer = client.producer(TOPIC, ProducerOptions::default()).unwrap();
    for _ in 0..10 {
        producer.send(&NewRecord::of_value(b"x").to_partition(0)).unwrap();
    }
    assert_eq!(producer.close().acked, 10);
    after_ten_records(&client).close().unwrap();
    assert_eq!(committed(&client), Some(9), "nobody knows whether the tenth is worked off");
    client.delete_group(GROUP).unwrap();
    drop(after_ten_records(&client));
    assert_eq!(committed(&client), Some(9), "a drop commits the same");
    client.delete_group(GROUP).unwrap();
    let mut member = after_ten_records(&client);
    member.commit().unwrap();
    member.close().unwrap();
    assert_eq!(committed(&client), Some(10), "it was said that it is");
}

#[test]
fn an_application_that_did_not_ask_in_time_hears_so_once_and_is_a_member_again() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    produce(&client, 40);
    let mut options = GroupOptions::default();
    options.max_poll_interval = Duration::from_secs(2);
    let mut member = client.group_consumer(TOPIC, GROUP, options).unwrap();
    let first = member.next(WAIT).unwrap().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let error = member.next(WAIT).unwrap_err();
    assert!(matches!(error, GroupError::NotPolled { .. }), "{error}");
    let again = member.next(WAIT).unwrap().unwrap();
    assert_eq!((again.offset, first.offset), (Offset::ZERO, Offset::ZERO), "it comes again");
    member.commit_record(&again).unwrap();
    member.close().unwrap();
}
