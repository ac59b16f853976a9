//! The metadata topic, on shard 0: the log of what happened to topics.
//!
//! A change is appended at `disk`, and takes effect when its record has reached the disk: first
//! here, then on every other shard; only then is the client answered.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::{Batch, BatchBuilder, BatchLimits, Batches, Offset};
use plimsoll_storage::{
    AppendError, Cursor, Lent, Level, PartitionConfig, PartitionId, ReadError, ReadOutcome,
    Retention, Slot, Storage,
};
use plimsoll_wire::{
    CorrelationId, CreateTopicResponse, ErrorCode, Fate, Handle, Opcode, ShardIndex, TopicId,
    encode_empty_response,
};

use super::answers::Problem;
use super::metadata_shortening::Growth;
use super::notices::PendingRead;
use super::{Phase, Shard};
use crate::catalog::{Topic, TopicRequest};
use crate::mail::{Client, Ended, Letter};
use crate::metadata_record::Change;
use crate::report::Report;

const READ_BYTES_MAX: usize = 1 << 20;
pub(super) const BATCH_BYTES_MAX: usize = 4 << 10;
const SEGMENT_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) slot: Slot,
    cursor: Cursor,
    /// A read found no memory and is to be tried again.
    wants_room: bool,
    pub(super) next_topic_id: u32,
    pub(super) growth: Growth,
    /// What was read, until all of it has been.
    topics: BTreeMap<u32, Arc<Topic>>,
    pub(super) seeded: u16,
    /// Changes on their way to the disk, in the order of their records.
    pub(super) pending: VecDeque<PendingChange>,
    /// Names and ids that a pending change is about.
    creating: BTreeSet<String>,
    creating_partitions: u64,
    altering: BTreeSet<u32>,
    deleting: BTreeSet<u32>,
    /// Changes that other shards have yet to carry out.
    settling: BTreeMap<u32, Settling>,
}

#[derive(Debug)]
pub(super) struct PendingChange {
    pub(super) change: Change,
    next: Offset,
    client: Client,
    correlation: CorrelationId,
}

#[derive(Debug)]
struct Settling {
    client: Client,
    correlation: CorrelationId,
    opcode: Opcode,
    missing: u16,
}

impl Metadata {
    pub(super) fn open(storage: &mut Storage, fresh_bytes_min: u64) -> Self {
        let config = PartitionConfig {
            segment_bytes: SEGMENT_BYTES,
            batch_bytes_max: BATCH_BYTES_MAX,
            flush_interval: Duration::from_millis(100),
            retention: Retention::UNLIMITED,
            compaction: None,
        };
        let slot = storage.open_partition(PartitionId::METADATA, config);
        let cursor = Cursor::at(storage.watermarks(slot).start);
        Self {
            slot,
            cursor,
            wants_room: false,
            next_topic_id: 1,
            growth: Growth::new(fresh_bytes_min),
            topics: BTreeMap::new(),
            seeded: 0,
            pending: VecDeque::new(),
            creating: BTreeSet::new(),
            creating_partitions: 0,
            altering: BTreeSet::new(),
            deleting: BTreeSet::new(),
            settling: BTreeMap::new(),
        }
    }

    /// Whether the topic of this name is being created, or `known` is being altered or deleted, or
    /// not every shard has done so.
    fn is_changing(&self, name: &str, known: Option<&Arc<Topic>>) -> bool {
        let changes = |id: &u32| {
            self.altering.contains(id)
                || self.deleting.contains(id)
                || self.settling.contains_key(id)
        };
        self.creating.contains(name) || known.is_some_and(|known| changes(&known.id))
    }

    fn apply(&mut self, batches: &[u8]) -> Result<(), String> {
        for batch in Batches::new(batches) {
            let batch = batch.map_err(|error| error.to_string())?;
            for record in batch.records().map_err(|error| error.to_string())? {
                let record = record.map_err(|error| error.to_string())?;
                let value = record.value.unwrap_or_default();
                let change = Change::decode(value)
                    .map_err(|error| alloc::format!("record {}: {error}", record.offset))?;
                // Also by a deletion: its topic may not be in the log any more.
                self.next_topic_id = self.next_topic_id.max(change.topic().saturating_add(1));
                change.apply_to(&mut self.topics);
            }
        }
        Ok(())
    }
}

impl Shard {
    /// Reads the metadata topic on, to its end.
    pub(super) fn read_metadata(&mut self) {
        while self.phase == Phase::Starting
            && let Some(metadata) = &mut self.metadata
        {
            metadata.wants_room = false;
            let (slot, cursor) = (metadata.slot, metadata.cursor);
            match self.storage.read(slot, cursor, Level::Memory, READ_BYTES_MAX) {
                Ok(ReadOutcome::Ready(lent)) => {
                    if !self.apply_metadata(lent) {
                        return;
                    }
                }
                Ok(ReadOutcome::Pending(read)) => {
                    self.reads.insert(read, PendingRead::Metadata);
                    return;
                }
                Ok(ReadOutcome::UpToDate) => return self.metadata_is_read(None),
                // What there is of it counts, and that there may be more.
                Err(ReadError::Damaged(damage)) if self.storage.lost_end(slot) == Some(&damage) => {
                    return self.metadata_is_read(Some(Arc::from(damage.to_string())));
                }
                Err(ReadError::NoRoom) => {
                    metadata.wants_room = true;
                    return;
                }
                Err(error) => return self.metadata_is_unreadable(error.to_string()),
            }
        }
    }

    pub(super) fn take_metadata(&mut self, result: Result<Lent, ReadError>) {
        match result {
            Ok(lent) => {
                if self.apply_metadata(lent) {
                    self.read_metadata();
                }
            }
            Err(ReadError::NoRoom) => {
                if let Some(metadata) = &mut self.metadata {
                    metadata.wants_room = true;
                }
            }
            Err(error) => self.metadata_is_unreadable(error.to_string()),
        }
    }

    pub(super) fn retry_metadata(&mut self) {
        if self.metadata.as_ref().is_some_and(|metadata| metadata.wants_room) {
            self.read_metadata();
        }
    }

    fn apply_metadata(&mut self, lent: Lent) -> bool {
        let Some(metadata) = &mut self.metadata else { return false };
        metadata.cursor = lent.next;
        metadata.growth.fresh_bytes += lent.range.length_bytes as u64;
        let applied = metadata.apply(self.storage.bytes(lent.range));
        self.storage.release(lent);
        match applied {
            Ok(()) => true,
            Err(text) => {
                self.metadata_is_unreadable(text);
                false
            }
        }
    }

    fn metadata_is_unreadable(&mut self, text: String) {
        self.reports.push_back(Report::MetadataUnreadable(text));
    }

    fn metadata_is_read(&mut self, incomplete: Option<Arc<str>>) {
        let Some(metadata) = &mut self.metadata else { return };
        let topics = core::mem::take(&mut metadata.topics);
        let topics: Arc<Vec<Arc<Topic>>> = Arc::new(topics.into_values().collect());
        for shard in self.other_shards() {
            let (topics, incomplete) = (Arc::clone(&topics), incomplete.clone());
            self.post(shard, Letter::Topics { topics, incomplete });
        }
        self.open_topics(&topics, incomplete);
    }

    /// Begins to carry out what a client wants of the topics.
    pub(super) fn topic_request(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        request: TopicRequest,
    ) {
        let opcode = match &request {
            TopicRequest::Create { .. } => Opcode::CreateTopic,
            TopicRequest::Alter { .. } => Opcode::AlterTopic,
            TopicRequest::Delete { .. } => Opcode::DeleteTopic,
        };
        let appended = self.change_of(request).and_then(|change| {
            let next = self.append_change(&change)?;
            Ok((change, next))
        });
        match appended {
            Err(problem) => {
                self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
            }
            Ok((change, next)) => {
                let Some(metadata) = &mut self.metadata else { return };
                match &change {
                    Change::Created(topic) => {
                        metadata.next_topic_id += 1;
                        metadata.creating.insert(topic.name.clone());
                        metadata.creating_partitions += u64::from(topic.partitions);
                    }
                    Change::Altered { id, .. } => {
                        metadata.altering.insert(*id);
                    }
                    Change::Deleted { id } => {
                        metadata.deleting.insert(*id);
                    }
                }
                metadata.pending.push_back(PendingChange { change, next, client, correlation });
                let slot = metadata.slot;
                self.shorten_metadata();
                self.metadata_advanced(slot);
            }
        }
    }

    fn change_of(&self, request: TopicRequest) -> Result<Change, Problem> {
        let Some(metadata) = &self.metadata else {
            return Err(Problem::new(ErrorCode::Overloaded, "shard 0 keeps the topics"));
        };
        match request {
            TopicRequest::Create { name, partitions, settings } => {
                let name = name.as_str();
                if metadata.is_changing(name, self.catalog.named(name)) {
                    return Err(self.undecided());
                }
                if self.catalog.named(name).is_some() {
                    return Err(Problem::new(ErrorCode::TopicExists, "the topic exists"));
                }
                let others = self.catalog.partitions() + metadata.creating_partitions;
                if others + u64::from(partitions) > self.config.limits.partitions_max {
                    let text = "the server's limit of partitions is reached";
                    return Err(Problem::new(ErrorCode::Overloaded, text));
                }
                let id = metadata.next_topic_id;
                Ok(Change::Created(Topic { id, name: name.to_string(), partitions, settings }))
            }
            TopicRequest::Alter { name, changes } => match self.catalog.named(&name) {
                topic if metadata.is_changing(&name, topic) => Err(self.undecided()),
                Some(topic) => {
                    let settings = changes.made_to(&topic.settings);
                    let invalid = |text| Problem::new(ErrorCode::InvalidTopic, text);
                    Ok(Change::Altered { id: topic.id, settings: settings.map_err(invalid)? })
                }
                None => Err(self.no_topic()),
            },
            TopicRequest::Delete { name } => match self.catalog.named(&name) {
                topic if metadata.is_changing(&name, topic) => Err(self.undecided()),
                Some(topic) => Ok(Change::Deleted { id: topic.id }),
                None => Err(self.no_topic()),
            },
        }
    }

    /// Whether the topic exists is on its way to the disk: an answer now could be taken back.
    fn undecided(&self) -> Problem {
        match self.storage.failure() {
            Some(failure) => problem_of(&AppendError::Failed(failure.clone())),
            None => Problem::new(ErrorCode::Overloaded, "the topic is being changed"),
        }
    }

    fn append_change(&mut self, change: &Change) -> Result<Offset, Problem> {
        let mut builder = BatchBuilder::with_limit(BATCH_BYTES_MAX);
        let appended = builder.append(self.now.unix_ms, None, Some(&change.encode()), &[]);
        appended.map_err(|_| overloaded())?;
        self.append_metadata(&mut builder)
    }

    /// Appends a batch of changes. Gives where the log goes on.
    pub(super) fn append_metadata(
        &mut self,
        builder: &mut BatchBuilder,
    ) -> Result<Offset, Problem> {
        let metadata = self.metadata.as_mut().ok_or_else(overloaded)?;
        if builder.is_empty() {
            return Err(overloaded());
        }
        let mut bytes = Vec::new();
        builder.finish_into(&mut bytes);
        let batch = Batch::validate(&bytes, &BatchLimits::default()).map_err(|_| overloaded())?;
        match self.storage.append(metadata.slot, &batch, Level::Disk, self.now) {
            Ok(appended) => {
                metadata.growth.fresh_bytes += bytes.len() as u64;
                Ok(appended.next)
            }
            Err(AppendError::NoRoom) => Err(overloaded()),
            Err(error) => Err(problem_of(&error)),
        }
    }

    /// Puts the changes into effect whose records have reached the disk.
    pub(super) fn metadata_advanced(&mut self, slot: Slot) {
        if self.metadata.as_ref().is_none_or(|metadata| metadata.slot != slot) {
            return;
        }
        let disk = self.storage.watermarks(slot).disk;
        while let Some(metadata) = &mut self.metadata
            && let Some(pending) = metadata.pending.pop_front_if(|front| front.next <= disk)
        {
            let (client, correlation) = (pending.client, pending.correlation);
            let (id, opcode) = match &pending.change {
                Change::Created(topic) => {
                    metadata.creating.remove(&topic.name);
                    metadata.creating_partitions -= u64::from(topic.partitions);
                    (topic.id, Opcode::CreateTopic)
                }
                Change::Altered { id, .. } => {
                    metadata.altering.remove(id);
                    (*id, Opcode::AlterTopic)
                }
                Change::Deleted { id } => {
                    metadata.deleting.remove(id);
                    (*id, Opcode::DeleteTopic)
                }
            };
            let missing = self.config.shards - 1;
            metadata.settling.insert(id, Settling { client, correlation, opcode, missing });
            self.put_into_effect(pending.change);
            self.finish_settling(id);
        }
        self.drop_old_metadata(disk);
    }

    /// Here and on every other shard.
    fn put_into_effect(&mut self, change: Change) {
        match change {
            Change::Created(topic) => {
                let topic = Arc::new(topic);
                for shard in self.other_shards() {
                    self.post(shard, Letter::TopicOpened(Arc::clone(&topic)));
                }
                self.open_topic(topic);
            }
            Change::Altered { id, settings } => {
                let Some(known) = self.catalog.with_id(id) else { return };
                let topic = Arc::new(Topic { settings, ..Topic::clone(known) });
                for shard in self.other_shards() {
                    self.post(shard, Letter::TopicAltered(Arc::clone(&topic)));
                }
                self.alter_own(topic);
            }
            Change::Deleted { id } => {
                for shard in self.other_shards() {
                    self.post(shard, Letter::TopicRemoved { topic: id });
                }
                self.remove_topic(id);
            }
        }
    }

    pub(super) fn topic_settled(&mut self, topic: u32) {
        if let Some(metadata) = &mut self.metadata
            && let Some(settling) = metadata.settling.get_mut(&topic)
        {
            settling.missing -= 1;
            self.finish_settling(topic);
        }
    }

    fn finish_settling(&mut self, id: u32) {
        let Some(metadata) = &mut self.metadata else { return };
        if metadata.settling.get(&id).is_none_or(|settling| settling.missing > 0) {
            return;
        }
        let Some(settling) = metadata.settling.remove(&id) else { return };
        let Settling { client, correlation, opcode, .. } = settling;
        self.answer(client, Ended::REQUEST, |out| match opcode {
            Opcode::CreateTopic => {
                CreateTopicResponse { id: TopicId(id) }.encode(correlation, out);
            }
            _ => encode_empty_response(opcode, correlation, out),
        });
    }

    /// The disk has failed: whether the changes on their way have happened shows after a restart.
    pub(super) fn fail_topic_requests(&mut self, text: &str) {
        while let Some(metadata) = &mut self.metadata
            && let Some(pending) = metadata.pending.pop_front()
        {
            let opcode = match pending.change {
                Change::Created(_) => Opcode::CreateTopic,
                Change::Altered { .. } => Opcode::AlterTopic,
                Change::Deleted { .. } => Opcode::DeleteTopic,
            };
            let problem = Problem::new(ErrorCode::DiskFailed, text.to_string());
            let (client, correlation) = (pending.client, pending.correlation);
            self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
        }
    }

    /// One more shard has made durable what recovery found.
    pub(super) fn one_has_seeded(&mut self) {
        let Some(metadata) = &mut self.metadata else { return };
        metadata.seeded += 1;
        if metadata.seeded == self.config.shards {
            for shard in self.other_shards().collect::<Vec<ShardIndex>>() {
                self.post(shard, Letter::AllSeeded);
            }
            self.all_have_seeded();
        }
    }
}

fn overloaded() -> Problem {
    Problem::new(ErrorCode::Overloaded, "no memory for the change")
}

/// Why a change could not be appended.
fn problem_of(error: &AppendError) -> Problem {
    let problem = Problem::of_append(Handle::default(), error);
    Problem { handle: None, fate: Fate::NotAppend, ..problem }
}
