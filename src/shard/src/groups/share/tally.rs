//! What became of the offsets that groups in share mode have handed out.
//!
//! For people to look at: no decision rests on it. What a newcomer gets wrong: these are offsets,
//! as often as it happened to each, and since the start of the server.

use plimsoll_wire::Verdict;

/// How many offsets, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShareTally {
    pub(crate) accepted: u64,
    /// Given back, to be handed out again.
    pub(crate) released: u64,
    pub(crate) rejected: u64,
    /// Their lock ended without a verdict.
    pub(crate) timed_out: u64,
    /// Whoever held them was gone from the group.
    pub(crate) abandoned: u64,
    /// Copied to a dead-letter topic.
    pub(crate) dead_lettered: u64,
    /// Dead, and dropped for want of such a topic.
    pub(crate) dropped: u64,
}

impl ShareTally {
    /// A verdict counted for so many.
    pub(super) fn note(&mut self, verdict: Verdict, offsets: u64) {
        match verdict {
            Verdict::Accept => self.accepted += offsets,
            Verdict::Release { .. } => self.released += offsets,
            Verdict::Reject => self.rejected += offsets,
            Verdict::DeadLettered => self.dead_lettered += offsets,
            Verdict::Defer { .. } | Verdict::Renew | Verdict::Gone => {}
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.released += other.released;
        self.rejected += other.rejected;
        self.timed_out += other.timed_out;
        self.abandoned += other.abandoned;
        self.dead_lettered += other.dead_lettered;
        self.dropped += other.dropped;
    }
}
