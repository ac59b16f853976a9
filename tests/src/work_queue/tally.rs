//! What a work queue went through, and the table of it.

use std::fmt;

use crate::Toll;

/// Deaths, and what the lines had to go through.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkQueueTally {
    /// Who died on the way.
    pub toll: Toll,
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

impl fmt::Display for WorkQueueTally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = self.written.saturating_sub(self.lines);
        let per_kill = self.toll.per_kill(again);
        let rows = [
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
        for (name, value) in self.toll.rows().into_iter().chain(rows) {
            writeln!(formatter, "{name:<46} {value}")?;
        }
        Ok(())
    }
}
