//! The campaign of a pipeline: real text through producers, a server and a consumer group, of
//! which everything is killed at random ([`Pipeline`]).
//!
//! What a newcomer gets wrong: members write at least once. That each line is in the log once is
//! the promise; how often members wrote one again is counted, and no fault.

use std::path::PathBuf;
use std::time::Instant;

use plimsoll_tests::{Pipeline, Random};

use crate::violation::Violation;
use crate::{program, text};

/// Kill server, producers and members of a pipeline at random; exit code 1 if a line is not in the
/// log once and in its place, or was written by no member.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rounds, each with a kill at least.
    #[arg(long, default_value_t = 500)]
    rounds: u64,
    /// Repeats the choices of another campaign.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the data directories go; must be on a disk. Default: beside what was built.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The text. Default: a million lines of the sources that Cargo keeps.
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,
}

/// Runs it. False: a promise was broken.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    let program = program::plimsoll()?;
    let scratch = program::scratch(args.dir.as_deref())?;
    let seed = args.seed.unwrap_or_else(|| Random::of_the_moment().number() % 1_000_000_000);
    let again = format!("plimsoll-crash pipeline --rounds {} --seed {seed}", args.rounds);
    let lines = text::lines(args.lines.as_deref())?;
    println!("seed {seed}, {} lines; again: {again}", lines.len());
    let place = program::place(&scratch);
    let begun = Instant::now();
    let share = lines.len() / usize::try_from(args.rounds.max(1)).unwrap_or(usize::MAX);
    let outcome = Violation::watched(|| {
        let mut pipeline = Pipeline::begin(&place, &program, &lines, Random::new(seed));
        let went = Violation::watched(|| {
            for round in 1..=args.rounds {
                pipeline.round(share);
                if round % 25 == 0 {
                    let (kills, seconds) = (pipeline.tally().kills(), begun.elapsed().as_secs());
                    eprintln!("{round:>5} of {} rounds, {kills} kills, {seconds} s", args.rounds);
                }
            }
            pipeline.finish();
            Ok(())
        });
        print!("{}", pipeline.tally());
        went
    });
    println!("{:<46} {:.0} s", "time", begun.elapsed().as_secs_f64());
    match outcome {
        Ok(()) => println!("HELD: each line once in the log, and written; seed {seed}"),
        Err(Violation(words)) => {
            let (data, arenas) = place.keep();
            println!("BROKEN: {words}");
            println!("kept: {} and {}; again: {again}", data.display(), arenas.display());
            return Ok(false);
        }
    }
    Ok(true)
}
