//! `create_topic`: a new topic, durable when the answer is sent.
//!
//! The name and the settings are not checked here: what is not allowed gets `INVALID_TOPIC`, and
//! the connection lives. What a newcomer gets wrong: zero means the server's default, not none.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_string, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, TopicId};
use crate::level::AckLevel;
use crate::opcode::Opcode;
use crate::request::TopicCleanup;

/// Asks for a new topic. A setting of zero, or none, is the server's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTopic<'a> {
    /// Its name, as sent: see [`TopicName`](crate::TopicName).
    pub name: &'a str,
    /// How many partitions.
    pub partitions: u32,
    /// What a producer gets that does not say.
    pub default_durability: Option<AckLevel>,
    /// How long a record may stay in the page cache only.
    pub flush_interval_ms: u32,
    /// How large a segment grows.
    pub segment_bytes: u64,
    /// The largest batch that it takes.
    pub max_batch_bytes: u32,
    /// How long its records stay. Sent only if anything is to go: older servers do not know it.
    pub retention: TopicRetention,
    /// How old records go. Sent only if it is not the default: older servers do not know it.
    pub cleanup: TopicCleanup,
}

/// What of a topic stays at least. What is beyond both goes in whole segments, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRetention {
    /// Records that were written less than this long ago; 0: all.
    pub age_ms: u64,
    /// So many bytes of a partition, the newest; 0: all.
    pub bytes: u64,
}

impl TopicRetention {
    /// Everything stays.
    pub const UNLIMITED: TopicRetention = TopicRetention { age_ms: 0, bytes: 0 };

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        put_u64(self.age_ms, out);
        put_u64(self.bytes, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<TopicRetention, FrameError> {
        let age_ms = body.u64("retention_ms")?;
        Ok(TopicRetention { age_ms, bytes: body.u64("retention_bytes")? })
    }
}

impl<'a> CreateTopic<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::CreateTopic, Flags::REQUEST, correlation, out);
        put_string(self.name, out);
        put_u32(self.partitions, out);
        let default_durability = self.default_durability.map_or(0, |level| level as u8);
        out.extend_from_slice(&[default_durability, 0, 0, 0]);
        put_u32(self.flush_interval_ms, out);
        put_u64(self.segment_bytes, out);
        put_u32(self.max_batch_bytes, out);
        let has_cleanup = self.cleanup != TopicCleanup::DEFAULT;
        if self.retention != TopicRetention::UNLIMITED || has_cleanup {
            self.retention.put(out);
        }
        if has_cleanup {
            self.cleanup.put(out);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<CreateTopic<'a>, FrameError> {
        let name = body.string("topic")?;
        let partitions = body.u32("partitions")?;
        let default_durability = body.choice("default durability", |byte| match byte {
            0 => Some(None),
            _ => AckLevel::from_byte(byte).map(Some),
        })?;
        body.reserved::<3>()?;
        Ok(CreateTopic {
            name,
            partitions,
            default_durability,
            flush_interval_ms: body.u32("flush_interval_ms")?,
            segment_bytes: body.u64("segment_bytes")?,
            max_batch_bytes: body.u32("max_batch_bytes")?,
            retention: match body.is_empty() {
                true => TopicRetention::UNLIMITED,
                false => TopicRetention::take(body)?,
            },
            cleanup: match body.is_empty() {
                true => TopicCleanup::DEFAULT,
                false => TopicCleanup::take(body)?,
            },
        })
    }
}

/// The topic exists and is durable on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTopicResponse {
    /// Its number.
    pub id: TopicId,
}

impl CreateTopicResponse {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::CreateTopic, Flags::RESPONSE, correlation, out);
        put_u32(self.id.0, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<CreateTopicResponse, FrameError> {
        Ok(CreateTopicResponse { id: TopicId(body.u32("topic id")?) })
    }
}
