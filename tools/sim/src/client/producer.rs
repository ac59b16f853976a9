//! A producer: which records went into which batch, and what was heard of them.
//!
//! What a newcomer gets wrong: when a producer's process dies, its records have an unknown fate,
//! also those that it had not sent yet.

use core::time::Duration;
use std::collections::BTreeMap;

use plimsoll_client::{
    BatchId, Compression, DeliverAfter, DurabilityWanted, Instant, NewRecord, Producer,
    ProducerOptions, Session, Topic,
};
use plimsoll_sim::Network;

use super::links::{Links, Surroundings};
use crate::keyed::name_of;
use crate::ledger::{Entry, Fate, Ledger, Place};
use crate::scenario::ProducerPlan;
use crate::value::{RecordId, VALUE_BYTES_MIN, value_of};

/// A producer of the run, through all its restarts.
pub(crate) struct ProducerClient {
    pub(crate) plan: ProducerPlan,
    number: usize,
    sessions: usize,
    session: Option<Producer<()>>,
    pub(crate) links: Links,
    /// Records of batches that have no final outcome.
    batches: BTreeMap<BatchId, Vec<RecordId>>,
}

impl ProducerClient {
    pub(crate) fn new(number: usize, plan: ProducerPlan) -> Self {
        Self {
            plan,
            number,
            sessions: 0,
            session: None,
            links: Links::default(),
            batches: BTreeMap::new(),
        }
    }

    pub(crate) fn begin(&mut self, topic: &Topic) {
        let mut options = ProducerOptions::default();
        options.durability = DurabilityWanted::Level(self.plan.durability);
        options.also = self.plan.also;
        options.idempotent = self.plan.idempotent;
        options.in_flight_batches_max = self.plan.in_flight_batches_max;
        options.linger = Duration::from_micros(u64::from(self.plan.linger_us));
        options.batch_bytes = 64 << 10;
        options.delivery_timeout = Duration::from_secs(3);
        options.retry_delay = Duration::from_millis(20);
        if self.plan.compresses {
            options.compression = Compression::Lz4;
        }
        options.link = super::link_options();
        self.sessions += 1;
        self.session = Some(Producer::new(topic.clone(), options, 0));
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.session.is_some()
    }

    /// Every record has an outcome.
    pub(crate) fn is_settled(&self) -> bool {
        self.batches.is_empty()
    }

    /// Appends records of `length` bytes each; gives those that were taken.
    pub(crate) fn append(
        &mut self,
        partition: u32,
        (records, length): (u32, usize),
        ledger: &mut Ledger,
        now: Instant,
    ) -> Vec<RecordId> {
        if self.session.is_none() {
            return Vec::new();
        }
        let place = Place { topic: self.plan.topic, partition };
        let length = length.max(VALUE_BYTES_MIN);
        let mut taken = Vec::new();
        for _ in 0..records {
            let id = ledger.begin(self.number, place, length);
            let Entry { stamp_ms, keyed, .. } = ledger.entries[id.0 as usize];
            let (key, number) = (keyed.key_bytes(), id.0.to_le_bytes());
            let (value, headers) = (value_of(id, length), [name_of(&number)]);
            let due_ms = self.due_ms(id, stamp_ms);
            let record = NewRecord {
                timestamp_ms: Some(stamp_ms),
                key: key.as_deref(),
                value: (!keyed.deletes).then_some(&value[..]),
                headers: if keyed.is_named { &headers } else { &[] },
                deliver_after: due_ms.map(DeliverAfter::UnixMs),
                ..NewRecord::default()
            };
            let record = record.to_partition(partition);
            let Some(session) = &mut self.session else { break };
            match session.append(&record, now) {
                Ok(appended) => {
                    let entry = &mut ledger.entries[id.0 as usize];
                    (entry.due_ms, entry.is_compressed) = (due_ms, self.plan.compresses);
                    self.batches.entry(appended.batch).or_default().push(id);
                    taken.push(id);
                }
                Err(_) => ledger.entries[id.0 as usize].fate = Fate::Refused,
            }
        }
        taken
    }

    /// When groups in share mode may hand a record out: three in four are delayed, some by less.
    fn due_ms(&self, id: RecordId, stamp_ms: i64) -> Option<i64> {
        let part = i64::try_from(id.0 % 4).unwrap_or(0);
        let delay_ms = i64::from(self.plan.delay_ms) * part / 3;
        (delay_ms > 0).then_some(stamp_ms + delay_ms)
    }

    /// Its process dies.
    pub(crate) fn die(&mut self, ledger: &mut Ledger, network: &mut Network) {
        self.links.abandon(network);
        self.session = None;
        for id in std::mem::take(&mut self.batches).into_values().flatten() {
            ledger.entries[id.0 as usize].fate = Fate::Unknown;
        }
    }

    pub(crate) fn is_ready(&self, network: &Network, now: Instant, reads: bool) -> bool {
        let due = self.poll_timeout().is_some_and(|timeout| timeout <= now);
        due || (reads && self.links.have_news(network))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.session.as_ref()?.poll_timeout()
    }

    pub(crate) fn turn(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) {
        let Some(session) = &mut self.session else { return };
        self.links.turn(session, around);
        while let Some(event) = session.poll_event() {
            let records = match self.batches.get(&event.batch) {
                Some(records) => records.clone(),
                None => return ledger.violate(format!("an outcome of no batch: {event:?}")),
            };
            if records.len() != event.records as usize {
                return ledger.violate(format!("{} records in {event:?}", records.len()));
            }
            ledger.heard(self.sessions, &records, &event.outcome, event.is_final);
            if event.is_final {
                self.batches.remove(&event.batch);
            }
        }
    }
}
