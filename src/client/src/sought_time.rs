//! A time whose record is looked for: the server answers with the batch, and the client looks into
//! it.
//!
//! The server never decodes records. What a newcomer gets wrong: times need not ascend in a batch,
//! nor behind it. The record is the first one of that time or later; older ones may follow.

use crate::compression::decompress;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use plimsoll_batch::{Batch, Batches, Codec, Records};
use plimsoll_wire::{
    Bind, CorrelationId, Fetch, Handle, Offset, Offsets, OffsetsWhat, PartitionIndex, Unbind,
    Visible,
};

/// Where a time is looked for, and how far that has come.
#[derive(Debug)]
pub(crate) struct SoughtTime {
    topic: String,
    partition: PartitionIndex,
    visible: Visible,
    unix_ms: i64,
    /// The batch that the server knows, or the partition's end.
    pub(crate) base: Option<Offset>,
}

impl SoughtTime {
    pub(crate) fn new(
        topic: &str,
        partition: u32,
        what: OffsetsWhat,
        visible: Visible,
    ) -> Option<SoughtTime> {
        let OffsetsWhat::Timestamp { unix_ms } = what else { return None };
        let (topic, partition) = (String::from(topic), PartitionIndex(partition));
        Some(SoughtTime { topic, partition, visible, unix_ms, base: None })
    }

    /// Asks for the batch that begins at `base`.
    pub(crate) fn fetch(&self, base: Offset, correlation: CorrelationId, out: &mut Vec<u8>) {
        let (handle, partition, visible) = (Handle(0), self.partition, self.visible);
        Bind { handle, partition, topic: &self.topic }.encode(correlation, out);
        // One batch comes, however large.
        let (max_bytes, min_bytes, max_wait_ms) = (1, 1, 0);
        let fetch = Fetch { handle, visible, offset: base, max_bytes, min_bytes, max_wait_ms };
        fetch.encode(correlation, out);
    }

    /// Gives the handle back, once the batch is there: with it a fetch that still waits would go.
    pub(crate) fn end(correlation: CorrelationId, out: &mut Vec<u8>) {
        Unbind { handle: Handle(0) }.encode(correlation, out);
    }

    /// The first record of that time or later in what begins at `base`. Where none can be seen,
    /// `base`: nothing of that time lies before it.
    pub(crate) fn first_of(&self, base: Offset, batches: &[u8]) -> Offset {
        let first = Batches::new(batches).next();
        let found = first.and_then(|batch| self.first_in(base, &batch.ok()?));
        found.unwrap_or(base)
    }

    fn first_in(&self, base: Offset, batch: &Batch<'_>) -> Option<Offset> {
        let records = match batch.codec() {
            Codec::None => Cow::Borrowed(batch.records_payload()),
            codec => Cow::Owned(decompress(codec, batch.records_payload()).ok()?),
        };
        // Behind one that does not decode nothing is known.
        let mut records = Records::over(batch.header(), &records).map_while(Result::ok);
        let is_it = |offset, timestamp_ms| offset >= base && timestamp_ms >= self.unix_ms;
        records.find(|record| is_it(record.offset, record.timestamp_ms)).map(|it| it.offset)
    }
}

/// The question in one go: a handle, the offset, and the handle back.
pub(crate) fn ask_offset(
    (topic, partition): (&str, u32),
    (what, visible): (OffsetsWhat, Visible),
    correlation: CorrelationId,
    out: &mut Vec<u8>,
) {
    let (handle, partition) = (Handle(0), PartitionIndex(partition));
    Bind { handle, partition, topic }.encode(correlation, out);
    Offsets { handle, what, visible }.encode(correlation, out);
    Unbind { handle }.encode(correlation, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_batch::{BatchBuilder, assign};

    fn sought(unix_ms: i64) -> SoughtTime {
        SoughtTime::new("t", 0, OffsetsWhat::Timestamp { unix_ms }, Visible::Disk).unwrap()
    }

    fn batch(base_offset: u64, times_ms: &[i64]) -> Vec<u8> {
        let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
        for time_ms in times_ms {
            builder.append(*time_ms, None, Some(b"x"), &[]).unwrap();
        }
        builder.finish_into(&mut bytes);
        assign(&mut bytes, Offset::new(base_offset), 0);
        bytes
    }

    #[test]
    fn a_time_is_at_its_first_record_and_not_at_the_batch() {
        let bytes = [batch(10, &[1_000, 900, 3_000, 2_000]), batch(14, &[2_500])].concat();
        let first = |base, unix_ms| sought(unix_ms).first_of(Offset::new(base), &bytes).value();
        assert_eq!([1_000, 1_001, 3_000].map(|unix_ms| first(10, unix_ms)), [10, 12, 12]);
        // The partition begins within the batch.
        assert_eq!([first(11, 0), first(13, 1_500)], [11, 13]);
    }

    #[test]
    fn a_time_that_cannot_be_seen_is_where_the_server_says() {
        let base = Offset::new(10);
        assert_eq!(sought(5_000).first_of(base, &batch(10, &[1_000])), base, "it has gone");
        assert_eq!(sought(5_000).first_of(base, &[]), base, "the end");
        assert_eq!(sought(1_000).first_of(base, &[7; 90]), base, "no batch");
        assert!(SoughtTime::new("t", 0, OffsetsWhat::End, Visible::Disk).is_none());
    }
}
