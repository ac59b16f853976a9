//! The same verdicts, given by tasks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll_client_tokio::{Client, ShareConsumer, ShareError, ShareOptions};
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
async fn work(member: ShareConsumer, done: Arc<AtomicUsize>) -> Vec<u32> {
    let mut accepted = Vec::new();
    while done.load(Ordering::Relaxed) < 200 {
        let next = tokio::time::timeout(Duration::from_millis(50), member.next()).await;
        let Ok(record) = next else { continue };
        let record = record.unwrap();
        let number: u32 = std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap();
        assert!(member.is_held(&record));
        match (number % 10, record.deliveries) {
            (0, _) => {
                member.reject(&record, "a round number");
                done.fetch_add(1, Ordering::Relaxed);
            }
            (1, 1) => member.release(&record, Duration::from_millis(10)),
            _ => {
                member.accept(&record);
                accepted.push(number);
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    member.flush().await.unwrap();
    member.close().await.unwrap();
    accepted
}

#[test]
fn two_members_in_tasks_share_the_records_and_settle_each_once() {
    let place = Place::new();
    let server = server(&place);
    produce(&server.client(), (0..200).map(|number| number.to_string()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let accepted = runtime.block_on(async {
        let (one, two) = (join(server.address()).await, join(server.address()).await);
        let done = Arc::new(AtomicUsize::new(0));
        let one = tokio::spawn(work(one, Arc::clone(&done)));
        let two = tokio::spawn(work(two, done));
        [one.await.unwrap(), two.await.unwrap()].concat()
    });
    assert_eq!(accepted.len(), 180);
    assert_eq!(accepted.iter().collect::<BTreeSet<_>>().len(), 180, "none twice");
    assert_eq!(dead_letters(&server.client(), 20).len(), 20);
    wait_until_done(&server.client());
}
