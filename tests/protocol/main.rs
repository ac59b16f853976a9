//! Every row of "what bad input gets", over raw sockets, while someone else is served.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it must be"
)]

mod batches;
mod frames;
mod names;
mod silence;
