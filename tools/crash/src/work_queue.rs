//! The campaign of a work queue: real text through producers, a server and a group in share mode,
//! of which everything is killed at random ([`WorkQueue`]).
//!
//! What a newcomer gets wrong: work is done at least once. That nothing comes again after its
//! verdict was answered is the promise; how often something came before is counted, and no fault.

use std::path::PathBuf;
use std::time::Instant;

use plimsoll_tests::{Random, WorkQueue, work_until_killed};

use crate::violation::Violation;
use crate::{program, text};

/// Kill server, producers and members of a work queue at random; exit code 1 if a line was worked
/// on by nobody, or came again after its verdict was answered.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rounds, each with a kill at least.
    #[arg(long, default_value_t = 300)]
    rounds: u64,
    /// Repeats the choices of another campaign.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the data directories go; must be on a disk. Default: beside what was built.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The text. Default: lines of the sources that Cargo keeps.
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,
    /// How many lines of it each round has.
    #[arg(long, default_value_t = 500, value_name = "N")]
    lines_a_round: usize,
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
    let program = program::plimsoll()?;
    let scratch = program::scratch(args.dir.as_deref())?;
    let own = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let member = [own, PathBuf::from("work-queue-member")];
    let seed = args.seed.unwrap_or_else(|| Random::of_the_moment().number() % 1_000_000_000);
    let again = format!("plimsoll-crash workqueue --rounds {} --seed {seed}", args.rounds);
    let mut lines = text::lines(args.lines.as_deref())?;
    lines.truncate(usize::try_from(args.rounds).unwrap_or(usize::MAX) * args.lines_a_round);
    println!("seed {seed}, {} lines; again: {again}", lines.len());
    let place = program::place(&scratch);
    let begun = Instant::now();
    let outcome = Violation::watched(|| {
        let random = Random::new(seed);
        let mut queue = WorkQueue::begin(&place, &program, &member, &lines, random);
        let went = Violation::watched(|| {
            for round in 1..=args.rounds {
                queue.round(args.lines_a_round);
                if round % 25 == 0 {
                    let (kills, seconds) = (queue.tally().kills(), begun.elapsed().as_secs());
                    eprintln!("{round:>5} of {} rounds, {kills} kills, {seconds} s", args.rounds);
                }
            }
            queue.finish();
            Ok(())
        });
        print!("{}", queue.tally());
        went
    });
    println!("{:<46} {:.0} s", "time", begun.elapsed().as_secs_f64());
    match outcome {
        Ok(()) => println!("HELD: each line worked on, none after its verdict; seed {seed}"),
        Err(Violation(words)) => {
            let (data, arenas) = place.keep();
            println!("BROKEN: {words}");
            println!("kept: {} and {}; again: {again}", data.display(), arenas.display());
            return Ok(false);
        }
    }
    Ok(true)
}
