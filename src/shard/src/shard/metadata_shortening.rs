//! Shortening the metadata topic: what lives is written again at its end, and what is before goes.
//!
//! A crash at any point leaves the old part with some of the new behind it, or the new alone; read
//! from the front, both say the same. What a newcomer gets wrong: changes that are still on their
//! way to the disk lie before what is written again, so it must say what they say.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use plimsoll_batch::{BatchBuilder, Offset};

use super::Shard;
use super::metadata::BATCH_BYTES_MAX;
use crate::catalog::Topic;
use crate::metadata_record::Change;

/// How long the log has become since everything was written again.
#[derive(Debug)]
pub(super) struct Growth {
    /// Bytes since then.
    pub(super) fresh_bytes: u64,
    /// How many of those are borne until everything is written again.
    fresh_bytes_max: u64,
    /// Everything was written again: what is before the first offset can go when the log is on disk
    /// up to the second.
    shortening: Option<(Offset, Offset)>,
}

impl Growth {
    pub(super) fn new(fresh_bytes_min: u64) -> Self {
        Self { fresh_bytes: 0, fresh_bytes_max: fresh_bytes_min, shortening: None }
    }
}

impl Shard {
    /// Writes all topics again when the log has become long.
    ///
    /// That costs what they take, once for twice as much that has been written since: creating many
    /// topics stays linear in their number.
    pub(super) fn shorten_metadata(&mut self) {
        let Some(metadata) = &self.metadata else { return };
        let growth = &metadata.growth;
        let is_long = growth.fresh_bytes > growth.fresh_bytes_max;
        // What blocks a full disk has left are for topics that are deleted.
        if !is_long || growth.shortening.is_some() || self.storage.is_disk_full() {
            return;
        }
        let before_bytes = growth.fresh_bytes;
        let first = self.storage.watermarks(metadata.slot).memory;
        let end = self.append_all(&self.changes_to_all());
        let least = self.config.limits.metadata_fresh_bytes_min;
        let Some(metadata) = &mut self.metadata else { return };
        let growth = &mut metadata.growth;
        // Where it was refused, what is there does no harm, and all is written another time.
        let kept_bytes = growth.fresh_bytes - before_bytes;
        growth.fresh_bytes = kept_bytes;
        growth.fresh_bytes_max = least.max(kept_bytes.saturating_mul(2));
        growth.shortening = end.map(|end| (first, end));
    }

    /// What makes all topics as they are when everything is done that the log says.
    ///
    /// The highest id that was ever given out comes first, also when its topic is deleted: ids must
    /// not come again, and whatever is cut off behind it takes that along least.
    fn changes_to_all(&self) -> Vec<Change> {
        let Some(metadata) = &self.metadata else { return Vec::new() };
        let known = self.catalog.topics().map(|topic| (topic.id, Arc::clone(topic)));
        let mut topics: BTreeMap<u32, Arc<Topic>> = known.collect();
        for pending in &metadata.pending {
            pending.change.clone().apply_to(&mut topics);
        }
        let highest = metadata.next_topic_id.saturating_sub(1);
        let is_deleted = highest > 0 && !topics.contains_key(&highest);
        let deleted = is_deleted.then_some(Change::Deleted { id: highest });
        let created = topics.into_values().rev();
        let created = created.map(|topic| Change::Created(Arc::unwrap_or_clone(topic)));
        deleted.into_iter().chain(created).collect()
    }

    /// Appends changes, many to a batch. Where the log ends then, unless a batch was refused.
    fn append_all(&mut self, changes: &[Change]) -> Option<Offset> {
        let mut builder = BatchBuilder::with_limit(BATCH_BYTES_MAX);
        for value in changes.iter().map(Change::encode) {
            if builder.append(self.now.unix_ms, None, Some(&value), &[]).is_err() {
                self.append_metadata(&mut builder).ok()?;
                builder.append(self.now.unix_ms, None, Some(&value), &[]).ok()?;
            }
        }
        self.append_metadata(&mut builder).ok()
    }

    /// Lets go of what was written again, once that is on disk.
    pub(super) fn drop_old_metadata(&mut self, disk: Offset) {
        let Some(metadata) = &mut self.metadata else { return };
        if let Some((first, _)) = metadata.growth.shortening.take_if(|(_, end)| *end <= disk) {
            let slot = metadata.slot;
            // Where it is refused the log stays long, and is shortened another time.
            if self.storage.delete_records(slot, first).is_ok() {
                self.counters.metadata_shortened += 1;
            }
        }
    }
}
