//! What became of a record, as a future.
//!
//! All records of a batch share one [`SharedFate`]: a receipt costs no allocation.

use crate::producer::ProducerEngine;
use crate::transport::Transport;
use plimsoll_client::{Ack, AckLevel, AppendError, BatchEvent, BatchFate, BatchId};
use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::sync::Notify;

/// A record that was taken; awaiting it gives the ack. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Receipt<T> {
    pub(crate) partition: u32,
    pub(crate) batch: BatchId,
    pub(crate) index: u32,
    pub(crate) level: Option<AckLevel>,
    pub(crate) fate: SharedFate,
    pub(crate) transport: PhantomData<T>,
}

impl<T> Receipt<T> {
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
    pub async fn wait(&self) -> Result<Ack, AppendError> {
        match self.level {
            Some(level) => self.wait_for(level).await,
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
    pub async fn wait_for(&self, level: AckLevel) -> Result<Ack, AppendError> {
        self.hurry();
        loop {
            let changed = self.fate.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(known) = self.known(level) {
                return known;
            }
            changed.await;
        }
    }

    /// What is known now about the record at `level`, without waiting.
    #[must_use]
    pub fn known(&self, level: AckLevel) -> Option<Result<Ack, AppendError>> {
        self.fate.lock().of_record(self.partition, self.index, level)
    }

    /// Somebody waits: the batch is to linger no longer.
    fn hurry(&self) {
        let is_settled = self.fate.lock().is_settled();
        if !is_settled && let Some(engine) = self.fate.0.engine.get().and_then(Weak::upgrade) {
            engine.hurry(self.partition, self.batch);
        }
    }
}

impl<T: Transport> IntoFuture for Receipt<T> {
    type Output = Result<Ack, AppendError>;
    type IntoFuture = T::Waiting;

    fn into_future(self) -> Self::IntoFuture {
        T::wait(self)
    }
}

/// What is attached to each batch.
#[derive(Clone, Default)]
pub(crate) struct SharedFate(Arc<Attachment>);

#[derive(Default)]
struct Attachment {
    fate: Mutex<BatchFate>,
    changed: Notify,
    /// Whom to ask for haste; set with the first record.
    engine: OnceLock<Weak<ProducerEngine>>,
}

impl SharedFate {
    pub(crate) fn set_engine(&self, engine: &Arc<ProducerEngine>) {
        self.0.engine.get_or_init(|| Arc::downgrade(engine));
    }

    pub(crate) fn tell(event: &BatchEvent<SharedFate>) {
        event.attachment.lock().note(event);
        event.attachment.0.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, BatchFate> {
        self.0.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedFate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SharedFate").field(&*self.lock()).finish()
    }
}
