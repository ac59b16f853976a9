//! The campaign of a work queue: real text through producers, a server and a group in share mode,
//! of which everything is killed at random ([`WorkQueue`]).
//!
//! What a newcomer gets wrong: work is done at least once. That nothing comes again after its
//! verdict was answered is the promise; how often something came before is counted, and no fault.

use std::path::PathBuf;

use plimsoll_tests::{WorkQueue, work_until_killed};

use crate::rounds::{Rounds, Words};

/// Kill server, producers and members of a work queue at random; exit code 1 if a line was worked
/// on by nobody, or came again after its verdict was answered.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rounds, each with a kill at least.
    #[arg(long, default_value_t = 300)]
    rounds: u64,
    /// How many lines of it each round has.
    #[arg(long, default_value_t = 500, value_name = "N")]
    lines_a_round: usize,
    #[command(flatten)]
    words: Words,
}

/// A member of the group, as the campaign starts it.
#[derive(Debug, clap::Args)]
pub(crate) struct MemberArgs {
    address: String,
    output: PathBuf,
}

/// Works until it is killed.
pub(crate) fn run_member(args: &MemberArgs) -> Result<bool, String> {
    work_until_killed(&args.address, &args.output).map(|()| true)
}

/// Runs it. False: a promise was broken.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    let mut rounds = Rounds::prepare("workqueue", args.rounds, &args.words)?;
    let own = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let member = [own, PathBuf::from("work-queue-member")];
    let most = usize::try_from(args.rounds).unwrap_or(usize::MAX);
    rounds.lines.truncate(most.saturating_mul(args.lines_a_round));
    Ok(rounds.run("each line worked on, none after its verdict", |place, random| {
        let queue = WorkQueue::begin(place, &rounds.program, &member, &rounds.lines, random);
        rounds.kill(queue, args.lines_a_round)
    }))
}
