//! `plimsoll doctor`: what this host allows, and a remedy for each problem.
//!
//! The probes are those that the server makes at its start (`plimsoll_ring::host`); none of them
//! changes anything that outlives it. Exit code 1: something would stop the server, or lose its
//! data.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use plimsoll_ring::available_cores;
use plimsoll_ring::host::{self, Finding, Verdict};
use plimsoll_server::Config;

use crate::failure::Failure;
use crate::size::parse_size;

/// Find out whether this host is fit for a server.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each line is fine, WARN or FAIL; exit code 1 if something would stop the server, or
lose its data.

Example:
  plimsoll doctor --data-dir /var/lib/plimsoll")]
pub(crate) struct Args {
    /// Where the data is to lie. Left out: nothing is said about disks.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the arenas are to lie.
    #[arg(long, value_name = "DIR", default_value = Config::ARENA_DIR)]
    arena_dir: PathBuf,
    /// Append memory of each shard, 256MiB say.
    #[arg(long, value_name = "N", value_parser = parse_size)]
    #[arg(default_value_t = Config::ARENA_BYTES as u64)]
    arena_bytes: u64,
}

/// Rounds of the flush probe: enough for a steady median.
const FLUSH_ROUNDS: usize = 100;

/// Probes.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut examination = Examination::default();
    examination.look(&host::kernel_release());
    examination.look(&host::io_uring());
    examination.look(&host::container());
    let shards = available_cores().map_or(1, |cores| cores.shards_max());
    examination.say(Verdict::Fine, &format!("{shards} shards with --cores auto"), None);
    let arenas_bytes = args.arena_bytes.saturating_mul(shards as u64);
    examination.look(&host::memory_lock(arenas_bytes));
    let arena_dir = &args.arena_dir;
    examination.look_or_fail(arena_dir, host::arena_room(arena_dir, arenas_bytes));
    if let Some(data_dir) = &args.data_dir {
        examination.look_at_disk(&existing(data_dir));
    }
    examination.finish()
}

#[derive(Debug, Default)]
struct Examination {
    text: String,
    failures: usize,
}

impl Examination {
    fn look(&mut self, finding: &impl Finding) {
        self.say(finding.verdict(), &finding.to_string(), finding.remedy());
    }

    fn look_or_fail(&mut self, place: &Path, finding: std::io::Result<impl Finding>) {
        match finding {
            Ok(finding) => self.look(&finding),
            Err(error) => {
                let shown = place.display();
                let remedy = match error.kind() {
                    ErrorKind::NotFound => format!("Make the directory {shown}, or name another."),
                    _ => format!("Make {shown} readable and writable for this user."),
                };
                self.say(Verdict::Failure, &format!("{}: {error}", place.display()), Some(remedy));
            }
        }
    }

    fn look_at_disk(&mut self, data_dir: &Path) {
        self.look_or_fail(data_dir, host::file_system(data_dir));
        let direct_io = host::direct_io(data_dir);
        self.look(&direct_io);
        self.look_or_fail(data_dir, host::write_cache(data_dir));
        if direct_io.verdict() != Verdict::Failure {
            self.look_or_fail(data_dir, host::probe_flush(data_dir, FLUSH_ROUNDS));
        }
    }

    fn say(&mut self, verdict: Verdict, found: &str, remedy: Option<String>) {
        let word = match verdict {
            Verdict::Fine => "fine",
            Verdict::Warning => "WARN",
            Verdict::Failure => "FAIL",
        };
        self.failures += usize::from(verdict == Verdict::Failure);
        self.text.push_str(&format!("{word}  {found}\n"));
        if let Some(remedy) = remedy {
            self.text.push_str(&format!("      {remedy}\n"));
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let written = std::io::stdout().write_all(self.text.as_bytes());
        written.map_err(|error| Failure::of_output(&error))?;
        match self.failures {
            0 => Ok(()),
            failures => Err(Failure::Failed(format!(
                "{failures} of the findings would stop the server, or lose its data; each has its \
                 remedy below it"
            ))),
        }
    }
}

/// The directory itself, or the nearest one above it that exists: where it would be created.
fn existing(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let found = absolute.ancestors().find(|ancestor| ancestor.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_to_be_created_is_judged_by_the_one_above_it() {
        let directory = tempfile::tempdir().unwrap();
        let wanted = directory.path().join("a/b/c");
        assert_eq!(existing(&wanted), directory.path());
    }

    #[test]
    fn what_would_stop_the_server_is_a_failure_with_its_remedy() {
        let mut examination = Examination::default();
        examination.look_at_disk(Path::new("/nonexistent"));
        assert!(examination.text.contains("FAIL"), "{}", examination.text);
        assert!(examination.finish().is_err());
        assert!(Examination::default().finish().is_ok());
    }
}
