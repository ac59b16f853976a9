//! Consumer groups through the io_uring client.

use plimsoll_client_uring as driver;

#[path = "group_async.rs"]
mod group_async;

#[test]
fn two_members_share_and_the_last_one_takes_over_what_is_left() {
    let test = group_async::two_members_share_and_the_last_one_takes_over_what_is_left();
    tokio_uring::start(test);
}

#[test]
fn a_member_whose_place_was_taken_hears_so() {
    tokio_uring::start(group_async::a_member_whose_place_was_taken_hears_so());
}

#[test]
fn groups_and_records_are_administered() {
    tokio_uring::start(group_async::groups_and_records_are_administered());
}
