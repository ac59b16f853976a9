//! Consumer groups through the tokio client.

use plimsoll_client_tokio as driver;

#[path = "group_async.rs"]
mod group_async;

#[tokio::test]
async fn two_members_share_and_the_last_one_takes_over_what_is_left() {
    group_async::two_members_share_and_the_last_one_takes_over_what_is_left().await;
}

#[tokio::test]
async fn a_member_whose_place_was_taken_hears_so() {
    group_async::a_member_whose_place_was_taken_hears_so().await;
}

#[tokio::test]
async fn groups_and_records_are_administered() {
    group_async::groups_and_records_are_administered().await;
}
