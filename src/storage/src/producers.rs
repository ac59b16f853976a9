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
use crate::limits::{PRODUCER_BATCHES_MAX, PRODUCERS_MAX};

/// Bytes of one producer before its batches, in a journal entry.
const PRODUCER_BYTES: usize = 24;
/// Bytes of one batch there.
const BATCH_BYTES: usize = 16;
/// The most that the producers of one partition take in a journal entry.
pub(crate) const PRODUCERS_BYTES_MAX: usize =
    PRODUCERS_MAX * (PRODUCER_BYTES + PRODUCER_BATCHES_MAX * BATCH_BYTES);

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
