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

const RETENTION_MS: u8 = 1;
const RETENTION_BYTES: u8 = 2;
const FLUSH_INTERVAL: u8 = 4;
const SEGMENT_BYTES: u8 = 8;
const DURABILITY: u8 = 16;
const ALL: u8 = RETENTION_MS | RETENTION_BYTES | FLUSH_INTERVAL | SEGMENT_BYTES | DURABILITY;

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
        finish(start, out);
    }

    fn changes(&self) -> u8 {
        let bit = |changes: bool, bit: u8| if changes { bit } else { 0 };
        bit(self.retention_ms.is_some(), RETENTION_MS)
            | bit(self.retention_bytes.is_some(), RETENTION_BYTES)
            | bit(self.flush_interval_ms.is_some(), FLUSH_INTERVAL)
            | bit(self.segment_bytes.is_some(), SEGMENT_BYTES)
            | bit(self.default_durability.is_some(), DURABILITY)
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<AlterTopic<'a>, FrameError> {
        let name = body.string("topic")?;
        let changes = body.choice("changes", |byte| (byte & !ALL == 0).then_some(byte))?;
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
        Ok(AlterTopic {
            name,
            retention_ms: has(RETENTION_MS).then_some(retention_ms),
            retention_bytes: has(RETENTION_BYTES).then_some(retention_bytes),
            flush_interval_ms: has(FLUSH_INTERVAL).then_some(flush_interval_ms),
            segment_bytes: has(SEGMENT_BYTES).then_some(segment_bytes),
            default_durability,
        })
    }
}
