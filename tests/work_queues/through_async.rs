//! The same verdicts, given by tasks through an asynchronous client. This file is a part of the
//! test of each such client, which is its `super::driver`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::driver::{Client, ShareConsumer, ShareError, ShareOptions};
use plimsoll_tests::Place;

use crate::member::{DEAD, GROUP, TOPIC, dead_letters, produce, server, wait_until_done};

async fn join(address: &str) -> ShareConsumer {
    let client = Client::connect(address).await.unwrap();
    let mut options = ShareOptions::default();
    options.dead_letter = Some("nowhere".to_owned());
    let error = client.share_consumer(&[TOPIC], GROUP, options.clone()).await.unwrap_err();
    assert!(matches!(error, ShareError::DeadLetterTopicNotFound { .. }), "{error}");
    options.dead_letter = Some(DEAD.to_owned());
    options.records_max = 10;
    client.share_consumer(&[TOPIC], GROUP, options).await.unwrap()
}

/// Works until all is done, by this member or another one; what it accepted.
async fn work(member: ShareConsumer, done: &Cell<usize>) -> Vec<u32> {
    let mut accepted = Vec::new();
    while done.get() < 200 {
        let next = tokio::time::timeout(Duration::from_millis(50), member.next()).await;
        let Ok(record) = next else { continue };
        let record = record.unwrap();
        let number: u32 = std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap();
        assert!(member.is_held(&record));
        match (number % 10, record.deliveries) {
            (1, 1) => {
                member.release(&record, Duration::from_millis(10));
                continue;
            }
            (0, _) => member.reject(&record, "a round number"),
            _ => {
                member.accept(&record);
                accepted.push(number);
            }
        }
        done.set(done.get() + 1);
    }
    member.flush().await.unwrap();
    member.close().await.unwrap();
    accepted
}

pub(crate) async fn two_members_in_tasks_share_the_records_and_settle_each_once() {
    let place = Place::new();
    let server = server(&place);
    produce(&server.client(), (0..200).map(|number| number.to_string()));
    let (one, two) = (join(server.address()).await, join(server.address()).await);
    let done = Cell::new(0);
    let (one, two) = tokio::join!(work(one, &done), work(two, &done));
    let accepted = [one, two].concat();
    assert_eq!(accepted.len(), 180);
    assert_eq!(accepted.iter().collect::<BTreeSet<_>>().len(), 180, "none twice");
    assert_eq!(dead_letters(&server.client(), 20).len(), 20);
    wait_until_done(&server.client());
}

/// What a member had without a verdict goes to the others, also if nobody waited for its good-bye.
pub(crate) async fn what_a_dropped_member_had_goes_to_another_one() {
    let place = Place::new();
    let server = server(&place);
    produce(&server.client(), (0..20).map(|number| number.to_string()));
    let one = join(server.address()).await;
    let long = Duration::from_secs(60);
    let had = tokio::time::timeout(long, one.poll(5)).await.expect("there are records").unwrap();
    one.accept(&had[0]);
    one.flush().await.unwrap();
    drop(one);
    let two = join(server.address()).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 19 {
        let next = tokio::time::timeout(long, two.next()).await;
        let record = next.expect("the lock of 30 s is not waited for").unwrap();
        two.accept(&record);
        seen.insert((record.partition, record.offset));
    }
    two.close().await.unwrap();
    assert!(!seen.contains(&(had[0].partition, had[0].offset)), "it was accepted");
    wait_until_done(&server.client());
}
