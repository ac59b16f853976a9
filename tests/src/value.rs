//! Records whose whole value follows from a number, so that what was sent need not be kept.

use plimsoll_batch::BatchBuilder;

use crate::Random;

/// The value of the record with this number: the number, then 0 to 600 bytes that follow from it,
/// now and then many more.
#[must_use]
pub fn value_of(id: u64) -> Vec<u8> {
    let mut random = Random::new(id);
    let length = if random.once_in(61) { random.below(0..20_000) } else { random.below(0..600) };
    let mut value = id.to_le_bytes().to_vec();
    while value.len() < 8 + length as usize {
        value.extend_from_slice(&random.number().to_le_bytes());
    }
    value
}

/// The number of the record, if the whole value is as it was sent.
#[must_use]
pub fn value_id(value: &[u8]) -> Option<u64> {
    let id = u64::from_le_bytes(*value.first_chunk()?);
    (value_of(id) == value).then_some(id)
}

/// A batch with the records `first_id`, `first_id + 1`, ...
///
/// # Panics
///
/// If it would be larger than a batch may be.
#[must_use]
pub fn batch_of(first_id: u64, records: u32) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for id in first_id..first_id + u64::from(records) {
        let key = id.to_le_bytes();
        let appended = builder.append(1_700_000_000_000, Some(&key), Some(&value_of(id)), &[]);
        appended.expect("a batch of a test is small");
    }
    let mut batch = Vec::new();
    builder.finish_into(&mut batch);
    batch
}
