//! The seed runner: `plimsoll-simulate --seeds N`, or `--seed S` to see one again.
//!
//! Exit status: 0 when every seed kept every promise, 1 at the first that did not, 2 for a wrong
//! command line, 3 when a seed run twice did two things, which makes every other result worthless.

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use plimsoll_simulate::{Campaign, Failure, Met, Progress, attempt, draw, shrink};

/// How many seeds are run twice before all others.
const TWICE: u64 = 3;

/// Runs whole servers and their clients on the simulated machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Run this seed alone, and write what happens to a file
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Threads [default: one a core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Do not make a failing scenario smaller
    #[arg(long)]
    no_shrink: bool,
    /// Say only what was found
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let first = arguments.seed.unwrap_or(arguments.first);
    for seed in first..first + TWICE {
        let (one, other) = (attempt(&draw(seed), None), attempt(&draw(seed), None));
        if one != other {
            println!("seed {seed} run twice is two things: {one:?} and {other:?}");
            return ExitCode::from(3);
        }
    }
    match arguments.seed {
        Some(seed) => again(&arguments, seed),
        None => campaign(&arguments),
    }
}

fn campaign(arguments: &Arguments) -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(cores);
    let campaign = Campaign { first: arguments.first, count: arguments.seeds, jobs };
    let progress = Progress::default();
    let begun = Instant::now();
    let is_over = AtomicBool::new(false);
    let failure = std::thread::scope(|scope| {
        if !arguments.quiet {
            scope.spawn(|| report(&progress, &is_over, begun));
        }
        let failure = campaign.run(&progress);
        is_over.store(true, Ordering::Release);
        failure
    });
    let runs = progress.runs.load(Ordering::Relaxed);
    match failure {
        None => {
            println!("{runs} seeds kept every promise; {}", figures(&progress, begun));
            println!("of these runs had {}", meetings(&progress));
            ExitCode::SUCCESS
        }
        Some(failure) => {
            println!("seed {} fails after {runs} that did not", failure.seed);
            tell(arguments, &failure)
        }
    }
}

fn again(arguments: &Arguments, seed: u64) -> ExitCode {
    match attempt(&draw(seed), None) {
        Ok(summary) => {
            println!("seed {seed} keeps every promise: {summary:?}");
            write_trace(seed, "");
            ExitCode::SUCCESS
        }
        Err(violation) => tell(arguments, &Failure { seed, violation }),
    }
}

fn tell(arguments: &Arguments, failure: &Failure) -> ExitCode {
    let Failure { seed, violation } = failure;
    println!("seed {seed}: {violation}");
    let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    if let Ok(commit) = commit
        && commit.status.success()
    {
        println!("commit: {}", String::from_utf8_lossy(&commit.stdout).trim());
    }
    println!("again: cargo run --release -p plimsoll-simulate -- --seed {seed}");
    let mut smaller = String::new();
    if !arguments.no_shrink {
        let (small, violation) = shrink(&draw(*seed), violation.clone(), 400);
        smaller = format!("made smaller, it fails with: {violation}\n{small}");
        println!("{smaller}");
        let mut log = String::new();
        // It fails; how, was said.
        let _ = attempt(&small, Some(&mut log));
        smaller.push_str(&log);
    }
    write_trace(*seed, &smaller);
    ExitCode::FAILURE
}

/// Runs the seed once more, and writes down what happens.
fn write_trace(seed: u64, smaller: &str) {
    let mut log = String::new();
    let outcome = attempt(&draw(seed), Some(&mut log));
    let path = std::env::temp_dir().join(format!("plimsoll-simulate-{seed}.trace"));
    let text = format!("{}\n{log}\n{outcome:?}\n\n{smaller}\n", draw(seed));
    match std::fs::write(&path, text) {
        Ok(()) => println!("trace: {}", path.display()),
        Err(error) => println!("the trace cannot be written to {}: {error}", path.display()),
    }
}

fn report(progress: &Progress, is_over: &AtomicBool, begun: Instant) {
    let mut next = begun + Duration::from_secs(10);
    while !is_over.load(Ordering::Acquire) {
        std::thread::park_timeout(Duration::from_millis(100));
        if Instant::now() >= next {
            next += Duration::from_secs(10);
            eprintln!(
                "{} seeds; {}",
                progress.runs.load(Ordering::Relaxed),
                figures(progress, begun)
            );
        }
    }
}

/// In how many runs something happened that the checkers are there for.
fn meetings(progress: &Progress) -> String {
    let met = Met::ALL.iter().zip(&progress.met);
    let each = met.map(|((_, name), runs)| format!("{name} {}", runs.load(Ordering::Relaxed)));
    each.collect::<Vec<_>>().join(", ")
}

fn figures(progress: &Progress, begun: Instant) -> String {
    let passed = begun.elapsed().as_secs_f64();
    let of = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    format!(
        "{:.1} runs a second, {} steps, {} records, {} acked, {:.2} simulated hours, {passed:.1} s",
        of(&progress.runs) as f64 / passed,
        of(&progress.steps),
        of(&progress.records),
        of(&progress.acked),
        of(&progress.simulated_ms) as f64 / 3_600_000.0,
    )
}
