//! The ring against the real kernel.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod disk;
mod host;
mod machine;
mod process;
mod sockets;
