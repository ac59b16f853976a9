//! Reading the records that were acquired.
//!
//! One fetch at a time: what it brings may be large. What a newcomer gets wrong: an acquired offset
//! need not have a record. That it has none is told to the server like a verdict, or it would be
//! handed out for ever.

use super::dead_letter::Copies;
use super::held::{Key, Stage};
use super::record::Lent;
use super::{Asked, LINK, ShareConsumer, ShareNotice, SharedRecord, UNSEEN};
use crate::compression::decompress;
use crate::consumer::RETRY_DELAY;
use crate::deliver_after::deliver_after;
use crate::{ConnectionFault, DeliveryError, Instant, ServerError};
use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use plimsoll_batch::{Batch, Batches, Codec, Records};
use plimsoll_wire::{
    Bind, ErrorCode, Fetch, Fetched, Handle, Offset, PartitionIndex, TopicPartition, Unbind,
    Verdict, Visible,
};

/// Where the reading stands.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    /// What is to be fetched.
    pub(super) wanted: BTreeSet<Key>,
    /// The partition of each handle on this connection.
    slots: Vec<Slot>,
    /// The slot to give up for the next partition.
    oldest: usize,
    is_asked: bool,
    pub(super) retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    place: TopicPartition,
    is_bound: bool,
}

impl Fetching {
    /// What was bound and asked went with its connection.
    pub(super) fn lost(&mut self) {
        let wanted = core::mem::take(&mut self.wanted);
        *self = Fetching { wanted, ..Fetching::default() };
    }
}

impl ShareConsumer {
    /// Fetches what comes first of what is wanted, if there is room for it.
    pub(super) fn fetch(&mut self, now: Instant) {
        let is_due = self.fetching.retry_at.is_none_or(|at| at <= now);
        let buffered = self.ready_bytes + self.copies.as_ref().map_or(0, Copies::waiting_bytes);
        if self.fetching.is_asked || !is_due || buffered >= self.options.buffer_bytes_max {
            return;
        }
        let Some(&(place, offset)) = self.fetching.wanted.first() else { return };
        self.fetching.retry_at = None;
        self.fetching.is_asked = true;
        let is_it = |slot: &Slot| slot.place == place && slot.is_bound;
        let Some(slot) = self.fetching.slots.iter().position(is_it) else {
            return self.bind(place, now);
        };
        let fetch = Fetch {
            handle: Handle(slot as u32),
            visible: Visible::Disk,
            offset,
            max_bytes: FETCH_BYTES,
            min_bytes: 1,
            max_wait_ms: 0,
        };
        let asked = Asked::Fetch { slot, from: offset };
        self.links.request(LINK, asked, now, |id, out| fetch.encode(id, out));
    }

    fn bind(&mut self, place: TopicPartition, now: Instant) {
        let Fetching { slots, oldest, .. } = &mut self.fetching;
        let new = Slot { place, is_bound: false };
        let is_free = |slot: &Slot| !slot.is_bound;
        let slot = if let Some(free) = slots.iter().position(is_free) {
            slots[free] = new;
            free
        } else if slots.len() < SLOTS_MAX {
            slots.push(new);
            slots.len() - 1
        } else {
            *oldest = (*oldest + 1) % SLOTS_MAX;
            slots[*oldest] = new;
            let unbind = Unbind { handle: Handle(*oldest as u32) };
            self.links.request(LINK, Asked::Unbind, now, |id, out| unbind.encode(id, out));
            *oldest
        };
        let topic = self.name(place.topic);
        let (handle, partition) = (Handle(slot as u32), PartitionIndex(place.partition.0));
        let bind = Bind { handle, partition, topic: &topic };
        self.links.request(LINK, Asked::Bind { slot }, now, |id, out| bind.encode(id, out));
    }

    pub(super) fn bound(&mut self, slot: usize) {
        self.fetching.is_asked = false;
        if let Some(slot) = self.fetching.slots.get_mut(slot) {
            slot.is_bound = true;
        }
    }

    /// Batches from `from` on, maybe none.
    pub(super) fn fetched(
        &mut self,
        slot: usize,
        from: Offset,
        fetched: &Fetched<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        self.fetching.is_asked = false;
        let Some(place) = self.fetching.slots.get(slot).map(|slot| slot.place) else {
            return Err(ConnectionFault::Unexpected("a handle"));
        };
        let (mut next, mut first) = (from, None);
        for batch in Batches::new(fetched.batches) {
            let batch = batch.map_err(ConnectionFault::Batch)?;
            first = first.or(Some(batch.header().base_offset));
            self.take_batch(place, &batch, now);
            next = next.max(batch.header().next_offset());
        }
        // Up to the first batch there is nothing at all, whoever has acquired it.
        let hole_end = first.unwrap_or(fetched.watermarks.disk);
        next = next.max(hole_end);
        if next == from {
            self.fetching.retry_at = Some(now + RETRY_DELAY);
        }
        self.leap_over(place, from, hole_end);
        self.gone(place, from, next);
        Ok(())
    }

    /// There is no record from `from` to `end`. What of it nobody was handed can be left out, too:
    /// after a power loss it may be a million offsets.
    fn leap_over(&mut self, place: TopicPartition, from: Offset, end: Offset) {
        let last_wanted = self.wanted_in(place, from, end).pop();
        if let Some((key, last)) = last_wanted.zip(end.value().checked_sub(1))
            && key.1.value() < last
        {
            self.leaps.insert(key, Offset::new(last));
        }
    }

    /// What is still wanted of this part of a partition has no record.
    fn gone(&mut self, place: TopicPartition, from: Offset, next: Offset) {
        for key in self.wanted_in(place, from, next) {
            self.fetching.wanted.remove(&key);
            self.settle_as(key, Verdict::Gone, None);
        }
    }

    fn wanted_in(&self, place: TopicPartition, from: Offset, next: Offset) -> Vec<Key> {
        if from >= next {
            return Vec::new();
        }
        self.fetching.wanted.range((place, from)..(place, next)).copied().collect()
    }

    fn take_batch(&mut self, place: TopicPartition, batch: &Batch<'_>, now: Instant) {
        let header = batch.header();
        if self.wanted_in(place, header.base_offset, header.next_offset()).is_empty() {
            return;
        }
        if let Err(error) = self.take_records(place, batch, now) {
            self.unreadable(place, batch, error, now);
        }
    }

    fn take_records(
        &mut self,
        place: TopicPartition,
        batch: &Batch<'_>,
        now: Instant,
    ) -> Result<(), DeliveryError> {
        let records = match batch.codec() {
            Codec::None => Cow::Borrowed(batch.records_payload()),
            codec => Cow::Owned(decompress(codec, batch.records_payload())?),
        };
        for record in Records::over(batch.header(), &records) {
            let record = record?;
            let key = (place, record.offset);
            if !self.fetching.wanted.remove(&key) {
                continue;
            }
            let Some((lent, is_dead)) = self.lent(key) else { continue };
            match deliver_after(record.headers.clone()) {
                Some(until_unix_ms) if !is_dead && !self.has_come(until_unix_ms, now) => {
                    self.settle_as(key, Verdict::Defer { until_unix_ms }, None);
                }
                _ => self.take_record(key, SharedRecord::new(lent, &record), now),
            }
        }
        Ok(())
    }

    fn take_record(&mut self, key: Key, record: SharedRecord, now: Instant) {
        let Some(held) = self.held.get_mut(&key) else { return };
        match held.dead {
            Some(reason) => self.copy_dead(record, reason, now),
            None => {
                held.stage = Stage::Ready;
                self.is_wanted = false;
                self.ready_bytes += record.held_bytes();
                self.ready.push_back(record);
            }
        }
    }

    fn lent(&self, key: Key) -> Option<(Lent, bool)> {
        let held = self.held.get(&key)?;
        let (lock, deliveries) = (held.lock, held.deliveries);
        let lent = Lent { topic: self.name(key.0.topic), place: key.0, lock, deliveries };
        Some((lent, held.dead.is_some()))
    }

    /// Others may read what this member cannot, with another codec say. If nobody can, what goes to
    /// the dead-letter topic says at least where it was.
    fn unreadable(
        &mut self,
        place: TopicPartition,
        batch: &Batch<'_>,
        error: DeliveryError,
        now: Instant,
    ) {
        let header = batch.header();
        let unread = self.wanted_in(place, header.base_offset, header.next_offset());
        let Some(&(_, offset)) = unread.first() else { return };
        let (topic, partition) = (self.name(place.topic), place.partition.0);
        self.notice(ShareNotice::Unreadable { topic, partition, offset, error });
        for key in unread {
            self.fetching.wanted.remove(&key);
            match self.lent(key) {
                Some((lent, true)) => self.take_record(key, SharedRecord::unread(lent, key.1), now),
                _ => self.settle_as(key, Verdict::Release { delay_ms: UNREAD_DELAY_MS }, None),
            }
        }
    }

    /// A bind or a fetch was refused.
    pub(super) fn unfetched(
        &mut self,
        slot: usize,
        from: Option<Offset>,
        error: ServerError,
        now: Instant,
    ) {
        self.fetching.is_asked = false;
        let Some(found) = self.fetching.slots.get_mut(slot) else { return };
        let place = found.place;
        match (error.code, from) {
            (ErrorCode::OffsetOutOfRange, Some(from)) if error.detail_a > from.value() => {
                let start = Offset::new(error.detail_a);
                self.leap_over(place, from, start);
                self.gone(place, from, start);
            }
            (ErrorCode::HandleUnknown, _) => found.is_bound = false,
            (ErrorCode::TopicNotFound | ErrorCode::PartitionNotFound, _) => {
                // With the topic its records went, and what the group knew of them.
                found.is_bound = false;
                let (from, next) = (Offset::ZERO, Offset::new(u64::MAX));
                for key in self.wanted_in(place, from, next) {
                    self.lose(key);
                }
            }
            _ if error.is_retriable() => self.fetching.retry_at = Some(now + RETRY_DELAY),
            _ => self.put_off(place, from, error, now),
        }
    }

    /// It cannot be read now: damage, a failed disk. Not the record's fault, so it is not counted.
    fn put_off(
        &mut self,
        place: TopicPartition,
        from: Option<Offset>,
        error: ServerError,
        now: Instant,
    ) {
        let from = from.unwrap_or(Offset::ZERO);
        let unread = self.wanted_in(place, from, Offset::new(u64::MAX));
        let (topic, partition) = (self.name(place.topic), place.partition.0);
        let offset = unread.first().map_or(from, |key| key.1);
        self.notice(ShareNotice::Unfetched { topic, partition, offset, error });
        let later = self.server_time.map(|(unix_ms, heard_at)| {
            let since_ms = i64::try_from(now.since(heard_at).as_millis()).unwrap_or(0);
            unix_ms.saturating_add(since_ms).saturating_add(PUT_OFF_MS)
        });
        let verdict = later.map_or(UNSEEN, |until_unix_ms| Verdict::Defer { until_unix_ms });
        // What comes next may be no more readable, and a partition has many offsets.
        self.acquire_at = Some(now + RETRY_DELAY);
        for key in unread {
            self.fetching.wanted.remove(&key);
            self.settle_as(key, verdict, None);
        }
    }
}

/// What is fetched at once; a batch may be larger.
const FETCH_BYTES: u32 = 1 << 20;

/// Partitions that are bound at a time.
const SLOTS_MAX: usize = 64;

/// Before others try to read what this member cannot.
const UNREAD_DELAY_MS: u64 = 1_000;

/// Before anybody tries again to read what the server cannot.
const PUT_OFF_MS: i64 = 5_000;
