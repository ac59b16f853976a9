//! The goals: which ratio to which limit is wanted.
//!
//! One table, L1 to L12. A goal is about a ratio or, where the limit is zero or a bound, about the
//! figure itself; never about an absolute speed.

use std::fmt;

/// What is wanted of figure divided by limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// The ratio is this or more.
    AtLeast(f64),
    /// The ratio is this or less.
    AtMost(f64),
    /// The figure, not a ratio, is this or less.
    FigureAtMost(f64),
}

/// A line of the table of goals.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Such as `L1`.
    pub name: &'static str,
    /// What Plimsoll does.
    pub what: &'static str,
    /// What the machine does.
    pub limit: &'static str,
    /// How close the two must be.
    pub wanted: Wanted,
}

/// The goals, in their order; L5 has two, and L6 three.
pub const GOALS: [Goal; 15] = [
    Goal {
        name: "L1",
        what: "disk-acked append, 1 partition, 1 MiB batches",
        limit: "1 MiB O_DIRECT write + fdatasync",
        wanted: Wanted::AtLeast(0.85),
    },
    Goal {
        name: "L2",
        what: "disk ack, one 100-byte record in flight, p50",
        limit: "durable 4 KiB overwrite p50 + loopback ping-pong p50",
        wanted: Wanted::AtMost(1.3),
    },
    Goal {
        name: "L3",
        what: "page_cache and memory append, 64 KB batches, one core",
        limit: "receive + CRC + copy on one core",
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        name: "L4",
        what: "100-byte records, 100 a batch, disk-acked",
        limit: "receive + CRC + copy of 10 KiB frames",
        wanted: Wanted::AtLeast(0.5),
    },
    Goal {
        name: "L5",
        what: "disk-acked append, 10,000 partitions",
        limit: "the same with 1 partition",
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        name: "L5-p99",
        what: "disk ack p99, 10,000 partitions",
        limit: "the same with 1 partition",
        wanted: Wanted::AtMost(2.0),
    },
    Goal {
        name: "L6",
        what: "catch-up read, 1 consumer",
        limit: "O_DIRECT sequential read",
        wanted: Wanted::AtLeast(0.9),
    },
    Goal {
        name: "L6-group",
        what: "catch-up of a group's member that commits every batch",
        limit: "the same client without a group",
        wanted: Wanted::AtLeast(0.9),
    },
    Goal {
        name: "L6-group-read",
        what: "catch-up of a group's member that commits every batch",
        limit: "O_DIRECT sequential read",
        wanted: Wanted::AtLeast(0.9),
    },
    Goal {
        name: "L7",
        what: "tail read: ack to delivery at the same level, p50",
        limit: "loopback ping-pong p50",
        wanted: Wanted::AtMost(2.0),
    },
    Goal {
        name: "L8",
        what: "restart after kill -9 with 10,000 partitions and 10 GB",
        limit: "reading the journal once with O_DIRECT",
        wanted: Wanted::AtMost(2.0),
    },
    Goal {
        name: "L9",
        what: "idle server, share of a core",
        limit: "nothing",
        wanted: Wanted::FigureAtMost(0.001),
    },
    Goal {
        name: "L10",
        what: "resident memory, 1 shard, under load",
        limit: "the bound that the server prints at start",
        wanted: Wanted::AtMost(1.0),
    },
    Goal {
        name: "L11",
        what: "server CPU per acked byte, disk level, 64 KB batches",
        limit: "receive + CRC + copy + O_DIRECT write",
        wanted: Wanted::AtMost(1.5),
    },
    Goal {
        name: "L12",
        what: "what the weaker level costs: server CPU per byte, ack p50",
        limit: "the same of the stronger level",
        // No more than the stronger one; the rest is what two equal runs differ by.
        wanted: Wanted::AtMost(1.05),
    },
];

/// The goal with this name.
pub fn goal(name: &str) -> Option<&'static Goal> {
    GOALS.iter().find(|goal| goal.name == name)
}

impl Wanted {
    /// Is the goal met by these two values?
    pub fn is_met(self, limit: f64, figure: f64) -> bool {
        match self {
            Self::AtLeast(ratio) => figure / limit >= ratio,
            Self::AtMost(ratio) => figure / limit <= ratio,
            Self::FigureAtMost(bound) => figure <= bound,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(ratio) => write!(f, ">= {ratio}"),
            Self::AtMost(ratio) => write!(f, "<= {ratio}"),
            Self::FigureAtMost(bound) => write!(f, "<= {bound} (figure)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_compares_the_ratio_and_only_where_it_says_so_the_figure() {
        assert!(Wanted::AtLeast(0.8).is_met(10.0, 8.0) && !Wanted::AtLeast(0.8).is_met(10.0, 7.9));
        assert!(Wanted::AtMost(1.3).is_met(10.0, 13.0) && !Wanted::AtMost(1.3).is_met(10.0, 13.1));
        assert!(Wanted::FigureAtMost(0.001).is_met(0.0, 0.001));
        assert!(!Wanted::FigureAtMost(0.001).is_met(0.0, 0.002));
    }

    #[test]
    fn a_figure_that_is_not_a_number_meets_no_goal() {
        for goal in GOALS {
            assert!(!goal.wanted.is_met(1.0, f64::NAN), "{}", goal.name);
        }
    }

    #[test]
    fn goals_are_found_by_their_names() {
        assert_eq!(goal("L6").map(|goal| goal.wanted), Some(Wanted::AtLeast(0.9)));
        assert!(goal("L13").is_none());
    }
}
