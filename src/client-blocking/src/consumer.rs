//! The consumer: whole batches for speed, or owned records one by one.
//!
//! The session decides; this waits and hands out. What a newcomer gets wrong: credit goes back to
//! the server when the *next* delivery is asked for, so a consumer that stops asking stops the
//! server.

use crate::engine::{Driven, Engine};
use crate::{ConsumeError, DeliveredBatch, Offset, Record};
use plimsoll_client::{
    Consumer as ConsumerSession, ConsumerEvent, DeliveredBatches, DeliveryError, Topic,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Reads one topic, from as many partitions as it was asked for.
///
/// What was handed out counts as consumed at the next call: then the server may send as much
/// again. A consumer that is not called holds at most its credit (and a frame for each partition)
/// in memory.
#[derive(Debug)]
pub struct Consumer {
    engine: Arc<Engine<ConsumerSession>>,
    topic: Topic,
    /// The delivery whose batches are being handed out.
    current: Option<DeliveredBatches>,
    /// The batch whose records are being handed out.
    records: VecDeque<Result<Record, DeliveryError>>,
    positions: BTreeMap<u32, Offset>,
}

impl Consumer {
    pub(crate) fn new(engine: Arc<Engine<ConsumerSession>>) -> Consumer {
        let topic = {
            let mut state = engine.lock();
            let now = engine.clock.now();
            engine.dial_due(&mut state, now);
            state.session.topic().clone()
        };
        let (records, positions) = (VecDeque::new(), BTreeMap::new());
        Consumer { engine, topic, current: None, records, positions }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The next record of any partition; in each partition they come in order. `None`: there was
    /// none within `timeout`.
    ///
    /// # Errors
    ///
    /// See [`ConsumeError`]. The consumer may be called again after each.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Record>, ConsumeError> {
        loop {
            match self.records.pop_front() {
                Some(Ok(record)) => {
                    let next = Offset::new(record.offset.value().saturating_add(1));
                    self.positions.insert(record.partition, next);
                    return Ok(Some(record));
                }
                Some(Err(error)) => {
                    let partition = self.current.as_ref().map_or(0, |current| current.partition);
                    return Err(ConsumeError::Unreadable { partition, error });
                }
                None => {}
            }
            match self.take_batch(timeout)? {
                Some(batch) => {
                    let records = batch.owned_records();
                    self.records.extend(records.map(|record| record.map_err(DeliveryError::from)));
                }
                None => return Ok(None),
            }
        }
    }

    /// The next batch of any partition: the fast way. Do not mix it with [`next`](Consumer::next),
    /// which may hold records of a batch that it has begun.
    ///
    /// # Errors
    ///
    /// See [`ConsumeError`].
    pub fn next_batch(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<DeliveredBatch>, ConsumeError> {
        let batch = self.take_batch(timeout)?;
        if let Some(batch) = &batch {
            self.positions.insert(batch.partition(), batch.header().next_offset());
        }
        Ok(batch)
    }

    /// The offset that follows what was handed out of a partition: where to begin the next time.
    /// `None` before the first record.
    #[must_use]
    pub fn position(&self, partition: u32) -> Option<Offset> {
        self.positions.get(&partition).copied()
    }

    fn take_batch(&mut self, timeout: Duration) -> Result<Option<DeliveredBatch>, ConsumeError> {
        loop {
            if let Some(current) = &mut self.current {
                let partition = current.partition;
                match current.next() {
                    Some(Ok(batch)) => return Ok(Some(batch)),
                    Some(Err(error)) => {
                        return Err(ConsumeError::Unreadable { partition, error });
                    }
                    None => {}
                }
            }
            self.current = self.wait_delivery(timeout)?;
            if self.current.is_none() {
                return Ok(None);
            }
        }
    }

    fn wait_delivery(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<DeliveredBatches>, ConsumeError> {
        let engine = &self.engine;
        let deadline = engine.clock.now() + timeout;
        let mut state = engine.lock();
        if let Some(consumed) = self.current.take() {
            state.session.release(&consumed);
            engine.wake_those_with_work(&mut state);
        }
        loop {
            match state.session.poll_event() {
                Some(ConsumerEvent::Delivered(batches)) => return Ok(Some(batches)),
                Some(ConsumerEvent::Failed { partition, error, .. }) => {
                    let topic = self.topic.name.clone();
                    return Err(ConsumeError::Partition { topic, partition, error });
                }
                Some(_) => continue,
                None => {}
            }
            let (guard, in_time) = engine.wait_progress(state, Some(deadline));
            state = guard;
            if !in_time {
                return match state.session.last_fault() {
                    Some(fault) => Err(ConsumeError::Disconnected {
                        address: engine.address.clone(),
                        fault: fault.clone(),
                    }),
                    None => Ok(None),
                };
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.engine.lock();
        self.engine.close(&mut state);
    }
}

impl Driven for ConsumerSession {
    type Report = ();

    fn take_reports(&mut self) -> Vec<()> {
        Vec::new()
    }

    fn tell((): ()) {}
}
