//! Records of the metadata topic, as far as the offline commands read and write them.
//!
//! The layout is the shard's (`metadata_record.rs` there). What a newcomer gets wrong: a record
//! that does not read is none of theirs, and is left alone.

use plimsoll_storage::{TopicRecord, TopicRecords};

/// What a repair needs.
pub(crate) const TOPIC_RECORDS: TopicRecords =
    TopicRecords { read: topic_record, create: found_again };

const VERSION: u8 = 1;
const VERSION_CLEANUP: u8 = 3;
const KIND_CREATED: u8 = 1;
const KIND_DELETED: u8 = 2;
const DURABILITY_DISK: u8 = 3;
const FLUSH_INTERVAL_MS: u32 = 100;
const SEGMENT_BYTES: u64 = 256 << 20;
const BATCH_BYTES_MAX: u32 = 1 << 20;

/// What a record says of a topic, if it creates or deletes one.
pub(crate) fn topic_record(value: &[u8]) -> Option<TopicRecord> {
    let (&[version, kind, ..], rest) = value.split_first_chunk::<4>()?;
    let (topic, rest) = rest.split_first_chunk()?;
    let topic = u32::from_le_bytes(*topic);
    match (version, kind) {
        (VERSION..=VERSION_CLEANUP, KIND_CREATED) => {
            let partitions = u32::from_le_bytes(*rest.first_chunk()?);
            Some(TopicRecord::Created { topic, partitions })
        }
        (VERSION, KIND_DELETED) => Some(TopicRecord::Deleted { topic }),
        _ => None,
    }
}

/// A topic whose name is lost.
fn found_again(topic: u32, partitions: u32) -> Vec<u8> {
    let mut value = vec![VERSION, KIND_CREATED, DURABILITY_DISK, 0];
    value.extend_from_slice(&topic.to_le_bytes());
    value.extend_from_slice(&partitions.to_le_bytes());
    value.extend_from_slice(&FLUSH_INTERVAL_MS.to_le_bytes());
    value.extend_from_slice(&SEGMENT_BYTES.to_le_bytes());
    value.extend_from_slice(&BATCH_BYTES_MAX.to_le_bytes());
    value.extend_from_slice(format!("recovered-{topic}").as_bytes());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deleting_record_names_its_topic() {
        let deleted = Some(TopicRecord::Deleted { topic: 7 });
        assert_eq!(topic_record(&[1, 2, 0, 0, 7, 0, 0, 0]), deleted);
        assert_eq!(topic_record(&[1, 2, 0]), None);
    }

    #[test]
    fn a_topic_that_was_found_again_reads_back() {
        let created = TopicRecord::Created { topic: 7, partitions: 12 };
        assert_eq!(topic_record(&found_again(7, 12)), Some(created));
    }
}
