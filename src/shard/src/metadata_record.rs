//! The records of the metadata topic.
//!
//! The metadata topic (id 0, one partition, on shard 0) is the log of what happened to topics: one
//! record batch with one record for each change, appended at `disk`. Now and then all topics are
//! written again, many to a batch, and what is before goes (`shard/metadata_shortening.rs`). A
//! record has no key; its value is, little-endian:
//!
//! | at | type | topic created (kind 1) or altered (kind 3) | topic deleted (kind 2) |
//! |---:|---|---|---|
//! | 0 | u8 | layout version: 1, 2 or 3 | layout version: 1 |
//! | 1 | u8 | kind | kind |
//! | 2 | u8 | default durability, 1 to 3 | 0 |
//! | 3 | u8 | cleanup, 1 to 3, in version 3; else 0 | 0 |
//! | 4 | u32 | topic id, from 1, one more each time | topic id |
//! | 8 | u32 | partitions; 0 in kind 3 | - |
//! | 12 | u32 | flush_interval_ms | - |
//! | 16 | u64 | segment_bytes | - |
//! | 24 | u32 | batch_bytes_max | - |
//! | 28 | u64 | retention_ms, 0 for ever; from version 2 on | - |
//! | 36 | u64 | retention_bytes, 0 for all; from version 2 on | - |
//! | 44 | u64 | compaction_lag_ms; from version 3 on | - |
//! | 52 | u64 | tombstone_retention_ms; from version 3 on | - |
//! | 28, 44 or 60 | | name, UTF-8, to the end; none in kind 3 | - |
//!
//! The least version is written that has what is needed, so that older builds read it. Kind 3 is of
//! version 2 at least, and has all settings of the topic from then on.
//!
//! What a newcomer gets wrong: the highest id in the log is what keeps an id from being given out
//! twice. What is written again begins with it, and where its topic is deleted, with a deletion of
//! a topic that nothing in the log creates.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use plimsoll_wire::{AckLevel, CleanupPolicy, TopicCleanup, TopicRetention};

use crate::catalog::Topic;
use crate::config::TopicSettings;

const VERSION: u8 = 1;
const VERSION_RETENTION: u8 = 2;
const VERSION_CLEANUP: u8 = 3;
const KIND_CREATED: u8 = 1;
const KIND_DELETED: u8 = 2;
const KIND_ALTERED: u8 = 3;

/// A change of the topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Created(Topic),
    Altered { id: u32, settings: TopicSettings },
    Deleted { id: u32 },
}

/// A record of the metadata topic that this build cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnreadableChange {
    /// It was written by a newer build.
    Version(u8),
    Kind(u8),
    Malformed,
}

impl fmt::Display for UnreadableChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "layout version {version}, this build knows 1 to 3")
            }
            Self::Kind(kind) => write!(f, "unknown kind {kind}"),
            Self::Malformed => f.write_str("fields are missing or out of bounds"),
        }
    }
}

impl Change {
    /// The topic that it is about.
    pub(crate) fn topic(&self) -> u32 {
        match self {
            Self::Created(topic) => topic.id,
            Self::Altered { id, .. } | Self::Deleted { id } => *id,
        }
    }

    /// Makes the change to topics, by id. Made twice it is the same.
    pub(crate) fn apply_to(self, topics: &mut BTreeMap<u32, Arc<Topic>>) {
        match self {
            Self::Created(topic) => {
                topics.insert(topic.id, Arc::new(topic));
            }
            Self::Altered { id, settings } => {
                if let Some(topic) = topics.get_mut(&id) {
                    Arc::make_mut(topic).settings = settings;
                }
            }
            Self::Deleted { id } => {
                topics.remove(&id);
            }
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Created(topic) => {
                let version = match topic.settings.retention {
                    TopicRetention::UNLIMITED => VERSION,
                    _ => VERSION_RETENTION,
                };
                let version = version.max(least_version(&topic.settings));
                let whose = (topic.id, topic.partitions);
                put_settings((version, KIND_CREATED), whose, &topic.settings, &mut out);
                out.extend_from_slice(topic.name.as_bytes());
            }
            Self::Altered { id, settings } => {
                let version = VERSION_RETENTION.max(least_version(settings));
                put_settings((version, KIND_ALTERED), (*id, 0), settings, &mut out);
            }
            Self::Deleted { id } => {
                out.extend_from_slice(&[VERSION, KIND_DELETED, 0, 0]);
                out.extend_from_slice(&id.to_le_bytes());
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, UnreadableChange> {
        let Some((&[version, kind, durability, cleanup], rest)) = bytes.split_first_chunk() else {
            return Err(UnreadableChange::Malformed);
        };
        let whose = (durability, cleanup);
        if !(VERSION..=VERSION_CLEANUP).contains(&version) {
            return Err(UnreadableChange::Version(version));
        }
        let change = match (version, kind) {
            (_, KIND_CREATED) => created(version, whose, rest).map(Self::Created),
            (VERSION, KIND_DELETED) => u32_at(rest, 0).map(|id| Self::Deleted { id }),
            (VERSION_RETENTION.., KIND_ALTERED) => u32_at(rest, 0).and_then(|id| {
                let (settings, name) = settings(version, whose, rest)?;
                name.is_empty().then_some(Self::Altered { id, settings })
            }),
            _ => return Err(UnreadableChange::Kind(kind)),
        };
        change.ok_or(UnreadableChange::Malformed)
    }
}

fn put_settings(
    (version, kind): (u8, u8),
    (id, partitions): (u32, u32),
    settings: &TopicSettings,
    out: &mut Vec<u8>,
) {
    let TopicCleanup { policy, compaction_lag_ms, tombstone_retention_ms } = settings.cleanup;
    let cleanup = if version >= VERSION_CLEANUP { policy as u8 } else { 0 };
    out.extend_from_slice(&[version, kind, settings.default_durability as u8, cleanup]);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&partitions.to_le_bytes());
    out.extend_from_slice(&settings.flush_interval_ms.to_le_bytes());
    out.extend_from_slice(&settings.segment_bytes.to_le_bytes());
    out.extend_from_slice(&settings.batch_bytes_max.to_le_bytes());
    if version >= VERSION_RETENTION {
        out.extend_from_slice(&settings.retention.age_ms.to_le_bytes());
        out.extend_from_slice(&settings.retention.bytes.to_le_bytes());
    }
    if version >= VERSION_CLEANUP {
        out.extend_from_slice(&compaction_lag_ms.to_le_bytes());
        out.extend_from_slice(&tombstone_retention_ms.to_le_bytes());
    }
}

/// The first version that can say how old records go.
fn least_version(settings: &TopicSettings) -> u8 {
    if settings.cleanup == TopicCleanup::DEFAULT { VERSION } else { VERSION_CLEANUP }
}

fn created(version: u8, whose: (u8, u8), rest: &[u8]) -> Option<Topic> {
    let (settings, name) = settings(version, whose, rest)?;
    Some(Topic {
        id: u32_at(rest, 0)?,
        partitions: u32_at(rest, 4)?,
        name: name_of(name)?,
        settings,
    })
}

/// The settings, and what comes behind them.
fn settings(
    version: u8,
    (durability, cleanup): (u8, u8),
    rest: &[u8],
) -> Option<(TopicSettings, &[u8])> {
    let default_durability = AckLevel::ALL.into_iter().find(|level| *level as u8 == durability)?;
    let (retention, name) = match version {
        VERSION => (TopicRetention::UNLIMITED, rest.get(24..)?),
        _ => {
            let retention = TopicRetention { age_ms: u64_at(rest, 24)?, bytes: u64_at(rest, 32)? };
            (retention, rest.get(40..)?)
        }
    };
    let (cleanup, name) = match version {
        VERSION_CLEANUP => {
            let policy = CleanupPolicy::from_byte(cleanup)?;
            let (compaction_lag_ms, tombstone_retention_ms) = (u64_at(name, 0)?, u64_at(name, 8)?);
            let cleanup = TopicCleanup { policy, compaction_lag_ms, tombstone_retention_ms };
            (cleanup, name.get(16..)?)
        }
        _ => (TopicCleanup::DEFAULT, name),
    };
    let settings = TopicSettings {
        default_durability,
        flush_interval_ms: u32_at(rest, 8)?,
        segment_bytes: u64_at(rest, 12)?,
        batch_bytes_max: u32_at(rest, 20)?,
        retention,
        cleanup,
    };
    Some((settings, name))
}

fn name_of(bytes: &[u8]) -> Option<String> {
    core::str::from_utf8(bytes).ok().map(ToString::to_string)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|field| u64::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic() -> Topic {
        Topic {
            id: 7,
            name: "orders".to_string(),
            partitions: 12,
            settings: TopicSettings::default(),
        }
    }

    #[test]
    fn a_change_is_read_back_as_it_was_written() {
        let retention = TopicRetention { age_ms: 1 << 40, bytes: 7 };
        let settings = TopicSettings { retention, ..TopicSettings::default() };
        let policy = CleanupPolicy::CompactDelete;
        let cleanup =
            TopicCleanup { policy, compaction_lag_ms: 1 << 33, tombstone_retention_ms: 0 };
        let compacted = TopicSettings { cleanup, ..settings };
        for change in [
            Change::Created(topic()),
            Change::Created(Topic { settings, ..topic() }),
            Change::Altered { id: 7, settings },
            Change::Created(Topic { settings: compacted, ..topic() }),
            Change::Altered { id: 7, settings: compacted },
            Change::Altered { id: 7, settings: TopicSettings::default() },
            Change::Deleted { id: 3 },
        ] {
            assert_eq!(Change::decode(&change.encode()), Ok(change));
        }
    }

    #[test]
    fn the_layout_is_the_one_of_the_table() {
        let bytes = Change::Created(topic()).encode();
        assert_eq!(bytes[..8], [1, 1, 3, 0, 7, 0, 0, 0]);
        assert_eq!(bytes[8..16], [12, 0, 0, 0, 100, 0, 0, 0]);
        assert_eq!(bytes[16..24], (256_u64 << 20).to_le_bytes());
        assert_eq!(&bytes[28..], b"orders");
    }

    /// As builds before retention wrote it, byte for byte.
    #[test]
    fn a_topic_of_the_first_layout_is_read_and_keeps_everything() {
        let mut bytes = [1, 1, 2, 0, 9, 0, 0, 0, 3, 0, 0, 0, 50, 0, 0, 0].to_vec();
        bytes.extend_from_slice(&[0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
        bytes.extend_from_slice(b"old");
        let settings = TopicSettings {
            default_durability: AckLevel::PageCache,
            flush_interval_ms: 50,
            segment_bytes: 2 << 20,
            batch_bytes_max: 512 << 10,
            retention: TopicRetention::UNLIMITED,
            cleanup: TopicCleanup::DEFAULT,
        };
        let topic = Topic { id: 9, name: "old".to_string(), partitions: 3, settings };
        assert_eq!(Change::decode(&bytes), Ok(Change::Created(topic)));
    }

    #[test]
    fn retention_is_behind_what_the_first_layout_has() {
        let retention = TopicRetention { age_ms: 5, bytes: 6 };
        let settings = TopicSettings { retention, ..TopicSettings::default() };
        let bytes = Change::Created(Topic { settings, ..topic() }).encode();
        assert_eq!(bytes[..4], [2, 1, 3, 0]);
        assert_eq!(bytes[28..44], [5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[44..], b"orders");
    }

    #[test]
    fn a_newer_layout_is_named_and_not_guessed_at() {
        assert_eq!(Change::decode(&[4, 1, 0, 0]), Err(UnreadableChange::Version(4)));
        assert_eq!(Change::decode(&[1, 9, 0, 0]), Err(UnreadableChange::Kind(9)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(change) = Change::decode(&bytes) {
                prop_assert_eq!(Change::decode(&change.encode()), Ok(change));
            }
        }
    }
}
