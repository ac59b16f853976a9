//! What a run counts while it runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use plimsoll_batch::BatchHeader;

use crate::Ledger;
use crate::ledger::AckedBatch;

/// Counters and histograms. The times are in nanoseconds.
#[derive(Debug)]
pub(crate) struct Measurement {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) first_refusal: Option<String>,
    pub(crate) latency: Histogram<u64>,
    pub(crate) delivery: Histogram<u64>,
    pub(crate) delivered: u64,
    pub(crate) delivered_bytes: u64,
    pub(crate) started: Instant,
    /// When the last ack or delivery came.
    pub(crate) last: Instant,
    pub(crate) ledger: Option<Ledger>,
    tail: Option<Tail>,
}

/// What a progress display needs.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Records acked so far, or consumed.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Since the start, warm-up included.
    pub elapsed: Duration,
    /// How much of the run is done, from 0 to 1.
    pub done: f64,
}

/// Acks and deliveries that wait for each other, by partition and base offset.
#[derive(Debug, Default)]
struct Tail {
    acked: BTreeMap<(u32, u64), Instant>,
    delivered: BTreeMap<(u32, u64), Instant>,
}

impl Measurement {
    /// `run` is kept in the ledger, if there is to be one; `tail` in end-to-end runs.
    pub(crate) fn new(partitions: u32, keeps_ledger: bool, tail: Option<()>) -> Measurement {
        let now = Instant::now();
        Measurement {
            records: 0,
            bytes: 0,
            refused: 0,
            unknown: 0,
            first_refusal: None,
            latency: histogram(),
            delivery: histogram(),
            delivered: 0,
            delivered_bytes: 0,
            started: now,
            last: now,
            ledger: keeps_ledger.then(|| Ledger::new(partitions)),
            tail: tail.map(|()| Tail::default()),
        }
    }

    /// The warm-up is over: everything but the ledger begins anew.
    pub(crate) fn restart(&mut self) {
        self.latency.reset();
        self.delivery.reset();
        (self.records, self.bytes, self.delivered, self.delivered_bytes) = (0, 0, 0, 0);
        self.started = Instant::now();
        self.last = self.started;
    }

    /// A batch was handed to the socket and no ack was asked for.
    pub(crate) fn sent(&mut self, records: u32, record_bytes: u64) {
        self.records += u64::from(records);
        self.bytes += record_bytes;
        self.last = Instant::now();
    }

    pub(crate) fn acked(
        &mut self,
        partition: u32,
        batch: AckedBatch,
        record_bytes: u64,
        latency: Duration,
        now: Instant,
    ) {
        self.records += u64::from(batch.records);
        self.bytes += record_bytes;
        self.last = now;
        record(&mut self.latency, latency, u64::from(batch.records));
        if let Some(tail) = &mut self.tail {
            let place = (partition, batch.base_offset);
            match tail.delivered.remove(&place) {
                // The consumer was told first; the ack waited in another socket.
                Some(_) => record(&mut self.delivery, Duration::ZERO, u64::from(batch.records)),
                None => drop(tail.acked.insert(place, now)),
            }
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.note(partition, batch);
        }
    }

    pub(crate) fn refused(
        &mut self,
        records: u32,
        is_unknown: bool,
        reason: impl FnOnce() -> String,
    ) {
        let count = if is_unknown { &mut self.unknown } else { &mut self.refused };
        *count += u64::from(records);
        self.first_refusal.get_or_insert_with(reason);
    }

    pub(crate) fn delivered(&mut self, partition: u32, header: &BatchHeader, now: Instant) {
        let records = u64::from(header.record_count);
        self.delivered += records;
        self.delivered_bytes += header.length_bytes as u64;
        self.last = now;
        if let Some(tail) = &mut self.tail {
            let place = (partition, header.base_offset.value());
            match tail.acked.remove(&place) {
                Some(acked) => {
                    record(&mut self.delivery, now.saturating_duration_since(acked), records);
                }
                None => drop(tail.delivered.insert(place, now)),
            }
        }
    }

    /// Whether every acked batch was delivered as well.
    pub(crate) fn is_all_delivered(&self) -> bool {
        self.tail.as_ref().is_none_or(|tail| tail.acked.is_empty())
    }
}

/// A minute is far beyond any latency that is worth three digits.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

fn record(histogram: &mut Histogram<u64>, latency: Duration, records: u64) {
    let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1);
    histogram.saturating_record_n(ns, records);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(base_offset: u64) -> AckedBatch {
        AckedBatch { base_offset, first_sequence: 0, connection: 0, records: 10 }
    }

    #[test]
    fn every_record_of_a_batch_counts_in_the_percentiles() {
        let mut measurement = Measurement::new(1, false, None);
        let now = Instant::now();
        measurement.acked(0, acked(0), 1000, Duration::from_micros(100), now);
        assert_eq!(measurement.latency.len(), 10);
        assert_eq!((measurement.records, measurement.bytes), (10, 1000));
    }

    #[test]
    fn what_was_measured_while_warming_up_is_forgotten_but_not_what_was_acked() {
        let mut measurement = Measurement::new(1, true, None);
        measurement.acked(0, acked(0), 1000, Duration::from_micros(100), Instant::now());
        measurement.restart();
        assert_eq!((measurement.records, measurement.latency.len()), (0, 0));
        assert_eq!(measurement.ledger.unwrap().records(), 10);
    }
}
