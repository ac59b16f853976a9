//! Which request is served where. Requests that need no partition are answered here.
//!
//! Nothing waits here: what has to comes back as `Flow::Hold`, and the frame is decoded anew. What
//! a newcomer gets wrong: a request may therefore come twice, and must leave nothing behind when it
//! is held.

use alloc::sync::Arc;
use alloc::vec::Vec;

use plimsoll_wire::{
    CorrelationId, ErrorCode, Fetch, Frame, Handle, MetadataRequest, MetadataResponse, Opcode,
    Request, ShardIndex, TopicMetadata, encode_empty_response,
};

use super::Shard;
use super::answers::Problem;
use super::decoding::Flow;
use super::startup::list_is_incomplete;
use crate::catalog::Topic;
use crate::connection::{ConnectionId, State};
use crate::mail::{Ended, Forwarded, Gathered};

impl Shard {
    /// Serves one frame. `after` is what was received behind it.
    pub(super) fn handle_frame(
        &mut self,
        id: ConnectionId,
        frame: &Frame<'_>,
        after: &[u8],
    ) -> Flow {
        let correlation = frame.correlation;
        let request = match Request::decode(frame) {
            Ok(request) => request,
            Err(error) => {
                self.fail_frame(id, frame.opcode, correlation, &error);
                return Flow::Gone;
            }
        };
        let flow = match request {
            Request::Hello(hello) => self.hello(id, correlation, &hello, after),
            _ if !self.has_said_hello(id) => {
                let text = "the first frame of a connection is hello";
                self.fail_plainly(id, frame.opcode, correlation, ErrorCode::HelloExpected, text);
                Flow::Gone
            }
            Request::Produce(produce) => self.produce(id, correlation, &produce),
            Request::Ping => self.answer_empty(id, Opcode::Ping, correlation),
            Request::Metadata(request) => self.metadata_request(id, correlation, &request),
            Request::CreateTopic(request) => self.create_topic(id, correlation, &request),
            Request::AlterTopic(request) => self.alter_topic(id, correlation, &request),
            Request::DeleteTopic(request) => self.delete_topic(id, correlation, &request),
            Request::Describe(request) => self.describe(id, correlation, &request),
            Request::Bind(request) => self.bind(id, correlation, &request),
            Request::Unbind(request) => self.unbind(id, correlation, request.handle),
            Request::Fetch(request) => self.fetch(id, correlation, &request),
            Request::Subscribe(request) => {
                let (handle, forwarded) = (request.handle, Forwarded::Subscribe(request));
                self.ask_partition(id, correlation, Opcode::Subscribe, handle, forwarded)
            }
            Request::Credit(request) => {
                let (handle, forwarded) = (request.handle, Forwarded::Credit(request));
                self.ask_partition(id, correlation, Opcode::Credit, handle, forwarded)
            }
            Request::Unsubscribe(request) => {
                let handle = request.handle;
                let forwarded = Forwarded::Unsubscribe { handle, is_answered: true };
                self.ask_partition(id, correlation, Opcode::Unsubscribe, handle, forwarded)
            }
            Request::Offsets(request) => {
                let (handle, forwarded) = (request.handle, Forwarded::Offsets(request));
                self.ask_partition(id, correlation, Opcode::Offsets, handle, forwarded)
            }
            Request::DeleteRecords(request) => self.delete_records(id, correlation, &request),
            Request::Stats => self.gather(id, correlation, Gathered::Stats),
            Request::InitProducer => self.init_producer(id, correlation),
            Request::ListGroups(request) => {
                let with_mode = request.with_mode;
                self.gather(id, correlation, Gathered::Groups { with_mode })
            }
            Request::JoinGroup(_)
            | Request::Heartbeat(_)
            | Request::LeaveGroup(_)
            | Request::CommitOffsets(_)
            | Request::DescribeGroup(_)
            | Request::ShareAcquire(_)
            | Request::ShareSettle(_)
            | Request::DeleteGroup(_) => self.group_request(id, correlation, &request),
        };
        if !matches!(flow, Flow::Hold(_)) {
            self.counters.frames += 1;
        }
        flow
    }

    fn has_said_hello(&self, id: ConnectionId) -> bool {
        self.connections.at(id.0).is_some_and(|connection| connection.state == State::Open)
    }

    fn answer_empty(
        &mut self,
        id: ConnectionId,
        opcode: Opcode,
        correlation: CorrelationId,
    ) -> Flow {
        let client = self.client(id);
        self.answer(client, Ended::NOTHING, |out| encode_empty_response(opcode, correlation, out));
        Flow::Next
    }

    fn fetch(&mut self, id: ConnectionId, correlation: CorrelationId, fetch: &Fetch) -> Flow {
        self.ask_partition(id, correlation, Opcode::Fetch, fetch.handle, Forwarded::Fetch(*fetch))
    }

    fn unbind(&mut self, id: ConnectionId, correlation: CorrelationId, handle: Handle) -> Flow {
        let Some(connection) = self.connections.at_mut(id.0) else { return Flow::Gone };
        if connection.handles.at(handle).is_none() {
            let problem = Problem::of_handle(ErrorCode::HandleUnknown, handle);
            self.answer_problem(
                self.client(id),
                Ended::NOTHING,
                Opcode::Unbind,
                correlation,
                problem,
            );
            return Flow::Next;
        }
        // A subscription ends with its handle.
        let forwarded = Forwarded::Unsubscribe { handle, is_answered: false };
        match self.ask_partition(id, correlation, Opcode::Unbind, handle, forwarded) {
            Flow::Next => {}
            other => return other,
        }
        if let Some(connection) = self.connections.at_mut(id.0) {
            connection.handles.unbind(handle);
        }
        self.answer_empty(id, Opcode::Unbind, correlation)
    }

    fn metadata_request(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        request: &MetadataRequest<'_>,
    ) -> Flow {
        let (client, opcode) = (self.client(id), Opcode::Metadata);
        if let Some(problem) = self.unknown_topics(&request.topics) {
            self.answer_problem(client, Ended::NOTHING, opcode, correlation, problem);
            return Flow::Next;
        }
        let topics: Vec<Arc<Topic>> = if request.topics.is_empty() {
            self.catalog.topics().map(Arc::clone).collect()
        } else {
            let named = request.topics.iter().filter_map(|name| self.catalog.named(name));
            named.map(Arc::clone).collect()
        };
        let answer_bytes: usize = topics.iter().map(|topic| metadata_bytes_max(topic)).sum();
        if answer_bytes > self.config.limits.frame_bytes_max {
            let text = "the answer is too large for a frame: ask for fewer topics by name";
            let problem = Problem::new(ErrorCode::Overloaded, text);
            self.answer_problem(client, Ended::NOTHING, opcode, correlation, problem);
            return Flow::Next;
        }
        let shards = self.config.shards;
        let with = (request.with_retention, request.with_cleanup);
        let metadata = |topic| metadata_of(topic, shards, with);
        let topics = topics.iter().map(|topic| metadata(topic)).collect();
        self.answer(client, Ended::NOTHING, |out| {
            MetadataResponse { topics }.encode(correlation, out);
        });
        Flow::Next
    }
}

impl Shard {
    /// Why the answer would be wrong: it leaves out topics of which nobody can tell whether they
    /// exist. None, if all that are asked for are known.
    fn unknown_topics(&self, names: &[&str]) -> Option<Problem> {
        let why = self.catalog.why_incomplete()?;
        if !names.is_empty() && names.iter().all(|name| self.catalog.named(name).is_some()) {
            return None;
        }
        let mut text = list_is_incomplete(why);
        if names.is_empty() {
            text.push_str("; known are");
            for topic in self.catalog.topics().take(NAMED_MAX) {
                text.extend([" ", &topic.name]);
            }
        }
        Some(Problem::new(ErrorCode::DataDamaged, text))
    }
}

/// How many topics the error names that says that there may be more.
const NAMED_MAX: usize = 20;

/// A bound of what a topic takes in the answer.
fn metadata_bytes_max(topic: &Topic) -> usize {
    96 + topic.name.len() + topic.partitions as usize * size_of::<u16>()
}

fn metadata_of(
    topic: &Topic,
    shards: u16,
    (with_retention, with_cleanup): (bool, bool),
) -> TopicMetadata<'_> {
    let owner = |partition| topic.partition(partition).map(|id| ShardIndex(id.owner(shards)));
    TopicMetadata {
        name: &topic.name,
        id: plimsoll_wire::TopicId(topic.id),
        default_durability: topic.settings.default_durability,
        flush_interval_ms: topic.settings.flush_interval_ms,
        segment_bytes: topic.settings.segment_bytes,
        max_batch_bytes: topic.settings.batch_bytes_max,
        retention: with_retention.then_some(topic.settings.retention),
        cleanup: with_cleanup.then_some(topic.settings.cleanup),
        shards: (0..topic.partitions).filter_map(owner).collect(),
    }
}
