//! A consumer group through an asynchronous client. This file is a part of the test of each such
//! client, which is its `super::driver`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::driver::{
    Client, ErrorCode, GroupConsumer, GroupError, GroupEvent, GroupOptions, NewRecord, Offset,
    PartitionIndex, ProducerOptions, TopicId, TopicPartition,
};
use plimsoll_tests::{Place, value_id, value_of};

use crate::{RECORDS, TOPIC, server};

const GROUP: &str = "readers";
const LONG: Duration = Duration::from_secs(120);

async fn produce(client: &Client) {
    let producer = client.producer(TOPIC, ProducerOptions::default()).await.unwrap();
    for id in 0..RECORDS {
        let value = value_of(id);
        let record = NewRecord::of_value(&value).to_partition((id % 4) as u32);
        producer.send(&record).await.unwrap();
    }
    assert_eq!(producer.close().await.acked, RECORDS);
}

async fn member(client: &Client, instance: &str) -> GroupConsumer {
    let mut options = GroupOptions::default();
    options.instance = instance.to_owned();
    // Whoever goes has said so: nobody waits for so long.
    options.session_timeout = 2 * LONG;
    client.group_consumer(TOPIC, GROUP, options).await.unwrap()
}

/// Works until it is so.
async fn work_until(
    member: &mut GroupConsumer,
    seen: &mut BTreeMap<u64, u32>,
    is_so: impl Fn(&GroupConsumer, &BTreeMap<u64, u32>) -> bool,
) {
    let working = async {
        while !is_so(member, seen) {
            work(member, seen).await;
        }
    };
    tokio::time::timeout(LONG, working).await.expect("it comes to that");
}

/// Takes what comes within a moment, commits it, and counts it.
async fn work(member: &mut GroupConsumer, seen: &mut BTreeMap<u64, u32>) -> bool {
    let next = tokio::time::timeout(Duration::from_millis(100), member.next()).await;
    let Ok(record) = next else { return false };
    let record = record.unwrap();
    let id = value_id(record.value().unwrap()).expect("it is unchanged");
    *seen.entry(id).or_default() += 1;
    member.commit_record(&record).await.unwrap();
    true
}

pub(crate) async fn two_members_share_and_the_last_one_takes_over_what_is_left() {
    let place = Place::new();
    let server = server(&place);
    let client = Client::connect(server.address()).await.unwrap();
    produce(&client).await;
    let (mut one, mut two) = (member(&client, "").await, member(&client, "").await);
    let mut seen = BTreeMap::new();
    let sharing = async {
        while one.assigned().len() != 2 || two.assigned().len() != 2 {
            work(&mut one, &mut seen).await;
            work(&mut two, &mut seen).await;
        }
    };
    tokio::time::timeout(LONG, sharing).await.expect("each gets half of the partitions");
    one.close().await.unwrap();
    // The other goes on alone.
    work_until(&mut two, &mut seen, |_, seen| seen.len() == RECORDS as usize).await;
    assert!(seen.values().all(|count| *count == 1), "what was committed does not come again");
    assert_eq!(two.assigned(), [0, 1, 2, 3].map(|of| (String::from(TOPIC), of)));
    two.close().await.unwrap();
    let mut three = member(&client, "").await;
    work_until(&mut three, &mut seen, |three, _| three.assigned().len() == 4).await;
    work(&mut three, &mut seen).await;
    assert!(seen.values().all(|count| *count == 1), "the commits outlive the members");
    let told: Vec<GroupEvent> = three.notices().collect();
    assert!(
        matches!(&told[..], [GroupEvent::Assigned { partitions, .. }] if partitions.len() == 4)
    );
}

pub(crate) async fn a_member_whose_place_was_taken_hears_so() {
    let place = Place::new();
    let server = server(&place);
    let client = Client::connect(server.address()).await.unwrap();
    produce(&client).await;
    let mut one = member(&client, "seat").await;
    tokio::time::timeout(LONG, one.next()).await.expect("it has records").unwrap();
    let mut two = member(&client, "seat").await;
    tokio::time::timeout(LONG, two.next()).await.expect("it takes the place").unwrap();
    let fenced = one.commit().await.unwrap_err();
    assert!(matches!(fenced, GroupError::NotCommitted(_)), "{fenced}");
    let ended = async {
        loop {
            match one.next().await {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    let error = tokio::time::timeout(LONG, ended).await.expect("it hears of it");
    let GroupError::Ended { group, error } = error else { panic!("{error}") };
    assert_eq!((&*group, error.code), (GROUP, ErrorCode::MemberFenced));
    two.commit().await.unwrap();
}

pub(crate) async fn groups_and_records_are_administered() {
    let place = Place::new();
    let server = server(&place);
    let client = Client::connect(server.address()).await.unwrap();
    produce(&client).await;
    let mut one = member(&client, "").await;
    let record = tokio::time::timeout(LONG, one.next()).await.unwrap().unwrap();
    one.commit_record(&record).await.unwrap();
    assert_eq!(client.groups().await.unwrap()[0].group, GROUP);
    assert_eq!(client.describe_group(GROUP).await.unwrap().members.len(), 1);
    // It says good-bye although nobody waits for it.
    drop(one);
    let left = async {
        while !client.describe_group(GROUP).await.unwrap().members.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, left).await.expect("it is not gone by silence");
    let topic = TopicId(client.topic(TOPIC).await.unwrap().id);
    let at = TopicPartition { topic, partition: PartitionIndex(2) };
    let set = client.reset_offsets(GROUP, &[(at, Some(Offset::new(7)))]).await.unwrap();
    assert_eq!((set[0].error, set[0].committed), (None, Some(Offset::new(7))));
    client.delete_group(GROUP).await.unwrap();
    assert!(client.groups().await.unwrap().is_empty());
    let start = client.delete_records(TOPIC, 1, Offset::new(5)).await.unwrap();
    assert_eq!(start, Offset::new(5));
}
