//! `plimsoll serve`: a file and flags become a `plimsoll_server::Config`, and that runs.
//!
//! Every flag has a key of its name in the file (`data-dir` for `--data-dir`), and a flag wins over
//! its key. Nothing else is decided here.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll_server::{Config, CoreChoice};

use crate::failure::Failure;
use crate::size::parse_size;

/// Run a server until SIGTERM or SIGINT.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Prints one line when it is ready: plimsoll ready listen=HOST:PORT shards=N pid=P recovered_ms=M

Example:
  plimsoll serve --data-dir /var/lib/plimsoll --listen 127.0.0.1:7420
  plimsoll serve --config /etc/plimsoll.toml

Example of a configuration, each key as its flag, sizes in bytes:
  data-dir = \"/var/lib/plimsoll\"
  listen = \"127.0.0.1:7420\"
  cores = [0, 2, 3]
  arena-bytes = 268435456")]
pub(crate) struct Args {
    /// Where the data lies; created if it is not there.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen; port 0 picks a free one.
    #[arg(long, value_name = "HOST:PORT")]
    #[arg(help = default("Where to listen; port 0 picks a free one", Config::LISTEN))]
    listen: Option<String>,
    /// The cores, a shard on each: auto, or a list such as 0,2-3 [default: auto].
    #[arg(long, value_name = "auto|LIST")]
    cores: Option<String>,
    /// A directory in tmpfs for the append memory.
    #[arg(long, value_name = "DIR")]
    #[arg(help = default("A directory in tmpfs for the append memory", Config::ARENA_DIR))]
    arena_dir: Option<PathBuf>,
    /// Append memory of each shard.
    #[arg(long, value_name = "N", value_parser = parse_size)]
    #[arg(help = default("Append memory of each shard, 256MiB say", Config::ARENA_BYTES))]
    arena_bytes: Option<u64>,
    /// The journal of each shard.
    #[arg(long, value_name = "N", value_parser = parse_size)]
    #[arg(help = default("The journal of each shard that has none yet", Config::JOURNAL_BYTES))]
    journal_bytes: Option<u64>,
    /// How long a producer that writes nothing is remembered, in milliseconds.
    #[arg(long, value_name = "N")]
    #[arg(help = default("Milliseconds for which a producer that writes nothing is remembered",
        Config::PRODUCER_EXPIRY_MS))]
    producer_expiry_ms: Option<u64>,
    /// How many files of deleted segments each shard keeps for new ones.
    #[arg(long, value_name = "N")]
    #[arg(help = default("Files of deleted segments that each shard keeps for new ones",
        Config::RECYCLED_SEGMENTS_MAX))]
    recycled_segments_max: Option<usize>,
    /// A file with a key for each flag; flags win.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

fn default(help: &str, value: impl std::fmt::Display) -> String {
    format!("{help} [default: {value}]")
}

/// Serves until the server is stopped.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let file = args.config.as_deref().map(read_config).transpose()?;
    let config = config(args, file.as_deref())?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    plimsoll_server::run(&config).map_err(|error| Failure::Usage(error.to_string()))
}

fn read_config(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!("cannot read {}: {error}; see --config", path.display()))
    })
}

fn config(args: &Args, file: Option<&str>) -> Result<Config, Failure> {
    let mut config = Config::new(PathBuf::new());
    if let Some(text) = file {
        config.apply_toml(text).map_err(|error| {
            let file = args.config.as_deref().unwrap_or(Path::new("")).display();
            let reason = one_line(&error.to_string());
            Failure::Usage(format!("--config {file}: {reason}; see serve --help"))
        })?;
    }
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if config.data_dir.as_os_str().is_empty() {
        let sentence = "where the data lies is not said: use --data-dir DIR, or data-dir in the \
                        file of --config";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    if let Some(listen) = &args.listen {
        config.listen = parse_listen(listen).map_err(Failure::Usage)?;
    }
    if let Some(cores) = &args.cores {
        config.cores = parse_cores(cores).map_err(Failure::Usage)?;
    }
    if let Some(arena_dir) = &args.arena_dir {
        config.arena_dir.clone_from(arena_dir);
    }
    if let Some(arena_bytes) = args.arena_bytes {
        config.arena_bytes = usize::try_from(arena_bytes)
            .map_err(|_| Failure::Usage(format!("--arena-bytes {arena_bytes} is too much")))?;
    }
    config.journal_bytes = args.journal_bytes.unwrap_or(config.journal_bytes);
    if let Some(producer_expiry_ms) = args.producer_expiry_ms {
        config.producer_expiry = Duration::from_millis(producer_expiry_ms);
    }
    config.recycled_segments_max =
        args.recycled_segments_max.unwrap_or(config.recycled_segments_max);
    Ok(config)
}

/// A parser's report of many lines, its place and its reason, without the drawing between.
fn one_line(report: &str) -> String {
    let mut lines = report.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(place), Some(reason)) => format!("{place}: {reason}"),
        (place, _) => place.unwrap_or_default().to_owned(),
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let remedy = "write HOST:PORT, 127.0.0.1:7420 say";
    let mut addresses =
        text.to_socket_addrs().map_err(|error| format!("--listen {text}: {error}; {remedy}"))?;
    addresses.next().ok_or_else(|| format!("--listen {text}: no such address; {remedy}"))
}

/// `auto`, or numbers and ranges of numbers, each core once.
fn parse_cores(text: &str) -> Result<CoreChoice, String> {
    if text == "auto" {
        return Ok(CoreChoice::Auto);
    }
    let wrong = || format!("--cores {text}: write auto, or a list such as 0,2-3");
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        if first > last || last >= CORES_MAX {
            return Err(wrong());
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    let named = cores.len();
    cores.dedup();
    if cores.len() < named {
        return Err(format!("--cores {text}: a core is named twice; a core has one shard"));
    }
    Ok(CoreChoice::List(cores))
}

/// More than any machine has.
const CORES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args { data_dir: Some("/data".into()), ..Args::default() }
    }

    #[test]
    fn without_more_than_a_directory_there_are_the_servers_defaults() {
        assert_eq!(config(&args(), None).unwrap(), Config::new("/data".into()));
    }

    #[test]
    fn a_flag_wins_over_its_key() {
        let file = "data-dir = \"/other\"\nlisten = \"127.0.0.1:1\"\njournal-bytes = 4096";
        let args = Args { listen: Some("127.0.0.1:2".to_owned()), ..args() };
        let config = config(&args, Some(file)).unwrap();
        assert_eq!((config.listen.port(), config.journal_bytes), (2, 4096));
        assert_eq!(config.data_dir, Path::new("/data"));
    }

    #[test]
    fn an_unknown_key_is_refused_in_one_line_that_names_its_place() {
        let failure = config(&args(), Some("\narena = 3\n")).unwrap_err().to_string();
        assert!(failure.contains("line 2") && failure.contains("arena"), "{failure}");
        assert_eq!(failure.lines().count(), 1);
    }

    #[test]
    fn no_directory_is_wrong_use() {
        let failure = config(&Args::default(), None).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)));
    }

    #[test]
    fn cores_are_a_list_with_ranges_and_none_twice() {
        assert_eq!(parse_cores("3,0-1"), Ok(CoreChoice::List(vec![0, 1, 3])));
        assert_eq!(parse_cores("auto"), Ok(CoreChoice::Auto));
        for text in ["", "a", "3-1", "0,0", "1,0-2", "99999999999"] {
            assert!(parse_cores(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_listening_address_without_port_is_refused_with_a_remedy() {
        assert!(parse_listen("127.0.0.1").unwrap_err().contains("HOST:PORT"));
        assert_eq!(parse_listen("127.0.0.1:0").unwrap().port(), 0);
    }
}
