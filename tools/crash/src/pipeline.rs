//! The campaign of a pipeline: real text through producers, a server and a consumer group, of
//! which everything is killed at random ([`Pipeline`]).
//!
//! What a newcomer gets wrong: members write at least once. That each line is in the log once is
//! the promise; how often members wrote one again is counted, and no fault.

use plimsoll_tests::Pipeline;

use crate::rounds::{Rounds, Words};

/// Kill server, producers and members of a pipeline at random; exit code 1 if a line is not in the
/// log once and in its place, or was written by no member.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rounds, each with a kill at least.
    #[arg(long, default_value_t = 500)]
    rounds: u64,
    #[command(flatten)]
    words: Words,
}

/// Runs it. False: a promise was broken.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    let rounds = Rounds::prepare("pipeline", args.rounds, &args.words)?;
    let share = usize::try_from(args.rounds.max(1)).unwrap_or(usize::MAX);
    let lines_a_round = rounds.lines.len() / share;
    Ok(rounds.run("each line once in the log, and written", |place, random| {
        let pipeline = Pipeline::begin(place, &rounds.program, &rounds.lines, random);
        rounds.kill(pipeline, lines_a_round)
    }))
}
