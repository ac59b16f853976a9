//! A run of offsets in the window of a group in share mode, all in the same state.
//!
//! What a newcomer gets wrong: a lock is memory, everything else is durable. What a member holds is
//! in the log as free, if it is there at all: after a crash anybody may have it.

use plimsoll_batch::Offset;
use plimsoll_device::Instant;
use plimsoll_wire::{DeadReason, MemberId};

/// The state of a run of offsets, and where the run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its last offset.
    pub(crate) last: Offset,
    /// How often it was handed out.
    pub(crate) deliveries: u32,
    /// It is for the dead-letter topic.
    pub(crate) dead: Option<DeadReason>,
    pub(crate) state: SpanState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanState {
    /// Whoever asks gets it.
    Free,
    /// A member has it to itself.
    Held { member: MemberId, until: Instant },
    /// Its time has not come.
    Delayed { until_unix_ms: i64 },
    /// Done with, in one way or another.
    Done,
}

impl Span {
    /// One that was never handed out.
    pub(crate) fn fresh(last: Offset) -> Self {
        Self { last, deliveries: 0, dead: None, state: SpanState::Free }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == SpanState::Done
    }

    /// Who has it, if somebody does.
    pub(crate) fn holder(&self) -> Option<MemberId> {
        match self.state {
            SpanState::Held { member, .. } => Some(member),
            _ => None,
        }
    }

    /// Whether nothing but the place tells it from `other`, so that they may be one.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        // How often something was handed out that is done matters to nobody.
        let is_alike = (self.deliveries, self.dead) == (other.deliveries, other.dead);
        self.state == other.state && (self.is_done() || is_alike)
    }

    /// As it is found after a crash: whoever had it is gone.
    pub(crate) fn without_holder(self) -> Self {
        match self.state {
            SpanState::Held { .. } => Self { state: SpanState::Free, ..self },
            _ => self,
        }
    }
}

/// The offset behind this one. Whoever asks has an offset that is handed out, which is not the last
/// of all.
pub(super) fn after(offset: Offset) -> Offset {
    Offset::new(offset.value().saturating_add(1))
}

/// The offset before this one, which is not the first of all.
pub(super) fn before(offset: Offset) -> Offset {
    Offset::new(offset.value().saturating_sub(1))
}

/// How many offsets there are from `first` to `last`.
pub(super) fn count(first: Offset, last: Offset) -> u64 {
    after(last).distance_from(first).unwrap_or(0)
}
