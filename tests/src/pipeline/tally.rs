//! What a pipeline went through, and the table of it.

use std::fmt;

use crate::Toll;

/// Deaths, and what the lines had to go through.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipelineTally {
    /// Who died on the way.
    pub toll: Toll,
    /// Lines, each of which is in the log once.
    pub lines: u64,
    /// Lines that members wrote.
    pub written: u64,
    /// Lines that were written more than once.
    pub written_again: u64,
    /// How often the one was written that was written most often.
    pub written_most: u64,
    /// Lines that a death cut.
    pub cut: u64,
}

impl fmt::Display for PipelineTally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = self.written.saturating_sub(self.lines);
        let per_kill = self.toll.per_kill(again);
        let rows = [
            ("lines, each in the log once and in order", self.lines.to_string()),
            ("lines written by members", self.written.to_string()),
            ("of these again", format!("{again}, {per_kill:.1} for each kill")),
            ("lines written more than once / most often", {
                format!("{} / {} times", self.written_again, self.written_most)
            }),
            ("lines cut by the death of a member", self.cut.to_string()),
        ];
        for (name, value) in self.toll.rows().into_iter().chain(rows) {
            writeln!(formatter, "{name:<46} {value}")?;
        }
        Ok(())
    }
}
