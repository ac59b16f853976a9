//! What became of a record, for those who wait and for those who want to be called.
//!
//! All records of a batch share one [`SharedFate`]: a receipt costs no allocation.

use crate::producer::ProducerEngine;
use plimsoll_client::{
    Ack, AckLevel, AppendError, AppendOutcome, BatchEvent, BatchFate, BatchId, BatchOutcome,
};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A record that was taken, and the way to learn what became of it. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub(crate) partition: u32,
    pub(crate) batch: BatchId,
    pub(crate) index: u32,
    pub(crate) level: Option<AckLevel>,
    pub(crate) fate: SharedFate,
}

impl Receipt {
    /// The partition of the record.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Waits until the record has reached the producer's durability.
    ///
    /// # Errors
    ///
    /// It did not: refused, or of unknown fate. See [`AppendError`].
    pub fn wait(&self) -> Result<Ack, AppendError> {
        match self.level {
            Some(level) => self.wait_for(level),
            None => Err(AppendError::NoAckAsked { partition: self.partition }),
        }
    }

    /// Waits until the record has reached `level`, which is the producer's durability or its
    /// `also`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Receipt::wait); [`LevelNotAsked`](AppendError::LevelNotAsked) once the fate is
    /// known and nothing was heard about this level.
    pub fn wait_for(&self, level: AckLevel) -> Result<Ack, AppendError> {
        loop {
            if let Some(outcome) = self.wait_for_timeout(level, Duration::from_secs(3600)) {
                return outcome;
            }
        }
    }

    /// As [`wait_for`](Receipt::wait_for), but not longer than `timeout`: then `None`.
    pub fn wait_for_timeout(
        &self,
        level: AckLevel,
        timeout: Duration,
    ) -> Option<Result<Ack, AppendError>> {
        self.hurry();
        let deadline = Instant::now() + timeout;
        let mut known = self.fate.lock();
        loop {
            if let Some(outcome) = known.fate.of_record(self.partition, self.index, level) {
                return Some(outcome);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            known.waiting += 1;
            let waited = self.fate.0.changed.wait_timeout(known, left);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
            known.waiting -= 1;
        }
    }

    /// What is known now about the record at `level`, without waiting.
    #[must_use]
    pub fn known(&self, level: AckLevel) -> Option<Result<Ack, AppendError>> {
        self.fate.lock().fate.of_record(self.partition, self.index, level)
    }

    /// Somebody waits: the batch is to linger no longer.
    fn hurry(&self) {
        let is_settled = self.fate.lock().fate.is_settled();
        if !is_settled && let Some(engine) = self.fate.0.engine.get().and_then(Weak::upgrade) {
            engine.hurry(self.partition, self.batch);
        }
    }
}

/// What is attached to each batch.
#[derive(Clone, Default)]
pub(crate) struct SharedFate(Arc<Attachment>);

#[derive(Default)]
struct Attachment {
    known: Mutex<Known>,
    changed: Condvar,
    /// Whom to ask for haste; set with the first record.
    engine: OnceLock<Weak<ProducerEngine>>,
}

type Callback = Box<dyn FnOnce(AppendOutcome) + Send>;

#[derive(Default)]
struct Known {
    fate: BatchFate,
    callbacks: Vec<(u32, Callback)>,
    waiting: usize,
}

impl SharedFate {
    pub(crate) fn set_engine(&self, engine: &Arc<ProducerEngine>) {
        self.0.engine.get_or_init(|| Arc::downgrade(engine));
    }

    pub(crate) fn call_back(&self, index: u32, callback: Callback) {
        self.lock().callbacks.push((index, callback));
    }

    /// Notes what became of the batch. Callbacks are called at the producer's level, or at the end.
    pub(crate) fn tell(event: &BatchEvent<SharedFate>, level: Option<AckLevel>) {
        let BatchEvent { partition, outcome, is_final, attachment, .. } = event;
        let reached = match outcome {
            BatchOutcome::Acked { level, .. } => Some(*level),
            _ => None,
        };
        let callbacks = {
            let mut known = attachment.lock();
            known.fate.note(event);
            if known.waiting > 0 {
                attachment.0.changed.notify_all();
            }
            let is_awaited = *is_final || reached.is_some() && reached == level;
            if is_awaited { std::mem::take(&mut known.callbacks) } else { Vec::new() }
        };
        for (index, callback) in callbacks {
            callback(outcome.of_record(*partition, index));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedFate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SharedFate").field(&self.lock().fate).finish()
    }
}
