//! `plimsoll-load` as a command: a run, its report, its exit code.
//!
//! Exit code 0: everything was acked, and what was acked is there; 1: it is not, or the run could
//! not be made; 2: wrong use. What a newcomer gets wrong: after a kill the level `memory` may lose
//! records and still passes; what is there must be right all the same.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plimsoll_wire::{AckLevel, Durability, Visible};

use crate::args::Args;
use crate::{
    Kill, Limit, LoadError, Mode, Outcome, Progress, Verdict, Workload, read_back, run,
    wait_until_back,
};

/// The `main` of `plimsoll-load`: reads the command line, runs, reports.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(conflict) = args.conflict() {
        eprintln!("plimsoll-load: {conflict}");
        return ExitCode::from(2);
    }
    let run_number = RandomState::new().build_hasher().finish();
    let workload = args.workload(run_number);
    if !args.json {
        announce(&args, &workload);
    }
    match load(&args, &workload) {
        Ok((outcome, verdict)) => {
            let report = match args.json {
                true => format!("{}\n", outcome.json(verdict.as_ref())),
                false => outcome.text(verdict.as_ref()),
            };
            let is_told = tell(&report);
            let code = judge(&workload, &outcome, verdict.as_ref());
            if is_told { code } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("plimsoll-load: {error}");
            ExitCode::from(if matches!(error, LoadError::Usage(_)) { 2 } else { 1 })
        }
    }
}

/// Writes the report. Whoever closes the pipe (`| head`) has seen enough.
fn tell(report: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(report.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("plimsoll-load: cannot write to stdout: {error}");
            false
        }
        Ok(()) | Err(_) => true,
    }
}

fn load(args: &Args, workload: &Workload) -> Result<(Outcome, Option<Verdict>), LoadError> {
    let kill = args.kill_server_pid.map(|pid| {
        let length = match workload.limit {
            Limit::After(length) => length + workload.warmup,
            Limit::Records(_) => Duration::ZERO,
        };
        Kill::of_pid(pid, args.kill_after_seconds.map(Duration::from_secs_f64), length)
    });
    let bar = progress_bar(args.mode.name());
    let mut tell = |progress: Progress| show(&bar, &progress);
    let outcome = run(args.mode, workload, kill, &mut tell)?;
    let mut visible = workload.durability.ack_level().map_or(Visible::Disk, AckLevel::visible);
    if outcome.is_killed {
        bar.set_prefix("restart");
        let pid = args.kill_server_pid.and_then(|pid| u32::try_from(pid).ok());
        let took = wait_until_back(&workload.server, pid, args.restart_command.as_deref())?;
        bar.suspend(|| eprintln!("killed, and back after {} ms", took.as_millis()));
        visible = Visible::Memory;
    }
    let verdict = match (&workload.verify, &outcome.ledger) {
        (Some(verify), Some(ledger)) => {
            bar.set_prefix("verify");
            let (server, topic) = (&workload.server, &workload.topic);
            Some(read_back(server, topic, visible, verify, ledger, &mut tell)?)
        }
        _ => None,
    };
    bar.finish_and_clear();
    Ok((outcome, verdict))
}

/// What was acked must be there, unless the server was killed and the level does not survive that.
fn judge(workload: &Workload, outcome: &Outcome, verdict: Option<&Verdict>) -> ExitCode {
    if let Some(verdict) = verdict {
        let may_lose = outcome.is_killed && workload.durability == Durability::Memory;
        let is_kept = if may_lose { verdict.is_undamaged() } else { verdict.is_clean() };
        if !is_kept {
            for example in &verdict.examples {
                eprintln!("plimsoll-load: {example}");
            }
            eprintln!(
                "plimsoll-load: what was acked at {} is not all there: {} lost, {} changed, {} out \
                 of order; keep the data directory and run `plimsoll verify` on it",
                outcome.level, verdict.lost, verdict.changed, verdict.out_of_order
            );
            return ExitCode::FAILURE;
        }
    }
    let is_all_acked = outcome.is_killed || outcome.refused + outcome.unknown == 0;
    if is_all_acked { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn announce(args: &Args, workload: &Workload) {
    let (topic, server) = (&workload.topic, &workload.server);
    if args.mode == Mode::Consume {
        let (connections, visible) = (workload.connections, workload.visible);
        eprintln!(
            "consume: {connections} connections, visible {visible}, topic {topic} at {server}"
        );
        return;
    }
    let pace = workload.rate.map_or("flat out".to_owned(), |rate| format!("{rate} records/s"));
    eprintln!(
        "{}: {} records of {} bytes a batch, {} connections, {} batches in flight each, {}, acked \
         at {}, topic {topic} at {server}",
        args.mode.name(),
        workload.batch_records,
        workload.record_bytes,
        workload.connections,
        workload.in_flight,
        pace,
        workload.durability
    );
}

fn progress_bar(name: &'static str) -> ProgressBar {
    let is_shown = std::io::stderr().is_terminal();
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(1000), target);
    if let Ok(style) = ProgressStyle::with_template("{prefix:>10} {wide_bar} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(name);
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    let seconds = progress.elapsed.as_secs_f64().max(1e-9);
    bar.set_position((progress.done * 1000.0) as u64);
    bar.set_message(format!(
        "{} records, {:.0}/s, {:.1} MB/s",
        progress.records,
        progress.records as f64 / seconds,
        progress.bytes as f64 / seconds / 1e6
    ));
}
