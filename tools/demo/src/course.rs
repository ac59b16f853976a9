//! The course of the demo: for each level load, kill, restart, count.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll_client_blocking::{AckLevel, Client, Visible};
use plimsoll_load::{
    Consumers, Kill, Limit, Mode, Progress, Source, Verify, Workload, lines_of_this_machine,
    random_moment, read_back, run,
};

use crate::cleanup::on_interrupt;
use crate::places::Places;
use crate::server_process::ServerProcess;
use crate::table::{Row, table, verdict};

/// How long a level is loaded if nothing kills the server before.
const LOAD: Duration = Duration::from_millis(3500);

/// It is loaded at least this long.
const LOAD_MIN: Duration = Duration::from_millis(1500);

/// Real text to send.
const TEXT_BYTES: usize = 48 << 20;

/// Loads, kills, restarts, counts, prints. False: a promise was broken.
///
/// # Errors
///
/// The demo could not be carried out; the sentence says why.
pub fn demo() -> Result<bool, String> {
    on_interrupt()?;
    let started = Instant::now();
    let own = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let binary = own.with_file_name("plimsoll");
    let places = Places::make(&own)?;
    let text = lines_of_this_machine(TEXT_BYTES, &source_tree());
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    eprintln!(
        "{lines} lines ({} MB) of this machine's own text, and as much generated load; data in {}",
        text.len() / 1_000_000,
        places.data_dir().display()
    );
    let source = Source::mixed(text, 200);
    let bar = progress_bar();
    let mut server = ServerProcess::start(&binary, &places, "127.0.0.1:0")?;
    let mut rows = Vec::new();
    for level in AckLevel::ALL {
        let (row, restarted) = one_level(level, server, &binary, &places, &source, &bar)?;
        rows.push(row);
        server = restarted;
    }
    bar.finish_and_clear();
    let stopped = server.stop();
    print!("{}", table(&rows));
    println!("{}", verdict(&rows));
    eprintln!("{:.0} s in all", started.elapsed().as_secs_f64());
    let is_kept = rows.iter().all(Row::is_kept);
    stopped.map(|()| is_kept)
}

fn one_level(
    level: AckLevel,
    server: ServerProcess,
    binary: &Path,
    places: &Places,
    source: &Source,
    bar: &ProgressBar,
) -> Result<(Row, ServerProcess), String> {
    let address = server.address.clone();
    let topic = format!("demo-{level}");
    let verify =
        Verify { run: u64::from(server.pid()) << 8 | level as u64, source: source.clone() };
    let workload = workload(&address, &topic, level, &verify);
    bar.set_prefix(format!("load {level}"));
    let mut tell = |progress: Progress| show(bar, &progress);
    let outcome = run(Mode::Produce, &workload, Some(sigkill(server.pid())), &mut tell)
        .map_err(|error| format!("loading at {level}: {error}"))?;
    server.wait_end()?;
    bar.set_prefix(format!("restart {level}"));
    let killed = Instant::now();
    let server = ServerProcess::start(binary, places, &address)?;
    let back_after = killed.elapsed();
    bar.set_prefix(format!("count {level}"));
    let ledger = outcome.ledger.as_ref().ok_or("the load kept no ledger")?;
    let verdict = read_back(&address, &topic, Visible::Memory, &verify, ledger, &mut tell)
        .map_err(|error| format!("reading back what was acked at {level}: {error}"))?;
    bar.suspend(|| {
        eprintln!(
            "{level}: killed in mid-load, back after {} ms (recovery {} ms), {} of {} acked \
             records found",
            back_after.as_millis(),
            server.recovered_ms,
            verdict.found,
            verdict.acked
        );
    });
    // Room for the next level; what stays goes with the directory.
    let _ = Client::connect(address.as_str()).map(|client| client.delete_topic(&topic));
    Ok((Row { level, outcome, verdict }, server))
}

fn workload(address: &str, topic: &str, level: AckLevel, verify: &Verify) -> Workload {
    Workload {
        server: address.to_owned(),
        topic: topic.to_owned(),
        partitions: 8,
        connections: 4,
        record_bytes: 200,
        batch_records: 500,
        in_flight: 8,
        durability: level.durability(),
        visible: Visible::Disk,
        consumers: Consumers::Raw,
        rate: None,
        limit: Limit::After(LOAD),
        warmup: Duration::ZERO,
        verify: Some(verify.clone()),
    }
}

fn sigkill(pid: u32) -> Kill {
    let after = LOAD_MIN + random_moment(LOAD - LOAD_MIN);
    let action = move || {
        let pid = i32::try_from(pid).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|error| format!("SIGKILL: {error}"))
    };
    Kill { after, action: Box::new(action) }
}

/// Text for a machine that has no other: the sources of this repository.
fn source_tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn progress_bar() -> ProgressBar {
    let is_shown = std::io::stderr().is_terminal();
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(1000), target);
    if let Ok(style) = ProgressStyle::with_template("{prefix:>18} {wide_bar} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    let seconds = progress.elapsed.as_secs_f64().max(1e-9);
    bar.set_position((progress.done * 1000.0) as u64);
    bar.set_message(format!(
        "{} records, {:.1} MB/s",
        progress.records,
        progress.bytes as f64 / seconds / 1e6
    ));
}
