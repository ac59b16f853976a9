//! `alter_topic`: other settings for a topic that exists, durable when the answer is sent.
//!
//! Only the settings that are named change. Whether a value is allowed is for the server to say,
//! with `INVALID_TOPIC`. What a newcomer gets wrong: a retention of zero is none, not the default.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_string, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::CorrelationId;
use crate::level::AckLevel;
use crate::opcode::Opcode;
use crate::request::{CleanupPolicy, TopicCleanup};

const RETENTION_MS: u8 = 1;
const RETENTION_BYTES: u8 = 2;
const FLUSH_INTERVAL: u8 = 4;
const SEGMENT_BYTES: u8 = 8;
const DURABILITY: u8 = 16;
const CLEANUP: u8 = 32;
const COMPACTION_LAG: u8 = 64;
const TOMBSTONE_RETENTION: u8 = 128;
/// The fields of these are sent only with one of them: older servers do not know them.
const OF_CLEANUP: u8 = CLEANUP | COMPACTION_LAG | TOMBSTONE_RETENTION;

/// Asks for other settings. What is `None` stays as it is. Answered by an empty response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlterTopic<'a> {
    /// The topic's name, as sent.
    pub name: &'a str,
    /// How long its records stay at least; 0: for ever.
    pub retention_ms: Option<u64>,
    /// How much of a partition stays at least; 0: everything.
    pub retention_bytes: Option<u64>,
    /// How long a record may stay in the page cache only.
    pub flush_interval_ms: Option<u32>,
    /// How large segments grow that are begun from now on.
    pub segment_bytes: Option<u64>,
    /// What a producer gets that does not say.
    pub default_durability: Option<AckLevel>,
    /// How old records go.
    pub cleanup: Option<CleanupPolicy>,
    /// For how long compaction touches nothing.
    pub compaction_lag_ms: Option<u64>,
    /// For how long deletions of keys stay.
    pub tombstone_retention_ms: Option<u64>,
}

impl<'a> AlterTopic<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::AlterTopic, Flags::REQUEST, correlation, out);
        put_string(self.name, out);
        let durability = self.default_durability.map_or(0, |level| level as u8);
        out.extend_from_slice(&[self.changes(), durability, 0, 0]);
        put_u32(self.flush_interval_ms.unwrap_or(0), out);
        put_u64(self.segment_bytes.unwrap_or(0), out);
        put_u64(self.retention_ms.unwrap_or(0), out);
        put_u64(self.retention_bytes.unwrap_or(0), out);
        if self.changes() & OF_CLEANUP != 0 {
            let cleanup = TopicCleanup {
                policy: self.cleanup.unwrap_or(CleanupPolicy::Delete),
                compaction_lag_ms: self.compaction_lag_ms.unwrap_or(0),
                tombstone_retention_ms: self.tombstone_retention_ms.unwrap_or(0),
            };
            cleanup.put(out);
        }
        finish(start, out);
    }

    fn changes(&self) -> u8 {
        let bit = |changes: bool, bit: u8| if changes { bit } else { 0 };
        bit(self.retention_ms.is_some(), RETENTION_MS)
            | bit(self.retention_bytes.is_some(), RETENTION_BYTES)
            | bit(self.flush_interval_ms.is_some(), FLUSH_INTERVAL)
            | bit(self.segment_bytes.is_some(), SEGMENT_BYTES)
            | bit(self.default_durability.is_some(), DURABILITY)
            | bit(self.cleanup.is_some(), CLEANUP)
            | bit(self.compaction_lag_ms.is_some(), COMPACTION_LAG)
            | bit(self.tombstone_retention_ms.is_some(), TOMBSTONE_RETENTION)
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<AlterTopic<'a>, FrameError> {
        let name = body.string("topic")?;
        let changes = body.choice("changes", Some)?;
        let default_durability =
            body.choice("default durability", |byte| match changes & DURABILITY {
                0 => (byte == 0).then_some(None),
                _ => AckLevel::from_byte(byte).map(Some),
            })?;
        body.reserved::<2>()?;
        let has = |bit: u8| changes & bit != 0;
        let flush_interval_ms = body.u32("flush_interval_ms")?;
        let segment_bytes = body.u64("segment_bytes")?;
        let retention_ms = body.u64("retention_ms")?;
        let retention_bytes = body.u64("retention_bytes")?;
        let cleanup = match changes & OF_CLEANUP {
            0 => TopicCleanup::DEFAULT,
            _ => TopicCleanup::take(body)?,
        };
        Ok(AlterTopic {
            name,
            retention_ms: has(RETENTION_MS).then_some(retention_ms),
            retention_bytes: has(RETENTION_BYTES).then_some(retention_bytes),
            flush_interval_ms: has(FLUSH_INTERVAL).then_some(flush_interval_ms),
            segment_bytes: has(SEGMENT_BYTES).then_some(segment_bytes),
            default_durability,
            cleanup: has(CLEANUP).then_some(cleanup.policy),
            compaction_lag_ms: has(COMPACTION_LAG).then_some(cleanup.compaction_lag_ms),
            tombstone_retention_ms: has(TOMBSTONE_RETENTION)
                .then_some(cleanup.tombstone_retention_ms),
        })
    }
}
