//! The operator: creates topics, asks about them, deletes one.
//!
//! One thing at a time, over one connection, tried again until there is an answer. What a newcomer
//! gets wrong: after a lost connection a creation may have happened, so that "it exists" is as good
//! an answer as "created".

mod groups;

pub(crate) use self::groups::Whose;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use plimsoll_client::{
    Admin, AdminReply, AdminRequest, ErrorCode, IncomingFrames, Instant, NewTopic,
    PartitionDescription, ServerError, Topic, TopicChanges,
};
use plimsoll_sim::{ClientId, Network};
use plimsoll_wire::{Offset, OffsetsWhat, TopicCleanup, TopicRetention};

use super::links::Surroundings;
use super::member::name_of_group;
use super::sharer::name_of_share;
use crate::deliveries::ShareResetId;
use crate::ledger::{Ledger, Place};
use crate::met::Met;
use crate::positions::{Knowledge, Positions, ResetId};
use crate::scenario::{CompactionPlan, TopicPlan};

const RETRY: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_secs(5);

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The topic of this number is to be there.
    Create(usize),
    /// A topic is to be created, under this name.
    CreatePassing(String),
    /// Where it lives; then so many bytes are written to it, and it lasts for so many milliseconds.
    FindPassing(String, u32, u32),
    /// It is to go.
    DeletePassing(String),
    /// A topic of the scenario is to go, and not to be there for so many milliseconds.
    Drop(usize, u32),
    /// What is known of all topics.
    List,
    /// Where the partitions of this topic stand.
    Describe(usize),
    /// This topic gets other settings: how long its records stay, the size of its segments.
    Alter(usize, TopicRetention, u64),
    /// This topic is to be compacted, or not any more, or at other ages.
    AlterCleanup(usize, TopicCleanup),
    /// What is before this offset is to go.
    DeleteRecords(Place, Offset),
    /// Where a group would go on in each partition, as far as that was found out; and unless the
    /// operator only looks, it is to go on there.
    Locate(Whose, Vec<Aim>, Vec<Offset>, bool),
    /// A group is to go on there, partition by partition.
    Reset(Whose, Vec<Offset>),
    /// A group is to go.
    DeleteGroup(Whose),
    /// What this group has committed.
    DescribeGroup(usize),
    /// How far this group in share mode is.
    DescribeShare(usize),
}

/// Where in a partition a group is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// At a place that the server knows.
    At(OffsetsWhat),
    /// At this offset.
    Offset(Offset),
}

/// The operator.
pub(crate) struct Admins {
    plans: Vec<TopicPlan>,
    pub(crate) tasks: VecDeque<Task>,
    connection: Option<Connection>,
    next_try: Instant,
    /// What was learned of the topics of the scenario.
    pub(crate) topics: BTreeMap<usize, Topic>,
    /// Names that `List` gave last.
    pub(crate) listed: Vec<String>,
    pub(crate) described: BTreeMap<usize, Vec<PartitionDescription>>,
    /// Topics to write to, and how much: whoever does takes them from here.
    pub(crate) found: Vec<(Topic, u32)>,
    /// Topics whose deletion was answered.
    pub(crate) deleted: Vec<String>,
    /// The groups in share mode that were found to have a start, and in which life.
    found_shares: BTreeMap<usize, usize>,
}

struct Connection {
    end: ClientId,
    frames: IncomingFrames,
    admin: Admin,
    asked: Option<Asked>,
}

/// What becomes of a task.
enum Next {
    /// It is done, and the next one comes after this.
    Done(Duration),
    /// There is more of it to be asked.
    GoesOn,
    Again,
}

/// What was asked, when, and what was known of the groups then.
struct Asked {
    task: Task,
    at: Instant,
    groups: Vec<Knowledge>,
    reset: Option<Noted>,
    starts: BTreeMap<Place, Offset>,
    life: usize,
}

/// A reset in the books.
#[derive(Clone, Copy, Debug)]
enum Noted {
    Group(usize, ResetId),
    Share(usize, ShareResetId),
}

/// The name of a topic of the scenario.
pub(crate) fn name_of(topic: usize) -> String {
    format!("topic-{topic}")
}

impl Admins {
    pub(crate) fn new(plans: &[TopicPlan]) -> Self {
        Self {
            plans: plans.to_vec(),
            tasks: (0..plans.len()).map(Task::Create).chain([Task::List]).collect(),
            connection: None,
            next_try: Instant::ORIGIN,
            topics: BTreeMap::new(),
            listed: Vec::new(),
            described: BTreeMap::new(),
            found: Vec::new(),
            deleted: Vec::new(),
            found_shares: BTreeMap::new(),
        }
    }

    /// Asks nothing more before this.
    pub(crate) fn rest_until(&mut self, at: Instant) {
        self.next_try = at;
    }

    /// What was to be deleted, and was not answered, is not asked for again: nobody hides that it
    /// was begun.
    pub(crate) fn give_up_deletions(&mut self) {
        if self.connection.is_none() {
            self.tasks.retain(|task| !matches!(task, Task::DeleteRecords(..)));
        }
    }

    pub(crate) fn is_ready(&self, network: &Network, now: Instant) -> bool {
        let has_news = self.connection.as_ref().is_some_and(|it| network.has_news(it.end));
        has_news || self.poll_timeout().is_some_and(|timeout| timeout <= now)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.connection {
            Some(Connection { asked: Some(asked), .. }) => Some(asked.at + ANSWER),
            _ => (!self.tasks.is_empty()).then_some(self.next_try),
        }
    }

    pub(crate) fn turn(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) {
        let now = around.now;
        if self.connection.is_none() && !self.tasks.is_empty() && self.next_try <= now {
            if around.listens {
                let (_, end) = around.network.connect();
                let frames = IncomingFrames::new();
                let admin = Admin::new("operator");
                self.connection = Some(Connection { end, frames, admin, asked: None });
            } else {
                self.next_try = now + RETRY;
            }
        }
        let Some(connection) = &mut self.connection else { return };
        let late = connection.asked.as_ref().is_some_and(|it| it.at + ANSWER <= now);
        if late || connection.receive(around).is_err() {
            self.abandon();
            let Some(connection) = &mut self.connection else { return };
            around.network.leave(connection.end);
            self.connection = None;
            self.next_try = now + RETRY;
            return;
        }
        self.take_reply(ledger, now);
        self.ask(ledger, now);
        let Some(connection) = &mut self.connection else { return };
        while let Some(chunk) = connection.admin.poll_transmit() {
            around.network.send(connection.end, &chunk);
        }
    }

    fn ask(&mut self, ledger: &mut Ledger, now: Instant) {
        self.locate_what_is_said();
        self.leave_what_is_not_there(ledger.life);
        let Some(connection) = &mut self.connection else { return };
        let Some(task) = self.tasks.front().filter(|_| connection.asked.is_none()) else { return };
        if now < self.next_try {
            return;
        }
        let name = name_in(task, ledger);
        let request = match task {
            Task::Locate(..)
            | Task::Reset(..)
            | Task::DeleteGroup(_)
            | Task::DescribeGroup(_)
            | Task::DescribeShare(_) => groups::request(task, &name, &self.topics, ledger),
            _ => request(task, &name, &self.plans),
        };
        let Some(request) = request else { return };
        let reset = groups::note_question(task, &self.plans, (ledger, now));
        ledger.starts.note_question(task, ledger.life);
        if let Task::AlterCleanup(topic, cleanup) = task {
            ledger.compactions.ask_to_alter(*topic, *cleanup);
        }
        connection.admin.ask(&request);
        let groups = ledger.groups.iter().map(Positions::known).collect();
        let (starts, life) = (ledger.starts.all_known(), ledger.life);
        let task = task.clone();
        connection.asked = Some(Asked { task, at: now, groups, reset, starts, life });
    }

    fn take_reply(&mut self, ledger: &mut Ledger, now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let Some(reply) = connection.admin.poll_reply() else { return };
        let Some(asked) = connection.asked.take() else { return };
        ledger.remark(|| format!("{:?} is answered {reply:?}", asked.task));
        let next = match &asked.task {
            Task::Locate(..)
            | Task::Reset(..)
            | Task::DeleteGroup(_)
            | Task::DescribeGroup(_)
            | Task::DescribeShare(_) => self.take_answer_of_group(&asked, reply, ledger, now),
            _ => self.take_answer(&asked, reply, ledger),
        };
        match next {
            Next::Done(rest) => {
                self.tasks.pop_front();
                self.next_try = now + rest;
            }
            Next::GoesOn => self.next_try = now,
            Next::Again => self.next_try = now + RETRY,
        }
    }

    fn take_answer(
        &mut self,
        asked: &Asked,
        reply: Result<AdminReply, ServerError>,
        ledger: &mut Ledger,
    ) -> Next {
        match (&asked.task, reply) {
            (Task::Create(_) | Task::CreatePassing(_), Ok(AdminReply::Created { .. }))
            | (Task::FindPassing(..), Err(_)) => {}
            (Task::DeletePassing(name), Ok(AdminReply::Done)) => self.deleted.push(name.clone()),
            (Task::FindPassing(_, bytes, lasts_ms), Ok(AdminReply::Topics(topics))) => {
                self.found.extend(topics.into_iter().map(|topic| (topic, *bytes)));
                return Next::Done(Duration::from_millis(u64::from(*lasts_ms)));
            }
            (Task::Drop(topic, ms), reply) if is_gone(&reply) => {
                self.topics.remove(topic);
                ledger.lose_copies(*topic);
                return Next::Done(Duration::from_millis(u64::from(*ms)));
            }
            (Task::List, Ok(AdminReply::Topics(topics))) => self.take_list(&topics, ledger),
            (Task::Describe(topic), Ok(AdminReply::Partitions(partitions))) => {
                for described in &partitions {
                    let place = Place { topic: *topic, partition: described.partition.0 };
                    ledger.saw_start(place, described.watermarks.start, asked.start_of(place));
                }
                self.described.insert(*topic, partitions);
            }
            (Task::Alter(topic, retention, _), Ok(AdminReply::Done)) => {
                for partition in 0..self.plans[*topic].partitions {
                    ledger.note_what_may_go(Place { topic: *topic, partition });
                }
                ledger.starts.answered(*topic, *retention, asked.life);
                ledger.meet(Met::Altered);
            }
            (Task::AlterCleanup(topic, cleanup), Ok(AdminReply::Done)) => {
                ledger.compactions.altered(*topic, *cleanup, ledger.now);
                ledger.meet(Met::CleanupAltered);
            }
            (Task::DeleteRecords(place, to), Ok(AdminReply::Offset(start))) => {
                ledger.saw_start(*place, start, *to);
            }
            // Memory was lost, and the end is before it; or what is there is read only.
            (Task::DeleteRecords(..), Err(error))
                if matches!(error.code, ErrorCode::OffsetOutOfRange | ErrorCode::DataDamaged) => {}
            (Task::Create(_) | Task::CreatePassing(_), Err(error))
                if error.code == ErrorCode::TopicExists => {}
            (Task::DeletePassing(name), Err(error)) if error.code == ErrorCode::TopicNotFound => {
                self.deleted.push(name.clone());
            }
            (_, Err(_)) => return Next::Again,
            (task, Ok(reply)) => ledger.violate(format!("{task:?} is answered {reply:?}")),
        }
        Next::Done(Duration::ZERO)
    }

    /// The topics of the scenario are there, and are those that they were.
    fn take_list(&mut self, topics: &[Topic], ledger: &mut Ledger) {
        self.listed = topics.iter().map(|topic| topic.name.clone()).collect();
        for number in 0..self.plans.len() {
            let name = name_of(number);
            let found = topics.iter().find(|topic| topic.name == name);
            match (found, self.topics.get(&number)) {
                (Some(found), Some(known)) if found.id != known.id => {
                    ledger.violate(format!("{name} has another id: {found:?}"));
                }
                (Some(found), _) => {
                    if let Err(text) = ledger.compactions.check_cleanup(number, found.cleanup)
                        && !ledger.is_damaged
                    {
                        ledger.violate(text);
                    }
                    self.topics.insert(number, found.clone());
                }
                // The record of its creation was in the frame that rotted, and the server
                // has said so: no topic is created before a repair.
                (None, _) if ledger.is_damaged => {
                    ledger.remark(|| format!("{name} went with a damaged journal"));
                }
                (None, _) => ledger.violate(format!("{name} is not there any more")),
            }
        }
    }
}

impl Asked {
    /// Where a partition began, as far as was known.
    fn start_of(&self, place: Place) -> Offset {
        self.starts.get(&place).copied().unwrap_or(Offset::ZERO)
    }
}

/// Whether a topic was deleted, now or by the same question before.
fn is_gone(reply: &Result<AdminReply, ServerError>) -> bool {
    match reply {
        Ok(reply) => matches!(reply, AdminReply::Done),
        Err(error) => error.code == ErrorCode::TopicNotFound,
    }
}

/// The name of what is asked about.
fn name_in(task: &Task, ledger: &Ledger) -> String {
    match task {
        Task::Create(topic)
        | Task::Describe(topic)
        | Task::Drop(topic, _)
        | Task::AlterCleanup(topic, _)
        | Task::Alter(topic, ..) => name_of(*topic),
        Task::DeleteRecords(place, _) => name_of(place.topic),
        Task::Locate(whose, ..) => name_of(whose.topic(ledger)),
        Task::Reset(whose, _) | Task::DeleteGroup(whose) => whose.name(),
        Task::DescribeGroup(group) => name_of_group(*group),
        Task::DescribeShare(share) => name_of_share(*share),
        Task::CreatePassing(name) | Task::FindPassing(name, ..) | Task::DeletePassing(name) => {
            name.clone()
        }
        Task::List => String::new(),
    }
}

/// What is asked about topics.
fn request<'a>(task: &Task, name: &'a str, plans: &[TopicPlan]) -> Option<AdminRequest<'a>> {
    let batch_bytes_max = 256 << 10;
    Some(match task {
        Task::Create(topic) => {
            let plan = &plans[*topic];
            AdminRequest::CreateTopic(NewTopic {
                name,
                partitions: plan.partitions,
                flush_interval_ms: plan.flush_interval_ms,
                segment_bytes: plan.segment_bytes,
                batch_bytes_max,
                retention: plan.retention,
                cleanup: plan.compaction.map_or(TopicCleanup::DEFAULT, CompactionPlan::at_first),
                ..NewTopic::default()
            })
        }
        Task::CreatePassing(_) => {
            // Small segments, so that a large record fills one.
            let (segment_bytes, batch_bytes_max) = (1 << 20, 900 << 10);
            let new = NewTopic { name, partitions: 2, ..NewTopic::default() };
            AdminRequest::CreateTopic(NewTopic { segment_bytes, batch_bytes_max, ..new })
        }
        Task::DeletePassing(_) | Task::Drop(..) => AdminRequest::DeleteTopic { topic: name },
        Task::FindPassing(..) => AdminRequest::Metadata { topics: vec![name] },
        Task::List => AdminRequest::Metadata { topics: Vec::new() },
        Task::Describe(topic) => {
            AdminRequest::Describe { topic: name, first: 0, count: plans[*topic].partitions }
        }
        Task::Alter(_, retention, segment_bytes) => AdminRequest::AlterTopic(TopicChanges {
            name,
            retention_ms: Some(retention.age_ms),
            retention_bytes: Some(retention.bytes),
            segment_bytes: Some(*segment_bytes),
            ..TopicChanges::default()
        }),
        Task::AlterCleanup(_, cleanup) => AdminRequest::AlterTopic(TopicChanges {
            name,
            cleanup: Some(cleanup.policy),
            compaction_lag_ms: Some(cleanup.compaction_lag_ms),
            tombstone_retention_ms: Some(cleanup.tombstone_retention_ms),
            ..TopicChanges::default()
        }),
        Task::DeleteRecords(place, to) => {
            AdminRequest::DeleteRecords { topic: name, partition: place.partition, to: *to }
        }
        Task::Locate(..)
        | Task::Reset(..)
        | Task::DeleteGroup(_)
        | Task::DescribeGroup(_)
        | Task::DescribeShare(_) => {
            return None;
        }
    })
}

impl Connection {
    fn receive(&mut self, around: &mut Surroundings<'_>) -> Result<(), ()> {
        let bytes = around.network.receive(self.end);
        let mut rest = &bytes[..];
        loop {
            match self.frames.next_frame() {
                Ok(Some(frame)) => self.admin.handle_frame(frame).map_err(drop)?,
                Ok(None) if rest.is_empty() => break,
                Ok(None) => rest = &rest[self.frames.take_from(rest)..],
                Err(_) => return Err(()),
            }
        }
        if around.network.is_ended(self.end) { Err(()) } else { Ok(()) }
    }
}
