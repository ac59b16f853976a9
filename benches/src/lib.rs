//! How fast the machine is, how fast Plimsoll is, and the ratio of the two.
//!
//! [`probes`] measures the limits: bare system calls and nothing of Plimsoll, so that a slow
//! Plimsoll cannot make its own limit slow. [`live`] measures a real server under the real load
//! generator. [`goals`] says which ratio is wanted. `cargo bench -p plimsoll-benches --bench
//! limits` takes them in turns (limit, Plimsoll, limit, Plimsoll ...) and prints the medians.
//!
//! What a newcomer gets wrong: an absolute figure means nothing here. Machines are shared and
//! noisy; only a ratio of two figures from the same minute can be compared.

mod affinity;
mod aligned;
mod cpu_time;
pub mod goals;
pub mod live;
mod measurement;
mod prepared_file;
pub mod probes;
mod samples;
mod uring;

pub use measurement::{Measurement, interleave, median};
pub use prepared_file::PreparedFile;
