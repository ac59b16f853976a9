//! What a member's driver hands to its application, batch by batch or record by record.
//!
//! Here are the decisions that all drivers share: what may be handed out, when it must be committed
//! first, when credit goes back, what the application is told. A driver locks its session, polls,
//! unlocks, and waits in its own way.
//!
//! What a newcomer gets wrong: this is not part of the session, because batches are decompressed
//! and decoded here. [`open`](Handout::open) does that and needs no session: call it without the
//! lock.

use super::{CommitId, CommitPolicy, GroupConsumer, GroupError, GroupEvent, LossReason};
use crate::{DeliveredBatch, DeliveredBatches, DeliveryError, Instant, Record, ServerError};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use plimsoll_wire::Offset;

/// What is on its way from the session of one member to its application.
///
/// Nothing is lost if an application stops waiting between two polls.
#[derive(Debug, Default)]
pub struct Handout {
    stage: Stage,
    /// The batch whose records are to be decoded.
    to_decode: Option<DeliveredBatch>,
    /// Decoded, and not handed out.
    records: VecDeque<Result<Record, DeliveryError>>,
    /// The commit of the open batch, under `before`.
    commit: Option<CommitId>,
    notices: VecDeque<GroupEvent>,
    ended: Option<ServerError>,
    /// The application has asked, and the session does not know it yet.
    is_asked: bool,
}

/// What a poll gives.
#[derive(Debug)]
pub enum Handed<T> {
    /// This is the application's now.
    Given(T),
    /// [`open`](Handout::open), and poll again.
    Again,
    /// There is nothing: poll again when the session has heard something, and after
    /// [`WAIT_MAX`](Handout::WAIT_MAX) at the latest.
    Wait,
    /// There is nothing, and these partitions go to others as soon as the application has committed
    /// what it was handed of them, or asks again.
    Withdrawn(Vec<(String, u32)>),
}

impl<T> Handed<T> {
    fn map<U>(self, given: impl FnOnce(T) -> Handed<U>) -> Handed<U> {
        match self {
            Handed::Given(it) => given(it),
            Handed::Again => Handed::Again,
            Handed::Wait => Handed::Wait,
            Handed::Withdrawn(partitions) => Handed::Withdrawn(partitions),
        }
    }
}

/// Where the delivery stands whose batches are handed out.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Empty,
    /// Its next batch was not looked at yet.
    Closed(DeliveredBatches),
    Open(DeliveredBatches, DeliveredBatch),
    Unreadable(DeliveredBatches, DeliveryError),
    UsedUp(DeliveredBatches),
}

impl Handout {
    /// Who waits for records says so again after this: it counts as asking for them.
    pub const WAIT_MAX: Duration = Duration::from_millis(500);

    /// The application asks for a record or a batch: once for each call of its.
    pub fn ask(&mut self) {
        self.is_asked = true;
    }

    /// Does what takes long, if there is any.
    pub fn open(&mut self) {
        if let Some(batch) = self.to_decode.take() {
            let records = batch.owned_records();
            self.records.extend(records.map(|record| record.map_err(DeliveryError::from)));
            return;
        }
        self.stage = match mem::take(&mut self.stage) {
            Stage::Closed(mut batches) => match batches.next() {
                Some(Ok(batch)) => Stage::Open(batches, batch),
                Some(Err(error)) => Stage::Unreadable(batches, error),
                None => Stage::UsedUp(batches),
            },
            stage => stage,
        };
    }

    /// The next record that may be handed out.
    ///
    /// # Errors
    ///
    /// What the application must hear. It may ask again.
    pub fn poll_record(
        &mut self,
        session: &mut GroupConsumer,
        now: Instant,
    ) -> Result<Handed<Record>, GroupError> {
        self.listen(session, now)?;
        while let Some(record) = self.records.pop_front() {
            let Some(batches) = self.stage.batches() else { break };
            let record = record.map_err(|error| unreadable(batches, error))?;
            let next = Offset::new(record.offset.value().saturating_add(1));
            if session.hand_out(batches, next) {
                return Ok(Handed::Given(record));
            }
            self.records.clear();
        }
        if self.to_decode.is_some() {
            return Ok(Handed::Again);
        }
        Ok(self.poll_open(session, now)?.map(|()| {
            self.to_decode = self.take_open();
            Handed::Again
        }))
    }

    /// The next batch that may be handed out. Not to be mixed with
    /// [`poll_record`](Handout::poll_record), which may hold records of a batch that it has begun.
    ///
    /// # Errors
    ///
    /// What the application must hear. It may ask again.
    pub fn poll_batch(
        &mut self,
        session: &mut GroupConsumer,
        now: Instant,
    ) -> Result<Handed<DeliveredBatch>, GroupError> {
        self.listen(session, now)?;
        Ok(self.poll_open(session, now)?.map(|()| {
            let batch = self.take_open();
            let is_ours = |batch: &DeliveredBatch| {
                let next = batch.header().next_offset();
                self.stage.batches().is_some_and(|of| session.hand_out(of, next))
            };
            batch.filter(is_ours).map_or(Handed::Again, Handed::Given)
        }))
    }

    /// What happened to the membership since the last call. Of more than 1000 the oldest are
    /// forgotten.
    pub fn notices(&mut self) -> impl Iterator<Item = GroupEvent> + '_ {
        self.notices.drain(..)
    }

    /// What comes before any record: whether the member still is one, and what it is to know.
    fn listen(&mut self, session: &mut GroupConsumer, now: Instant) -> Result<(), GroupError> {
        if let Some(error) = &self.ended {
            let group = String::from(session.group());
            return Err(GroupError::Ended { group, error: error.clone() });
        }
        match mem::take(&mut self.is_asked) {
            true => session.polled(now),
            false => session.waits(now),
        }
        while let Some(notice) = session.poll_notice() {
            self.hear(session, notice)?;
        }
        Ok(())
    }

    fn hear(&mut self, session: &GroupConsumer, event: GroupEvent) -> Result<(), GroupError> {
        match event {
            GroupEvent::Delivered(batches) => self.stage = Stage::Closed(batches),
            GroupEvent::Failed { topic, partition, error } => {
                let topic = String::from(&*topic);
                return Err(GroupError::Partition { topic, partition, error });
            }
            GroupEvent::Removed { topic, partition, wanted, beginning } => {
                let topic = String::from(&*topic);
                let (committed, start) = (wanted, beginning);
                return Err(GroupError::Removed { topic, partition, committed, start });
            }
            GroupEvent::Ended(error) => {
                self.ended = Some(error.clone());
                return Err(GroupError::Ended { group: String::from(session.group()), error });
            }
            GroupEvent::Lost { topic, partitions, reason } => {
                self.note(GroupEvent::Lost { topic, partitions, reason });
                if let LossReason::NotPolled(limit) = reason {
                    return Err(GroupError::NotPolled { limit });
                }
            }
            notice => self.note(notice),
        }
        Ok(())
    }

    fn note(&mut self, notice: GroupEvent) {
        if self.notices.len() == NOTICES_MAX {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    /// Sees to it that a batch lies open which may be handed out.
    fn poll_open(
        &mut self,
        session: &mut GroupConsumer,
        now: Instant,
    ) -> Result<Handed<()>, GroupError> {
        loop {
            if self.stage.batches().is_some_and(|batches| !session.is_current(batches)) {
                self.stage = Stage::Empty;
                self.commit.take().into_iter().for_each(|commit| session.abandon(commit));
            }
            match mem::take(&mut self.stage) {
                Stage::Open(batches, batch) => {
                    self.stage = Stage::Open(batches, batch);
                    match self.poll_permission(session, now)? {
                        Some(true) => return Ok(Handed::Given(())),
                        // Others have consumed it.
                        Some(false) => drop(self.take_open()),
                        None => return Ok(Handed::Wait),
                    }
                }
                Stage::Closed(batches) => {
                    self.stage = Stage::Closed(batches);
                    return Ok(Handed::Again);
                }
                Stage::Unreadable(batches, error) => {
                    let error = unreadable(&batches, error);
                    self.stage = Stage::Closed(batches);
                    return Err(error);
                }
                Stage::UsedUp(batches) => session.release(&batches),
                Stage::Empty => match session.poll_event() {
                    Some(event) => self.hear(session, event)?,
                    None => {
                        let name = |(topic, partition)| (String::from(topic), partition);
                        let withdrawn: Vec<_> = session.withdrawn().map(name).collect();
                        return Ok(match withdrawn.is_empty() {
                            true => Handed::Wait,
                            false => Handed::Withdrawn(withdrawn),
                        });
                    }
                },
            }
        }
    }

    /// Whether the open batch may be handed out; `None` while that is not known. Under `before` it
    /// is committed first.
    fn poll_permission(
        &mut self,
        session: &mut GroupConsumer,
        now: Instant,
    ) -> Result<Option<bool>, GroupError> {
        let Stage::Open(batches, batch) = &self.stage else { return Ok(Some(false)) };
        if session.commit_policy() != CommitPolicy::Before {
            return Ok(Some(true));
        }
        let (place, next) = ((batches.topic(), batches.partition), batch.header().next_offset());
        let id = *self
            .commit
            .get_or_insert_with(|| session.commit_offsets(&[(place, next, "")], true, now));
        session.handle_expired_commits(now);
        let Some(report) = session.poll_report(id) else { return Ok(None) };
        self.commit = None;
        if report.first_fault().is_some() && session.is_current(batches) {
            return Err(GroupError::NotCommitted(report));
        }
        // More than that is committed if others have consumed the batch.
        Ok(Some(report.partitions.iter().all(|of| of.result == Ok(next))))
    }

    fn take_open(&mut self) -> Option<DeliveredBatch> {
        match mem::take(&mut self.stage) {
            Stage::Open(batches, batch) => {
                self.stage = Stage::Closed(batches);
                Some(batch)
            }
            stage => {
                self.stage = stage;
                None
            }
        }
    }
}

fn unreadable(batches: &DeliveredBatches, error: DeliveryError) -> GroupError {
    let (topic, partition) = (String::from(batches.topic()), batches.partition);
    GroupError::Unreadable { topic, partition, error }
}

impl Stage {
    fn batches(&self) -> Option<&DeliveredBatches> {
        match self {
            Stage::Empty => None,
            Stage::Closed(batches)
            | Stage::Open(batches, _)
            | Stage::Unreadable(batches, _)
            | Stage::UsedUp(batches) => Some(batches),
        }
    }
}

const NOTICES_MAX: usize = 1000;
