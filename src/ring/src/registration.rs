//! What became of registering an arena with the kernel.
//!
//! Without it operations cost more, and work. What a newcomer gets wrong: `NotCreatedHere` and
//! `SecondArena` are not about cost. They are mistakes of the caller, and operations then fail or
//! mean another arena.

use std::fmt;

/// Whether the kernel keeps the arena's pages ready for direct I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArenaRegistration {
    /// It does.
    Registered,
    /// It does not; every operation looks them up anew.
    Unregistered {
        /// Why.
        reason: RegistrationFailure,
    },
}

/// Why the kernel did not register an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationFailure {
    /// The limit on locked memory is too low.
    LockedMemoryLimit,
    /// `create_arena` of this process did not make it: operations on it will fail.
    NotCreatedHere,
    /// The ring has an arena already: operations go on to mean that one.
    SecondArena,
    /// The kernel refused for another reason.
    Kernel {
        /// The error number.
        errno: i32,
    },
}

impl fmt::Display for RegistrationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LockedMemoryLimit => f.write_str(
                "the limit on locked memory is too low: set LimitMEMLOCK=infinity \
                 (or ulimit -l unlimited) for faster writes",
            ),
            Self::NotCreatedHere => f.write_str("this process did not create the arena"),
            Self::SecondArena => f.write_str("the ring has an arena already"),
            Self::Kernel { errno } => write!(f, "the kernel refused it (errno {errno})"),
        }
    }
}
