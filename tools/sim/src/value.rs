//! The value of a record: it names itself, and no two records have the same.
//!
//! What a newcomer gets wrong: a record that is read back is compared byte for byte with what its
//! number and length say, so a value never has to be kept.

use plimsoll_sim::Random;

/// The smallest value: the record's number.
pub(crate) const VALUE_BYTES_MIN: usize = 8;

/// The number of a record, by which all that is known of it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordId(pub(crate) u64);

/// The value of a record of `length` bytes.
pub(crate) fn value_of(id: RecordId, length: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(length + 8);
    value.extend_from_slice(&id.0.to_le_bytes());
    let mut random = Random::new(id.0);
    while value.len() < length {
        value.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    value.truncate(length.max(VALUE_BYTES_MIN));
    value
}

/// The record that a value says it is.
pub(crate) fn id_of(value: &[u8]) -> Option<RecordId> {
    value.first_chunk().map(|bytes| RecordId(u64::from_le_bytes(*bytes)))
}
