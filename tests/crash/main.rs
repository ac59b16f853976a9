//! Servers die at any moment and come back, and everything that they promised is there.
//!
//! Producers and consumers write down what they were told, over sockets of their own; after each
//! death the log is read back and compared. Seeds are printed, with the command that repeats them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it must be"
)]

mod cores;
mod exactly_once;
mod kills;
mod lives;
mod pipeline;
mod power;
mod starts;
mod stops;
mod watermarks;
