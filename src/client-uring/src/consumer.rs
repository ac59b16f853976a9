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
use std::rc::Rc;

/// Reads one topic, from as many partitions as it was asked for.
///
/// What was handed out counts as consumed at the next call: then the server may send as much
/// again. Every future here may be dropped before it is done: nothing is lost.
#[derive(Debug)]
pub struct Consumer {
    engine: Rc<Engine<ConsumerSession>>,
    topic: Topic,
    current: Option<DeliveredBatches>,
    records: VecDeque<Result<Record, DeliveryError>>,
    positions: BTreeMap<u32, Offset>,
}

impl Consumer {
    pub(crate) fn new(engine: Rc<Engine<ConsumerSession>>) -> Consumer {
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

    /// The next record of any partition; in each partition they come in order. Waits as long as it
    /// takes, also while the server is not reachable: put `tokio::time::timeout` around it.
    ///
    /// # Errors
    ///
    /// See [`ConsumeError`]. The consumer may be called again after each.
    pub async fn next(&mut self) -> Result<Record, ConsumeError> {
        loop {
            match self.records.pop_front() {
                Some(Ok(record)) => {
                    let next = Offset::new(record.offset.value().saturating_add(1));
                    self.positions.insert(record.partition, next);
                    return Ok(record);
                }
                Some(Err(error)) => {
                    let partition = self.current.as_ref().map_or(0, |current| current.partition);
                    return Err(ConsumeError::Unreadable { partition, error });
                }
                None => {}
            }
            let batch = self.take_batch().await?;
            let records = batch.owned_records();
            self.records.extend(records.map(|record| record.map_err(DeliveryError::from)));
        }
    }

    /// The next batch of any partition: the fast way. Do not mix it with [`next`](Consumer::next),
    /// which may hold records of a batch that it has begun.
    ///
    /// # Errors
    ///
    /// See [`ConsumeError`].
    pub async fn next_batch(&mut self) -> Result<DeliveredBatch, ConsumeError> {
        let batch = self.take_batch().await?;
        self.positions.insert(batch.partition(), batch.header().next_offset());
        Ok(batch)
    }

    /// The offset that follows what was handed out of a partition: where to begin the next time.
    /// `None` before the first record.
    #[must_use]
    pub fn position(&self, partition: u32) -> Option<Offset> {
        self.positions.get(&partition).copied()
    }

    async fn take_batch(&mut self) -> Result<DeliveredBatch, ConsumeError> {
        loop {
            if let Some(current) = &mut self.current {
                let partition = current.partition;
                match current.next() {
                    Some(Ok(batch)) => return Ok(batch),
                    Some(Err(error)) => {
                        return Err(ConsumeError::Unreadable { partition, error });
                    }
                    None => {}
                }
            }
            if let Some(consumed) = self.current.take() {
                self.engine.lock().session.release(&consumed);
                self.engine.wake_all();
            }
            self.current = Some(self.wait_delivery().await?);
        }
    }

    async fn wait_delivery(&self) -> Result<DeliveredBatches, ConsumeError> {
        loop {
            let progress = self.engine.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let event = self.engine.lock().session.poll_event();
            match event {
                Some(ConsumerEvent::Delivered(batches)) => return Ok(batches),
                Some(ConsumerEvent::Failed { partition, error, .. }) => {
                    let topic = self.topic.name.clone();
                    return Err(ConsumeError::Partition { topic, partition, error });
                }
                Some(_) => {}
                None => progress.await,
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
    fn tell(&mut self) {}
}
