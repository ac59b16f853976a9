//! A member of a consumer group, as a session: membership, partitions, commits.
//!
//! The server says which partitions this member has; a [`Consumer`] inside delivers them. Group
//! requests ride on link 0, and whatever shard keeps the group, the server forwards them. A lost
//! connection is not a lost membership: the first thing on the new one is a sign of life.
//!
//! What a newcomer gets wrong: a heartbeat names a generation, and with it promises that all that
//! this assignment lacks was let go of. So it waits for the commits that are still under way.

mod beginning;
mod commits;
mod events;
mod fault;
mod handout;
mod membership;
mod options;
mod session;

pub use commits::{CommitFault, CommitId, CommitReport, PartitionCommit};
pub use events::{GroupEvent, LossReason};
pub use fault::GroupError;
pub use handout::{Handed, Handout};
pub use options::{CommitPolicy, GroupOptions, OnRemoved};

use self::beginning::Begin;
use self::commits::{Commits, Ended};
use crate::consumer::{Consumer, Place};
use crate::{
    ConnectionFault, ConsumerEvent, ConsumerOptions, DeliveredBatches, Instant, LinkId, Topic,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use plimsoll_wire::{COMMIT_OFFSETS_MAX, ErrorCode, Generation, MemberId, Offset};

/// The session of one member of a group, of one topic or several. Its subscription is its own: each
/// partition goes to one of those members that want its topic.
#[derive(Debug)]
pub struct GroupConsumer {
    consumer: Consumer,
    group: String,
    options: GroupOptions,
    standing: Standing,
    member: MemberId,
    /// The assignment that this member goes by.
    newest: Generation,
    /// The one that it has told the server, and by which it commits.
    named: Generation,
    heartbeat_interval: Duration,
    heartbeat_at: Option<Instant>,
    /// When to ask again to join.
    join_at: Option<Instant>,
    commit_at: Option<Instant>,
    polled_at: Instant,
    partitions: BTreeMap<Place, Held>,
    /// Withdrawn while the application was at work on them: the server is told that they are let go
    /// of when that is committed, or when the application has had its chance.
    withdrawn: BTreeMap<Place, Held>,
    /// When they are let go of at the latest.
    let_go_at: Option<Instant>,
    /// The application was told of them.
    is_told: bool,
    /// What the newest assignment adds, with what is committed of it.
    to_come: BTreeMap<Place, Option<Offset>>,
    /// What was handed out since the last call for records: it may not be worked off.
    fresh: Option<Place>,
    /// What was handed out of partitions that went before it was committed: the next commit of the
    /// application is told what became of it.
    given_up: BTreeMap<Place, Offset>,
    commits: Commits,
    /// The commit under way that says where partitions begin.
    beginning: Option<CommitId>,
    /// What the next change waits for.
    awaited: CommitId,
    reports: BTreeMap<CommitId, CommitReport>,
    events: VecDeque<GroupEvent>,
}

/// A partition of a member, as its application names it: by its number where the member has one
/// topic, and as `(topic, partition)` in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionName<'a> {
    topic: Option<&'a str>,
    partition: u32,
}

impl From<u32> for PartitionName<'_> {
    fn from(partition: u32) -> Self {
        PartitionName { topic: None, partition }
    }
}

impl<'a> From<(&'a str, u32)> for PartitionName<'a> {
    fn from((topic, partition): (&'a str, u32)) -> PartitionName<'a> {
        PartitionName { topic: Some(topic), partition }
    }
}

/// What a request to the group was for, and by which membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Join,
    Heartbeat(MemberId),
    Commit(MemberId, CommitId),
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Not a member yet, or not any more.
    Joining,
    Member,
    /// Nobody asks for records: joins again when somebody does.
    Away,
    /// Goes when the commits under way are answered.
    Leaving,
    /// The server was told; its answer is awaited.
    Left,
    /// For good.
    Ended,
}

/// Where a partition of the member stands.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Up to here the group had consumed when this member got it.
    assigned: Option<Offset>,
    /// After everything handed out.
    handed: Option<Offset>,
    /// After everything handed out before the last call for records.
    worked: Option<Offset>,
    committed: Option<Offset>,
    begin: Begin,
}

impl GroupConsumer {
    /// A member-to-be of `group` that wants `topic`, which joins from `now` on.
    #[must_use]
    pub fn new(topic: Topic, group: &str, options: GroupOptions, now: Instant) -> GroupConsumer {
        GroupConsumer::of_topics(vec![topic], group, options, now)
    }

    /// The same of all these topics, at least one and at most 1000.
    #[must_use]
    pub fn of_topics(
        topics: Vec<Topic>,
        group: &str,
        options: GroupOptions,
        now: Instant,
    ) -> GroupConsumer {
        let mut link = options.link.clone();
        // Whoever is not answered for so long is a member no more: better to connect anew.
        link.request_timeout = link.request_timeout.min(options.session_timeout);
        let GroupOptions { visible, credit_bytes, .. } = options;
        let of_consumer =
            ConsumerOptions { visible, credit_bytes, link, ..ConsumerOptions::default() };
        let mut consumer = Consumer::idle(topics, of_consumer);
        consumer.links.want(LINK, now);
        GroupConsumer {
            commits: Commits::new(consumer.names.clone()),
            consumer,
            group: String::from(group),
            standing: Standing::Joining,
            member: MemberId::NONE,
            newest: Generation(0),
            named: Generation(0),
            heartbeat_interval: options.session_timeout / 3,
            heartbeat_at: None,
            join_at: None,
            commit_at: None,
            polled_at: now,
            partitions: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            let_go_at: None,
            is_told: false,
            to_come: BTreeMap::new(),
            fresh: None,
            given_up: BTreeMap::new(),
            beginning: None,
            awaited: CommitId(0),
            reports: BTreeMap::new(),
            events: VecDeque::new(),
            options,
        }
    }

    /// The topics.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.consumer.topics
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// When offsets are committed.
    #[must_use]
    pub fn commit_policy(&self) -> CommitPolicy {
        self.options.commit
    }

    /// The partitions that this member has now, each with its topic.
    pub fn assigned(&self) -> impl Iterator<Item = (&str, u32)> + '_ {
        self.partitions.keys().map(|place| (&*self.consumer.names[place.topic], place.partition))
    }

    /// The application asks for records, once for each call of its: what it was handed before
    /// counts as worked off under `auto`, and it is alive. Partitions that were withdrawn are let
    /// go of if it was told of them before.
    pub fn polled(&mut self, now: Instant) {
        if let Some(held) = self.fresh.take().and_then(|fresh| self.held(fresh)) {
            held.worked = held.handed;
        }
        if !self.withdrawn.is_empty() && (self.is_told || self.options.commit.is_auto()) {
            self.commit_worked(now);
            self.let_go(now);
        }
        self.waits(now);
    }

    /// The application still waits for the records that it has asked for: it is alive.
    pub fn waits(&mut self, now: Instant) {
        self.polled_at = now;
        if self.standing == Standing::Away {
            self.standing = Standing::Joining;
            self.join(now);
        }
    }

    /// Records up to before `next` were handed to the application. False, and then they must not
    /// be: the partition has gone since they were delivered.
    #[must_use]
    pub fn hand_out(&mut self, batches: &DeliveredBatches, next: Offset) -> bool {
        match self.partitions.get_mut(&batches.place) {
            Some(held) if self.consumer.is_current(batches.slot) => {
                held.handed = held.handed.max(Some(next));
                self.fresh = Some(batches.place);
                true
            }
            _ => false,
        }
    }

    /// Whether the partition of a delivery is still the member's.
    #[must_use]
    pub fn is_current(&self, batches: &DeliveredBatches) -> bool {
        self.consumer.is_current(batches.slot)
    }

    /// The records of a delivery were consumed: the server may send as much again. Poll afterwards.
    pub fn release(&mut self, consumed: &DeliveredBatches) {
        self.consumer.release(consumed);
    }

    /// Commits everything that was handed out and is not committed, of at most 10,000 partitions,
    /// and says of partitions that have gone since what became of theirs.
    /// Take the report with [`poll_report`](GroupConsumer::poll_report) if it is `awaited`; if not,
    /// only a failure is told, as an event.
    pub fn commit(&mut self, awaited: bool, now: Instant) -> CommitId {
        let mut offsets = self.uncommitted(|held| held.handed);
        let given_up = mem::take(&mut self.given_up).into_iter();
        offsets.extend(given_up.map(|(place, offset)| (place, offset, String::new())));
        self.begin_commit(offsets, awaited, now)
    }

    /// Commits these offsets, each the one after the last record that was worked off, with a note.
    /// A partition is named by its number alone where the member has one topic.
    pub fn commit_offsets<'p, P: Copy + Into<PartitionName<'p>>>(
        &mut self,
        offsets: &[(P, Offset, &str)],
        awaited: bool,
        now: Instant,
    ) -> CommitId {
        let mut owned = Vec::with_capacity(offsets.len());
        for (name, offset, note) in offsets {
            let name = (*name).into();
            match self.place(name) {
                Some(place) => owned.push((place, *offset, String::from(*note))),
                None => return self.refuse_commit(name, *offset, awaited),
            }
        }
        self.begin_commit(owned, awaited, now)
    }

    /// What became of an awaited commit, once it has ended.
    pub fn poll_report(&mut self, id: CommitId) -> Option<CommitReport> {
        self.reports.remove(&id)
    }

    /// Nobody waits for a commit any more: if it fails, an event says so.
    pub fn abandon(&mut self, id: CommitId) {
        match self.reports.remove(&id) {
            Some(report) => self.tell_if_failed(report),
            None => self.commits.abandon(id),
        }
    }

    /// Ends commits that have waited too long; a driver that waits for one may call this instead of
    /// `handle_timeout`.
    pub fn handle_expired_commits(&mut self, now: Instant) {
        while let Some(ended) = self.commits.expire(now) {
            self.commit_ended(Some(ended));
        }
    }

    /// What the member hears of its membership and its commits. It comes before what was delivered,
    /// because it decides about that.
    pub fn poll_notice(&mut self) -> Option<GroupEvent> {
        let notice = self.events.pop_front()?;
        self.is_told |= matches!(notice, GroupEvent::Revoked { .. });
        Some(notice)
    }

    /// Under `manual`: partitions that go to others when what was handed out of them is committed,
    /// or when the application asks for records again. Empty before a notice has told it of them.
    pub fn withdrawn(&self) -> impl Iterator<Item = (&str, u32)> + '_ {
        let is_awaited = self.is_told && self.options.commit == CommitPolicy::Manual;
        let withdrawn = self.withdrawn.keys().filter(move |_| is_awaited);
        withdrawn.map(|place| (&*self.consumer.names[place.topic], place.partition))
    }

    /// What the member hears.
    pub fn poll_event(&mut self) -> Option<GroupEvent> {
        if let Some(notice) = self.poll_notice() {
            return Some(notice);
        }
        Some(match self.consumer.poll_event()? {
            ConsumerEvent::Delivered(batches) => GroupEvent::Delivered(batches),
            ConsumerEvent::Failed { topic, partition, error } => {
                let beginning = Offset::new(error.detail_a);
                let place = self.place(PartitionName { topic: Some(&topic), partition });
                let wanted = place.and_then(|place| self.consumer.delivered(place));
                match wanted.filter(|wanted| *wanted < beginning) {
                    Some(wanted) if error.code == ErrorCode::OffsetOutOfRange => {
                        GroupEvent::Removed { topic, partition, wanted, beginning }
                    }
                    _ => GroupEvent::Failed { topic, partition, error },
                }
            }
            ConsumerEvent::Missed { topic, partition, wanted, next } => {
                GroupEvent::Missed { topic, partition, wanted, next }
            }
        })
    }

    /// Leaves the group: under `auto` commits what is to be, waits for commits under way, and says
    /// good-bye. Nothing more is handed out.
    pub fn leave(&mut self, now: Instant) {
        match self.standing {
            Standing::Member => {
                self.commit_worked(now);
                self.standing = Standing::Leaving;
                self.awaited = self.commits.last();
                self.settle(now);
            }
            Standing::Joining | Standing::Away => self.standing = Standing::Ended,
            Standing::Leaving | Standing::Left | Standing::Ended => {}
        }
    }

    /// Whether it is out of the group for good.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.standing == Standing::Ended
    }

    /// The first commit of those that nobody awaited which was not taken; what is still under way
    /// is given up. For a driver that closes, and takes no events any more.
    pub fn take_failed_commit(&mut self) -> Option<CommitReport> {
        self.fail_commits();
        let failed = |event| match event {
            GroupEvent::CommitFailed(report) => Some(report),
            _ => None,
        };
        self.events.drain(..).find_map(failed)
    }

    /// Why a connection was lost last, if it is not connected now.
    #[must_use]
    pub fn last_fault(&self) -> Option<&ConnectionFault> {
        self.consumer.last_fault()
    }

    /// Why there is nothing, if there is no connection. The driver knows to which address.
    #[must_use]
    pub fn disconnected(&self, address: &str) -> Option<GroupError> {
        let fault = self.last_fault()?.clone();
        Some(GroupError::Disconnected { address: String::from(address), fault })
    }

    /// Nothing is to be waited for any more by who leaves: the good-bye was taken, or nobody is
    /// there to take it.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.is_ended() || self.last_fault().is_some()
    }

    fn begin_commit(
        &mut self,
        offsets: Vec<(Place, Offset, String)>,
        awaited: bool,
        now: Instant,
    ) -> CommitId {
        let is_nothing = offsets.is_empty();
        let expires_at = now + self.options.commit_timeout;
        let id = self.commits.open(offsets, awaited, expires_at);
        if is_nothing {
            let ended = self.commits.answered(id, &[], now);
            self.commit_ended(ended);
        } else if !matches!(self.standing, Standing::Member | Standing::Leaving) {
            let ended = self.commits.fail(id, CommitFault::MembershipLost);
            self.commit_ended(ended);
        }
        self.send_commits(now);
        id
    }

    /// Under `auto`: commits what was handed out before the last call for records.
    fn commit_worked(&mut self, now: Instant) {
        if self.options.commit.is_auto() {
            let offsets = self.uncommitted(|held| held.worked);
            if !offsets.is_empty() {
                self.begin_commit(offsets, false, now);
            }
        }
    }

    fn held(&mut self, place: Place) -> Option<&mut Held> {
        let withdrawn = self.withdrawn.get_mut(&place);
        self.partitions.get_mut(&place).or(withdrawn)
    }

    fn place(&self, name: PartitionName<'_>) -> Option<Place> {
        let topic = match name.topic {
            Some(topic) => self.consumer.names.iter().position(|name| **name == *topic)?,
            None if self.consumer.names.len() == 1 => 0,
            None => return None,
        };
        Some(Place { topic, partition: name.partition })
    }

    /// A commit that names no topic of the member, or leaves out which of several.
    fn refuse_commit(
        &mut self,
        name: PartitionName<'_>,
        offset: Offset,
        is_awaited: bool,
    ) -> CommitId {
        let id = self.commits.skip();
        let result = Err(CommitFault::Refused(ErrorCode::NotAssigned));
        let topic = Arc::from(name.topic.unwrap_or_default());
        let partition = name.partition;
        let partitions = vec![PartitionCommit { topic, partition, offset, result }];
        self.commit_ended(Some(Ended { id, is_awaited, report: CommitReport { partitions } }));
        id
    }

    fn uncommitted(&self, up_to: impl Fn(&Held) -> Option<Offset>) -> Vec<(Place, Offset, String)> {
        let of_one = |(place, held): (&Place, &Held)| {
            let offset = up_to(held).filter(|offset| Some(*offset) > held.committed)?;
            Some((*place, offset, String::new()))
        };
        let held = self.partitions.iter().chain(&self.withdrawn);
        held.filter_map(of_one).take(COMMIT_OFFSETS_MAX as usize).collect()
    }

    fn commit_ended(&mut self, ended: Option<Ended>) {
        let Some(Ended { id, is_awaited, report }) = ended else { return };
        for of in &report.partitions {
            let name = PartitionName { topic: Some(&of.topic), partition: of.partition };
            let held = self.place(name).and_then(|place| self.held(place));
            if let (Ok(committed), Some(held)) = (of.result, held) {
                held.committed = held.committed.max(Some(committed));
            }
        }
        if is_awaited {
            self.reports.insert(id, report);
        } else {
            self.tell_if_failed(report);
        }
    }

    fn tell_if_failed(&mut self, report: CommitReport) {
        if report.first_fault().is_some() {
            self.events.push_back(GroupEvent::CommitFailed(report));
        }
    }
}

/// Where the requests to the group go.
const LINK: LinkId = LinkId(0);
