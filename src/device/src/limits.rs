//! The few sizes on which logic and machine must agree.
//!
//! Limits that only one side needs live with that side. What a newcomer gets wrong: the block here
//! is not the device's, which may be smaller; it is part of the file format and never configured.

/// The unit of direct I/O, in bytes. Every disk position, length and memory address is a multiple
/// of it. It is the largest logical block size that Plimsoll supports.
pub const BLOCK_BYTES: usize = 4096;

/// The most that a receive without a buffer of its own delivers at once, in bytes. The machine
/// keeps a small pool of such buffers for the connections that are mostly idle.
pub const RECEIVE_POOLED_BYTES: usize = 4096;
