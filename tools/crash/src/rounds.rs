//! Rounds of kills while lines of real text go through a job, and the verdict over all of them.
//!
//! What the job is and what must be true of it is the business of [`Job`]. What a newcomer gets
//! wrong: a broken promise is a panic of the job, and comes back as a [`Violation`] with the
//! directories kept.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use plimsoll_tests::{Pipeline, PipelineTally, Place, Random, WorkQueue, WorkQueueTally};

use crate::violation::Violation;
use crate::{program, text};

/// How often this is said.
const ROUNDS_A_REPORT: u64 = 25;

/// What is killed in rounds.
pub(crate) trait Job {
    /// The table of it.
    type Tally: fmt::Display;

    /// The lines come, and some of those who are at it are killed.
    fn round(&mut self, lines: usize);
    /// All is worked off and compared.
    fn finish(&mut self);
    fn tally(&self) -> Self::Tally;
    fn kills(&self) -> u64;
}

impl Job for Pipeline<'_> {
    type Tally = PipelineTally;

    fn round(&mut self, lines: usize) {
        Pipeline::round(self, lines);
    }

    fn finish(&mut self) {
        Pipeline::finish(self);
    }

    fn tally(&self) -> PipelineTally {
        Pipeline::tally(self)
    }

    fn kills(&self) -> u64 {
        Pipeline::tally(self).toll.kills()
    }
}

impl Job for WorkQueue<'_> {
    type Tally = WorkQueueTally;

    fn round(&mut self, lines: usize) {
        WorkQueue::round(self, lines);
    }

    fn finish(&mut self) {
        WorkQueue::finish(self);
    }

    fn tally(&self) -> WorkQueueTally {
        WorkQueue::tally(self)
    }

    fn kills(&self) -> u64 {
        WorkQueue::tally(self).toll.kills()
    }
}

/// The words of both commands.
#[derive(Debug, clap::Args)]
pub(crate) struct Words {
    /// Repeats the choices of another campaign.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the data directories go; must be on a disk. Default: beside what was built.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The text. Default: up to a million lines of the sources that Cargo keeps.
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,
}

/// A campaign that is about to begin.
pub(crate) struct Rounds {
    pub(crate) program: PathBuf,
    pub(crate) lines: Vec<String>,
    rounds: u64,
    seed: u64,
    scratch: PathBuf,
    /// The command that repeats it.
    again: String,
}

impl Rounds {
    pub(crate) fn prepare(command: &str, rounds: u64, words: &Words) -> Result<Rounds, String> {
        let program = program::plimsoll()?;
        let scratch = program::scratch(words.dir.as_deref())?;
        let seed = words.seed.unwrap_or_else(|| Random::of_the_moment().number() % 1_000_000_000);
        let again = format!("plimsoll-crash {command} --rounds {rounds} --seed {seed}");
        let lines = text::lines(words.lines.as_deref())?;
        Ok(Rounds { program, lines, rounds, seed, scratch, again })
    }

    /// Does the work in a new place. False: a promise was broken; otherwise what held is said.
    pub(crate) fn run(
        &self,
        held: &str,
        work: impl FnOnce(&Place, Random) -> Result<(), Violation>,
    ) -> bool {
        let Rounds { lines, seed, scratch, again, .. } = self;
        println!("seed {seed}, {} lines; again: {again}", lines.len());
        let place = program::place(scratch);
        let begun = Instant::now();
        let outcome = Violation::watched(|| work(&place, Random::new(*seed)));
        println!("{:<46} {:.0} s", "time", begun.elapsed().as_secs_f64());
        if let Err(Violation(words)) = outcome {
            let (data, arenas) = place.keep();
            println!("BROKEN: {words}");
            println!("kept: {} and {}; again: {again}", data.display(), arenas.display());
            return false;
        }
        println!("HELD: {held}; seed {seed}");
        true
    }

    /// All rounds of the job, with so many lines each, its end, and the table of it.
    pub(crate) fn kill(&self, mut job: impl Job, lines_a_round: usize) -> Result<(), Violation> {
        let begun = Instant::now();
        let went = Violation::watched(|| {
            for round in 1..=self.rounds {
                job.round(lines_a_round);
                if round % ROUNDS_A_REPORT == 0 {
                    let (kills, seconds) = (job.kills(), begun.elapsed().as_secs());
                    eprintln!("{round:>5} of {} rounds, {kills} kills, {seconds} s", self.rounds);
                }
            }
            job.finish();
            Ok(())
        });
        print!("{}", job.tally());
        went
    }
}
