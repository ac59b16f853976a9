//! What an operator may set, and what it is if nobody does.
//!
//! It checks form only; whether a size or a core can work is asked at the start (`serve.rs`). What
//! a newcomer gets wrong: sizes are for each shard, not for the server, and a journal that exists
//! keeps the size it was made with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Which cores the shards are pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreChoice {
    /// One shard for each core that the process may use.
    Auto,
    /// One shard for each of these cores.
    List(Vec<usize>),
}

/// Everything that a server is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the log lives.
    pub data_dir: PathBuf,
    /// Where clients connect; port 0 picks a free one.
    pub listen: SocketAddr,
    /// One shard a core.
    pub cores: CoreChoice,
    /// A tmpfs, where each shard has its arena.
    pub arena_dir: PathBuf,
    /// Bytes of each shard's arena.
    pub arena_bytes: usize,
    /// Bytes of each journal. A smaller one that exists grows to it; a larger one keeps its size.
    pub journal_bytes: u64,
    /// A producer that writes nothing to a partition for this long is forgotten there.
    pub producer_expiry: Duration,
    /// Files of deleted segments that each shard keeps for new ones, at most.
    pub recycled_segments_max: usize,
}

impl Config {
    /// The default port, on loopback.
    pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7420);
    /// Bytes of each shard's arena.
    pub const ARENA_BYTES: usize = 128 << 20;
    /// Bytes of each shard's journal.
    pub const JOURNAL_BYTES: u64 = 256 << 20;
    /// Milliseconds for which a resting producer is remembered: seven days.
    pub const PRODUCER_EXPIRY_MS: u64 = 7 * 24 * 3600 * 1000;
    /// Files of deleted segments that each shard keeps.
    pub const RECYCLED_SEGMENTS_MAX: usize = plimsoll_storage::RECYCLED_SEGMENTS;
    /// Where arenas live.
    pub const ARENA_DIR: &'static str = "/dev/shm";

    /// A configuration with defaults for everything but the data directory.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            listen: Self::LISTEN,
            cores: CoreChoice::Auto,
            arena_dir: PathBuf::from(Self::ARENA_DIR),
            arena_bytes: Self::ARENA_BYTES,
            journal_bytes: Self::JOURNAL_BYTES,
            producer_expiry: Duration::from_millis(Self::PRODUCER_EXPIRY_MS),
            recycled_segments_max: Self::RECYCLED_SEGMENTS_MAX,
        }
    }

    /// Takes what the text of a configuration file sets; its keys are the names of the flags.
    pub fn apply_toml(&mut self, text: &str) -> Result<(), ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError(error.to_string()))?;
        let File { data_dir, listen, cores, arena_dir, .. } = file;
        let File { arena_bytes, journal_bytes, producer_expiry_ms, .. } = file;
        self.recycled_segments_max =
            file.recycled_segments_max.unwrap_or(self.recycled_segments_max);
        self.data_dir = data_dir.unwrap_or(std::mem::take(&mut self.data_dir));
        if let Some(listen) = listen {
            let text = format!("listen is HOST:PORT, \"127.0.0.1:7420\" say, not \"{listen}\"");
            let found = listen.to_socket_addrs().ok().and_then(|mut found| found.next());
            self.listen = found.ok_or(ConfigError(text))?;
        }
        if let Some(cores) = cores {
            self.cores = match cores {
                FileCores::List(list) => CoreChoice::List(list),
                FileCores::Word(word) if word == "auto" => CoreChoice::Auto,
                FileCores::Word(word) => {
                    let text = format!("cores is \"auto\" or a list of numbers, not \"{word}\"");
                    return Err(ConfigError(text));
                }
            };
        }
        self.arena_dir = arena_dir.unwrap_or(std::mem::take(&mut self.arena_dir));
        if let Some(Bytes::Number(arena_bytes)) = arena_bytes {
            let text = format!("arena-bytes = {arena_bytes} is too much");
            self.arena_bytes = usize::try_from(arena_bytes).map_err(|_| ConfigError(text))?;
        }
        if let Some(Bytes::Number(journal_bytes)) = journal_bytes {
            self.journal_bytes = journal_bytes;
        }
        if let Some(producer_expiry_ms) = producer_expiry_ms {
            self.producer_expiry = Duration::from_millis(producer_expiry_ms);
        }
        Ok(())
    }
}

/// A configuration that does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for ConfigError {}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    listen: Option<String>,
    cores: Option<FileCores>,
    arena_dir: Option<PathBuf>,
    arena_bytes: Option<Bytes>,
    journal_bytes: Option<Bytes>,
    producer_expiry_ms: Option<u64>,
    recycled_segments_max: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a size is a number of bytes, 67108864 say, without a unit")]
enum Bytes {
    Number(u64),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "cores is \"auto\" or a list of numbers")]
enum FileCores {
    Word(String),
    List(Vec<usize>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_sets_what_it_names_and_leaves_the_rest() {
        let mut config = Config::new(PathBuf::from("/data"));
        config.apply_toml("cores = [0, 2]\narena-bytes = 67108864\n").unwrap();
        assert_eq!(config.cores, CoreChoice::List(vec![0, 2]));
        assert_eq!(config.arena_bytes, 64 << 20);
        assert_eq!(config.listen, Config::LISTEN);
        assert_eq!(config.producer_expiry, Duration::from_secs(7 * 86_400));
        config.apply_toml("cores = \"auto\"\nproducer-expiry-ms = 1500\n").unwrap();
        assert_eq!(config.recycled_segments_max, Config::RECYCLED_SEGMENTS_MAX);
        config.apply_toml("recycled-segments-max = 0\n").unwrap();
        assert_eq!(config.recycled_segments_max, 0);
        assert_eq!(config.producer_expiry, Duration::from_millis(1500));
        assert_eq!(config.cores, CoreChoice::Auto);
    }

    #[test]
    fn a_key_that_nobody_knows_and_a_wrong_value_are_named() {
        let mut config = Config::new(PathBuf::from("/data"));
        let unknown = config.apply_toml("arena-byte = 1").unwrap_err().to_string();
        assert!(unknown.contains("arena-byte"), "{unknown}");
        let wrong = config.apply_toml("cores = \"all\"").unwrap_err().to_string();
        assert!(wrong.contains("all"), "{wrong}");
        let wrong = config.apply_toml("arena-bytes = \"64MiB\"").unwrap_err().to_string();
        assert!(wrong.contains("a size is a number of bytes"), "{wrong}");
        let wrong = config.apply_toml("listen = \"7420\"").unwrap_err().to_string();
        assert!(wrong.contains("HOST:PORT"), "{wrong}");
        config.apply_toml("listen = \"localhost:7421\"").unwrap();
        assert_eq!(config.listen.port(), 7421);
    }
}
