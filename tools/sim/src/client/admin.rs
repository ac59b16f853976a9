//! The operator: creates topics, asks about them, deletes one.
//!
//! One thing at a time, over one connection, tried again until there is an answer. What a newcomer
//! gets wrong: after a lost connection a creation may have happened, so that "it exists" is as good
//! an answer as "created".

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use plimsoll_client::{
    Admin, AdminReply, AdminRequest, ErrorCode, IncomingFrames, Instant, NewTopic,
    PartitionDescription, Topic,
};
use plimsoll_sim::{ClientId, Network};

use super::links::Surroundings;
use crate::ledger::Ledger;
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
    /// Where it lives; then so many bytes are written to it.
    FindPassing(String, u32),
    /// It is to go.
    DeletePassing(String),
    /// What is known of all topics.
    List,
    /// Where the partitions of this topic stand.
    Describe(usize),
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
    asked: Option<(Task, Instant)>,
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
            Some(Connection { asked: Some((_, at)), .. }) => Some(*at + ANSWER),
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
        let late = connection.asked.as_ref().is_some_and(|(_, at)| *at + ANSWER <= now);
        if late || connection.receive(around).is_err() {
            around.network.leave(connection.end);
            self.connection = None;
            self.next_try = now + RETRY;
            return;
        }
        self.take_reply(ledger, now);
        self.ask(now);
        let Some(connection) = &mut self.connection else { return };
        while let Some(chunk) = connection.admin.poll_transmit() {
            around.network.send(connection.end, &chunk);
        }
    }

    fn ask(&mut self, now: Instant) {
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
                let batch_bytes_max = 256 << 10;
                let new = NewTopic { name, partitions: 2, batch_bytes_max, ..NewTopic::default() };
                AdminRequest::CreateTopic(new)
            }
            Task::DeletePassing(name) => AdminRequest::DeleteTopic { topic: name },
            Task::FindPassing(name, _) => AdminRequest::Metadata { topics: vec![name.as_str()] },
            Task::List => AdminRequest::Metadata { topics: Vec::new() },
            Task::Describe(topic) => {
                name = name_of(*topic);
                let count = self.plans[*topic].partitions;
                AdminRequest::Describe { topic: &name, first: 0, count }
            }
        };
        connection.admin.ask(&request);
        connection.asked = Some((task.clone(), now));
    }

    fn take_reply(&mut self, ledger: &mut Ledger, now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let Some(reply) = connection.admin.poll_reply() else { return };
        let Some((task, _)) = connection.asked.take() else { return };
        ledger.remark(|| format!("{task:?} is answered {reply:?}"));
        let is_done = match (&task, reply) {
            (Task::Create(_) | Task::CreatePassing(_), Ok(AdminReply::Created { .. })) => true,
            (Task::DeletePassing(name), Ok(AdminReply::Done)) => {
                self.deleted.push(name.clone());
                true
            }
            (Task::FindPassing(_, bytes), Ok(AdminReply::Topics(topics))) => {
                self.found.extend(topics.into_iter().map(|topic| (topic, *bytes)));
                true
            }
            (Task::FindPassing(..), Err(_)) => true,
            (Task::List, Ok(AdminReply::Topics(topics))) => {
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
                true
            }
            (Task::Describe(topic), Ok(AdminReply::Partitions(partitions))) => {
                self.described.insert(*topic, partitions);
                true
            }
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
            self.next_try = now;
        } else {
            self.next_try = now + RETRY;
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
