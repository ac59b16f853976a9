//! The tokio client against a server in a thread, and what only it promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use plimsoll_client_tokio as driver;

#[path = "../../client-async/tests/loopback/mod.rs"]
mod loopback;

use driver::{Client, Consumer, ConsumerOptions, GroupConsumer, NewRecord, Producer, Receipt};
use driver::{ClientBuilder, GroupOptions, ProducerOptions};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

fn is_shared<T: Send + Sync>() {}

fn is_sent<T: Send>(_: T) {}

/// That it compiles is the test: applications spawn these on runtimes of many threads.
#[test]
fn all_of_it_may_be_used_from_many_threads() {
    is_shared::<Client>();
    is_shared::<ClientBuilder>();
    is_shared::<Consumer>();
    is_shared::<GroupConsumer>();
    is_shared::<Producer>();
    is_shared::<Receipt>();
    is_sent(async {
        let client = Client::connect("127.0.0.1:1").await.unwrap();
        let mut member = client.group_consumer("t", "g", GroupOptions::default()).await.unwrap();
        let mut consumer = client.consumer("t", ConsumerOptions::default()).await.unwrap();
        let producer = client.producer("t", ProducerOptions::default()).await.unwrap();
        let receipt = producer.send(&NewRecord::of_value(b"one")).await.unwrap();
        receipt.wait().await.unwrap();
        receipt.await.unwrap();
        let record = consumer.next().await.unwrap();
        member.next_batch().await.unwrap();
        member.commit_record(&record).await.unwrap();
        member.close().await.unwrap();
        assert_eq!(producer.close().await.acked, 1);
    });
}
