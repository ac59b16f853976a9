//! Pipelines that embed a client: tokio and io_uring against a live server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it must be"
)]
#![allow(clippy::duplicate_mod, reason = "one test for two clients of the same shape")]

mod blocking;
mod group_members;
mod groups_through_tokio;
mod groups_through_uring;
mod pipeline;
mod through_tokio;
mod through_uring;

/// Records that each client sends and reads back.
const RECORDS: u64 = 1_000;
const TOPIC: &str = "embedded";

fn server(place: &plimsoll_tests::Place) -> plimsoll_tests::Server {
    let server = place.server().shards(2).start();
    let topic =
        plimsoll_client_blocking::NewTopic { name: TOPIC, partitions: 4, ..Default::default() };
    server.client().create_topic(&topic).unwrap();
    server
}
