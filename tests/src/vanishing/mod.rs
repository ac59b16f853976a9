//! Topics whose records go while everything is killed: one that is compacted by key, one that keeps
//! so many bytes, so that files of deleted segments become new ones.
//!
//! Campaigns have it beside their other topics ([`Vanishing`]). At the end it says whether records
//! really went and files were really used again: a campaign in which they did not proves nothing.
//! What a newcomer gets wrong: what is gone for a reason never comes back, whatever dies.

mod keyed;
mod keyed_ledger;

pub use keyed::{keyed_batch_of, records_of_batch};

use std::fs;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{CleanupPolicy, NewTopic, TopicCleanup, TopicRetention};
use plimsoll_wire::{AckLevel, ErrorCode, ShardIndex};

use self::keyed::{keyed_records, numbered_records, read_all};
use self::keyed_ledger::KeyedLedger;
use crate::{Connection, Contents, Ledger, Producing, Random, Server, Told};

const COMPACTED: &str = "compacted";
const RETAINED: &str = "retained";
const COMPACTED_PARTITIONS: u32 = 2;
const SEGMENT_BYTES: u64 = 1 << 20;
/// Enough for a segment or two in each life, and little enough to be compacted meanwhile.
const KEYED_BATCHES_MAX: u64 = 150;
/// Enough for some segments, of which most go in the same life.
const SIZED_BATCHES_MAX: u64 = 600;

/// How long a deletion is seen at least. A life is compared long before that, or it is not held
/// against the server that a deletion which it never answered is gone.
const TOMBSTONE_RETENTION: Duration = Duration::from_secs(4);

/// The two topics, and everything that anyone was told of them.
#[derive(Debug)]
pub struct Vanishing {
    compacted: Vec<KeyedLedger>,
    retained: Ledger,
    /// Where the topic with a size began, when that was looked at last.
    start: u64,
    is_promised: bool,
    /// Since when nothing was sent.
    since: Instant,
    tally: VanishingTally,
}

/// What went.
#[derive(Clone, Copy, Debug, Default)]
pub struct VanishingTally {
    /// Records with keys that were there once.
    pub keyed: u64,
    /// Those of them that compaction took, and the deletions among them.
    pub compacted: u64,
    /// Deletions among these.
    pub deletions: u64,
    /// Segments in a later generation that were seen in the data directory, at most at once.
    pub generations_max: u64,
    /// Records that went from the front of the other topic.
    pub retired: u64,
    /// Files that became new segments, in those lives that were asked.
    pub reused: u64,
}

/// Those who write to the topics until the server is gone.
#[derive(Debug)]
pub struct VanishingLoad {
    compacted: JoinHandle<Told>,
    retained: JoinHandle<Told>,
}

impl Vanishing {
    /// Not there yet.
    #[must_use]
    pub fn new() -> Vanishing {
        Vanishing {
            compacted: vec![KeyedLedger::default(); COMPACTED_PARTITIONS as usize],
            retained: Ledger::new(1),
            start: 0,
            is_promised: false,
            since: Instant::now(),
            tally: VanishingTally::default(),
        }
    }

    /// Another data directory: nothing is there, and what was counted stays so.
    #[must_use]
    pub fn anew(&self) -> Vanishing {
        Vanishing { tally: self.tally(), ..Vanishing::new() }
    }

    /// Makes the topics, or sees that they are there.
    ///
    /// # Panics
    ///
    /// If one that was made is gone.
    pub fn ensure(&mut self, server: &Server) {
        let client = server.client();
        let compacted = NewTopic {
            name: COMPACTED,
            partitions: COMPACTED_PARTITIONS,
            segment_bytes: SEGMENT_BYTES,
            cleanup: TopicCleanup {
                policy: CleanupPolicy::Compact,
                compaction_lag_ms: 0,
                tombstone_retention_ms: TOMBSTONE_RETENTION.as_millis() as u64,
            },
            ..NewTopic::default()
        };
        let retained = NewTopic {
            name: RETAINED,
            partitions: 1,
            segment_bytes: SEGMENT_BYTES,
            retention: TopicRetention { age_ms: 0, bytes: SEGMENT_BYTES },
            ..NewTopic::default()
        };
        for topic in [&compacted, &retained] {
            if client.topic(topic.name).is_ok() {
                continue;
            }
            assert!(!self.is_promised, "topic {} was created, and is gone", topic.name);
            client.create_topic(topic).unwrap_or_else(|error| panic!("{}: {error}", topic.name));
        }
        self.is_promised = true;
    }

    /// Begins to write to them. No other producer has numbers of the same upper half.
    #[must_use]
    pub fn begin(&self, server: &Server, first_id: u64, random: &mut Random) -> VanishingLoad {
        let shards = server.shards() as u64;
        let compacted = Producing {
            address: server.address().to_owned(),
            topic: COMPACTED,
            partitions: COMPACTED_PARTITIONS,
            shard: ShardIndex(random.below(0..shards) as u16),
            first_id,
            levels: &AckLevel::ALL,
            contents: Contents::Keyed,
            batches_max: KEYED_BATCHES_MAX,
            pause_us_max: 0,
            random: Random::new(random.number()),
        };
        let retained = Producing {
            topic: RETAINED,
            partitions: 1,
            first_id: first_id | 1 << 31,
            contents: Contents::Numbered,
            batches_max: SIZED_BATCHES_MAX,
            pause_us_max: 0,
            random: Random::new(random.number()),
            ..compacted.clone()
        };
        VanishingLoad { compacted: compacted.begin(), retained: retained.begin() }
    }

    /// While the server still lives: whether it uses files again.
    pub fn ask(&mut self, server: &Server) {
        self.tally.reused += server.counter("reused_segments");
    }

    /// Looks for compacted segments in a data directory.
    pub fn look(&mut self, data_dir: &Path) {
        let generations = generations_below(&data_dir.join("topics"));
        self.tally.generations_max = self.tally.generations_max.max(generations);
    }

    /// The server is gone: writes down what it said; how many records it acked at disk.
    /// `is_stopped`: it had the time to flush all.
    ///
    /// # Panics
    ///
    /// If it said what must not be.
    pub fn note(&mut self, load: VanishingLoad, is_stopped: bool) -> u64 {
        self.since = Instant::now();
        let mut at_disk = 0;
        for (thread, is_keyed) in [(load.compacted, true), (load.retained, false)] {
            let told = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let allowed = [ErrorCode::DiskFailed, ErrorCode::ShuttingDown];
            let odd = told.refused.iter().find(|code| !allowed.contains(code));
            assert!(odd.is_none(), "a sound batch was refused: {odd:?}");
            for mut ack in told.acks {
                at_disk += if ack.level == AckLevel::Disk { u64::from(ack.records) } else { 0 };
                ack.level = if is_stopped { AckLevel::Disk } else { ack.level };
                match is_keyed {
                    true => self.compacted[ack.partition as usize].acked(&ack),
                    false => self.retained.acked(&ack),
                }
            }
            for (partition, first_id, records) in told.unknown {
                if is_keyed {
                    self.compacted[partition as usize].open(first_id, records);
                }
            }
        }
        at_disk
    }

    /// The server has died and lives again: everything that is there, against what was promised at
    /// the level that its death leaves. To be asked soon after the start.
    ///
    /// # Panics
    ///
    /// If a promise is broken.
    pub fn compare(&mut self, server: &Server, survived: AckLevel) {
        let mut connection = Connection::open(server.address());
        for (partition, ledger) in (0..).zip(&mut self.compacted) {
            let found = read_all(&mut connection, COMPACTED, partition, keyed_records);
            let took_long = self.since.elapsed() >= TOMBSTONE_RETENTION;
            ledger.check_after_restart(survived, &found.records, took_long);
        }
        let mut connection = Connection::open(server.address());
        let found = read_all(&mut connection, RETAINED, 0, numbered_records);
        let start = found.ends.start.value();
        assert!(start >= self.start, "a start went back from {} to {start}", self.start);
        self.retained.check_after_restart(0, start, survived, &found.records);
        self.retained.check_watermarks_after_restart(0, &found.ends);
        self.start = start;
    }

    /// What went so far.
    #[must_use]
    pub fn tally(&self) -> VanishingTally {
        let mut tally = self.tally;
        for ledger in &self.compacted {
            let (keyed, compacted, deletions) = ledger.counts();
            tally.keyed += keyed as u64;
            tally.compacted += compacted as u64;
            tally.deletions += deletions as u64;
        }
        tally.retired += self.start;
        tally
    }
}

impl Default for Vanishing {
    fn default() -> Vanishing {
        Vanishing::new()
    }
}

impl VanishingTally {
    /// Did what it is about happen? Otherwise, in words, what did not.
    ///
    /// # Errors
    ///
    /// Something never happened.
    pub fn proved(&self) -> Result<(), String> {
        let rows = [
            (self.compacted, "no record was compacted away"),
            (self.generations_max, "no compacted segment was seen on the disk"),
            (self.retired, "no record went from the front"),
            (self.reused, "no file of a deleted segment became a new one"),
        ];
        match rows.iter().find(|(count, _)| *count == 0) {
            Some((_, words)) => Err(format!("{words}: this campaign proves less than it should")),
            None => Ok(()),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: VanishingTally) -> VanishingTally {
        VanishingTally {
            keyed: self.keyed + other.keyed,
            compacted: self.compacted + other.compacted,
            deletions: self.deletions + other.deletions,
            generations_max: self.generations_max.max(other.generations_max),
            retired: self.retired + other.retired,
            reused: self.reused + other.reused,
        }
    }

    /// Names and values for a table.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, String); 3] {
        [
            ("records with keys / compacted away / deletions", {
                format!("{} / {} / {}", self.keyed, self.compacted, self.deletions)
            }),
            ("compacted segments on disk at once, at most", self.generations_max.to_string()),
            ("offsets that went by size / files used again", {
                format!("{} / {}", self.retired, self.reused)
            }),
        ]
    }
}

/// Files of segments in a later generation: their names have a hyphen.
fn generations_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let counts = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => generations_below(&entry.path()),
        _ => {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            u64::from(name.ends_with(".segment") && name.contains('-'))
        }
    });
    counts.sum()
}
