//! The load generator: produce, consume, or both, and check what was acked.
//!
//! One thread drives all connections over raw sockets, so that the client is not what is measured
//! (but where it is to be: [`Consumers`]):
//! the batches of a plain load are built once and sent again and again; only the frame's head is
//! new. A *verified* load ([`Verify`]) builds each batch anew, with a key that says which record it
//! is, and keeps a [`Ledger`] of what was acked; [`read_back`] compares that with what is there.
//!
//! What a newcomer gets wrong: at a fixed rate the latency counts from when a batch was *due*, not
//! from when it was sent. A server that stalls is charged for all the batches that had to wait.

#![forbid(unsafe_code)]

pub mod args;
mod assignment;
mod command;
mod connection;
mod error;
mod fleet;
mod host_process;
mod ledger;
mod measurement;
mod outgoing;
mod payload;
mod read_back;
mod reader;
mod report;
mod restart;
mod run;
mod schedule;
mod sender;
mod server;
mod shipped;
mod source;

pub use command::main;
pub use error::LoadError;
pub use ledger::{AckedBatch, Checker, Ledger, Verdict};
pub use measurement::Progress;
pub use read_back::read_back;
pub use report::Outcome;
pub use report::Percentiles;
pub use restart::{Kill, random_moment, wait_until_back};
pub use run::{Limit, Mode, Verify, Workload, run};
pub use server::ServerUse;
pub use shipped::{Commit, Consumers};
pub use source::{Generated, Lines, Source, lines_of_this_machine};
