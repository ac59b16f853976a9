//! What a server cannot start on: exit code 2, and one sentence that says what, where, and what to
//! do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it must be"
)]

mod directory;
mod host;
