//! Who of several parts of one process uses the simulated machine.
//!
//! Shards share a disk and a network, as threads of one process do. What a newcomer gets wrong:
//! tokens, numbers of files and arena ranges belong to their issuer; sockets belong to all, and may
//! move.

/// A part of the process, by a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issuer(pub u16);
