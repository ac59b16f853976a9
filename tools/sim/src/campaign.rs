//! Many seeds: on several threads, up to the first that fails.
//!
//! Each run has a thread to itself and shares nothing. What a newcomer gets wrong: a panic of the
//! shipped code is a failure like any other, and is caught here.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::draw;
use crate::ledger::Violation;
use crate::met::Met;
use crate::scenario::Scenario;
use crate::world::{Summary, run};

/// Which seeds are to be run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// On how many threads.
    pub jobs: usize,
}

/// A seed that fails.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// How.
    pub violation: Violation,
}

/// What was run so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Runs.
    pub runs: AtomicU64,
    /// Things that happened in them.
    pub steps: AtomicU64,
    /// Records produced.
    pub records: AtomicU64,
    /// Records acked.
    pub acked: AtomicU64,
    /// Simulated milliseconds.
    pub simulated_ms: AtomicU64,
    /// Runs that met each.
    pub met: [AtomicU64; Met::ALL.len()],
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a scenario; a panic is a violation, too.
///
/// # Errors
///
/// A promise was broken, or an assertion.
pub fn attempt(scenario: &Scenario, log: Option<&mut String>) -> Result<Summary, Violation> {
    match catch_unwind(AssertUnwindSafe(|| run(scenario, log))) {
        Ok(result) => result,
        Err(_) => {
            let text = PANIC.with_borrow_mut(Option::take);
            Err(Violation(text.unwrap_or_else(|| "a panic".to_string())))
        }
    }
}

impl Campaign {
    /// Runs the seeds, in order on each thread; gives the lowest that was found to fail.
    pub fn run(&self, progress: &Progress) -> Option<Failure> {
        keep_panics();
        let next = AtomicU64::new(self.first);
        let end = self.first.saturating_add(self.count);
        let failure: Mutex<Option<Failure>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end || is_some(&failure) {
                            return;
                        }
                        match attempt(&draw(seed), None) {
                            Ok(summary) => progress.add(&summary),
                            Err(violation) => keep_lowest(&failure, Failure { seed, violation }),
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_default()
    }
}

impl Progress {
    fn add(&self, summary: &Summary) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.steps.fetch_add(summary.steps, Ordering::Relaxed);
        self.records.fetch_add(summary.records, Ordering::Relaxed);
        self.acked.fetch_add(summary.acked, Ordering::Relaxed);
        self.simulated_ms.fetch_add(summary.simulated_ms, Ordering::Relaxed);
        for (runs, met) in self.met.iter().zip(summary.met) {
            runs.fetch_add(u64::from(met > 0), Ordering::Relaxed);
        }
    }
}

/// Keeps what a panic says instead of printing it: a run tells of it as a violation.
fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        PANIC.with_borrow_mut(|panic| *panic = Some(text));
    }));
}

fn is_some(failure: &Mutex<Option<Failure>>) -> bool {
    failure.lock().map_or(true, |failure| failure.is_some())
}

fn keep_lowest(failure: &Mutex<Option<Failure>>, found: Failure) {
    if let Ok(mut failure) = failure.lock()
        && failure.as_ref().is_none_or(|other| other.seed > found.seed)
    {
        *failure = Some(found);
    }
}
