//! The producer: records in from any thread, acks by receipt or callback.
//!
//! The session decides; this waits for room and wakes who must write. What a newcomer gets wrong:
//! what was sent and not flushed when a producer is dropped is given up, not sent.

use crate::engine::{Driven, Engine};
use crate::receipt::{Receipt, SharedFate};
use crate::{AckLevel, AppendOutcome, NewRecord, SendError};
use plimsoll_client::{
    AppendRejected, BatchEvent, BatchId, Durability, LinkId, Producer as ProducerSession, Topic,
    Totals,
};
use std::sync::Arc;

/// Sends records to one topic. Cheap to call from many threads at once.
///
/// [`close`](Producer::close) it to be sure of everything; a producer that is dropped gives up on
/// what is not yet acked, and sends nothing more.
#[derive(Debug)]
pub struct Producer {
    engine: Arc<ProducerEngine>,
    topic: Topic,
    level: Option<AckLevel>,
}

pub(crate) type ProducerEngine = Engine<ProducerSession<SharedFate>>;

impl Producer {
    pub(crate) fn new(engine: Arc<ProducerEngine>) -> Producer {
        let (topic, level) = {
            let state = engine.lock();
            (state.session.topic().clone(), state.session.durability().ack_level())
        };
        Producer { engine, topic, level }
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

    /// Takes a record. Waits while the producer's memory is used up. A record without a timestamp
    /// gets the time of this call.
    ///
    /// # Errors
    ///
    /// The record was not taken, and is surely not written.
    pub fn send(&self, record: &NewRecord<'_>) -> Result<Receipt, SendError> {
        let level = self.level;
        self.append(record, |partition, batch, index, fate| Receipt {
            partition,
            batch,
            index,
            level,
            fate: fate.clone(),
        })
    }

    /// As [`send`](Producer::send); `callback` is called once, when the record has reached the
    /// producer's durability or never will. It runs on a thread of the client: it may send, but it
    /// must not wait, flush or close.
    ///
    /// # Errors
    ///
    /// As `send`; the callback is then not called.
    pub fn send_with(
        &self,
        record: &NewRecord<'_>,
        callback: impl FnOnce(AppendOutcome) + Send + 'static,
    ) -> Result<(), SendError> {
        self.append(record, |_, _, index, fate| fate.call_back(index, Box::new(callback)))
    }

    /// Sends everything that was taken before this call, and waits until its fate is known. Errors
    /// are told by receipts, callbacks and [`totals`](Producer::totals).
    pub fn flush(&self) {
        let mut state = self.engine.lock();
        let last = state.session.last_batch();
        state.session.flush();
        self.engine.wake_all(&mut state);
        let is_open = |oldest: BatchId| oldest <= last;
        while state.session.oldest_outstanding().is_some_and(is_open) || state.telling > 0 {
            state = self.engine.wait_progress(state, None).0;
        }
    }

    /// Makes batches due now, without waiting for them.
    pub fn poll(&self) {
        let mut state = self.engine.lock();
        state.session.flush();
        self.engine.wake_all(&mut state);
    }

    /// How the records ended so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.engine.lock().session.totals()
    }

    /// Bytes of records whose fate is not known yet.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.engine.lock().session.buffered_bytes()
    }

    /// Flushes, disconnects, and says how all records ended.
    #[must_use = "it says whether everything was acked"]
    pub fn close(self) -> Totals {
        self.flush();
        self.totals()
    }

    fn append<T>(
        &self,
        record: &NewRecord<'_>,
        appended: impl FnOnce(u32, BatchId, u32, &SharedFate) -> T,
    ) -> Result<T, SendError> {
        let engine = &self.engine;
        let mut state = engine.lock();
        loop {
            if state.is_closed {
                return Err(SendError::Closed);
            }
            let now = engine.clock.now();
            let timestamp_ms = record.timestamp_ms.unwrap_or_else(|| state.wall.unix_ms(now));
            let record = NewRecord { timestamp_ms: Some(timestamp_ms), ..*record };
            match state.session.append(&record, now) {
                Ok(place) => {
                    let (link, poll) = (place.link, place.poll);
                    if place.index == 0 {
                        place.attachment.set_engine(engine);
                    }
                    let taken =
                        appended(place.partition, place.batch, place.index, place.attachment);
                    if poll {
                        engine.dial_due(&mut state, now);
                        engine.wake(&mut state, link);
                    }
                    return Ok(taken);
                }
                Err(AppendRejected::Full) => {
                    engine.wake_all(&mut state);
                    state = engine.wait_progress(state, None).0;
                }
                Err(rejected) => return Err(SendError::Rejected(rejected)),
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let mut state = self.engine.lock();
        let now = self.engine.clock.now();
        self.engine.close(&mut state);
        state.session.abort(now);
        self.engine.tell(state);
    }
}

impl ProducerEngine {
    pub(crate) fn hurry(&self, partition: u32, batch: BatchId) {
        let mut state = self.lock();
        if state.session.flush_batch(partition, batch) {
            let shard = state.session.topic().shards[partition as usize];
            self.write_now(state, LinkId(shard.0));
        }
    }
}

impl Driven for ProducerSession<SharedFate> {
    type Report = (BatchEvent<SharedFate>, Option<AckLevel>);

    fn take_reports(&mut self) -> Vec<Self::Report> {
        let level = self.durability().ack_level();
        std::iter::from_fn(|| self.poll_event()).map(|event| (event, level)).collect()
    }

    fn tell((event, level): Self::Report) {
        SharedFate::tell(&event, level);
    }
}
