//! Taking records out of a finished batch.
//!
//! What stays, stays byte for byte, with its offset; the batch goes on standing for all of its
//! offsets, so that batches follow one on the other as before. Nothing is decompressed. What a
//! newcomer gets wrong: a batch of which nothing is left is still a batch, of a header alone.

use alloc::vec::Vec;

use crate::{Batch, HEADER_BYTES, Offset, PREFIX_BYTES, Record, RecordError, Records};

const LENGTH: core::ops::Range<usize> = 8..12;
const CRC: core::ops::Range<usize> = 17..PREFIX_BYTES;
const LAST_OFFSET_DELTA: core::ops::Range<usize> = 23..27;
const MAX_TIMESTAMP: core::ops::Range<usize> = 35..43;
const RECORD_COUNT: core::ops::Range<usize> = 57..HEADER_BYTES;

/// Writes to the end of `out` the batch with those of its records that `keep` says; gives how many
/// they are. Nothing is written if a record does not decode.
///
/// # Errors
///
/// Every [`RecordError`]; [`Compressed`](RecordError::Compressed) batches cannot be looked into.
pub fn compact(
    batch: &Batch<'_>,
    mut keep: impl FnMut(&Record<'_>) -> bool,
    out: &mut Vec<u8>,
) -> Result<u32, RecordError> {
    let start = out.len();
    let compacted = put_kept(batch, batch.records()?, &mut keep, out);
    if compacted.is_err() {
        out.truncate(start);
    }
    compacted
}

fn put_kept(
    batch: &Batch<'_>,
    mut records: Records<'_>,
    keep: &mut impl FnMut(&Record<'_>) -> bool,
    out: &mut Vec<u8>,
) -> Result<u32, RecordError> {
    let (start, payload) = (out.len(), batch.records_payload());
    out.extend_from_slice(&batch.bytes()[..HEADER_BYTES]);
    let (mut kept, mut newest) = (0_u32, None);
    loop {
        let from = records.position();
        let Some(record) = records.next().transpose()? else { break };
        if keep(&record) {
            out.extend_from_slice(&payload[from..records.position()]);
            kept += 1;
            newest = newest.max(Some(record.timestamp_ms));
        }
    }
    let written = &mut out[start..];
    // Nothing here is longer than in the batch that it was made of.
    let length = (written.len() - LENGTH.end) as u32;
    written[LENGTH].copy_from_slice(&length.to_be_bytes());
    written[RECORD_COUNT].copy_from_slice(&kept.to_be_bytes());
    if let Some(newest) = newest {
        written[MAX_TIMESTAMP].copy_from_slice(&newest.to_be_bytes());
    }
    sum(written);
    Ok(kept)
}

/// Has the batch stand for all offsets up to `last` too. False if they are too many for one batch,
/// which is then as it was.
///
/// # Panics
///
/// If `batch` is shorter than a header.
#[must_use]
pub fn extend_to(batch: &mut [u8], last: Offset) -> bool {
    assert!(batch.len() >= HEADER_BYTES, "a batch to extend is shorter than its header");
    let base = batch.first_chunk().map_or(0, |base| u64::from_be_bytes(*base));
    let delta = last.value().checked_sub(base).and_then(|delta| i32::try_from(delta).ok());
    let Some(delta) = delta else { return false };
    batch[LAST_OFFSET_DELTA].copy_from_slice(&delta.to_be_bytes());
    sum(batch);
    true
}

fn sum(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[PREFIX_BYTES..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, BatchError, BatchLimits, assign};
    use alloc::vec;

    fn batch_of(records: u8) -> Vec<u8> {
        let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
        for number in 0..records {
            let value = vec![number; 3];
            builder.append(1000 + i64::from(number), Some(&[number]), Some(&value), &[]).unwrap();
        }
        builder.finish_into(&mut bytes);
        assign(&mut bytes, Offset::new(100), 7);
        bytes
    }

    fn read(bytes: &[u8]) -> Batch<'_> {
        Batch::validate_first(bytes, &BatchLimits::default()).unwrap()
    }

    fn offsets(bytes: &[u8]) -> Vec<u64> {
        let records = read(bytes).records().unwrap();
        records.map(|record| record.unwrap().offset.value()).collect()
    }

    #[test]
    fn what_stays_keeps_its_offset_and_the_batch_its_range() {
        let bytes = batch_of(5);
        let mut out = vec![9; 3];
        let kept = compact(&read(&bytes), |it| it.offset.value() % 2 == 1, &mut out);
        assert_eq!(kept, Ok(2));
        assert_eq!(offsets(&out[3..]), [101, 103]);
        let header = *read(&out[3..]).header();
        assert_eq!((header.base_offset.value(), header.next_offset().value()), (100, 105));
        assert_eq!((header.record_count, header.leader_epoch), (2, 7));
        assert_eq!(header.max_timestamp_ms, 1003);
        let mut again = Vec::new();
        assert_eq!(compact(&read(&out[3..]), |_| true, &mut again), Ok(2));
        assert_eq!(again, out[3..], "nothing more goes");
    }

    #[test]
    fn a_batch_of_which_nothing_is_left_is_a_header_and_may_stand_for_more_offsets() {
        let bytes = batch_of(3);
        let mut out = Vec::new();
        assert_eq!(compact(&read(&bytes), |_| false, &mut out), Ok(0));
        assert_eq!((out.len(), offsets(&out).len()), (HEADER_BYTES, 0));
        assert!(extend_to(&mut out, Offset::new(900)));
        assert_eq!(read(&out).header().next_offset(), Offset::new(901));
        let before = out.clone();
        assert!(!extend_to(&mut out, Offset::new(100 + (1 << 31))));
        assert_eq!(out, before);
    }

    /// Sequences and offsets are counted from the header: a producer that sends fewer records than
    /// offsets would shift them.
    #[test]
    fn no_producer_sends_a_batch_with_gaps() {
        let bytes = batch_of(3);
        for keep in [100, 0] {
            let mut out = Vec::new();
            compact(&read(&bytes), |it| it.offset.value() == keep, &mut out).unwrap();
            let refused = Batch::validate(&out, &BatchLimits::default());
            assert!(
                matches!(refused, Err(BatchError::Count { .. } | BatchError::Empty)),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn records_out_of_order_or_beyond_the_range_do_not_decode() {
        let bytes = batch_of(3);
        let mut out = Vec::new();
        compact(&read(&bytes), |it| it.offset.value() != 101, &mut out).unwrap();
        // Deltas 0 and 2; a range that ends at 1 has no room for them.
        assert!(extend_to(&mut out, Offset::new(101)));
        let last = read(&out).records().unwrap().last().unwrap();
        assert_eq!(last, Err(RecordError::OffsetDelta { expected: 1, found: 2 }));
    }
}
