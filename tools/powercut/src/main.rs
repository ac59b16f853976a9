//! `make powercut`: cuts the power below a real file system, again and again, and counts.
//!
//! A file in memory, shown through FUSE, carries a loop device, ext4 or XFS, and a server under
//! load. A cut takes from the disk what no flush covered, in any choice and torn into sectors. What
//! a newcomer gets wrong: the two controls come first, and a campaign whose controls are not caught
//! says that it proves nothing.

#![forbid(unsafe_code)]

mod campaign;
mod churn;
mod crew;
mod disk;
mod errors;
mod fault;
mod full;
mod image;
mod loss;
mod machine;
mod proof;
mod readers;
mod store;
mod tally;
mod trial;
mod unflushed;
mod voyage;
mod watched;
mod workers;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;

use crate::campaign::{Campaign, Failure, Interruption};
use crate::disk::Temper;
use crate::errors::Row;
use crate::machine::{FileSystem, Machine};

const CUTS_THAT_PROVE: u32 = 50;

/// Cuts the power below a real file system and counts what was lost. Needs root.
#[derive(Debug, Parser)]
struct Args {
    /// How many cuts.
    #[arg(long, default_value_t = 1000)]
    cuts: u32,
    /// Below which file system.
    #[arg(long, value_enum, default_value = "ext4")]
    fs: FileSystem,
    /// Choices follow from it; moments do not, since the machine is real.
    #[arg(long)]
    seed: Option<u64>,
    /// The `plimsoll` binary; without it, the one beside this program.
    #[arg(long)]
    program: Option<PathBuf>,
    /// A `plimsoll` binary without flushes, for the control; without it, one is built.
    #[arg(long)]
    without_flush: Option<PathBuf>,
    /// Where images of a failure are kept.
    #[arg(long, default_value = "/var/tmp/plimsoll-powercut")]
    keep: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(sentence) = prepare(args.fs) {
        eprintln!("plimsoll-powercut: {sentence}");
        return ExitCode::from(2);
    }
    // One line for each, since a control has to have some.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            println!("FAILED: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Is all there that is needed? Mounts are made in a name space of our own, so that they go with
/// this process, however it ends.
fn prepare(file_system: FileSystem) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root, to mount: run it with sudo".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return Err(format!("{device} is missing: the kernel needs FUSE and loop devices"));
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|path| path.join(program).exists());
    let programs = [file_system.maker(), "losetup", "mount", "umount", "setpriv"];
    if let Some(missing) = programs.into_iter().find(|program| !has(program)) {
        return Err(format!("{missing} is missing: install e2fsprogs, xfsprogs, util-linux"));
    }
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("unshare: {error}"))?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(|error| format!("cannot make the mounts private: {error}"))
}

fn run(args: &Args) -> Result<(), String> {
    let interruption = Interruption::block()?;
    let program = program(args)?;
    let seed = args.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs() % 1_000_000_000
    });
    let folder = tempfile::Builder::new().prefix("plimsoll-powercut-").tempdir();
    let folder = folder.map_err(|error| format!("cannot make a folder: {error}"))?;
    let mut machine = Machine::new(folder.path(), args.fs)?;
    println!("rig: {}", proof::prove(&mut machine)?);
    let mut campaign = Campaign::new(machine, folder.path(), interruption)?;
    println!("{} cuts on {}, seed {seed}", args.cuts, args.fs.name());

    let without_flush = args.without_flush.clone().map_or_else(unflushed::build, Ok)?;
    control(&mut campaign, "a disk that lies about flushes", &program, Temper::LiesAboutFlushes)?;
    control(&mut campaign, "a server without flushes", &without_flush, Temper::Honest)?;
    let tally = campaign.run(&program, args.cuts, seed, |tally| {
        println!("  {:>5} cuts, {:.0} s", tally.cuts(), tally.took.as_secs_f64());
        // Whoever watches through a pipe wants to see it now.
        let _ = std::io::stdout().flush();
    });
    let tally = tally.map_err(|failure| report(&failure, &args.keep))?;
    print!("\n{tally}");
    if !campaign.interruption.has_come() {
        if tally.voyages > 0 {
            tally.readers.happened()?;
        }
        // In fewer there may be no life that is long enough for compaction.
        if tally.cuts() >= CUTS_THAT_PROVE {
            tally.vanishing.proved()?;
            tally.workers.proved()?;
            tally.readers.proved()?;
        }
    }
    if campaign.interruption.has_come() {
        return Err(format!("interrupted after {} cuts, in which nothing was lost", tally.cuts()));
    }
    let Campaign { machine, empty, folder, .. } = &mut campaign;
    let mut rows = errors::try_each(machine, &program, folder, empty);
    rows.push(full::fill_and_free(machine, &program, folder));
    let mut broken = 0;
    for Row { what, outcome } in &rows {
        let sign = if outcome.is_ok() { "" } else { "FAILED: " };
        let (Ok(said) | Err(said)) = outcome;
        println!("  {what}\n    {sign}{said}");
        broken += usize::from(outcome.is_err());
    }
    if broken > 0 {
        return Err(format!("{broken} of {} ways for a disk to fail or to fill", rows.len()));
    }
    println!("\nOK: {} power cuts on {}, nothing lost", tally.cuts(), args.fs.name());
    Ok(())
}

fn program(args: &Args) -> Result<PathBuf, String> {
    let beside = || {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        Ok::<PathBuf, String>(own.with_file_name("plimsoll"))
    };
    let program = args.program.clone().map_or_else(beside, Ok)?;
    if program.exists() { Ok(program) } else { Err(format!("{}: build it", program.display())) }
}

fn control(
    campaign: &mut Campaign<'_>,
    what: &str,
    program: &Path,
    temper: Temper,
) -> Result<(), String> {
    let caught = campaign.control(program, temper, 1);
    if campaign.interruption.has_come() {
        return Err("interrupted before the first cut".to_owned());
    }
    let Some(failure) = caught else {
        return Err(format!("{what} was not noticed: this campaign proves nothing"));
    };
    let first = failure.first_line();
    if !failure.is_loss() {
        return Err(format!("{what} failed otherwise than by a loss: {first}"));
    }
    println!("control, {what}: caught at cut {}: {first}", failure.cut);
    Ok(())
}

fn report(failure: &Failure, keep: &Path) -> String {
    let kept = match failure.keep(keep) {
        Ok(folder) => format!("images and log: {}", folder.display()),
        Err(sentence) => format!("images and log are lost: {sentence}"),
    };
    let Failure { seed, cut, reason, .. } = failure;
    format!("seed {seed}, cut {cut} of its voyage: {reason}\n{kept}\nagain: --seed {seed}")
}
