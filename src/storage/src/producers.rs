//! What a partition knows of idempotent producers: who wrote last, and which batches.
//!
//! A table is a function of the batches that were applied to it, in their order, and of nothing
//! else: applied to what survived, it is what the log that survived says. So a start has it again
//! from the journal, and a lost batch is no duplicate. What a newcomer gets wrong: there are two
//! tables a partition. One has all that is published and judges appends; the other has what is
//! logged, and is what snapshots may say.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use plimsoll_batch::{BatchHeader, Offset, ProducerStamp};

use crate::encoding::{Reader, Writer};
use crate::limits::{FRAME_BYTES_MAX, PRODUCER_BATCHES_MAX, PRODUCERS_MAX};

/// Bytes of one producer before its batches, in a journal entry.
const PRODUCER_BYTES: usize = 24;
/// Bytes of one batch there.
const BATCH_BYTES: usize = 16;
/// The most that the producers of one partition take in a journal entry.
pub(crate) const PRODUCERS_BYTES_MAX: usize =
    PRODUCERS_MAX * (PRODUCER_BYTES + PRODUCER_BATCHES_MAX * BATCH_BYTES);
// Beside the longest list of segments and the longest tail a snapshot's frame has room for them.
const _: () = assert!(PRODUCERS_BYTES_MAX < FRAME_BYTES_MAX / 8);

/// The idempotent producers that a partition knows, at most [`PRODUCERS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: BTreeMap<i64, Producer>,
}

/// One producer in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    epoch: i16,
    /// When it last wrote, in Unix milliseconds; 0 if that is not known.
    used_ms: i64,
    /// Its last batches, the newest last. Never empty.
    batches: Vec<Written>,
}

/// A batch that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    base_offset: Offset,
    base_sequence: i32,
    records: u32,
}

/// What a batch is to the producers that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It comes next.
    Next,
    /// It is here, from this offset on.
    Duplicate(Offset),
    /// Batches before it are missing, or it is older than what is remembered.
    OutOfSequence { expected: i32 },
    /// A later epoch of the producer has written.
    Fenced { epoch: i16 },
    /// Nothing is known of a producer that says that it wrote before.
    Unknown,
}

impl ProducerTable {
    pub(crate) fn len(&self) -> usize {
        self.producers.len()
    }

    /// What a batch with this stamp is at `now_ms`; producers that rested for longer than
    /// `expiry_ms` are not known any more.
    pub(crate) fn judge(
        &self,
        (stamp, records): (ProducerStamp, u32),
        (now_ms, expiry_ms): (i64, i64),
    ) -> Verdict {
        let ProducerStamp { id, epoch, base_sequence } = stamp;
        let known = self.producers.get(&id).filter(|it| !it.has_expired(now_ms, expiry_ms));
        let begins = base_sequence == 0 && epoch >= 0;
        match known {
            None if begins => Verdict::Next,
            None => Verdict::Unknown,
            Some(known) if epoch < known.epoch => Verdict::Fenced { epoch: known.epoch },
            Some(known) if epoch > known.epoch && begins => Verdict::Next,
            Some(known) if epoch > known.epoch => Verdict::OutOfSequence { expected: 0 },
            Some(known) => known.judge(stamp, records),
        }
    }

    /// Takes note of a batch that was written. Whatever was known of its producer, this batch is
    /// now its last.
    pub(crate) fn apply(&mut self, header: &BatchHeader, used_ms: i64) {
        let Some(ProducerStamp { id, epoch, base_sequence }) = header.producer() else { return };
        let written = Written {
            base_offset: header.base_offset,
            base_sequence,
            records: header.record_count(),
        };
        let batches = || Vec::with_capacity(PRODUCER_BATCHES_MAX);
        let producer = self.producers.entry(id).or_insert_with(|| Producer {
            epoch,
            used_ms,
            batches: batches(),
        });
        let begins = base_sequence == 0 && producer.expected().is_none_or(|it| it != 0);
        if producer.epoch != epoch || begins {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == PRODUCER_BATCHES_MAX {
            producer.batches.remove(0);
        }
        producer.batches.push(written);
        producer.used_ms = producer.used_ms.max(used_ms);
        if self.producers.len() > PRODUCERS_MAX {
            self.remove_oldest();
        }
    }

    /// As [`apply`](ProducerTable::apply), for batches end to end; says whose they are.
    pub(crate) fn apply_all(&mut self, batches: &[u8], used_ms: i64, mut seen: impl FnMut(i64)) {
        let mut rest = batches;
        while let Ok(header) = BatchHeader::decode(rest) {
            self.apply(&header, used_ms);
            if let Some(stamp) = header.producer() {
                seen(stamp.id);
            }
            rest = rest.get(header.length_bytes..).unwrap_or_default();
        }
    }

    /// Forgets the producer whose last batch is the oldest.
    pub(crate) fn remove_oldest(&mut self) -> Option<i64> {
        let last = |it: &Producer| it.batches.last().map(|batch| batch.base_offset);
        let oldest = self.producers.iter().min_by_key(|(_, it)| last(it));
        let id = oldest.map(|(id, _)| *id)?;
        self.producers.remove(&id);
        Some(id)
    }

    pub(crate) fn remove(&mut self, id: i64) {
        self.producers.remove(&id);
    }

    /// Those of whom it is not known when they wrote last did so now.
    pub(crate) fn rest_begins(&mut self, now_ms: i64) {
        for producer in self.producers.values_mut().filter(|it| it.used_ms == 0) {
            producer.used_ms = now_ms;
        }
    }

    /// Forgets those that have rested for longer than `expiry_ms`.
    pub(crate) fn expire(&mut self, now_ms: i64, expiry_ms: i64) {
        self.producers.retain(|_, producer| !producer.has_expired(now_ms, expiry_ms));
    }

    /// Forgets every batch from this offset on.
    pub(crate) fn cut(&mut self, end: Offset) {
        self.producers.retain(|_, producer| {
            producer.batches.retain(|batch| batch.base_offset < end);
            !producer.batches.is_empty()
        });
    }

    /// Takes over what an entry says of some producers.
    pub(crate) fn replace(&mut self, entry: &[u8]) {
        self.producers.extend(ProducersIn::new(entry));
    }

    /// The producers of `ids` that are known, as a journal entry lists them.
    pub(crate) fn encode_some(&self, ids: &BTreeSet<i64>, out: &mut Vec<u8>) -> u32 {
        let known = ids.iter().filter_map(|id| Some((id, self.producers.get(id)?)));
        known.map(|(id, producer)| producer.encode(*id, out)).count() as u32
    }

    /// All producers, as a journal entry lists them.
    pub(crate) fn encode_all(&self, out: &mut Vec<u8>) -> u32 {
        let producers = self.producers.iter();
        producers.map(|(id, producer)| producer.encode(*id, out)).count() as u32
    }
}

impl Producer {
    /// The sequence that comes next.
    fn expected(&self) -> Option<i32> {
        let last = self.batches.last()?;
        let ProducerStamp { base_sequence, .. } =
            ProducerStamp { base_sequence: last.base_sequence, ..ProducerStamp::NONE }
                .after(last.records);
        Some(base_sequence)
    }

    fn has_expired(&self, now_ms: i64, expiry_ms: i64) -> bool {
        self.used_ms > 0 && now_ms.saturating_sub(self.used_ms) > expiry_ms
    }

    fn judge(&self, stamp: ProducerStamp, records: u32) -> Verdict {
        let again = |batch: &&Written| {
            batch.base_sequence == stamp.base_sequence && batch.records == records
        };
        if let Some(batch) = self.batches.iter().find(again) {
            return Verdict::Duplicate(batch.base_offset);
        }
        match self.expected().unwrap_or(0) {
            expected if expected == stamp.base_sequence => Verdict::Next,
            expected => Verdict::OutOfSequence { expected },
        }
    }

    /// A line for each batch, for people.
    pub(crate) fn show<W: core::fmt::Write>(&self, id: i64, out: &mut W) -> core::fmt::Result {
        let (epoch, used_ms) = (self.epoch, self.used_ms);
        writeln!(out, "    producer id={id} epoch={epoch} used_ms={used_ms}")?;
        self.batches.iter().try_for_each(|batch| {
            let Written { base_offset, base_sequence, records } = batch;
            writeln!(
                out,
                "      batch sequence={base_sequence} records={records} offset={base_offset}"
            )
        })
    }

    fn encode(&self, id: i64, out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + PRODUCER_BYTES + self.batches.len() * BATCH_BYTES, 0);
        let mut writer = Writer::new(&mut out[at..]);
        writer.u64(id.cast_unsigned()).u16(self.epoch.cast_unsigned());
        writer.u16(self.batches.len() as u16).u32(0).u64(self.used_ms.cast_unsigned());
        for batch in &self.batches {
            let sequence = batch.base_sequence.cast_unsigned();
            writer.u64(batch.base_offset.value()).u32(sequence).u32(batch.records);
        }
    }
}

/// The producers that an entry lists; ends at the first that does not read.
pub(crate) struct ProducersIn<'a> {
    reader: Reader<'a>,
    /// So many bytes are left.
    rest: usize,
}

impl<'a> ProducersIn<'a> {
    pub(crate) fn new(entry: &'a [u8]) -> Self {
        Self { reader: Reader::new(entry), rest: entry.len() }
    }

    /// Whether all of it reads, and is `count` producers.
    pub(crate) fn reads_as(mut self, count: u32) -> bool {
        let mut read = 0;
        while self.next().is_some() {
            read += 1;
        }
        self.rest == 0 && read == count
    }

    fn read(&mut self) -> Option<(i64, Producer)> {
        let id = self.reader.u64()?.cast_signed();
        let epoch = self.reader.u16()?.cast_signed();
        let count = usize::from(self.reader.u16()?);
        let _reserved = self.reader.u32()?;
        let used_ms = self.reader.u64()?.cast_signed();
        if count == 0 || count > PRODUCER_BATCHES_MAX {
            return None;
        }
        let mut batches = Vec::with_capacity(PRODUCER_BATCHES_MAX);
        for _ in 0..count {
            let base_offset = self.reader.u64().filter(|it| *it <= Offset::MAX.value())?;
            let base_sequence = self.reader.u32()?.cast_signed();
            let records = self.reader.u32()?;
            let base_offset = Offset::new(base_offset);
            batches.push(Written { base_offset, base_sequence, records });
        }
        self.rest = self.rest.checked_sub(PRODUCER_BYTES + count * BATCH_BYTES)?;
        Some((id, Producer { epoch, used_ms, batches }))
    }
}

impl Iterator for ProducersIn<'_> {
    type Item = (i64, Producer);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest == 0 { None } else { self.read() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entries, Entry, PRODUCERS_BYTES, encode_producers};
    use crate::identity::PartitionId;
    use alloc::vec;
    use plimsoll_batch::{Batch, BatchBuilder, BatchLimits, assign};

    const NEVER: (i64, i64) = (0, i64::MAX);

    /// The header of a batch of two records.
    fn header(id: i64, epoch: i16, base_sequence: i32, base: u64) -> BatchHeader {
        let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
        builder.set_producer(ProducerStamp { id, epoch, base_sequence });
        for _ in 0..2 {
            builder.append(0, None, Some(b"v"), &[]).unwrap();
        }
        builder.finish_into(&mut bytes);
        assign(&mut bytes, Offset::new(base), 1);
        *Batch::validate(&bytes, &BatchLimits::default()).unwrap().header()
    }

    fn judge(table: &ProducerTable, id: i64, base_sequence: i32) -> Verdict {
        table.judge((ProducerStamp { id, epoch: 0, base_sequence }, 2), NEVER)
    }

    fn of_seven_batches() -> ProducerTable {
        let mut table = ProducerTable::default();
        (0..7).for_each(|at| table.apply(&header(1, 0, 2 * at, 2 * at as u64), 5));
        table
    }

    #[test]
    fn the_last_five_are_duplicates_where_they_are_and_the_next_is_next() {
        let table = of_seven_batches();
        for at in 2..7 {
            assert_eq!(judge(&table, 1, 2 * at), Verdict::Duplicate(Offset::new(2 * at as u64)));
        }
        assert_eq!(judge(&table, 1, 14), Verdict::Next);
        for stray in [0, 2, 3, 13, 15, 16] {
            assert_eq!(judge(&table, 1, stray), Verdict::OutOfSequence { expected: 14 });
        }
        let other_count = (ProducerStamp { id: 1, epoch: 0, base_sequence: 12 }, 3);
        assert_eq!(table.judge(other_count, NEVER), Verdict::OutOfSequence { expected: 14 });
        assert_eq!(judge(&table, 2, 14), Verdict::Unknown);
        assert_eq!(judge(&table, 2, 0), Verdict::Next);
    }

    #[test]
    fn sequences_go_on_at_zero_behind_the_greatest() {
        let mut table = ProducerTable::default();
        table.apply(&header(1, 0, i32::MAX - 3, 0), 5);
        table.apply(&header(1, 0, i32::MAX - 1, 2), 5);
        assert_eq!(judge(&table, 1, 0), Verdict::Next);
        table.apply(&header(1, 0, 0, 4), 5);
        assert_eq!(judge(&table, 1, i32::MAX - 3), Verdict::Duplicate(Offset::ZERO));
        assert_eq!(judge(&table, 1, 2), Verdict::Next);
    }

    #[test]
    fn what_is_cut_off_is_no_duplicate_and_whoever_loses_all_is_unknown() {
        let mut table = of_seven_batches();
        table.apply(&header(2, 0, 0, 14), 5);
        table.cut(Offset::new(12));
        assert_eq!(judge(&table, 1, 10), Verdict::Duplicate(Offset::new(10)));
        assert_eq!(judge(&table, 1, 12), Verdict::Next);
        assert_eq!(judge(&table, 2, 2), Verdict::Unknown);
    }

    #[test]
    fn a_table_reads_back_from_its_entry_and_one_that_does_not_add_up_is_refused() {
        let mut table = of_seven_batches();
        table.apply(&header(i64::MAX, 3, 0, 14), -1);
        let mut list = Vec::new();
        let count = table.encode_all(&mut list);
        let id = PartitionId { topic: 1, partition: 2 };
        let mut entry = vec![0; PRODUCERS_BYTES + list.len()];
        encode_producers(id, count, &list, &mut entry);
        let Some(Ok(Entry::Producers(read))) = Entries::new(&entry).next() else {
            panic!("it is an entry of producers")
        };
        let mut again = ProducerTable::default();
        again.replace(read.list);
        assert_eq!((read.partition, read.count, again), (id, 2, table));
        // The number of producers, and of the first one's batches.
        for (at, wrong) in [(16, 1), (16, 3), (34, 0), (34, 6), (34, 4)] {
            let mut wrongly = entry.clone();
            wrongly[at] = wrong;
            assert!(matches!(Entries::new(&wrongly).next(), Some(Err(_))), "{at} is {wrong}");
        }
    }
}
