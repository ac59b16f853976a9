//! The records of groups in share mode in the offsets topic, beside the committed offsets.
//!
//! One for the start of each partition, and one for each run of offsets behind it whose state
//! differs from never having been handed out. They are applied in the order of the log. The last
//! record of a key counts: it makes no difference whether earlier ones of the key are still there.
//! Little-endian:
//!
//! | at | type | key of a start | key of a run |
//! |---:|---|---|---|
//! | 0 | u8 | layout version: 1 | layout version: 1 |
//! | 1 | u8 | kind: 2 | kind: 3 |
//! | 2 | u32 | topic id | topic id |
//! | 6 | u32 | partition | partition |
//! | 10 | u64 | | first offset |
//! | 18 | u64 | | last offset |
//! | 10 or 26 | | group, UTF-8, to the end | group, UTF-8, to the end |
//!
//! | at | type | value of a start | value of a run |
//! |---:|---|---|---|
//! | 0 | u8 | layout version: 1 | layout version: 1 |
//! | 1 | u8 | 0 | state: 0 done, 1 free, 2 delayed |
//! | 2 | u8 | 0 | for the dead-letter topic: 0 no, 1 rejected, 2 too many deliveries |
//! | 3 | u8 | 0 | 0 |
//! | 4 | u32 | 0 | deliveries |
//! | 8 | u64 | incarnation | incarnation |
//! | 16 | u64 | start offset | until when it is delayed, Unix time in ms (`i64`), else 0 |
//!
//! A start without a value ends the group's work on the partition. What a newcomer gets wrong: a
//! reset begins a new incarnation, and runs of an older one say nothing any more.

use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_wire::{DeadReason, PartitionIndex, TopicId, TopicPartition};

use super::span::{Span, SpanState};
use crate::groups::offset_record::UnreadableOffset;

const VERSION: u8 = 1;
const KIND_START: u8 = 2;
const KIND_RUN: u8 = 3;
const VALUE_BYTES: usize = 24;

/// Counts the times that a group began anew in a partition. It only goes up, also across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Incarnation(pub(crate) u64);

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShareRecord<'a> {
    pub(crate) group: &'a str,
    pub(crate) partition: TopicPartition,
    pub(crate) fact: ShareFact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareFact {
    /// Everything before the offset is done; none ends the group's work on the partition.
    Start(Option<(Incarnation, Offset)>),
    /// The state of a run of offsets. Nobody holds it.
    Run(Incarnation, Offset, Span),
}

impl<'a> ShareRecord<'a> {
    /// Whether a key of the offsets topic is one of these.
    pub(crate) fn is_key(key: &[u8]) -> bool {
        matches!(key, [VERSION, KIND_START | KIND_RUN, ..])
    }

    pub(crate) fn encode_key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(26 + self.group.len());
        let kind = match self.fact {
            ShareFact::Start(_) => KIND_START,
            ShareFact::Run(..) => KIND_RUN,
        };
        key.extend_from_slice(&[VERSION, kind]);
        key.extend_from_slice(&self.partition.topic.0.to_le_bytes());
        key.extend_from_slice(&self.partition.partition.0.to_le_bytes());
        if let ShareFact::Run(_, first, span) = self.fact {
            key.extend_from_slice(&first.value().to_le_bytes());
            key.extend_from_slice(&span.last.value().to_le_bytes());
        }
        key.extend_from_slice(self.group.as_bytes());
        key
    }

    pub(crate) fn encode_value(&self) -> Option<Vec<u8>> {
        let mut value = Vec::with_capacity(VALUE_BYTES);
        let (incarnation, last) = match self.fact {
            ShareFact::Start(None) => return None,
            ShareFact::Start(Some((incarnation, start))) => {
                value.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
                (incarnation, start.value())
            }
            ShareFact::Run(incarnation, _, span) => {
                let (state, until) = match span.without_holder().state {
                    SpanState::Done => (0, 0),
                    SpanState::Free | SpanState::Held { .. } => (1, 0),
                    SpanState::Delayed { until_unix_ms } => (2, until_unix_ms),
                };
                let dead = span.dead.map_or(0, |reason| reason as u8);
                value.extend_from_slice(&[VERSION, state, dead, 0]);
                value.extend_from_slice(&span.deliveries.to_le_bytes());
                (incarnation, until.cast_unsigned())
            }
        };
        value.extend_from_slice(&incarnation.0.to_le_bytes());
        value.extend_from_slice(&last.to_le_bytes());
        Some(value)
    }

    /// Reads what [`Self::is_key`] says is one.
    pub(crate) fn decode(
        key: &'a [u8],
        value: Option<&[u8]>,
    ) -> Result<ShareRecord<'a>, UnreadableOffset> {
        match value.map(<[u8]>::first) {
            None | Some(Some(&VERSION)) => {}
            Some(Some(&version)) => return Err(UnreadableOffset::Version(version)),
            Some(None) => return Err(UnreadableOffset::Malformed),
        }
        Self::decode_fields(key, value).ok_or(UnreadableOffset::Malformed)
    }

    fn decode_fields(key: &'a [u8], value: Option<&[u8]>) -> Option<ShareRecord<'a>> {
        let (&[_, kind], rest) = key.split_first_chunk()?;
        let (topic, rest) = rest.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        let topic = TopicId(u32::from_le_bytes(*topic));
        let partition = PartitionIndex(u32::from_le_bytes(*partition));
        let partition = TopicPartition { topic, partition };
        let value = match value {
            Some(value) => Some(<&[u8; VALUE_BYTES]>::try_from(value).ok()?),
            None => None,
        };
        let (fact, group) = match (kind, value) {
            (KIND_START, None) => (ShareFact::Start(None), rest),
            (KIND_START, Some(value)) => {
                let start = Offset::new(number_at(value, 16)?);
                (ShareFact::Start(Some((Incarnation(number_at(value, 8)?), start))), rest)
            }
            _ => decode_run(rest, value?)?,
        };
        let group = core::str::from_utf8(group).ok()?;
        Some(ShareRecord { group, partition, fact })
    }
}

fn decode_run<'a>(key: &'a [u8], value: &[u8; VALUE_BYTES]) -> Option<(ShareFact, &'a [u8])> {
    let (first, rest) = key.split_first_chunk()?;
    let (last, group) = rest.split_first_chunk()?;
    let first = Offset::new(u64::from_le_bytes(*first));
    let last = Offset::new(u64::from_le_bytes(*last));
    let &[_, state, dead, _, d0, d1, d2, d3, ..] = value;
    let state = match state {
        0 => SpanState::Done,
        1 => SpanState::Free,
        2 => SpanState::Delayed { until_unix_ms: number_at(value, 16)?.cast_signed() },
        _ => return None,
    };
    let dead = match dead {
        0 => None,
        1 => Some(DeadReason::Rejected),
        2 => Some(DeadReason::TooManyDeliveries),
        _ => return None,
    };
    let deliveries = u32::from_le_bytes([d0, d1, d2, d3]);
    let span = Span { last, deliveries, dead, state };
    (first <= last)
        .then_some((ShareFact::Run(Incarnation(number_at(value, 8)?), first, span), group))
}

fn number_at(value: &[u8; VALUE_BYTES], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*value.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<ShareRecord<'static>> {
        let partition = TopicPartition { topic: TopicId(7), partition: PartitionIndex(2) };
        let record = |fact| ShareRecord { group: "größe", partition, fact };
        let run = |state, dead| {
            let span = Span { last: Offset::new(9), deliveries: 3, dead, state };
            record(ShareFact::Run(Incarnation(4), Offset::new(5), span))
        };
        Vec::from([
            record(ShareFact::Start(None)),
            record(ShareFact::Start(Some((Incarnation(1 << 40), Offset::new(42))))),
            run(SpanState::Done, None),
            run(SpanState::Free, Some(DeadReason::Rejected)),
            run(SpanState::Delayed { until_unix_ms: -7 }, Some(DeadReason::TooManyDeliveries)),
        ])
    }

    #[test]
    fn what_is_written_is_read_again() {
        for record in records() {
            let (key, value) = (record.encode_key(), record.encode_value());
            assert!(ShareRecord::is_key(&key));
            assert_eq!(ShareRecord::decode(&key, value.as_deref()), Ok(record));
        }
    }

    #[test]
    fn what_is_cut_short_or_newer_is_told_and_not_guessed() {
        for record in records() {
            let (key, value) = (record.encode_key(), record.encode_value());
            let fixed_bytes = key.len() - record.group.len();
            for end in 2..fixed_bytes {
                assert!(ShareRecord::decode(&key[..end], value.as_deref()).is_err());
            }
            let Some(value) = value else { continue };
            for end in 0..VALUE_BYTES {
                let malformed = Err(UnreadableOffset::Malformed);
                assert_eq!(ShareRecord::decode(&key, Some(&value[..end])), malformed);
            }
            let newer = [&[9][..], &value[1..]].concat();
            let refused = Err(UnreadableOffset::Version(9));
            assert_eq!(ShareRecord::decode(&key, Some(&newer)), refused);
        }
        let run = records()[2];
        let (key, value) = (run.encode_key(), run.encode_value().unwrap());
        let odd = [&value[..1], &[7], &value[2..]].concat();
        assert_eq!(ShareRecord::decode(&key, Some(&odd)), Err(UnreadableOffset::Malformed));
        assert_eq!(ShareRecord::decode(&key, None), Err(UnreadableOffset::Malformed));
    }
}
