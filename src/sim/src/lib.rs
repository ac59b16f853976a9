//! The simulated machine: it carries out the operations of `plimsoll-device` on a disk, network and
//! clock that live in memory, and crashes them on request.
//!
//! Everything that happens follows from one seed: there is one thread, no real clock, and one
//! random stream per concern, so that the same seed gives the same bytes. Never part of a shipped
//! binary. What a newcomer gets wrong: the machine is as unkind as the contract of
//! `plimsoll-device` allows, not as a usual computer is. Code that works on a real disk may be
//! wrong here, and is then wrong.

mod clock;
mod disk;
mod issuer;
mod memory;
mod network;
mod random;
mod trace;

pub use clock::Clock;
pub use disk::{Counts, Disk, Faults, Survival};
pub use issuer::Issuer;
pub use memory::{arena_from, copy_of, heap_arena, take_back_stores};
pub use network::{ClientId, Network};
pub use random::Random;
