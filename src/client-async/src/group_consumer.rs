//! A member of a consumer group: records in, commits out.
//!
//! The session decides; this waits and hands out. What a newcomer gets wrong: an application that
//! neither asks for records nor closes loses its partitions after `max_poll_interval`, however
//! alive its tasks are.

use crate::engine::{Driven, Engine};
use plimsoll_client::{
    CommitId, CommitPolicy, CommitReport, DeliveredBatch, GroupConsumer as GroupSession,
    GroupError, GroupEvent, Handed, Handout, Instant, Offset, PartitionName, Record, Topic,
};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A member of a group that consumes one topic, or several.
///
/// Under the default policy nothing is committed but what [`commit`](GroupConsumer::commit) and its
/// siblings say. [`close`](GroupConsumer::close) waits for what is under way; a member that is
/// dropped says good-bye in the background, as long as its runtime runs. Every future here may be
/// dropped before it is done: no record is lost.
#[derive(Debug)]
pub struct GroupConsumer<T> {
    engine: Arc<Engine<GroupSession>>,
    topics: Vec<Topic>,
    policy: CommitPolicy,
    handout: Handout,
    transport: PhantomData<T>,
}

type Poll<G> = fn(&mut Handout, &mut GroupSession, Instant) -> Result<Handed<G>, GroupError>;

impl<T> GroupConsumer<T> {
    pub(crate) fn new(engine: Arc<Engine<GroupSession>>) -> GroupConsumer<T> {
        let (topics, policy) = {
            let mut state = engine.lock();
            let now = engine.clock.now();
            engine.dial_due(&mut state, now);
            (state.session.topics().to_vec(), state.session.commit_policy())
        };
        let (handout, transport) = (Handout::default(), PhantomData);
        GroupConsumer { engine, topics, policy, handout, transport }
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

    /// The next record of any partition; in each partition they come in order. Waits as long as it
    /// takes, also while the server is not reachable: put `tokio::time::timeout` around it.
    ///
    /// # Errors
    ///
    /// See [`GroupError`]. The member may be called again after each. One is no failure:
    /// [`GroupError::Withdrawn`], which only who waits with something uncommitted can get.
    pub async fn next(&mut self) -> Result<Record, GroupError> {
        self.wait(Handout::poll_record).await
    }

    /// The next batch of any partition: the fast way. Do not mix it with
    /// [`next`](GroupConsumer::next), which may hold records of a batch that it has begun.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn next_batch(&mut self) -> Result<DeliveredBatch, GroupError> {
        self.wait(Handout::poll_batch).await
    }

    /// Commits everything that was handed out before this call, and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotCommitted`]: the report says which partitions were not, and why.
    pub async fn commit(&mut self) -> Result<CommitReport, GroupError> {
        let id = self.begin(|session, now| session.commit(true, now));
        self.report(id).await
    }

    /// Commits the partition of `record` up to and with it, and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// As [`commit`](GroupConsumer::commit).
    pub async fn commit_record(&mut self, record: &Record) -> Result<CommitReport, GroupError> {
        let next = Offset::new(record.offset.value().saturating_add(1));
        self.commit_offset((record.topic(), record.partition), next, "").await
    }

    /// Commits an offset, the one after the last record that was worked off, with a note beside it.
    /// The partition is a number where the member has one topic, and `(topic, number)` in any case.
    ///
    /// # Errors
    ///
    /// As [`commit`](GroupConsumer::commit).
    pub async fn commit_offset(
        &mut self,
        partition: impl Into<PartitionName<'_>>,
        offset: Offset,
        note: &str,
    ) -> Result<CommitReport, GroupError> {
        let offsets = [(partition.into(), offset, note)];
        let id = self.begin(|session, now| session.commit_offsets(&offsets, true, now));
        self.report(id).await
    }

    /// As [`commit`](GroupConsumer::commit), without waiting. If it fails, a notice says so.
    pub fn commit_async(&mut self) {
        self.begin(|session, now| session.commit(false, now));
    }

    /// What happened to the membership since the last call: partitions that came and went, records
    /// that retention had removed, commits that failed. The oldest are forgotten if nobody asks.
    pub fn notices(&mut self) -> impl Iterator<Item = GroupEvent> + '_ {
        self.handout.notices()
    }

    /// Waits for commits under way, leaves the group, and disconnects. Under `manual` it commits
    /// nothing by itself, under `auto` what was handed out before the last call for records.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotCommitted`]: the last commit by `auto`, or one without waiting, failed.
    pub async fn close(self) -> Result<(), GroupError> {
        let engine = &self.engine;
        self.begin_to_leave();
        // Both ends mean the same: what was not committed by then is told.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, engine.until(GroupSession::has_left)).await;
        let mut state = engine.lock();
        let failed = state.session.take_failed_commit();
        engine.close(&mut state);
        failed.map_or(Ok(()), |report| Err(GroupError::NotCommitted(report)))
    }

    async fn wait<G>(&mut self, poll: Poll<G>) -> Result<G, GroupError> {
        let GroupConsumer { engine, handout, .. } = self;
        handout.ask();
        loop {
            handout.open();
            let progress = engine.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let handed = {
                let mut state = engine.lock();
                let now = engine.clock.now();
                let handed = poll(handout, &mut state.session, now);
                engine.dial_due(&mut state, now);
                engine.wake_those_with_frames(&state);
                handed?
            };
            match handed {
                Handed::Given(given) => return Ok(given),
                Handed::Again => {}
                Handed::Withdrawn(partitions) => return Err(GroupError::Withdrawn { partitions }),
                Handed::Wait => {
                    // Both ends mean the same: look again.
                    let _ = tokio::time::timeout(Handout::WAIT_MAX, progress).await;
                }
            }
        }
    }

    fn begin(&self, begin: impl FnOnce(&mut GroupSession, Instant) -> CommitId) -> CommitId {
        let mut state = self.engine.lock();
        let id = begin(&mut state.session, self.engine.clock.now());
        drop(state);
        self.engine.wake_all();
        id
    }

    async fn report(&self, id: CommitId) -> Result<CommitReport, GroupError> {
        let awaited = Awaited { engine: &self.engine, id };
        let report = loop {
            let progress = self.engine.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let report = {
                let mut state = self.engine.lock();
                state.session.handle_expired_commits(self.engine.clock.now());
                state.session.poll_report(awaited.id)
            };
            match report {
                Some(report) => break report,
                // Both ends mean the same: look again.
                None => drop(tokio::time::timeout(Handout::WAIT_MAX, progress).await),
            }
        };
        report.judged()
    }

    fn begin_to_leave(&self) {
        let mut state = self.engine.lock();
        state.session.leave(self.engine.clock.now());
        self.engine.close_if_over(&mut state);
        self.engine.wake_all();
    }
}

/// How long to wait for commits under way and for the good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A commit whose report somebody waits for, unless the future of it was dropped.
struct Awaited<'a> {
    engine: &'a Engine<GroupSession>,
    id: CommitId,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.engine.lock().session.abandon(self.id);
    }
}

impl<T> Drop for GroupConsumer<T> {
    fn drop(&mut self) {
        self.begin_to_leave();
    }
}

impl Driven for GroupSession {
    fn tell(&mut self) {}

    fn is_over(&self) -> bool {
        self.is_ended()
    }
}
