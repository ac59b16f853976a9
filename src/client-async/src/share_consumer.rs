//! A member of a group in share mode: records out, a verdict for each in.
//!
//! The session decides; this waits and hands out. What a newcomer gets wrong: `accept` only says
//! so, and returns at once. It is durable when [`ShareConsumer::flush`] has returned.

use crate::engine::{Driven, Engine};
use plimsoll_client::{
    Decision, Instant, ShareConsumer as ShareSession, ShareError, ShareNotice, SharedRecord,
    Unsettled,
};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A member of a group that hands each record to one member, whichever asks.
///
/// Many tasks may use it at once: each takes records and says what became of them. The locks of all
/// records that are out are renewed in the background. A consumer that is dropped releases what has
/// no verdict and says good-bye in the background, as long as its runtime runs. Every future here
/// may be dropped before it is done: no record is lost.
#[derive(Debug)]
pub struct ShareConsumer<T> {
    engine: Arc<Engine<ShareSession>>,
    transport: PhantomData<T>,
}

impl<T> ShareConsumer<T> {
    pub(crate) fn new(engine: Arc<Engine<ShareSession>>) -> ShareConsumer<T> {
        {
            let mut state = engine.lock();
            let now = engine.clock.now();
            engine.dial_due(&mut state, now);
        }
        ShareConsumer { engine, transport: PhantomData }
    }

    /// The next record; in no order. Waits as long as it takes, also while the server is not
    /// reachable: put `tokio::time::timeout` around it.
    ///
    /// # Errors
    ///
    /// The membership has ended for good.
    pub async fn next(&self) -> Result<SharedRecord, ShareError> {
        self.wait(ShareSession::poll_record).await
    }

    /// Up to `records_max` records: as many as are there, and at least one.
    ///
    /// # Errors
    ///
    /// As [`next`](ShareConsumer::next).
    pub async fn poll(&self, records_max: usize) -> Result<Vec<SharedRecord>, ShareError> {
        self.wait(|session, now| session.poll_records(records_max.max(1), now)).await
    }

    /// The work is done: nobody gets the record again.
    pub fn accept(&self, record: &SharedRecord) {
        self.decide(record, Decision::Accept);
    }

    /// Somebody is to try again, not before the delay is over.
    pub fn release(&self, record: &SharedRecord, delay: Duration) {
        self.decide(record, Decision::Release { delay });
    }

    /// Nobody can do anything with the record: it goes to the dead-letter topic with the reason in
    /// a header, or is dropped if there is none.
    pub fn reject(&self, record: &SharedRecord, reason: &str) {
        self.decide(record, Decision::Reject { reason });
    }

    /// Whether the record is still this member's, as far as it knows.
    #[must_use]
    pub fn is_held(&self, record: &SharedRecord) -> bool {
        self.engine.lock().session.is_held(record, self.engine.clock.now())
    }

    /// Waits until every verdict that was given before this call is on disk.
    ///
    /// # Errors
    ///
    /// [`ShareError::NotSettled`] names those that were not taken: their records come again.
    /// [`ShareError::Pending`] or [`ShareError::Disconnected`]: no answer within
    /// `settle_timeout`; they are not given up, so it may be called again.
    pub async fn flush(&self) -> Result<(), ShareError> {
        let (last, timeout) = {
            let state = self.engine.lock();
            (state.session.last_settle(), state.session.settle_timeout())
        };
        let settled = self.engine.until(|session| session.has_settled(last));
        // Both ends mean the same: the session says what it has come to.
        let _ = tokio::time::timeout(timeout, settled).await;
        self.engine.lock().session.flushed(last, &self.engine.address)
    }

    /// The verdicts since the last call that were not taken, without waiting for those that are on
    /// their way.
    #[must_use]
    pub fn take_unsettled(&self) -> Vec<Unsettled> {
        self.engine.lock().session.take_unsettled()
    }

    /// What happened since the last call that a person should know.
    #[must_use]
    pub fn notices(&self) -> Vec<ShareNotice> {
        self.engine.lock().session.take_notices()
    }

    /// Waits for the verdicts, releases every record that has none, leaves the group, and
    /// disconnects.
    ///
    /// # Errors
    ///
    /// As [`flush`](ShareConsumer::flush).
    pub async fn close(self) -> Result<(), ShareError> {
        let flushed = self.flush().await;
        let timeout = self.engine.lock().session.settle_timeout();
        self.begin_to_leave();
        // Both ends mean the same: the server notices by itself who is gone.
        let _ = tokio::time::timeout(timeout, self.engine.until(ShareSession::has_left)).await;
        self.engine.close(&mut self.engine.lock());
        flushed
    }

    fn decide(&self, record: &SharedRecord, decision: Decision<'_>) {
        let mut state = self.engine.lock();
        let now = self.engine.clock.now();
        state.session.decide(record, decision, now);
        self.engine.dial_due(&mut state, now);
        self.engine.wake_those_with_frames(&state);
    }

    async fn wait<G>(
        &self,
        mut poll: impl FnMut(&mut ShareSession, Instant) -> Option<G>,
    ) -> Result<G, ShareError> {
        let engine = &self.engine;
        loop {
            let progress = engine.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            {
                let mut state = engine.lock();
                let now = engine.clock.now();
                let polled = poll(&mut state.session, now);
                engine.dial_due(&mut state, now);
                engine.wake_those_with_frames(&state);
                if let Some(polled) = polled {
                    return Ok(polled);
                }
                if let Some(error) = state.session.end() {
                    return Err(error);
                }
            }
            progress.await;
        }
    }

    fn begin_to_leave(&self) {
        let mut state = self.engine.lock();
        state.session.leave(self.engine.clock.now());
        self.engine.close_if_over(&mut state);
        self.engine.wake_all();
    }
}

impl<T> Drop for ShareConsumer<T> {
    fn drop(&mut self) {
        self.begin_to_leave();
    }
}

impl Driven for ShareSession {
    fn tell(&mut self) {}

    fn is_over(&self) -> bool {
        self.is_ended()
    }
}
