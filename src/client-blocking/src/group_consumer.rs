//! A member of a consumer group: records in, commits out.
//!
//! The session decides; this waits, hands out, and never hands out a record of a partition that
//! has gone. What a newcomer gets wrong: an application that neither asks for records nor closes
//! loses its partitions after `max_poll_interval`, however alive its process is.

use crate::engine::{Driven, Engine};
use crate::{CommitPolicy, CommitReport, DeliveredBatch, GroupError, GroupEvent, Offset, Record};
use plimsoll_client::{
    CommitId, GroupConsumer as GroupSession, Handed, Handout, Instant, PartitionName, Topic,
};
use std::sync::Arc;
use std::time::Duration;

/// A member of a group that consumes one topic, or several.
///
/// Under the default policy nothing is committed but what [`commit`](GroupConsumer::commit) and its
/// siblings say. How a member ends:
///
/// | | [`close`](GroupConsumer::close) | drop |
/// |---|---|---|
/// | commits under way | are waited for, up to 30 s | up to 1 s |
/// | `manual` | commits nothing by itself | the same |
/// | `auto` | commits what was handed out before the last call for records | the same |
/// | a commit that fails | is the error | is not told |
///
/// What the *last* call handed out is not committed by `auto`, because nobody knows that it is
/// worked off: it comes again, unless [`commit`](GroupConsumer::commit) is called first.
#[derive(Debug)]
pub struct GroupConsumer {
    engine: Arc<Engine<GroupSession>>,
    topics: Vec<Topic>,
    policy: CommitPolicy,
    handout: Handout,
}

impl GroupConsumer {
    pub(crate) fn new(engine: Arc<Engine<GroupSession>>) -> GroupConsumer {
        let (topics, policy) = {
            let mut state = engine.lock();
            let now = engine.clock.now();
            engine.dial_due(&mut state, now);
            (state.session.topics().to_vec(), state.session.commit_policy())
        };
        GroupConsumer { engine, topics, policy, handout: Handout::default() }
    }

    /// The topics.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// When offsets are committed.
    #[must_use]
    pub fn commit_policy(&self) -> CommitPolicy {
        self.policy
    }

    /// The partitions that this member has now, each with its topic.
    #[must_use]
    pub fn assigned(&self) -> Vec<(String, u32)> {
        let state = self.engine.lock();
        let assigned = state.session.assigned();
        assigned.map(|(topic, partition)| (String::from(topic), partition)).collect()
    }

    /// The next record of any partition; in each partition they come in order. `None`: there was
    /// none within `timeout`, or, sooner, partitions go to others of which something that was
    /// handed out is not committed. Commit it: the next call lets go of them.
    ///
    /// # Errors
    ///
    /// See [`GroupError`]. The member may be called again after each.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Record>, GroupError> {
        self.wait(timeout, Handout::poll_record)
    }

    /// The next batch of any partition: the fast way. Do not mix it with
    /// [`next`](GroupConsumer::next), which may hold records of a batch that it has begun. `None`
    /// as there.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub fn next_batch(&mut self, timeout: Duration) -> Result<Option<DeliveredBatch>, GroupError> {
        self.wait(timeout, Handout::poll_batch)
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
        self.commit_offset((record.topic(), record.partition), next, "")
    }

    /// Commits an offset, the one after the last record that was worked off, with a note beside it.
    /// The partition is a number where the member has one topic, and `(topic, number)` in any case.
    ///
    /// # Errors
    ///
    /// As [`commit`](GroupConsumer::commit).
    pub fn commit_offset<'p>(
        &mut self,
        partition: impl Into<PartitionName<'p>>,
        offset: Offset,
        note: &str,
    ) -> Result<CommitReport, GroupError> {
        let offsets = [(partition.into(), offset, note)];
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
        self.handout.notices()
    }

    /// Waits for commits under way, leaves the group, and disconnects. What is committed is told at
    /// [`GroupConsumer`].
    ///
    /// # Errors
    ///
    /// [`GroupError::NotCommitted`]: the last commit by `auto`, or one without waiting, failed.
    pub fn close(mut self) -> Result<(), GroupError> {
        self.leave(CLOSE_TIMEOUT);
        match self.engine.lock().session.take_failed_commit() {
            Some(report) => Err(GroupError::NotCommitted(report)),
            None => Ok(()),
        }
    }

    fn wait<T>(
        &mut self,
        timeout: Duration,
        poll: impl Fn(&mut Handout, &mut GroupSession, Instant) -> Result<Handed<T>, GroupError>,
    ) -> Result<Option<T>, GroupError> {
        let GroupConsumer { engine, handout, .. } = self;
        let deadline = engine.clock.now() + timeout;
        handout.ask();
        loop {
            handout.open();
            let mut state = engine.lock();
            let now = engine.clock.now();
            let handed = poll(handout, &mut state.session, now);
            engine.dial_due(&mut state, now);
            engine.wake_those_with_frames(&mut state);
            match handed? {
                Handed::Given(given) => return Ok(Some(given)),
                Handed::Again => {}
                Handed::Withdrawn(_) => return Ok(None),
                Handed::Wait if now < deadline => {
                    let until = deadline.min(now + Handout::WAIT_MAX);
                    drop(engine.wait_progress(state, Some(until)));
                }
                Handed::Wait => {
                    return state.session.disconnected(&engine.address).map_or(Ok(None), Err);
                }
            }
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
            state = engine.wait_progress(state, Some(engine.clock.now() + Handout::WAIT_MAX)).0;
            state.session.handle_expired_commits(engine.clock.now());
        };
        report.judged()
    }

    fn leave(&mut self, timeout: Duration) {
        let engine = &self.engine;
        let deadline = engine.clock.now() + timeout;
        let mut state = engine.lock();
        state.session.leave(engine.clock.now());
        engine.wake_those_with_work(&mut state);
        drop(engine.wait_until(state, deadline, GroupSession::has_left));
    }
}

/// How long to wait for commits under way and for the good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a dropped member waits for its good-bye to be taken.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

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
