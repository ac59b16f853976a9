//! Work queues through the tokio client.

use plimsoll_client_tokio as driver;

#[path = "through_async.rs"]
mod through_async;

/// Tasks of a runtime with many threads may use it.
const fn goes_to_other_threads<T: Send + Sync>() {}
const _: () = goes_to_other_threads::<driver::ShareConsumer>();

#[tokio::test]
async fn two_members_in_tasks_share_the_records_and_settle_each_once() {
    through_async::two_members_in_tasks_share_the_records_and_settle_each_once().await;
}

#[tokio::test]
async fn what_a_dropped_member_had_goes_to_another_one() {
    through_async::what_a_dropped_member_had_goes_to_another_one().await;
}
