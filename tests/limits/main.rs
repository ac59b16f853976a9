//! What is bounded stays bounded: memory, connections, partitions, the disk.
//!
//! Bounds are what the server documents; what was measured is printed beside them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it must be"
)]

mod disk_full;
mod groups;
mod hostile;
mod idle;
mod partitions;
mod retention;
mod slow;
