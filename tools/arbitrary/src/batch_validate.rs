//! A batch from the network or the disk: neither checking nor reading records panics, and a batch
//! that checks is exactly the bytes that were given.
//!
//! As in `frame_decode`, the input is tried as it is and with its length, magic and CRC made right.

use plimsoll_batch::{Batch, BatchError, BatchLimits, Batches, Records};

/// A batch, checked, and its records read.
///
/// # Panics
///
/// When what the module promises is broken.
pub fn batch_validate(bytes: &[u8]) {
    validate(bytes);
    if let Some(repaired) = repair(bytes) {
        validate(&repaired);
    }
}

fn validate(bytes: &[u8]) -> Option<BatchError> {
    let limits = BatchLimits::default();
    let whole = Batch::validate(bytes, &limits);
    let first = Batch::validate_first(bytes, &limits);
    assert!(whole.is_err() || whole == first);
    let walked: usize = Batches::new(bytes).flatten().map(|batch| batch.bytes().len()).sum();
    assert!(walked <= bytes.len());
    let Ok(batch) = whole else { return whole.err() };
    assert_eq!(batch.bytes(), bytes);
    // Whatever the codec says, bytes that were meant to be records must not panic the reader.
    for record in Records::over(batch.header(), batch.records_payload()) {
        drop(record);
    }
    None
}

fn repair(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let length = i32::try_from(bytes.len().checked_sub(12)?).ok()?;
    bytes.get_mut(8..12)?.copy_from_slice(&length.to_be_bytes());
    *bytes.get_mut(16)? = 2;
    let Some(BatchError::Crc { computed, .. }) = validate(&bytes) else { return None };
    bytes.get_mut(17..21)?.copy_from_slice(&computed.to_be_bytes());
    Some(bytes)
}
