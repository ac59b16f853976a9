//! A member of a group in share mode: records out, a verdict for each in.
//!
//! The session decides; this waits and hands out. What a newcomer gets wrong: `accept` only says
//! so, and returns at once. It is durable when [`ShareConsumer::flush`] has returned.

use crate::engine::{Driven, Engine};
use plimsoll_client::{
    Decision, Instant, ShareConsumer as ShareSession, ShareError, ShareNotice, SharedRecord,
    Unsettled,
};
use std::sync::Arc;
use std::time::Duration;

/// A member of a group that hands each record to one member, whichever asks.
///
/// It may be used from many threads at once: each takes records and says what became of them. The
/// locks of all records that are out are renewed in the background.
///
/// ```no_run
/// use plimsoll_client_blocking::{Client, ShareOptions};
/// use std::time::Duration;
///
/// let client = Client::connect("127.0.0.1:7420")?;
/// let jobs = client.share_consumer(&["jobs"], "workers", ShareOptions::default())?;
/// while let Some(job) = jobs.next(Duration::from_secs(5))? {
///     match job.value() {
///         Some(b"later") => jobs.release(&job, Duration::from_secs(60)),
///         Some(_) => jobs.accept(&job),
///         None => jobs.reject(&job, "a job without a value"),
///     }
/// }
/// jobs.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShareConsumer {
    engine: Arc<Engine<ShareSession>>,
}

impl ShareConsumer {
    pub(crate) fn new(engine: Arc<Engine<ShareSession>>) -> ShareConsumer {
        {
            let mut state = engine.lock();
            let now = engine.clock.now();
            engine.dial_due(&mut state, now);
        }
        ShareConsumer { engine }
    }

    /// The next record; in no order. `None`: there was none within `timeout`.
    ///
    /// # Errors
    ///
    /// See [`ShareError`]. After `Disconnected` it may be called again.
    pub fn next(&self, timeout: Duration) -> Result<Option<SharedRecord>, ShareError> {
        self.wait(timeout, ShareSession::poll_record)
    }

    /// Up to `records_max` records: as many as are there, and at least one unless `timeout` passes.
    ///
    /// # Errors
    ///
    /// As [`next`](ShareConsumer::next).
    pub fn poll(
        &self,
        records_max: usize,
        timeout: Duration,
    ) -> Result<Vec<SharedRecord>, ShareError> {
        let records = self.wait(timeout, |session, now| session.poll_records(records_max, now))?;
        Ok(records.unwrap_or_default())
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
    pub fn flush(&self) -> Result<(), ShareError> {
        let engine = &self.engine;
        let state = engine.lock();
        let (last, timeout) = (state.session.last_settle(), state.session.settle_timeout());
        let deadline = engine.clock.now() + timeout;
        let is_settled = |session: &ShareSession| session.has_settled(last);
        let mut state = engine.wait_until(state, deadline, is_settled);
        state.session.flushed(last, &engine.address)
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
    /// disconnects. A consumer that is dropped does the same, and waits for 1 s at most.
    ///
    /// # Errors
    ///
    /// As [`flush`](ShareConsumer::flush).
    pub fn close(self) -> Result<(), ShareError> {
        let flushed = self.flush();
        let timeout = self.engine.lock().session.settle_timeout();
        self.leave(timeout);
        flushed
    }

    fn decide(&self, record: &SharedRecord, decision: Decision<'_>) {
        let engine = &self.engine;
        let mut state = engine.lock();
        let now = engine.clock.now();
        state.session.decide(record, decision, now);
        engine.dial_due(&mut state, now);
        engine.wake_those_with_frames(&mut state);
    }

    fn wait<T>(
        &self,
        timeout: Duration,
        mut poll: impl FnMut(&mut ShareSession, Instant) -> Option<T>,
    ) -> Result<Option<T>, ShareError> {
        let engine = &self.engine;
        let deadline = engine.clock.now() + timeout;
        let mut state = engine.lock();
        loop {
            let now = engine.clock.now();
            let polled = poll(&mut state.session, now);
            engine.dial_due(&mut state, now);
            engine.wake_those_with_work(&mut state);
            if polled.is_some() {
                return Ok(polled);
            }
            if let Some(error) = state.session.end() {
                return Err(error);
            }
            if now >= deadline {
                return state.session.disconnected(&engine.address).map_or(Ok(None), Err);
            }
            state = engine.wait_progress(state, Some(deadline)).0;
        }
    }

    fn leave(&self, timeout: Duration) {
        let engine = &self.engine;
        let deadline = engine.clock.now() + timeout;
        let mut state = engine.lock();
        state.session.leave(engine.clock.now());
        engine.wake_those_with_work(&mut state);
        drop(engine.wait_until(state, deadline, ShareSession::has_left));
    }
}

/// How long a dropped member waits for its good-bye to be taken.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

impl Drop for ShareConsumer {
    fn drop(&mut self) {
        self.leave(DROP_TIMEOUT);
        let mut state = self.engine.lock();
        self.engine.close(&mut state);
    }
}

impl Driven for ShareSession {
    type Report = ();

    fn take_reports(&mut self) -> Vec<()> {
        Vec::new()
    }

    fn tell((): ()) {}
}
