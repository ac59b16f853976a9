//! `metadata`: which topics there are, and which shard owns each partition.
//!
//! What a newcomer gets wrong: no names means all topics, and a topic that does not exist is left
//! out of the answer instead of being an error.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_count, put_string, put_u16, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, ShardIndex, TopicId};
use crate::level::AckLevel;
use crate::limits::{METADATA_NAMES_MAX, TOPIC_PARTITIONS_MAX};
use crate::opcode::Opcode;
use crate::request::{TopicCleanup, TopicRetention};

/// Asks about some topics, or about all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataRequest<'a> {
    /// The topics; none asks for all. Those that do not exist are left out of the answer.
    pub topics: Vec<&'a str>,
    /// The answer is to say how long records stay. Older servers do not know the question.
    pub with_retention: bool,
    /// The answer is to say that and how old records go.
    pub with_cleanup: bool,
}

impl<'a> MetadataRequest<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Metadata, Flags::REQUEST, correlation, out);
        put_count(self.topics.len(), out);
        for topic in &self.topics {
            put_string(topic, out);
        }
        match (self.with_cleanup, self.with_retention) {
            (true, _) => out.push(2),
            (false, true) => out.push(1),
            (false, false) => {}
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<MetadataRequest<'a>, FrameError> {
        let topics = body.list(METADATA_NAMES_MAX, |body| body.string("topic"))?;
        let what_else = match body.is_empty() {
            true => 0,
            false => body.choice("what else", |byte| (1..=2).contains(&byte).then_some(byte))?,
        };
        let (with_retention, with_cleanup) = (what_else > 0, what_else == 2);
        Ok(MetadataRequest { topics, with_retention, with_cleanup })
    }
}

/// The topics that were asked for and exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataResponse<'a> {
    /// One for each topic.
    pub topics: Vec<TopicMetadata<'a>>,
}

/// One topic: its settings and where its partitions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number; another one after it was deleted and created again.
    pub id: TopicId,
    /// What a producer gets that does not say.
    pub default_durability: AckLevel,
    /// How long a record may stay in the page cache only.
    pub flush_interval_ms: u32,
    /// How large a segment grows.
    pub segment_bytes: u64,
    /// The largest batch that it takes.
    pub max_batch_bytes: u32,
    /// How long its records stay; if that was asked for.
    pub retention: Option<TopicRetention>,
    /// How old records go; if that was asked for, and then the retention is there too.
    pub cleanup: Option<TopicCleanup>,
    /// The shard that owns each partition, in the order of the partitions.
    pub shards: Vec<ShardIndex>,
}

impl<'a> MetadataResponse<'a> {
    /// Appends the frame. The server sees to it that it stays within `frame_bytes_max`.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Metadata, Flags::RESPONSE, correlation, out);
        put_count(self.topics.len(), out);
        for topic in &self.topics {
            topic.put(out);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<MetadataResponse<'a>, FrameError> {
        Ok(MetadataResponse { topics: body.list(u32::MAX, TopicMetadata::take)? })
    }
}

impl<'a> TopicMetadata<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_string(self.name, out);
        put_u32(self.id.0, out);
        let default_durability = self.default_durability as u8;
        let what_else = match (self.retention, self.cleanup) {
            (_, Some(_)) => 2,
            (Some(_), None) => 1,
            (None, None) => 0,
        };
        out.extend_from_slice(&[default_durability, what_else, 0, 0]);
        put_u32(self.flush_interval_ms, out);
        put_u64(self.segment_bytes, out);
        put_u32(self.max_batch_bytes, out);
        if what_else > 0 {
            self.retention.unwrap_or_default().put(out);
        }
        if let Some(cleanup) = self.cleanup {
            cleanup.put(out);
        }
        put_count(self.shards.len(), out);
        for shard in &self.shards {
            put_u16(shard.0, out);
        }
    }

    fn take(body: &mut Body<'a>) -> Result<TopicMetadata<'a>, FrameError> {
        let name = body.string("topic")?;
        let id = TopicId(body.u32("topic id")?);
        let default_durability = body.choice("default durability", AckLevel::from_byte)?;
        let what_else = body.choice("what else", |byte| (byte <= 2).then_some(byte))?;
        body.reserved::<2>()?;
        Ok(TopicMetadata {
            name,
            id,
            default_durability,
            flush_interval_ms: body.u32("flush_interval_ms")?,
            segment_bytes: body.u64("segment_bytes")?,
            max_batch_bytes: body.u32("max_batch_bytes")?,
            retention: match what_else {
                0 => None,
                _ => Some(TopicRetention::take(body)?),
            },
            cleanup: match what_else {
                2 => Some(TopicCleanup::take(body)?),
                _ => None,
            },
            shards: body.list(TOPIC_PARTITIONS_MAX, |body| body.u16("shard").map(ShardIndex))?,
        })
    }
}
