//! How a group hands out its records: to one member a partition, or each record to any member.
//!
//! What a newcomer gets wrong: a group keeps its mode as long as it has members or has consumed
//! anything. To change it, delete the group.

use alloc::vec::Vec;

use crate::body::{Body, put_string, put_u32, put_u64};
use crate::frame_error::FrameError;

/// How a group hands out its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum GroupMode {
    /// Each partition has one member, which consumes it in order and commits offsets.
    #[default]
    Classic = 0,
    /// Each record goes to one member, whichever asks, and is settled by itself.
    Share = 1,
}

impl GroupMode {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            GroupMode::Classic => "classic",
            GroupMode::Share => "share",
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<GroupMode> {
        match byte {
            0 => Some(GroupMode::Classic),
            1 => Some(GroupMode::Share),
            _ => None,
        }
    }
}

/// What the members of a group in share mode agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareSettings<'a> {
    /// How long a member has a record to itself, in milliseconds; 0 takes the server's value.
    pub lock_ms: u32,
    /// How often a record is handed out at most; 0 takes the server's value, [`u32::MAX`] is
    /// without end.
    pub deliveries_max: u32,
    /// Where the group begins in a partition of which it knows nothing.
    pub begin: ShareBegin,
    /// Where records go that were rejected or handed out too often; empty: nowhere.
    pub dead_letter: &'a str,
}

/// Where a group in share mode begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShareBegin {
    /// With the oldest record.
    #[default]
    Beginning,
    /// With what is appended from now on.
    End,
    /// With the first batch that reaches into this time.
    Timestamp {
        /// In milliseconds since 1970.
        unix_ms: i64,
    },
}

impl<'a> ShareSettings<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_u32(self.lock_ms, out);
        put_u32(self.deliveries_max, out);
        let (begin, unix_ms) = match self.begin {
            ShareBegin::Beginning => (0, 0),
            ShareBegin::End => (1, 0),
            ShareBegin::Timestamp { unix_ms } => (2, unix_ms),
        };
        out.extend_from_slice(&[begin, 0, 0, 0, 0, 0, 0, 0]);
        put_u64(unix_ms.cast_unsigned(), out);
        put_string(self.dead_letter, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<ShareSettings<'a>, FrameError> {
        let lock_ms = body.u32("lock_ms")?;
        let deliveries_max = body.u32("deliveries_max")?;
        let begin = body.choice("where to begin", |byte| (byte < 3).then_some(byte))?;
        body.reserved::<7>()?;
        let unix_ms = body.i64("timestamp")?;
        let begin = match (begin, unix_ms) {
            (0, 0) => ShareBegin::Beginning,
            (1, 0) => ShareBegin::End,
            (2, unix_ms) => ShareBegin::Timestamp { unix_ms },
            _ => return Err(FrameError::ReservedBytesSet),
        };
        let dead_letter = body.string("dead-letter topic")?;
        Ok(ShareSettings { lock_ms, deliveries_max, begin, dead_letter })
    }
}
