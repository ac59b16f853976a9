//! The command line.

use std::time::Duration;

use clap::Parser;
use plimsoll_wire::{AckLevel, Durability, Visible};

use crate::run::{Limit, Mode, Verify, Workload};
use crate::shipped::{Commit, Consumers};
use crate::source::Source;

const EXAMPLES: &str = "\
Examples:
  plimsoll-load                        a sensible workload against the server on this machine
  plimsoll-load produce --topic t --partitions 1 --record-bytes 1000 --batch-records 1000
  plimsoll-load end-to-end --rate 10000 --batch-records 1 --durability page-cache --json
  plimsoll-load produce --verify --kill-server-pid 4711 --restart-command './start-server &'
                                       kill the server in mid-load, and count what is missing";

/// Loads a Plimsoll server and measures it. At a fixed --rate it is an open loop: latency counts
/// from when a batch was due. Without --rate it sends as fast as the window allows.
#[derive(Debug, Parser)]
#[command(name = "plimsoll-load", version, after_help = EXAMPLES)]
pub struct Args {
    /// What to do; consume begins at the beginning of the topic.
    #[arg(value_enum, default_value = "produce")]
    pub mode: Mode,
    /// The server, HOST:PORT.
    #[arg(long, env = "PLIMSOLL_SERVER", default_value = "127.0.0.1:7420")]
    pub server: String,
    /// The topic; created if it is not there.
    #[arg(long, default_value = "load")]
    pub topic: String,
    /// Partitions of a topic that is created.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub partitions: u32,
    /// Connections (end-to-end: that many that produce, and that many that consume).
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// The size of a value.
    #[arg(long, default_value_t = 200)]
    pub record_bytes: usize,
    /// Records in a batch.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_records: u32,
    /// Batches of a connection that are sent and not acked.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: u32,
    /// The level of the acks: none, memory, page-cache or disk.
    #[arg(long, default_value = "disk")]
    pub durability: Durability,
    /// Up to which level a consumer sees: memory, page-cache or disk. Left out: the level of the
    /// acks in end-to-end, else disk.
    #[arg(long)]
    pub visible: Option<Visible>,
    /// Consume through the shipped client, a thread for each of --connections.
    #[arg(long)]
    pub shipped_client: bool,
    /// Consume through the shipped client, as members of this group. It goes on where it has
    /// committed: name a new one to begin at the beginning.
    #[arg(long, value_name = "G")]
    pub group: Option<String>,
    /// When members commit.
    #[arg(long, requires = "group", default_value = "manual")]
    pub commit: Commit,
    /// Records a second over all connections. Left out: flat out.
    #[arg(long, value_parser = above_zero)]
    pub rate: Option<f64>,
    /// How long to measure; 10 s unless --records is given. A consuming run that has read all that
    /// is there goes on with what comes.
    #[arg(long, value_parser = above_zero, conflicts_with = "records")]
    pub seconds: Option<f64>,
    /// How many records to send or read. A consuming run waits for them if there are fewer.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: Option<u64>,
    /// How long to run before measuring.
    #[arg(long, default_value_t = 0.0, value_parser = not_negative)]
    pub warmup_seconds: f64,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
    /// Keep what was acked, read everything back at the end, and compare.
    #[arg(long)]
    pub verify: bool,
    /// Kill this process with SIGKILL in mid-load, wait until the server is back, and compare.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(2..))]
    pub kill_server_pid: Option<i32>,
    /// When to kill it. Left out: at a random moment of the run.
    #[arg(long, value_parser = not_negative, requires = "kill_server_pid")]
    pub kill_after_seconds: Option<f64>,
    /// What restarts the server, run through sh after the kill. Left out: somebody else does.
    #[arg(long, value_name = "COMMAND", requires = "kill_server_pid")]
    pub restart_command: Option<String>,
}

impl Args {
    /// The workload that is asked for; `run` is the number of a verified run.
    #[must_use]
    pub fn workload(&self, run: u64) -> Workload {
        let limit = match (self.records, self.seconds) {
            (Some(records), _) => Limit::Records(records),
            (None, seconds) => Limit::After(Duration::from_secs_f64(seconds.unwrap_or(10.0))),
        };
        let of_acks = match self.mode {
            Mode::EndToEnd => self.durability.ack_level().map(AckLevel::visible),
            Mode::Produce | Mode::Consume => None,
        };
        let verifies = self.verify || self.kill_server_pid.is_some();
        Workload {
            server: self.server.clone(),
            topic: self.topic.clone(),
            partitions: self.partitions,
            connections: self.connections,
            record_bytes: self.record_bytes,
            batch_records: self.batch_records,
            in_flight: self.in_flight,
            durability: self.durability,
            visible: self.visible.or(of_acks).unwrap_or(Visible::Disk),
            consumers: match &self.group {
                Some(name) => Consumers::Group { name: name.clone(), commit: self.commit },
                None if self.shipped_client => Consumers::Plain,
                None => Consumers::Raw,
            },
            rate: self.rate,
            limit,
            warmup: Duration::from_secs_f64(self.warmup_seconds),
            verify: verifies.then(|| Verify { run, source: Source::generated(self.record_bytes) }),
        }
    }

    /// Why the flags do not go together, if they do not.
    #[must_use]
    pub fn conflict(&self) -> Option<&'static str> {
        let verifies = self.verify || self.kill_server_pid.is_some();
        if verifies && self.mode == Mode::Consume {
            return Some("a consuming run has nothing to verify: use produce or end-to-end");
        }
        if verifies && self.durability == Durability::None {
            return Some("without acks there is nothing to verify: use another --durability");
        }
        if self.mode == Mode::Produce && (self.group.is_some() || self.shipped_client) {
            return Some("a producing run has no consumers: use consume or end-to-end");
        }
        if self.mode == Mode::EndToEnd && self.durability == Durability::None {
            return Some("end-to-end measures from the ack on: use another --durability");
        }
        if self.kill_server_pid.is_some()
            && self.records.is_some()
            && self.kill_after_seconds.is_none()
        {
            return Some("with --records say when to kill: --kill-after-seconds");
        }
        None
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    match not_negative(text)? {
        0.0 => Err("must be above zero".to_owned()),
        number => Ok(number),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    let is_sensible = number.is_finite() && (0.0..=1e12).contains(&number);
    if is_sensible { Ok(number) } else { Err("must be between 0 and 10^12".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Args {
        Args::try_parse_from(std::iter::once(&"plimsoll-load").chain(words)).unwrap()
    }

    #[test]
    fn without_flags_there_is_a_sensible_workload() {
        let args = parsed(&[]);
        assert_eq!(args.mode, Mode::Produce);
        assert_eq!(args.workload(0).limit, Limit::After(Duration::from_secs(10)));
        assert!(args.conflict().is_none());
    }

    #[test]
    fn end_to_end_sees_up_to_the_level_of_the_acks() {
        let args = parsed(&["end-to-end", "--durability", "page-cache"]);
        assert_eq!(args.workload(0).visible, Visible::PageCache);
        assert_eq!(parsed(&["consume"]).workload(0).visible, Visible::Disk);
    }

    #[test]
    fn wishes_that_do_not_go_together_are_refused() {
        assert!(parsed(&["consume", "--verify"]).conflict().is_some());
        assert!(parsed(&["--verify", "--durability", "none"]).conflict().is_some());
        let words = ["plimsoll-load", "--seconds", "1", "--records", "1"];
        assert!(Args::try_parse_from(words).is_err());
        assert!(Args::try_parse_from(["plimsoll-load", "--rate", "0"]).is_err());
    }

    #[test]
    fn a_kill_verifies() {
        assert!(parsed(&["--kill-server-pid", "4711"]).workload(0).verify.is_some());
    }
}
