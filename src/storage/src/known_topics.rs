//! Which topics the metadata topic knows, and which of the others it says are deleted.
//!
//! It is filled record by record by who checks the metadata topic. What a newcomer gets wrong: that
//! log is shortened, and the deletion of a topic goes with its creation. A topic is deleted also if
//! the log, from its start on, does not create it, and has an id that is higher.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::identity::PartitionId;
use crate::repair::TopicRecord;

/// What the records of the metadata topic say together.
#[derive(Debug, Default)]
pub(crate) struct KnownTopics {
    /// How many partitions each topic has or had.
    pub(crate) created: BTreeMap<u32, u32>,
    deleted: BTreeSet<u32>,
    highest: u32,
    /// Nothing that the log should have is missing, and it begins with all topics of that time.
    begins_with_all: bool,
}

impl KnownTopics {
    pub(crate) fn note(&mut self, record: TopicRecord) {
        let topic = match record {
            TopicRecord::Created { topic, partitions } => {
                self.created.insert(topic, partitions);
                topic
            }
            TopicRecord::Deleted { topic } => {
                self.deleted.insert(topic);
                topic
            }
        };
        self.highest = self.highest.max(topic);
    }

    /// The log was shortened and is sound: what it does not create is deleted.
    pub(crate) fn note_begins_with_all(&mut self) {
        self.begins_with_all = true;
    }

    pub(crate) fn is_deleted(&self, id: PartitionId) -> bool {
        let is_left_out = self.begins_with_all
            && !id.is_internal()
            && id.topic < self.highest
            && !self.created.contains_key(&id.topic);
        is_left_out || self.deleted.contains(&id.topic)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn of(topic: u32) -> PartitionId {
        PartitionId { topic, partition: 0 }
    }

    #[test]
    fn what_a_shortened_log_leaves_out_is_deleted_up_to_the_highest_id_in_it() {
        let mut topics = KnownTopics::default();
        topics.note(TopicRecord::Deleted { topic: 9 });
        topics.note(TopicRecord::Created { topic: 4, partitions: 1 });
        assert!(!topics.is_deleted(of(3)), "the log may have lost its creation");
        topics.note_begins_with_all();
        let deleted = (0..12).filter(|topic| topics.is_deleted(of(*topic)));
        assert_eq!(deleted.collect::<Vec<u32>>(), [1, 2, 3, 5, 6, 7, 8, 9]);
        let offsets = PartitionId { topic: PartitionId::OFFSETS_TOPIC, partition: 3 };
        topics.note(TopicRecord::Created { topic: u32::MAX, partitions: 1 });
        assert!(!topics.is_deleted(offsets));
    }
}
