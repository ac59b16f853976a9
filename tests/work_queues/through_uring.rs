//! Work queues through the io_uring client.

use plimsoll_client_uring as driver;

#[path = "through_async.rs"]
mod through_async;

#[test]
fn two_members_in_tasks_share_the_records_and_settle_each_once() {
    let test = through_async::two_members_in_tasks_share_the_records_and_settle_each_once();
    tokio_uring::start(test);
}

#[test]
fn what_a_dropped_member_had_goes_to_another_one() {
    tokio_uring::start(through_async::what_a_dropped_member_had_goes_to_another_one());
}
