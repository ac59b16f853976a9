//! The command line is a contract: names, flags, outputs, exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it must be"
)]

mod backup;
mod compaction;
mod consume_groups;
mod load;
mod offline;
mod pipes;
mod produce_resume;
mod program;
mod repair;
mod topics;
mod wrong_use;
