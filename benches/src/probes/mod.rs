//! The limits: what this machine does when nothing but the kernel is in the way.
//!
//! One probe a file, each with the goals that it is the limit for. They need nothing installed.

pub mod block_overwrite;
pub mod ping_pong;
pub mod receive;
pub mod sequential_read;
pub mod write_and_flush;
