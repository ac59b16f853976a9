//! Plants bugs and sees them caught: `plimsoll-planted` is `make planted`.
//!
//! Each patch of `tools/sim/planted` is applied to a copy of the work tree, the simulator is built
//! there, and must find it within so many seeds; a bug that only the exhaustive cuts of storage
//! find is caught, too, and so is one that no simulated machine can show and a test that its patch
//! names finds on the real one. The tree without a bug must pass the same seeds: else nothing is
//! proved.
//!
//! What a newcomer gets wrong: a bug that is not caught says nothing of the log. It says that the
//! simulator is blind there, and so is everything that was believed because of it.
//!
//! Exit status: 0 when all were caught, 1 when one was not, 2 for a wrong command line, 3 when a
//! patch does not apply, does not build, or the tree without a bug fails.

mod build;
mod checker;
mod patch;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;

use crate::build::{Found, Workshop};
use crate::checker::checker_of;
use crate::patch::Patch;

/// Plants bugs in copies of the tree, and sees that the simulator catches each.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds each bug may live through
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Only the patches whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Only so many, others each day
    #[arg(long, conflicts_with = "only")]
    rotate: Option<usize>,
    /// The day for `--rotate`, counted from any; today if it is not said
    #[arg(long)]
    day: Option<u64>,
    /// Jobs of a build, and threads of the simulator [default: one a core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Believe that the tree without a bug passes
    #[arg(long)]
    no_control: bool,
    /// The bugs that are known not to be caught yet, instead of those that must be
    #[arg(long)]
    unseen: bool,
    /// Name the patches, and do nothing
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            println!("{text}");
            ExitCode::from(3)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let root = root().canonicalize().map_err(|error| format!("the work tree: {error}"))?;
    let target = std::path::absolute(target_directory(&root));
    let target = target.map_err(|error| format!("the target directory: {error}"))?;
    let planted = root.join("tools/sim/planted");
    let (must, unseen) = (patch::read_all(&planted)?, patch::read_all(&planted.join("unseen"))?);
    let all = if arguments.unseen { &unseen } else { &must };
    let patches = chosen(all, arguments);
    if arguments.list {
        for patch in &patches {
            println!("{}\n  {}\n  {}", patch.name, patch.plants, patch.breaks);
        }
        return Ok(true);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workshop = Workshop {
        root,
        place: target.join("planted"),
        jobs: arguments.jobs.unwrap_or(cores),
        seeds: arguments.seeds,
    };
    workshop.prepare()?;
    for patch in must.iter().chain(&unseen) {
        workshop.try_on(patch)?;
    }
    if !arguments.no_control {
        let begun = Instant::now();
        control(&workshop.look()?, begun)?;
        for named in patches.iter().filter_map(|patch| patch.caught_by.as_deref()) {
            let begun = Instant::now();
            control(&workshop.run_test(named)?, begun)?;
        }
    }
    let mut missed = Vec::new();
    for patch in &patches {
        let begun = Instant::now();
        let found = workshop.plant(patch)?;
        println!("{}", line(patch, &found, begun.elapsed().as_secs_f64()));
        if matches!(found, Found::Nothing) {
            missed.push(patch);
        }
    }
    println!("{} planted, {} caught", patches.len(), patches.len() - missed.len());
    for patch in &missed {
        println!("NOT CAUGHT: {}\n  {}\n  {}", patch.name, patch.plants, patch.breaks);
    }
    Ok(missed.is_empty())
}

/// The tree as it is passes what is to find the bugs.
fn control(found: &Found, begun: Instant) -> Result<(), String> {
    let seconds = begun.elapsed().as_secs_f64();
    match found {
        Found::Nothing => {
            println!("{:44} {:>6}  {:24} {seconds:.0} s", "(nothing)", "-", "-");
            Ok(())
        }
        Found::BySeed { seed, text, .. } => {
            Err(format!("nothing is planted, and yet seed {seed}: {text}"))
        }
        Found::ByTest(text) => Err(format!("nothing is planted, and yet {text} fails")),
    }
}

fn line(patch: &Patch, found: &Found, seconds: f64) -> String {
    let name = &patch.name;
    match found {
        Found::BySeed { after, text, .. } => {
            let seeds = format!("{}", after + 1);
            format!("{name:44} {seeds:>6}  {:24} {seconds:.0} s", checker_of(text))
        }
        Found::ByTest(text) => format!("{name:44} {:>6}  {text:24} {seconds:.0} s", "-"),
        Found::Nothing => format!("{name:44} {:>6}  {:24} {seconds:.0} s", "-", "NOT CAUGHT"),
    }
}

fn chosen<'a>(all: &'a [Patch], arguments: &Arguments) -> Vec<&'a Patch> {
    if let Some(part) = &arguments.only {
        return all.iter().filter(|patch| patch.name.contains(part)).collect();
    }
    let Some(count) = arguments.rotate else { return all.iter().collect() };
    let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let day = arguments.day.unwrap_or(today / (24 * 60 * 60));
    let first = usize::try_from(day).unwrap_or(0).wrapping_mul(count) % all.len().max(1);
    all.iter().cycle().skip(first).take(count.min(all.len())).collect()
}

/// Where the workspace is: two folders above this package, if cargo says where that is.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from("."), |package| PathBuf::from(package).join("../.."))
}

fn target_directory(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
