//! What a crew went through, and its part of a campaign's table.

/// Kills by what was killed, and who ended without one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toll {
    /// Rounds, each with a kill at least.
    pub rounds: u64,
    /// SIGKILLs of a server that was ready.
    pub servers: u64,
    /// SIGKILLs of one that was starting or recovering.
    pub recoveries: u64,
    /// Of the first, with loss of all memory.
    pub power_losses: u64,
    /// SIGKILLs of members of the group.
    pub members: u64,
    /// SIGKILLs of producers.
    pub producers: u64,
    /// Rounds in which more than one was killed.
    pub at_once: u64,
    /// Members that ended by themselves: the server was away when they began.
    pub members_failed: u64,
    /// Producers that did so, or found that a record of the one before had just arrived.
    pub producers_failed: u64,
}

impl Toll {
    /// All SIGKILLs.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.servers + self.recoveries + self.members + self.producers
    }

    /// How often something happened for each kill.
    pub(crate) fn per_kill(&self, count: u64) -> f64 {
        count as f64 / self.kills().max(1) as f64
    }

    /// Names and values for a table.
    pub(crate) fn rows(&self) -> [(&'static str, String); 8] {
        [
            ("rounds", self.rounds.to_string()),
            ("kills of a server at work", self.servers.to_string()),
            ("kills of a server during start and recovery", self.recoveries.to_string()),
            ("of the kills, with loss of the arenas", self.power_losses.to_string()),
            ("kills of members of the group", self.members.to_string()),
            ("kills of producers", self.producers.to_string()),
            ("rounds with more than one kill", self.at_once.to_string()),
            ("members / producers that ended by themselves", {
                format!("{} / {}", self.members_failed, self.producers_failed)
            }),
        ]
    }
}
