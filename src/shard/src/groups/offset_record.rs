//! The records of the offsets topic (`__offsets`).
//!
//! A record for each committed offset; the last one of a key counts, and one without a value
//! removes it. Records of kinds 2 and 3 are those of groups in share mode (`share/record.rs`).
//! Little-endian:
//!
//! | at | type | key |
//! |---:|---|---|
//! | 0 | u8 | layout version: 1 |
//! | 1 | u8 | kind: 1, a committed offset |
//! | 2 | u32 | topic id |
//! | 6 | u32 | partition |
//! | 10 | | group, UTF-8, to the end |
//!
//! | at | type | value |
//! |---:|---|---|
//! | 0 | u8 | layout version: 1 |
//! | 1 | 7 bytes | 0 |
//! | 8 | u64 | committed offset |
//! | 16 | i64 | Unix time of the commit in ms |
//! | 24 | | metadata, UTF-8, to the end |
//!
//! What a newcomer gets wrong: the topic is its id, so that offsets of a deleted topic never apply
//! to one that is created with its name.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use plimsoll_batch::Offset;
use plimsoll_wire::{PartitionIndex, TopicId, TopicPartition};

use super::committed::Committed;
use super::share::ShareRecord;

const VERSION: u8 = 1;
const KIND_OFFSET: u8 = 1;

/// What any record of the topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordOfLog<'a> {
    Committed(OffsetChange<'a>),
    Share(ShareRecord<'a>),
}

impl<'a> RecordOfLog<'a> {
    pub(crate) fn decode(
        key: &'a [u8],
        value: Option<&[u8]>,
    ) -> Result<RecordOfLog<'a>, UnreadableOffset> {
        if ShareRecord::is_key(key) {
            ShareRecord::decode(key, value).map(RecordOfLog::Share)
        } else {
            OffsetChange::decode(key, value).map(RecordOfLog::Committed)
        }
    }
}

/// What a record of a committed offset says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetChange<'a> {
    pub(crate) group: &'a str,
    pub(crate) partition: TopicPartition,
    /// None removes it.
    pub(crate) committed: Option<Committed>,
}

/// A record of the offsets topic that this build cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnreadableOffset {
    /// It was written by a newer build.
    Version(u8),
    Kind(u8),
    Malformed,
}

impl fmt::Display for UnreadableOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "layout version {version}, this build knows 1"),
            Self::Kind(kind) => write!(f, "unknown kind {kind}"),
            Self::Malformed => f.write_str("fields are missing or out of bounds"),
        }
    }
}

impl<'a> OffsetChange<'a> {
    pub(crate) fn encode_key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(10 + self.group.len());
        key.extend_from_slice(&[VERSION, KIND_OFFSET]);
        key.extend_from_slice(&self.partition.topic.0.to_le_bytes());
        key.extend_from_slice(&self.partition.partition.0.to_le_bytes());
        key.extend_from_slice(self.group.as_bytes());
        key
    }

    pub(crate) fn encode_value(&self) -> Option<Vec<u8>> {
        let committed = self.committed.as_ref()?;
        let mut value = Vec::with_capacity(24 + committed.metadata.len());
        value.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
        value.extend_from_slice(&committed.offset.value().to_le_bytes());
        value.extend_from_slice(&committed.unix_ms.to_le_bytes());
        value.extend_from_slice(committed.metadata.as_bytes());
        Some(value)
    }

    pub(crate) fn decode(
        key: &'a [u8],
        value: Option<&[u8]>,
    ) -> Result<OffsetChange<'a>, UnreadableOffset> {
        let Some((&[version, kind], rest)) = key.split_first_chunk() else {
            return Err(UnreadableOffset::Malformed);
        };
        if version != VERSION {
            return Err(UnreadableOffset::Version(version));
        }
        if kind != KIND_OFFSET {
            return Err(UnreadableOffset::Kind(kind));
        }
        let change = || {
            let (topic, rest) = rest.split_first_chunk()?;
            let (partition, group) = rest.split_first_chunk()?;
            let topic = TopicId(u32::from_le_bytes(*topic));
            let partition = PartitionIndex(u32::from_le_bytes(*partition));
            let group = core::str::from_utf8(group).ok()?;
            Some(OffsetChange {
                group,
                partition: TopicPartition { topic, partition },
                committed: None,
            })
        };
        let change = change().ok_or(UnreadableOffset::Malformed)?;
        let Some(value) = value else { return Ok(change) };
        match value.first() {
            Some(&VERSION) => {}
            Some(&version) => return Err(UnreadableOffset::Version(version)),
            None => return Err(UnreadableOffset::Malformed),
        }
        let committed = || {
            let offset = u64::from_le_bytes(*value.get(8..16)?.first_chunk()?);
            let unix_ms = i64::from_le_bytes(*value.get(16..24)?.first_chunk()?);
            let metadata: String = core::str::from_utf8(value.get(24..)?).ok()?.to_string();
            Some(Committed { offset: Offset::new(offset), unix_ms, metadata })
        };
        let committed = Some(committed().ok_or(UnreadableOffset::Malformed)?);
        Ok(OffsetChange { committed, ..change })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(committed: Option<Committed>) -> OffsetChange<'static> {
        let partition = TopicPartition { topic: TopicId(7), partition: PartitionIndex(2) };
        OffsetChange { group: "größe", partition, committed }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let metadata = "note".to_string();
        let committed = Committed { offset: Offset::new(42), unix_ms: -1, metadata };
        for change in [change(Some(committed)), change(None)] {
            let (key, value) = (change.encode_key(), change.encode_value());
            assert_eq!(OffsetChange::decode(&key, value.as_deref()), Ok(change.clone()));
        }
    }

    #[test]
    fn what_is_cut_short_or_newer_is_told_and_not_guessed() {
        let metadata = String::new();
        let change = change(Some(Committed { offset: Offset::ZERO, unix_ms: 0, metadata }));
        let (key, value) = (change.encode_key(), change.encode_value().unwrap());
        let malformed = Err(UnreadableOffset::Malformed);
        for end in 0..10 {
            assert_eq!(OffsetChange::decode(&key[..end], Some(&value)), malformed);
        }
        for end in 0..24 {
            assert_eq!(OffsetChange::decode(&key, Some(&value[..end])), malformed);
        }
        let newer = [&[9][..], &key[1..]].concat();
        assert_eq!(OffsetChange::decode(&newer, None), Err(UnreadableOffset::Version(9)));
        let other = [&[1, 8][..], &key[2..]].concat();
        assert_eq!(OffsetChange::decode(&other, None), Err(UnreadableOffset::Kind(8)));
    }
}
