//! The producer: records in from any task, acks as futures.
//!
//! The session decides; this waits for room and wakes who must write. What a newcomer gets wrong:
//! what was sent and not flushed when a producer is dropped is given up, not sent.

use crate::engine::{Driven, Engine};
use crate::receipt::{Receipt, SharedFate};
use plimsoll_client::{
    AckLevel, AppendRejected, BatchId, Durability, LinkId, NewRecord, Producer as ProducerSession,
    SendError, Topic, Totals,
};
use std::marker::PhantomData;
use std::sync::Arc;

/// Sends records to one topic. Many tasks may use it at once.
///
/// [`close`](Producer::close) it to be sure of everything; a producer that is dropped gives up on
/// what is not yet acked, and sends nothing more.
#[derive(Debug)]
pub struct Producer<T> {
    engine: Arc<ProducerEngine>,
    topic: Topic,
    level: Option<AckLevel>,
    transport: PhantomData<T>,
}

pub(crate) type ProducerEngine = Engine<ProducerSession<SharedFate>>;

impl<T> Producer<T> {
    pub(crate) fn new(engine: Arc<ProducerEngine>) -> Producer<T> {
        let (topic, level) = {
            let state = engine.lock();
            (state.session.topic().clone(), state.session.durability().ack_level())
        };
        Producer { engine, topic, level, transport: PhantomData }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The durability of this producer, the topic's default resolved.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.level.map_or(Durability::None, AckLevel::durability)
    }

    /// Takes a record; waits while the producer's memory is used up. The receipt is a future of
    /// the ack. A record without a timestamp gets the time of this call. If the future is dropped
    /// before it is done, the record was not taken.
    ///
    /// # Errors
    ///
    /// The record was not taken, and is surely not written.
    pub async fn send(&self, record: &NewRecord<'_>) -> Result<Receipt<T>, SendError> {
        loop {
            let progress = self.engine.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if let Some(receipt) = self.try_send(record)? {
                return Ok(receipt);
            }
            progress.await;
        }
    }

    /// As [`send`](Producer::send), without waiting: `None` if the producer's memory is used up.
    ///
    /// # Errors
    ///
    /// As `send`.
    pub fn try_send(&self, record: &NewRecord<'_>) -> Result<Option<Receipt<T>>, SendError> {
        let engine = &self.engine;
        let mut state = engine.lock();
        if state.is_closed {
            return Err(SendError::Closed);
        }
        let now = engine.clock.now();
        let timestamp_ms = record.timestamp_ms.unwrap_or_else(|| state.wall.unix_ms(now));
        let record = NewRecord { timestamp_ms: Some(timestamp_ms), ..*record };
        match state.session.append(&record, now) {
            Ok(place) => {
                let (link, poll) = (place.link, place.poll);
                place.attachment.set_engine(engine);
                let receipt = Receipt {
                    partition: place.partition,
                    batch: place.batch,
                    index: place.index,
                    level: self.level,
                    fate: place.attachment.clone(),
                    transport: PhantomData,
                };
                if poll {
                    engine.dial_due(&mut state, now);
                    engine.wake(link);
                }
                Ok(Some(receipt))
            }
            Err(AppendRejected::Full) => {
                engine.wake_all();
                Ok(None)
            }
            Err(rejected) => Err(SendError::Rejected(rejected)),
        }
    }

    /// Sends everything that was taken before this call, and waits until its fate is known.
    pub async fn flush(&self) {
        let last = {
            let mut state = self.engine.lock();
            state.session.flush();
            state.session.last_batch()
        };
        self.engine.wake_all();
        loop {
            let progress = self.engine.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let oldest = self.engine.lock().session.oldest_outstanding();
            if oldest.is_none_or(|oldest| oldest > last) {
                return;
            }
            progress.await;
        }
    }

    /// How the records ended so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.engine.lock().session.totals()
    }

    /// Flushes, disconnects, and says how all records ended.
    #[must_use = "it says whether everything was acked"]
    pub async fn close(self) -> Totals {
        self.flush().await;
        self.totals()
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        let mut state = self.engine.lock();
        let now = self.engine.clock.now();
        self.engine.close(&mut state);
        state.session.abort(now);
        state.session.tell();
    }
}

impl ProducerEngine {
    pub(crate) fn hurry(&self, partition: u32, batch: BatchId) {
        let mut state = self.lock();
        if state.session.flush_batch(partition, batch) {
            let shard = state.session.topic().shards[partition as usize];
            self.wake(LinkId(shard.0));
        }
    }
}

impl Driven for ProducerSession<SharedFate> {
    fn tell(&mut self) {
        while let Some(event) = self.poll_event() {
            SharedFate::tell(&event);
        }
    }
}
