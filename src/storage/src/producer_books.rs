//! The producers of all partitions of a shard: judged before an append, noted after it, bounded.
//!
//! What a newcomer gets wrong: a partition without idempotent producers has no tables at all, and
//! costs nothing here.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::{BatchHeader, Offset};

use crate::entry::{PRODUCERS_BYTES, encode_producers};
use crate::error::AppendError;
use crate::frame_draft::FrameDraft;
use crate::identity::Slot;
use crate::limits::{PRODUCER_EXPIRY, PRODUCERS_SHARD_MAX};
use crate::producers::{PRODUCERS_BYTES_MAX, ProducerTable, Verdict};
use crate::span::SpanId;
use crate::storage::Storage;

/// What a partition knows of its producers.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    /// By all that is published.
    pub(crate) published: ProducerTable,
    /// By what is logged, in frames written or on their way.
    pub(crate) logged: ProducerTable,
}

/// How many producers a shard knows, and where most of them are.
pub(crate) struct ProducerBooks {
    expiry_ms: i64,
    known: usize,
    known_max: usize,
    by_count: BTreeSet<(usize, Slot)>,
}

impl ProducerBooks {
    /// What snapshots say of producers must stay a small part of the journal.
    pub(crate) fn new(journal_bytes: u64) -> Self {
        let fitting = usize::try_from(journal_bytes / 2048).unwrap_or(usize::MAX);
        Self {
            expiry_ms: millis(PRODUCER_EXPIRY),
            known: 0,
            known_max: fitting.min(PRODUCERS_SHARD_MAX),
            by_count: BTreeSet::new(),
        }
    }

    fn recount(&mut self, slot: Slot, before: usize, after: usize) {
        self.known = self.known + after - before;
        self.by_count.remove(&(before, slot));
        if after > 0 {
            self.by_count.insert((after, slot));
        }
    }
}

impl Storage {
    /// Has producers forgotten that wrote nothing for this long; seven days unless told.
    pub fn set_producer_expiry(&mut self, expiry: Duration) {
        self.producers.expiry_ms = millis(expiry);
    }

    /// Where the batch is, if it was taken before; an error if it does not come next.
    pub(crate) fn judge_producer(
        &mut self,
        slot: Slot,
        header: &BatchHeader,
    ) -> Result<Option<Offset>, AppendError> {
        let Some(stamp) = header.producer() else { return Ok(None) };
        let clock = (self.rested_by_ms(), self.producers.expiry_ms);
        let none = ProducerTable::default();
        let tables = self.partition(slot).producers.as_deref();
        let table = tables.map_or(&none, |tables| &tables.published);
        match table.judge((stamp, header.record_count()), clock) {
            Verdict::Next => Ok(None),
            Verdict::Duplicate(base) => Ok(Some(base)),
            Verdict::OutOfSequence { expected } => {
                Err(AppendError::OutOfSequence { expected, got: stamp.base_sequence })
            }
            Verdict::Fenced { epoch } => Err(AppendError::ProducerFenced { epoch }),
            Verdict::Unknown => Err(AppendError::ProducerUnknown),
        }
    }

    /// By this producers have rested: a wall clock that leaps makes nobody forgotten, as it makes
    /// no data old. One that was forgotten while a batch of it was on its way would write it twice.
    fn rested_by_ms(&self) -> i64 {
        self.aging.clock.now_ms().unwrap_or(0)
    }

    /// Where a rest begins that begins now.
    fn used_ms(&self) -> i64 {
        self.aging.clock.latest_ms().unwrap_or(0)
    }

    /// Takes note of a batch that was published; its base offset is the one that it was given.
    pub(crate) fn note_producer(&mut self, slot: Slot, header: &BatchHeader) {
        if header.producer().is_none() {
            return;
        }
        let used_ms = self.used_ms();
        let partition = self.partition_mut(slot);
        let table = &mut partition.producers.get_or_insert_default().published;
        let before = table.len();
        table.apply(header, used_ms);
        let after = table.len();
        if after != before {
            self.producers.recount(slot, before, after);
            self.bound_producers();
        }
    }

    /// The partition with the most producers gives up those that rested longest.
    fn bound_producers(&mut self) {
        while self.producers.known > self.producers.known_max
            && let Some(&(before, slot)) = self.producers.by_count.last()
        {
            self.producers.recount(slot, before, before - 1);
            if let Some(tables) = &mut self.partition_mut(slot).producers
                && let Some(id) = tables.published.remove_oldest()
            {
                tables.logged.remove(id);
            }
        }
    }

    /// What recovery found.
    pub(crate) fn seed_producers(&mut self, slot: Slot, found: ProducerTable) {
        if found.len() > 0 {
            self.producers.recount(slot, 0, found.len());
            let tables = Producers { published: found.clone(), logged: found };
            self.partition_mut(slot).producers = Some(Box::new(tables));
            self.bound_producers();
        }
    }

    /// Of producers that the journal names without a time, the rest begins with this start.
    pub(crate) fn rest_begins(&mut self) {
        let used_ms = self.used_ms();
        for partition in self.partitions.iter_mut().flatten() {
            if let Some(tables) = &mut partition.producers {
                tables.published.rest_begins(used_ms);
                tables.logged.rest_begins(used_ms);
            }
        }
    }

    pub(crate) fn forget_producers(&mut self, slot: Slot) {
        if let Some(tables) = self.partition_mut(slot).producers.take() {
            self.producers.recount(slot, tables.published.len(), 0);
        }
    }

    /// All that is published counts as logged.
    pub(crate) fn producers_logged(&mut self, slot: Slot) {
        if let Some(tables) = &mut self.partition_mut(slot).producers {
            tables.logged = tables.published.clone();
        }
    }

    /// The batches between two places of a span are being logged. Recovery reads of producers in
    /// data that is inline; of what is in an extent the frame must say it.
    pub(crate) fn log_producers(
        &mut self,
        slot: Slot,
        (span, from, to): (SpanId, u32, u32),
        in_extent: bool,
        draft: &mut FrameDraft,
    ) {
        let used_ms = self.used_ms();
        let batches = self.memory.bytes(span, from, to);
        let Some(Some(partition)) = self.partitions.get_mut(slot.0 as usize) else { return };
        let Some(tables) = &mut partition.producers else { return };
        let mut seen = BTreeSet::new();
        tables.logged.apply_all(batches, used_ms, |id| {
            if in_extent {
                seen.insert(id);
            }
        });
        if !seen.is_empty() {
            let mut list = Vec::new();
            let count = tables.logged.encode_some(&seen, &mut list);
            self.put_producers(slot, count, &list, draft);
        }
    }

    /// What an extent's producers may need beside it in the frame.
    pub(crate) fn producers_bytes_max(&self, slot: Slot) -> usize {
        match self.partition(slot).producers {
            Some(_) => PRODUCERS_BYTES + PRODUCERS_BYTES_MAX,
            None => 0,
        }
    }

    /// The producers that a snapshot goes along with, and how many they are.
    pub(crate) fn snapshot_producers(&mut self, slot: Slot) -> (u32, Vec<u8>) {
        let (now_ms, expiry_ms) = (self.rested_by_ms(), self.producers.expiry_ms);
        let mut list = Vec::new();
        let Some(tables) = &mut self.partition_mut(slot).producers else { return (0, list) };
        let before = tables.published.len();
        tables.published.expire(now_ms, expiry_ms);
        tables.logged.expire(now_ms, expiry_ms);
        let count = tables.logged.encode_all(&mut list);
        let after = tables.published.len();
        self.producers.recount(slot, before, after);
        (count, list)
    }

    pub(crate) fn put_producers(
        &mut self,
        slot: Slot,
        count: u32,
        list: &[u8],
        draft: &mut FrameDraft,
    ) {
        let length = PRODUCERS_BYTES + list.len();
        let at = self.body_range(draft, length);
        let id = self.partition(slot).id;
        encode_producers(id, count, list, self.memory.arena_mut().bytes_mut(at));
        draft.body_bytes += length;
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
