//! The extents of the last frames: what is not on disk cuts its frame, and those after it.
//!
//! What a newcomer gets wrong: an extent that is there may be there only in the kernel's memory, so
//! that its file is flushed before the frame counts.

use plimsoll_batch::Offset;

use super::Startup;
use super::journals::Reading;
use super::steps::Step;
use crate::entry::{Entries, Entry, Extent};
use crate::identity::PartitionId;

impl Startup {
    pub(super) fn extent(&self) -> Option<(PartitionId, Offset, Extent)> {
        self.current.as_ref()?.extents.front().copied()
    }

    /// Looks at the extents of the held frames, one after the other.
    pub(super) fn next_extent(&mut self) -> Step {
        let Some(Reading { replay: Some(replay), extents, .. }) = &mut self.current else {
            return Step::SyncJournal;
        };
        while extents.is_empty() {
            let Some(frame) = replay.front_held() else { return Step::SyncJournal };
            for entry in Entries::new(&frame.body) {
                if let Ok(Entry::Append(entry)) = entry
                    && let Some(extent) = entry.extent
                {
                    extents.push_back((entry.partition, entry.segment, extent));
                }
            }
            if extents.is_empty() {
                replay.take_held();
            }
        }
        Step::OpenSegment
    }

    /// The extent at the front was looked at, and was there or not.
    pub(super) fn extent_seen(&mut self, held: bool) -> Step {
        if !held {
            self.cut();
            return Step::SyncJournal;
        }
        if let Some(Reading { replay: Some(replay), extents, .. }) = &mut self.current {
            extents.pop_front();
            if extents.is_empty() {
                replay.take_held();
            }
        }
        self.next_extent()
    }

    pub(super) fn cut(&mut self) {
        if let Some(Reading { replay: Some(replay), extents, .. }) = &mut self.current {
            extents.clear();
            replay.cut_held();
        }
    }
}
