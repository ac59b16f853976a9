//! The operator: creates topics, asks about them, deletes one.
//!
//! One thing at a time, over one connection, tried again until there is an answer. What a newcomer
//! gets wrong: after a lost connection a creation may have happened, so that "it exists" is as good
//! an answer as "created".

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plimsoll_client::{
    Admin, AdminReply, AdminRequest, ErrorCode, GroupInfo, IncomingFrames, Instant, NewTopic,
    PartitionDescription, Topic,
};
use plimsoll_sim::{ClientId, Network};

use super::links::Surroundings;
use super::member::name_of_group;
use crate::ledger::Ledger;
use crate::positions::Known;
use crate::scenario::TopicPlan;

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
    /// What is known of all topics.
    List,
    /// Where the partitions of this topic stand.
    Describe(usize),
    /// What this group has committed.
    DescribeGroup(usize),
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
}

struct Connection {
    end: ClientId,
    frames: IncomingFrames,
    admin: Admin,
    asked: Option<Asked>,
}

/// What was asked, when, and what was known of the groups then.
struct Asked {
    task: Task,
    at: Instant,
    groups: Vec<Known>,
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

    fn ask(&mut self, ledger: &Ledger, now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let Some(task) = self.tasks.front().filter(|_| connection.asked.is_none()) else { return };
        if now < self.next_try {
            return;
        }
        let name;
        let request = match task {
            Task::Create(topic) => {
                name = name_of(*topic);
                let plan = &self.plans[*topic];
                AdminRequest::CreateTopic(NewTopic {
                    name: &name,
                    partitions: plan.partitions,
                    flush_interval_ms: plan.flush_interval_ms,
                    segment_bytes: plan.segment_bytes,
                    batch_bytes_max: 256 << 10,
                    ..NewTopic::default()
                })
            }
            Task::CreatePassing(name) => {
                let new = NewTopic {
                    name,
                    partitions: 2,
                    batch_bytes_max: 900 << 10,
                    // Small ones, so that a large record fills one.
                    segment_bytes: 1 << 20,
                    ..NewTopic::default()
                };
                AdminRequest::CreateTopic(new)
            }
            Task::DeletePassing(name) => AdminRequest::DeleteTopic { topic: name },
            Task::FindPassing(name, ..) => AdminRequest::Metadata { topics: vec![name.as_str()] },
            Task::List => AdminRequest::Metadata { topics: Vec::new() },
            Task::Describe(topic) => {
                name = name_of(*topic);
                let count = self.plans[*topic].partitions;
                AdminRequest::Describe { topic: &name, first: 0, count }
            }
            Task::DescribeGroup(group) => {
                name = name_of_group(*group);
                AdminRequest::DescribeGroup { group: &name }
            }
        };
        connection.admin.ask(&request);
        let groups = ledger.groups.iter().map(|group| group.known().clone()).collect();
        connection.asked = Some(Asked { task: task.clone(), at: now, groups });
    }

    fn take_reply(&mut self, ledger: &mut Ledger, now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let Some(reply) = connection.admin.poll_reply() else { return };
        let Some(Asked { task, groups, .. }) = connection.asked.take() else { return };
        ledger.remark(|| format!("{task:?} is answered {reply:?}"));
        let mut rest = Duration::ZERO;
        let is_done = match (&task, reply) {
            (Task::Create(_) | Task::CreatePassing(_), Ok(AdminReply::Created { .. })) => true,
            (Task::DeletePassing(name), Ok(AdminReply::Done)) => {
                self.deleted.push(name.clone());
                true
            }
            (Task::FindPassing(_, bytes, lasts_ms), Ok(AdminReply::Topics(topics))) => {
                rest = Duration::from_millis(u64::from(*lasts_ms));
                self.found.extend(topics.into_iter().map(|topic| (topic, *bytes)));
                true
            }
            (Task::FindPassing(..), Err(_)) => true,
            (Task::List, Ok(AdminReply::Topics(topics))) => {
                self.take_list(&topics, ledger);
                true
            }
            (Task::Describe(topic), Ok(AdminReply::Partitions(partitions))) => {
                self.described.insert(*topic, partitions);
                true
            }
            (Task::DescribeGroup(group), Ok(AdminReply::Group(info))) => {
                described(*group, &info, &groups[*group], ledger);
                true
            }
            (Task::DescribeGroup(group), Err(error)) if error.code == ErrorCode::GroupNotFound => {
                if !groups[*group].is_empty() {
                    ledger.of_group(*group, Err("what it has committed is not there".into()));
                }
                true
            }
            // A read has failed; the next start reads again.
            (Task::DescribeGroup(_), Err(error)) if error.code == ErrorCode::DataDamaged => true,
            (Task::Create(_) | Task::CreatePassing(_), Err(error)) => {
                error.code == ErrorCode::TopicExists
            }
            (Task::DeletePassing(name), Err(error)) if error.code == ErrorCode::TopicNotFound => {
                self.deleted.push(name.clone());
                true
            }
            (_, Err(_)) => false,
            (_, Ok(reply)) => {
                ledger.violate(format!("{task:?} is answered {reply:?}"));
                true
            }
        };
        if is_done {
            self.tasks.pop_front();
            self.next_try = now + rest;
        } else {
            self.next_try = now + RETRY;
        }
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
                (Some(found), _) => drop(self.topics.insert(number, found.clone())),
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

/// What is said of a group is what was known of it, or more; nothing has two holders.
fn described(group: usize, info: &GroupInfo, before: &Known, ledger: &mut Ledger) {
    let said: Known = info.offsets.iter().map(|it| (it.partition.partition.0, it.offset)).collect();
    let partitions: BTreeSet<u32> = said.keys().chain(before.keys()).copied().collect();
    for partition in partitions {
        let told = ledger.groups[group].told(partition, said.get(&partition).copied(), before);
        ledger.of_group(group, told);
    }
    let mut held = BTreeSet::new();
    for partition in info.members.iter().flat_map(|member| &member.partitions) {
        if !held.insert(partition.partition) {
            let text = format!("{partition:?} has two members in {:?}", info.members);
            ledger.of_group(group, Err(text));
        }
    }
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
