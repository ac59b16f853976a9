//! Bit rot: every structure of a real data directory is damaged, and nobody may be deceived.
//!
//! For each wound: `verify` names it with file and position, or it is harmless by design; what a
//! start recovers and readers get is what was there before, or less with a word about it. Most are
//! dealt in memory, some before a real server. What a newcomer gets wrong: *silent* is right for
//! bytes that mean nothing, and there only.

mod corpus;
mod files;
mod judge;
mod replay;
mod served;
mod structures;
mod tally;
mod vanished;
mod ward;
mod wound;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use plimsoll_storage::{PartitionId, RecoveredPartition};
use plimsoll_tests::Random;

use self::corpus::Corpus;
use self::files::Files;
use self::served::Serving;
use self::ward::Ward;
use self::wound::Places;
use crate::program;
use crate::violation::Violation;

/// How often a directory is made, until it has every structure.
const DIRECTORIES_MAX: u32 = 5;

/// Damage a data directory everywhere; exit code 1 if anything of it is missed or delivered.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many single bits are flipped.
    #[arg(long, default_value_t = 20_000)]
    flips: u64,
    /// How many blocks are zeroed, swapped, replaced, cut off.
    #[arg(long, default_value_t = 2_000)]
    blocks: u64,
    /// How many wounds are dealt before a real server.
    #[arg(long, default_value_t = 200)]
    served: u64,
    /// Deals wounds to structures with this in their name only.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How many threads deal wounds in memory. Default: one for each core.
    #[arg(long)]
    threads: Option<u64>,
    /// Repeats the choices of another campaign.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the data directory is made; must be on a disk. Default: beside what was built.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs it. False: a promise was broken.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    let program = program::plimsoll()?;
    let scratch = program::scratch(args.dir.as_deref())?;
    let seed = args.seed.unwrap_or_else(|| Random::of_the_moment().number() % 1_000_000_000);
    let Args { flips, blocks, served, .. } = args;
    let again = format!("rot --flips {flips} --blocks {blocks} --served {served} --seed {seed}");
    println!("seed {seed}; again: plimsoll-crash {again}");
    let mut random = Random::new(seed);
    let mut broken = in_memory(args, seed, &program, &scratch)?;
    if *served > 0 {
        let outcome = before_a_server(*served, &program, &scratch, &mut random)?;
        broken += u64::from(!outcome);
    }
    match broken {
        0 => println!("HELD: no damage was missed, none was delivered; seed {seed}"),
        broken => println!("BROKEN: {broken} times; again: plimsoll-crash {again}"),
    }
    Ok(broken == 0)
}

/// A directory that has every structure, and where they are.
struct Whole {
    files: Files,
    older: Vec<Files>,
    partitions: BTreeMap<PartitionId, RecoveredPartition>,
    places: Places,
}

/// When a checkpoint takes what was logged before it is up to the load of the machine: a directory
/// that lacks something is made anew.
fn whole(seed: u64, program: &Path, scratch: &Path) -> Result<Whole, String> {
    let mut missing = String::new();
    for _ in 0..DIRECTORIES_MAX {
        let Corpus { files, older } = corpus::make(program, scratch, 1, &mut Random::new(seed))?;
        let partitions = replay::recovered(&files)?;
        let places = Places::new(structures::regions(&files, &partitions));
        if places.missing().is_empty() {
            return Ok(Whole { files, older, partitions, places });
        }
        missing = places.missing().join(", no ");
        println!("a directory that has no {missing}: made anew");
    }
    Err(format!("{DIRECTORIES_MAX} directories, and the last one has no {missing}"))
}

/// How many wounds broke a promise.
fn in_memory(args: &Args, seed: u64, program: &Path, scratch: &Path) -> Result<u64, String> {
    let Whole { files, older, partitions, places } = whole(seed, program, scratch)?;
    let ids: Vec<_> = partitions.keys().copied().collect();
    let places = match &args.only {
        Some(name) => Places::new(structures::only(structures::regions(&files, &partitions), name)),
        None => places,
    };
    let sound = match replay::replay(replay::disk_of(&files), &ids, &Default::default()) {
        replay::Outcome::Served { damages, partitions } if damages.is_empty() => partitions,
        other => return Err(format!("the sound directory does not start: {other:?}")),
    };
    let batches: usize = sound.values().map(|answer| answer.delivered.len()).sum();
    println!(
        "a directory of {} files, {} bytes, {} partitions, {batches} batches, with every structure",
        files.0.len(),
        files.bytes(),
        ids.len(),
    );
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let ward = Ward {
        seed,
        flips: args.flips,
        wounds: args.flips + args.blocks,
        threads: args.threads.unwrap_or(cores).max(1),
        files: &files,
        older: &older,
        places: &places,
        ids: &ids,
        sound: &sound,
    };
    let begun = Instant::now();
    let (tally, broken) = ward.run().map_err(|Violation(words)| words)?;
    let took = begun.elapsed().as_secs_f64();
    print!("{}", tally.table());
    println!("{} wounds in memory, {took:.0} s", ward.wounds);
    Ok(broken)
}

fn before_a_server(
    count: u64,
    program: &Path,
    scratch: &Path,
    random: &mut Random,
) -> Result<bool, String> {
    let Corpus { mut files, older } = corpus::make(program, scratch, 2, random)?;
    let partitions = replay::recovered(&files)?;
    let places = Places::new(structures::regions(&files, &partitions));
    let place = program::place(scratch);
    let serving = Serving {
        program: program.to_owned(),
        place: &place,
        shards: 2,
        topics: corpus::readable(),
    };
    match serving.wounds(count, (&mut files, &older, &places), random) {
        Ok(counts) => {
            println!(
                "{count} wounds before a real server: {} refused, {} told, {} without harm",
                counts.refused, counts.told, counts.whole
            );
            Ok(true)
        }
        Err(Violation(words)) => {
            let (data, _) = place.keep();
            println!("broken: {words}\nkept: {}", data.display());
            Ok(false)
        }
    }
}
