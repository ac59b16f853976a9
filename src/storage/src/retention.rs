//! What goes by itself: whole segments from the front, by the size of the partition.
//!
//! It only says where a start is to be; `trim.rs` moves it as if somebody had asked. What a newcomer
//! gets wrong: a segment goes only if what stays without it is still as much as was asked for, so
//! that a partition keeps up to one segment more.

use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::Now;

use crate::identity::{PartitionConfig, Retention, Slot};
use crate::partition::Partition;
use crate::storage::{StopState, Storage};

impl Storage {
    /// New settings of a partition; they count from now on, the size of segments for those that are
    /// begun from now on.
    pub fn set_config(&mut self, slot: Slot, config: PartitionConfig, now: Now) {
        self.clock = now.monotonic;
        self.partition_mut(slot).config = config;
        self.retain(slot);
    }

    /// After a start: what has to go by settings that are new, or what an earlier life had no time
    /// for.
    pub(crate) fn retain_all(&mut self) {
        let slots: Vec<Slot> = self.by_id.values().copied().collect();
        for slot in slots {
            self.retain(slot);
            self.consider_trim(slot);
        }
    }

    /// Moves the partition's start beyond the segments that have to go.
    pub(crate) fn retain(&mut self, slot: Slot) {
        let partition = self.partition(slot);
        if partition.config.retention == Retention::UNLIMITED {
            return;
        }
        let stands_still = partition.closing
            || partition.damage.is_some()
            || self.journal_damage.is_some()
            || self.failure.is_some()
            || self.stop != StopState::Running;
        if stands_still {
            return;
        }
        if let Some(to) = partition.too_large_before() {
            self.want_start(slot, to);
        }
    }
}

impl Partition {
    /// Where the start has to be by the size: before it are segments without which there is enough.
    fn too_large_before(&self) -> Option<Offset> {
        let bytes_min = self.config.retention.bytes?;
        let mut left = self.sealed_bytes + self.published.position;
        let mut to = None;
        for (at, sealed) in self.sealed.iter().enumerate() {
            left -= sealed.length_bytes;
            if left < bytes_min {
                break;
            }
            to = Some(self.sealed.get(at + 1).map_or(self.active, |next| next.base));
        }
        to.filter(|to| *to > self.start_wanted)
    }
}
