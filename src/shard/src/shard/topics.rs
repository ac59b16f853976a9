//! Topics: requests about them, on any shard, and their partitions, on the shards that own them.
//!
//! Creating, altering and deleting is shard 0's work (`metadata.rs`); here it is asked for and
//! carried out. What a newcomer gets wrong: every shard knows every topic, but has a `Partition`
//! only for those that it owns.

use alloc::borrow::ToOwned;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use plimsoll_batch::BATCH_BYTES_MAX;
use plimsoll_storage::Slot;
use plimsoll_wire::{
    AlterTopic, CorrelationId, CreateTopic, DeleteTopic, ErrorCode, Opcode, ShardIndex,
    TOPIC_PARTITIONS_MAX, TopicId, TopicName,
};

use super::Shard;
use super::answers::Problem;
use super::decoding::Flow;
use crate::catalog::{SettingChanges, Topic, TopicRequest, settings_of};
use crate::connection::{ConnectionId, Hold};
use crate::mail::{Ended, Letter};
use crate::partition::Partition;

const TOO_LATE: &str = "the topic was deleted before the append reached its level";

impl Shard {
    pub(super) fn create_topic(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        request: &CreateTopic<'_>,
    ) -> Flow {
        match self.checked(request) {
            Ok(request) => self.ask_first_shard(id, correlation, request),
            Err(problem) => {
                let (client, opcode) = (self.client(id), Opcode::CreateTopic);
                self.answer_problem(client, Ended::NOTHING, opcode, correlation, problem);
                Flow::Next
            }
        }
    }

    fn checked(&self, request: &CreateTopic<'_>) -> Result<TopicRequest, Problem> {
        let invalid = |text| Problem::new(ErrorCode::InvalidTopic, text);
        let name = TopicName::try_from(request.name)
            .map_err(|error| Problem::new(ErrorCode::InvalidTopic, error.to_string()))?;
        let partitions = request.partitions;
        if !(1..=TOPIC_PARTITIONS_MAX).contains(&partitions) {
            return Err(invalid("a topic has 1 to 100000 partitions"));
        }
        // A delivery of one batch must fit in a frame as well.
        let frame_batch_bytes_max = self.config.limits.frame_bytes_max.saturating_sub(256);
        let batch_bytes_max = frame_batch_bytes_max.min(BATCH_BYTES_MAX);
        let batch_bytes_max = u32::try_from(batch_bytes_max).unwrap_or(u32::MAX);
        let settings =
            settings_of(request, &self.config.topic_defaults, batch_bytes_max).map_err(invalid)?;
        Ok(TopicRequest::Create { name, partitions, settings })
    }

    pub(super) fn delete_topic(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        request: &DeleteTopic<'_>,
    ) -> Flow {
        let request = TopicRequest::Delete { name: request.name.to_owned() };
        self.ask_first_shard(id, correlation, request)
    }

    pub(super) fn alter_topic(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        request: &AlterTopic<'_>,
    ) -> Flow {
        let changes = SettingChanges::of(request);
        let request = TopicRequest::Alter { name: request.name.to_owned(), changes };
        self.ask_first_shard(id, correlation, request)
    }

    /// Topics are shard 0's business.
    fn ask_first_shard(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        request: TopicRequest,
    ) -> Flow {
        let is_first = self.config.index.0 == 0;
        if !is_first && self.outbox.len() >= self.config.limits.outbox_max {
            return Flow::Hold(Hold::Outbox);
        }
        if !self.begin_request(id) {
            return Flow::Hold(Hold::InFlight);
        }
        let client = self.client(id);
        if is_first {
            self.topic_request(client, correlation, request);
        } else {
            if let Some(connection) = self.connection(id) {
                connection.is_forwarding = true;
            }
            self.post(ShardIndex(0), Letter::TopicRequest { client, correlation, request });
        }
        Flow::Next
    }

    /// Makes a topic known here and opens those of its partitions that this shard owns.
    pub(super) fn open_topic(&mut self, topic: Arc<Topic>) {
        let config = topic.partition_config();
        for index in 0..topic.partitions {
            let Some(id) = topic.partition(index) else { continue };
            if id.owner(self.config.shards) != self.config.index.0 {
                continue;
            }
            let slot = self.storage.open_partition(id, config);
            let default = topic.settings.default_durability;
            let partition = Partition::new(id, config.batch_bytes_max, default);
            let place = slot.0 as usize;
            if self.partitions.len() <= place {
                self.partitions.resize_with(place + 1, || None);
            }
            self.partitions[place] = Some(partition);
        }
        let (name, id) = (topic.name.clone(), topic.id);
        self.catalog.insert(topic);
        self.tell_watchers_of(id);
        self.topic_changed(&name);
    }

    /// A topic that is known here has other settings from now on.
    pub(super) fn alter_own(&mut self, topic: Arc<Topic>) {
        let config = topic.partition_config();
        for slot in self.own_slots(&topic) {
            self.storage.set_config(slot, config, self.now);
            if let Some(Some(partition)) = self.partitions.get_mut(slot.0 as usize) {
                partition.default_durability = topic.settings.default_durability;
            }
        }
        self.catalog.insert(topic);
    }

    /// The partitions of the topic that are open on this shard.
    fn own_slots(&self, topic: &Topic) -> Vec<Slot> {
        (0..topic.partitions)
            .filter_map(|index| topic.partition(index))
            .filter(|id| id.owner(self.config.shards) == self.config.index.0)
            .filter_map(|id| self.storage.slot(id))
            .collect()
    }

    /// Forgets a topic: its appends and readers are answered, its files removed.
    pub(super) fn remove_topic(&mut self, topic: u32) {
        let Some(topic) = self.catalog.remove(topic) else { return };
        for slot in self.own_slots(&topic) {
            self.touch(slot);
            self.look_at_touched();
            self.abandon_acks(slot, ErrorCode::TopicNotFound, TOO_LATE);
            self.end_readers_of_partition(slot);
            self.abandon_deletions(Some(slot), ErrorCode::TopicNotFound, "the topic was deleted");
            if let Some(place) = self.partitions.get_mut(slot.0 as usize) {
                *place = None;
            }
            self.storage.remove_partition(slot, self.now);
        }
        self.groups.forget_topic(TopicId(topic.id));
        self.forget_marks(topic.id);
        self.topic_changed(&topic.name);
    }
}
