//! Records with keys, of which some delete theirs: all of it follows from a record's number.
//!
//! What a newcomer gets wrong: a batch never ends in a deletion. So the last record of a partition
//! is always the latest of its key, and what survives a crash ends where the log ends.

use plimsoll_batch::{BatchBuilder, Batches, Header};
use plimsoll_wire::{Fetch, Handle, Offset, Response, Visible, Watermarks};

use crate::{Connection, Random, assert_ordered, value_id, value_of};

/// A deletion has no value to hold its number.
const NUMBER: &str = "number";
/// Most records are of these few keys, the rest of many.
const HOT_KEYS: u64 = 4;
const KEYS: u64 = 64;

/// Which key the record with this number has.
pub(super) fn key_of(id: u64) -> u64 {
    let mut random = Random::new(!id);
    let keys = if random.once_in(4) { KEYS } else { HOT_KEYS };
    random.below(0..keys)
}

/// Whether it deletes its key.
pub(super) fn is_deletion(id: u64) -> bool {
    Random::new(id.rotate_left(32)).once_in(8)
}

/// How many records a batch has that was to have so many: a value is at its end.
#[must_use]
pub fn records_of_batch(first_id: u64, records: u32) -> u32 {
    (records..).find(|records| !is_deletion(first_id + u64::from(*records) - 1)).unwrap_or(records)
}

/// A batch with the records `first_id`, `first_id + 1`, ...: few keys, again and again, of which
/// some are deleted.
///
/// # Panics
///
/// If it would be larger than a batch may be.
#[must_use]
pub fn keyed_batch_of(first_id: u64, records: u32) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for id in first_id..first_id + u64::from(records) {
        let key = key_of(id).to_le_bytes();
        let number = id.to_le_bytes();
        let appended = if is_deletion(id) {
            builder.append(1_700_000_000_000, Some(&key), None, &[Header::new(NUMBER, &number)])
        } else {
            builder.append(1_700_000_000_000, Some(&key), Some(&value_of(id)), &[])
        };
        appended.expect("a batch of a test is small");
    }
    let mut batch = Vec::new();
    builder.finish_into(&mut batch);
    batch
}

/// Offset and number of each record, and where the last batch ends.
type Decoded = (Vec<(u64, u64)>, Option<u64>);

/// What a partition has, from its start on.
#[derive(Debug)]
pub(super) struct Found {
    /// Offset and number of each record.
    pub(super) records: Vec<(u64, u64)>,
    pub(super) ends: Watermarks,
}

/// Reads all that is there. The start may move on meanwhile: then it is read anew from there.
pub(super) fn read_all(
    connection: &mut Connection,
    topic: &str,
    partition: u32,
    decode: fn(&[u8]) -> Decoded,
) -> Found {
    // A handle is bound once: whoever begins anew takes another.
    for handle in (partition..).step_by(HANDLES_APART) {
        let ends = connection.bind(handle, topic, partition).watermarks;
        assert_ordered(&ends);
        if let Some(records) = read_from_start(connection, handle, &ends, decode) {
            return Found { records, ends };
        }
    }
    unreachable!("handles come to no end before the start stands still");
}

/// More than there are partitions that are read over one connection.
const HANDLES_APART: usize = 64;

/// Behind the last record offsets may never have been given out; before that is believed, one
/// fetch waits a little.
const WAITS_MS: [u32; 2] = [0, 100];

fn read_from_start(
    connection: &mut Connection,
    handle: u32,
    ends: &Watermarks,
    decode: fn(&[u8]) -> Decoded,
) -> Option<Vec<(u64, u64)>> {
    let (mut found, mut offset) = (Vec::new(), ends.start);
    let mut waits = WAITS_MS.into_iter();
    while offset < ends.disk {
        let Some(max_wait_ms) = waits.next() else { break };
        let wanted = Fetch {
            handle: Handle(handle),
            visible: Visible::Disk,
            offset,
            max_bytes: 4 << 20,
            min_bytes: 1,
            max_wait_ms,
        };
        let answer = connection.ask(|correlation, out| wanted.encode(correlation, out));
        let fetched = match answer.response() {
            Response::Fetched(fetched) => fetched,
            Response::Error(error) if error.code == plimsoll_wire::ErrorCode::OffsetOutOfRange => {
                return None;
            }
            other => panic!("fetch was answered with {other:?}"),
        };
        let (new, next) = decode(fetched.batches);
        if let Some(next) = next {
            (offset, waits) = (Offset::new(next), WAITS_MS.into_iter());
        }
        found.extend(new.into_iter().filter(|(offset, _)| *offset >= ends.start.value()));
    }
    Some(found)
}

/// Offset and number of each record of keyed batches, all compared; where the last batch ends.
pub(super) fn keyed_records(batches: &[u8]) -> Decoded {
    let (mut found, mut next) = (Vec::new(), None);
    for batch in Batches::new(batches) {
        let batch = batch.expect("a batch checks");
        let header = batch.header();
        next = Some(header.base_offset.value() + u64::from(header.last_offset_delta) + 1);
        for record in batch.records().expect("it is not compressed") {
            let record = record.expect("a record decodes");
            let of_deletion = || {
                let header = record.headers.clone().find(|it| it.name == NUMBER.as_bytes())?;
                Some(u64::from_le_bytes(*header.value?.first_chunk()?))
            };
            let id = record.value.map_or_else(of_deletion, value_id);
            let id = id.unwrap_or_else(|| panic!("the record at {:?} is changed", record.offset));
            assert_eq!(is_deletion(id), record.value.is_none(), "record {id:#x} is changed");
            assert_eq!(record.key, Some(&key_of(id).to_le_bytes()[..]), "a key is changed");
            found.push((record.offset.value(), id));
        }
    }
    (found, next)
}

/// The same of batches whose records are numbered and nothing else.
pub(super) fn numbered_records(batches: &[u8]) -> Decoded {
    let found = crate::records(batches);
    let next = found.last().map(|(offset, _)| offset + 1);
    (found, next)
}
