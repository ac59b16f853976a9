//! Where a partition stands, as a response or a delivery tells it.
//!
//! What a newcomer gets wrong: a watermark is the offset after the last record, so that an empty
//! partition has all four alike.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::body::Body;
use crate::frame_error::FrameError;
use crate::level::AckLevel;

/// A partition's start and its three watermarks: `memory >= page_cache >= disk`, each the offset
/// *after* the last record at that level. Passed on as the peer said it, unchecked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that can still be read.
    pub start: Offset,
    /// After the last record that has an offset.
    pub memory: Offset,
    /// After the last record that survives the server process.
    pub page_cache: Offset,
    /// After the last record that survives power loss.
    pub disk: Offset,
}

impl Watermarks {
    /// The watermark of a level.
    #[must_use]
    pub const fn at(&self, level: AckLevel) -> Offset {
        match level {
            AckLevel::Memory => self.memory,
            AckLevel::PageCache => self.page_cache,
            AckLevel::Disk => self.disk,
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        for offset in [self.start, self.memory, self.page_cache, self.disk] {
            out.extend_from_slice(&offset.value().to_le_bytes());
        }
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<Watermarks, FrameError> {
        Ok(Watermarks {
            start: body.offset("start offset")?,
            memory: body.offset("memory watermark")?,
            page_cache: body.offset("page_cache watermark")?,
            disk: body.offset("disk watermark")?,
        })
    }
}
