//! Groups in share mode from outside: each record to one member, and a verdict on each.
//!
//! What is proven here is what an application sees: what was accepted never comes again, all else
//! does, whoever dies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it must be"
)]
#![allow(clippy::duplicate_mod, reason = "one test for two clients of the same shape")]

mod campaign;
mod command;
mod delayed;
mod kills;
mod member;
mod through_tokio;
mod through_uring;
mod verdicts;
mod worker;
