//! What a campaign did, in figures.

use std::fmt;
use std::time::Duration;

use plimsoll_tests::VanishingTally;

use crate::disk::Cut;
use crate::readers::ReadersTally;
use crate::workers::WorkersTally;

/// Counts over all voyages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// By the moment of the cut.
    pub(crate) in_load: u32,
    pub(crate) in_start: u32,
    pub(crate) in_stop: u32,
    /// Cuts of starts with no whole start between, by how many in a row.
    pub(crate) in_a_row: [u32; 3],
    pub(crate) voyages: u32,
    /// What cuts did to writes that no flush covered.
    pub(crate) kept: u64,
    pub(crate) lost: u64,
    pub(crate) torn: u64,
    /// Records acked at `disk`.
    pub(crate) acked_at_disk: u64,
    /// Records found again at the end of each voyage, and those of weaker levels that were lost.
    pub(crate) there: u64,
    pub(crate) gone: u64,
    /// What went that was to go, over whole voyages.
    pub(crate) vanishing: VanishingTally,
    /// What the group in share mode did, over whole voyages.
    pub(crate) workers: WorkersTally,
    /// What the group with committed offsets did, over whole voyages.
    pub(crate) readers: ReadersTally,
    /// Topics whose creation and deletion were answered.
    pub(crate) topics_made: u64,
    pub(crate) topics_deleted: u64,
    pub(crate) starts: u32,
    pub(crate) slowest_start: Duration,
    pub(crate) verified: u32,
    pub(crate) took: Duration,
}

/// What did not happen of these, in words: a campaign without it must not be believed.
pub(crate) fn all_happened(counts: &[(u64, &str)]) -> Result<(), String> {
    match counts.iter().find(|(count, _)| *count == 0) {
        Some((_, words)) => Err(format!("{words}: this campaign proves less than it should")),
        None => Ok(()),
    }
}

impl Tally {
    /// How many cuts there were.
    pub(crate) fn cuts(&self) -> u32 {
        self.in_load + self.in_start + self.in_stop
    }

    pub(crate) fn add_cut(&mut self, cut: Cut) {
        self.kept += cut.kept;
        self.lost += cut.lost;
        self.torn += cut.torn;
    }

    pub(crate) fn add_start(&mut self, took: Duration) {
        self.starts += 1;
        self.slowest_start = self.slowest_start.max(took);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |what: &str, figure: String| writeln!(f, "  {what:<58} {figure:>24}");
        let [once, twice, thrice] = self.in_a_row;
        row("cuts", self.cuts().to_string())?;
        row(
            "  under load / during a start / during a stop",
            format!("{} / {} / {}", self.in_load, self.in_start, self.in_stop),
        )?;
        row(
            "  starts cut once / twice / three times in a row",
            format!("{once} / {twice} / {thrice}"),
        )?;
        row(
            "unflushed writes kept / lost / torn by cuts",
            format!("{} / {} / {}", self.kept, self.lost, self.torn),
        )?;
        row("records acked at disk", self.acked_at_disk.to_string())?;
        row("  of them lost, changed, out of order, offsets given twice", "0".to_owned())?;
        row(
            "records found at the ends / of weaker levels lost",
            format!("{} / {}", self.there, self.gone),
        )?;
        row(
            "topics created / deleted with an answer",
            format!("{} / {}", self.topics_made, self.topics_deleted),
        )?;
        let groups = self.workers.rows().into_iter().chain(self.readers.rows());
        for (what, figures) in self.vanishing.rows().into_iter().chain(groups) {
            row(what, figures)?;
        }
        row("recoveries, the slowest", format!("{}, {:.0?}", self.starts, self.slowest_start))?;
        row("`plimsoll verify` runs, all without damage", self.verified.to_string())?;
        row("file systems made, each checked at its end", self.voyages.to_string())?;
        let each = self.took.as_secs_f64() / f64::from(self.cuts().max(1));
        row("time, for each cut", format!("{:.0} s, {each:.2} s", self.took.as_secs_f64()))
    }
}
