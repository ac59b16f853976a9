//! What a work queue went through, and the table of it.

use std::fmt;

/// Kills by what was killed, and what the lines had to go through.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkQueueTally {
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
    /// Producers that did so.
    pub producers_failed: u64,
    /// Lines, each of which is in the log once.
    pub lines: u64,
    /// Lines that members wrote out.
    pub written: u64,
    /// Of these, by commands.
    pub by_command: u64,
    /// Lines that were written more than once.
    pub written_again: u64,
    /// How often the one was written that was written most often.
    pub written_most: u64,
    /// Lines of which a member heard that its verdict is on disk.
    pub answered: u64,
    /// Lines that were rejected, each of which is a dead letter.
    pub letters: u64,
    /// Dead letters that are there again: a kill came between the copy and its verdict.
    pub letters_again: u64,
    /// Lines of outputs that a death cut.
    pub cut: u64,
}

impl WorkQueueTally {
    /// All SIGKILLs.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.servers + self.recoveries + self.members + self.producers
    }
}

impl fmt::Display for WorkQueueTally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = self.written.saturating_sub(self.lines);
        let per_kill = again as f64 / self.kills().max(1) as f64;
        let rows = [
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
            ("lines, each worked on at least once", self.lines.to_string()),
            ("lines written out / of these by a command", {
                format!("{} / {}", self.written, self.by_command)
            }),
            ("of these again", format!("{again}, {per_kill:.1} for each kill")),
            ("lines written more than once / most often", {
                format!("{} / {} times", self.written_again, self.written_most)
            }),
            ("verdicts that were answered, none came again", self.answered.to_string()),
            ("rejected, all dead letters / copied again", {
                format!("{} / {}", self.letters, self.letters_again)
            }),
            ("lines cut by the death of a member", self.cut.to_string()),
        ];
        for (name, value) in rows {
            writeln!(formatter, "{name:<46} {value}")?;
        }
        Ok(())
    }
}
