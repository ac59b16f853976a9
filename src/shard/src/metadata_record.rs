//! The records of the metadata topic.
//!
//! The metadata topic (id 0, one partition, on shard 0) is the log of what happened to topics: one
//! record batch with one record for each change, appended at `disk`. A record has no key; its value
//! is, little-endian:
//!
//! | at | type | topic created (kind 1) | topic deleted (kind 2) |
//! |---:|---|---|---|
//! | 0 | u8 | layout version: 1 | layout version: 1 |
//! | 1 | u8 | kind | kind |
//! | 2 | u8 | default durability, 1 to 3 | 0 |
//! | 3 | u8 | 0 | 0 |
//! | 4 | u32 | topic id, from 1, one more each time | topic id |
//! | 8 | u32 | partitions | - |
//! | 12 | u32 | flush_interval_ms | - |
//! | 16 | u64 | segment_bytes | - |
//! | 24 | u32 | batch_bytes_max | - |
//! | 28 | | name, UTF-8, to the end | - |
//!
//! What a newcomer gets wrong: deleted topics stay in the log, because the highest id in it is what
//! keeps an id from being given out twice.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use plimsoll_wire::AckLevel;

use crate::catalog::Topic;
use crate::config::TopicSettings;

const VERSION: u8 = 1;
const KIND_CREATED: u8 = 1;
const KIND_DELETED: u8 = 2;

/// A change of the topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Created(Topic),
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
            Self::Version(version) => write!(f, "layout version {version}, this build knows 1"),
            Self::Kind(kind) => write!(f, "unknown kind {kind}"),
            Self::Malformed => f.write_str("fields are missing or out of bounds"),
        }
    }
}

impl Change {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Created(topic) => {
                let settings = &topic.settings;
                let durability = settings.default_durability as u8;
                out.extend_from_slice(&[VERSION, KIND_CREATED, durability, 0]);
                out.extend_from_slice(&topic.id.to_le_bytes());
                out.extend_from_slice(&topic.partitions.to_le_bytes());
                out.extend_from_slice(&settings.flush_interval_ms.to_le_bytes());
                out.extend_from_slice(&settings.segment_bytes.to_le_bytes());
                out.extend_from_slice(&settings.batch_bytes_max.to_le_bytes());
                out.extend_from_slice(topic.name.as_bytes());
            }
            Self::Deleted { id } => {
                out.extend_from_slice(&[VERSION, KIND_DELETED, 0, 0]);
                out.extend_from_slice(&id.to_le_bytes());
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, UnreadableChange> {
        let Some((&[version, kind, durability, _], rest)) = bytes.split_first_chunk() else {
            return Err(UnreadableChange::Malformed);
        };
        if version != VERSION {
            return Err(UnreadableChange::Version(version));
        }
        let change = match kind {
            KIND_CREATED => created(durability, rest).map(Self::Created),
            KIND_DELETED => u32_at(rest, 0).map(|id| Self::Deleted { id }),
            _ => return Err(UnreadableChange::Kind(kind)),
        };
        change.ok_or(UnreadableChange::Malformed)
    }
}

fn created(durability: u8, rest: &[u8]) -> Option<Topic> {
    let default_durability = AckLevel::ALL.into_iter().find(|level| *level as u8 == durability)?;
    let (name, segment_bytes) = (rest.get(24..)?, rest.get(12..20)?.first_chunk()?);
    Some(Topic {
        id: u32_at(rest, 0)?,
        partitions: u32_at(rest, 4)?,
        name: name_of(name)?,
        settings: TopicSettings {
            default_durability,
            flush_interval_ms: u32_at(rest, 8)?,
            segment_bytes: u64::from_le_bytes(*segment_bytes),
            batch_bytes_max: u32_at(rest, 20)?,
        },
    })
}

fn name_of(bytes: &[u8]) -> Option<String> {
    core::str::from_utf8(bytes).ok().map(ToString::to_string)
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
        for change in [Change::Created(topic()), Change::Deleted { id: 3 }] {
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

    #[test]
    fn a_newer_layout_is_named_and_not_guessed_at() {
        assert_eq!(Change::decode(&[2, 1, 0, 0]), Err(UnreadableChange::Version(2)));
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
