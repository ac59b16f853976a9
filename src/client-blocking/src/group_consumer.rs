//! A member of a consumer group: records in, commits out.
//!
//! The session decides; this waits, hands out, and never hands out a record of a partition that
//! has gone. What a newcomer gets wrong: an application that neither asks for records nor closes
//! loses its partitions after `max_poll_interval`, however alive its process is.

use crate::engine::{Driven, Engine};
use crate::{CommitPolicy, CommitReport, DeliveredBatch, GroupError, GroupEvent, Offset, Record};
use plimsoll_client::{
    CommitId, DeliveredBatches, DeliveryError, GroupConsumer as GroupSession, Instant, ServerError,
    Topic,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A member of a group that consumes one topic.
///
/// Under the default policy nothing is committed but what [`commit`](GroupConsumer::commit) and its
/// siblings say. A member that is dropped leaves the group and commits nothing more;
/// [`close`](GroupConsumer::close) waits for what is under way.
#[derive(Debug)]
pub struct GroupConsumer {
    engine: Arc<Engine<GroupSession>>,
    topic: Topic,
    policy: CommitPolicy,
    /// The delivery whose batches are being handed out.
    current: Option<DeliveredBatches>,
    /// Its next batch: it waits for its commit under `before`.
    ready: Option<DeliveredBatch>,
    /// The batch whose records are being handed out.
    records: VecDeque<Result<Record, DeliveryError>>,
    notices: VecDeque<GroupEvent>,
    ended: Option<ServerError>,
}

impl GroupConsumer {
    pub(crate) fn new(engine: Arc<Engine<GroupSession>>) -> GroupConsumer {
        let (topic, policy) = {
            let mut state = engine.lock();
            let now = engine.clock.now();
            engine.dial_due(&mut state, now);
            (state.session.topic().clone(), state.session.commit_policy())
        };
        GroupConsumer {
            engine,
            topic,
            policy,
            current: None,
            ready: None,
            records: VecDeque::new(),
            notices: VecDeque::new(),
            ended: None,
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// When offsets are committed.
    #[must_use]
    pub fn commit_policy(&self) -> CommitPolicy {
        self.policy
    }

    /// The partitions that this member has now.
    #[must_use]
    pub fn assigned(&self) -> Vec<u32> {
        self.engine.lock().session.assigned().collect()
    }

    /// The next record of any partition; in each partition they come in order. `None`: there was
    /// none within `timeout`.
    ///
    /// # Errors
    ///
    /// See [`GroupError`]. The member may be called again after each.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Record>, GroupError> {
        loop {
            match self.records.pop_front() {
                Some(Ok(record)) => {
                    let next = Offset::new(record.offset.value().saturating_add(1));
                    if self.hand_out(next) {
                        return Ok(Some(record));
                    }
                    self.records.clear();
                }
                Some(Err(error)) => {
                    let partition = self.current.as_ref().map_or(0, |current| current.partition);
                    return Err(GroupError::Unreadable { partition, error });
                }
                None => match self.take_batch(timeout)? {
                    Some(batch) => {
                        let records = batch.owned_records();
                        let records = records.map(|record| record.map_err(DeliveryError::from));
                        self.records.extend(records);
                    }
                    None => return Ok(None),
                },
            }
        }
    }

    /// The next batch of any partition: the fast way. Do not mix it with
    /// [`next`](GroupConsumer::next), which may hold records of a batch that it has begun.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub fn next_batch(&mut self, timeout: Duration) -> Result<Option<DeliveredBatch>, GroupError> {
        loop {
            let Some(batch) = self.take_batch(timeout)? else { return Ok(None) };
            if self.hand_out(batch.header().next_offset()) {
                return Ok(Some(batch));
            }
        }
    }

    /// Commits everything that was handed out before this call, and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotCommitted`]: the report says which partitions were not, and why.
    pub fn commit(&mut self) -> Result<CommitReport, GroupError> {
        self.commit_with(|session, now| session.commit(true, now))
    }

    /// Commits the partition of `record` up to and with it, and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// As [`commit`](GroupConsumer::commit).
    pub fn commit_record(&mut self, record: &Record) -> Result<CommitReport, GroupError> {
        let next = Offset::new(record.offset.value().saturating_add(1));
        self.commit_offset(record.partition, next, "")
    }

    /// Commits an offset, the one after the last record that was worked off, with a note beside it.
    ///
    /// # Errors
    ///
    /// As [`commit`](GroupConsumer::commit).
    pub fn commit_offset(
        &mut self,
        partition: u32,
        offset: Offset,
        note: &str,
    ) -> Result<CommitReport, GroupError> {
        let offsets = [(partition, offset, note)];
        self.commit_with(|session, now| session.commit_offsets(&offsets, true, now))
    }

    /// As [`commit`](GroupConsumer::commit), without waiting. If it fails, a notice says so.
    pub fn commit_async(&mut self) {
        let mut state = self.engine.lock();
        state.session.commit(false, self.engine.clock.now());
        self.engine.wake_those_with_work(&mut state);
    }

    /// What happened to the membership since the last call: partitions that came and went, records
    /// that retention had removed, commits that failed. The oldest are forgotten if nobody asks.
    pub fn notices(&mut self) -> impl Iterator<Item = GroupEvent> + '_ {
        self.notices.drain(..)
    }

    /// Waits for commits under way, leaves the group, and disconnects. Under `manual` it commits
    /// nothing by itself.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotCommitted`]: the last commit by `auto`, or one without waiting, failed.
    pub fn close(mut self) -> Result<(), GroupError> {
        self.leave(CLOSE_TIMEOUT);
        let mut state = self.engine.lock();
        while let Some(event) = state.session.poll_event() {
            if let GroupEvent::CommitFailed(report) = event {
                return Err(GroupError::NotCommitted(report));
            }
        }
        Ok(())
    }

    /// Whether the partition is still the member's: then the record or batch may be handed out.
    fn hand_out(&mut self, next: Offset) -> bool {
        let Some(current) = &self.current else { return false };
        let mut state = self.engine.lock();
        state.session.polled(self.engine.clock.now());
        let is_ours = state.session.hand_out(current, next);
        drop(state);
        if !is_ours {
            self.current = None;
        }
        is_ours
    }

    /// The next batch that may be handed out.
    fn take_batch(&mut self, timeout: Duration) -> Result<Option<DeliveredBatch>, GroupError> {
        if let Some(error) = &self.ended {
            let group = String::from(self.engine.lock().session.group());
            return Err(GroupError::Ended { group, error: error.clone() });
        }
        loop {
            let is_current =
                |current: &DeliveredBatches| self.engine.lock().session.is_current(current);
            if !self.current.as_ref().is_some_and(is_current) {
                self.ready = None;
                self.current = self.wait_delivery(timeout)?;
            }
            let Some(current) = &mut self.current else { return Ok(None) };
            let partition = current.partition;
            self.ready = match self.ready.take().map(Ok).or_else(|| current.next()) {
                Some(Ok(batch)) => Some(batch),
                Some(Err(error)) => return Err(GroupError::Unreadable { partition, error }),
                None => {
                    self.current = self.wait_delivery(timeout)?;
                    continue;
                }
            };
            if self.policy != CommitPolicy::Before || self.commit_ready()? {
                return Ok(self.ready.take());
            }
        }
    }

    /// Commits the next batch before it is handed out. False: somebody else has the partition.
    fn commit_ready(&mut self) -> Result<bool, GroupError> {
        let Some(batch) = &self.ready else { return Ok(false) };
        let (partition, next) = (batch.partition(), batch.header().next_offset());
        match self.commit_offset(partition, next, "") {
            Ok(report) => {
                // Beyond it: others have consumed the batch.
                let is_ours = report.partitions.iter().all(|of| of.result == Ok(next));
                if !is_ours {
                    self.ready = None;
                }
                Ok(is_ours)
            }
            Err(error) => {
                let is_gone = self
                    .current
                    .as_ref()
                    .is_none_or(|current| !self.engine.lock().session.is_current(current));
                if is_gone {
                    (self.ready, self.current) = (None, None);
                    return Ok(false);
                }
                Err(error)
            }
        }
    }

    fn wait_delivery(&mut self, timeout: Duration) -> Result<Option<DeliveredBatches>, GroupError> {
        let engine = &self.engine;
        let deadline = engine.clock.now() + timeout;
        let mut state = engine.lock();
        if let Some(consumed) = self.current.take() {
            state.session.release(&consumed);
        }
        loop {
            // Who waits for records is asking for them all the time.
            let now = engine.clock.now();
            state.session.polled(now);
            engine.dial_due(&mut state, now);
            engine.wake_those_with_work(&mut state);
            while let Some(event) = state.session.poll_event() {
                match event {
                    GroupEvent::Delivered(batches) => return Ok(Some(batches)),
                    GroupEvent::Failed { partition, error } => {
                        let topic = self.topic.name.clone();
                        return Err(GroupError::Partition { topic, partition, error });
                    }
                    GroupEvent::Ended(error) => {
                        self.ended = Some(error.clone());
                        let group = String::from(state.session.group());
                        return Err(GroupError::Ended { group, error });
                    }
                    notice => {
                        if self.notices.len() == NOTICES_MAX {
                            self.notices.pop_front();
                        }
                        self.notices.push_back(notice);
                    }
                }
            }
            if now >= deadline {
                return match state.session.last_fault() {
                    Some(fault) => Err(GroupError::Disconnected {
                        address: engine.address.clone(),
                        fault: fault.clone(),
                    }),
                    None => Ok(None),
                };
            }
            let until = deadline.min(now + WAIT);
            state = engine.wait_progress(state, Some(until)).0;
        }
    }

    fn commit_with(
        &mut self,
        begin: impl FnOnce(&mut GroupSession, Instant) -> CommitId,
    ) -> Result<CommitReport, GroupError> {
        let engine = &self.engine;
        let mut state = engine.lock();
        let id = begin(&mut state.session, engine.clock.now());
        engine.wake_those_with_work(&mut state);
        let report = loop {
            if let Some(report) = state.session.poll_report(id) {
                break report;
            }
            state = engine.wait_progress(state, Some(engine.clock.now() + WAIT)).0;
            state.session.handle_expired_commits(engine.clock.now());
        };
        match report.first_fault() {
            None => Ok(report),
            Some(_) => Err(GroupError::NotCommitted(report)),
        }
    }

    fn leave(&mut self, timeout: Duration) {
        let engine = &self.engine;
        let deadline = engine.clock.now() + timeout;
        let mut state = engine.lock();
        state.session.leave(engine.clock.now());
        engine.wake_those_with_work(&mut state);
        let mut in_time = true;
        while in_time && !state.session.is_ended() && state.session.last_fault().is_none() {
            (state, in_time) = engine.wait_progress(state, Some(deadline));
        }
    }
}

/// How long a member waits at a time before it says again that it waits.
const WAIT: Duration = Duration::from_millis(500);

/// How long to wait for commits under way and for the good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a dropped member waits for its good-bye to be taken.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

const NOTICES_MAX: usize = 1000;

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.leave(DROP_TIMEOUT);
        let mut state = self.engine.lock();
        self.engine.close(&mut state);
    }
}

impl Driven for GroupSession {
    type Report = ();

    fn take_reports(&mut self) -> Vec<()> {
        Vec::new()
    }

    fn tell((): ()) {}
}
