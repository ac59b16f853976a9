//! What `make demo` runs: load a server at each level, kill it in mid-load, restart it, and count.
//!
//! Everything is done from outside: the server is a child process that knows nothing of the demo,
//! and what was acked is compared with what a consumer gets after the restart. What a newcomer gets
//! wrong: `memory` may lose by its contract, so its losses are shown and do not fail the demo.

#![forbid(unsafe_code)]

mod cleanup;
mod course;
mod places;
mod server_process;
mod table;

pub use course::demo;
