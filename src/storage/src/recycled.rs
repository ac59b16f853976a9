//! Files of segments that are gone, kept for segments to come: their blocks have been written, and
//! a write into them changes no metadata of the file system.
//!
//! Nothing is erased. A file comes here when nobody has it open, gets its next name only when the
//! flushes of both directories say that it has no other, and goes only to a segment that begins at
//! or behind every offset it ever held: whatever is left in it cannot follow there. What a newcomer
//! gets wrong: this is a list of one process. A start removes the files that an earlier one left.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::DiskAction;

use crate::compacted::Compacted;
use crate::entry::Sealed;
use crate::flight::Purpose;
use crate::identity::{PartitionId, Slot};
use crate::limits::RECYCLED_SEGMENTS_MAX;
use crate::partition::{RECYCLED_DIRECTORY, SegmentName, partition_directory};
use crate::storage::Storage;
use crate::written::Written;

/// A file that nothing names any more but this.
#[derive(Debug)]
pub(crate) struct RecycledFile {
    pub(crate) path: String,
    holds: Holds,
}

/// What a file held.
#[derive(Clone, Copy, Debug)]
struct Holds {
    /// Every offset in it is below this one.
    end: Offset,
    /// What it may be long, in bytes.
    bytes: u64,
}

/// The recycled files of a shard, and those that are on their way to be.
pub(crate) struct RecycledFiles {
    files_max: usize,
    shard: u16,
    /// Numbers given out, for names.
    named: u64,
    /// Files that are to come here, by the path that they still have.
    promised: BTreeMap<String, Holds>,
    /// Files that have a name here, which may not be durable.
    arriving: usize,
    /// Files that may be taken, oldest first.
    ready: VecDeque<RecycledFile>,
    /// Being removed for good.
    leaving: usize,
}

impl RecycledFiles {
    pub(crate) fn new(shard: u16, files_max: usize) -> Self {
        Self {
            files_max: files_max.min(RECYCLED_SEGMENTS_MAX),
            shard,
            named: 0,
            promised: BTreeMap::new(),
            arriving: 0,
            ready: VecDeque::new(),
            leaving: 0,
        }
    }

    /// There is room for one more, if the oldest that nobody took goes.
    fn has_room(&self) -> bool {
        self.promised.len() + self.arriving < self.files_max
    }

    fn is_too_full(&self) -> bool {
        self.promised.len() + self.arriving + self.ready.len() > self.files_max
    }

    /// The file for a segment that begins at `base` and has at most `bytes_max`: of those that fit,
    /// the one with the highest offsets, which fits the fewest others.
    fn take(&mut self, base: Offset, bytes_max: u64) -> Option<RecycledFile> {
        let fits = |holds: &Holds| holds.end <= base && holds.bytes <= bytes_max;
        let fitting = self.ready.iter().enumerate().filter(|(_, file)| fits(&file.holds));
        let (at, _) = fitting.max_by_key(|(_, file)| file.holds.end)?;
        self.ready.remove(at)
    }

    /// A name for the file of `path`, if it was promised.
    fn admit(&mut self, path: &str) -> Option<RecycledFile> {
        let holds = self.promised.remove(path)?;
        self.named += 1;
        self.arriving += 1;
        let path = format!("{RECYCLED_DIRECTORY}/{:05}-{}.segment", self.shard, self.named);
        Some(RecycledFile { path, holds })
    }
}

impl Storage {
    /// Asks for the files of segments that count no more, in order and up to `end`, as far as that
    /// is worth it: if most of their blocks have been written.
    pub(crate) fn promise_files(&mut self, slot: Slot, gone: &[Sealed], end: Offset) {
        let ends = gone.iter().skip(1).map(|sealed| sealed.base).chain([end]);
        for (sealed, end) in gone.iter().zip(ends) {
            let partition = self.partition(slot);
            let full_bytes = partition.config.segment_bytes;
            let generation = sealed.compacted.generation;
            let path = SegmentName { segment: sealed.base, generation }.path(partition.id);
            let is_full = sealed.length_bytes >= full_bytes.div_ceil(2);
            // The file of a compacted one has no blocks beyond its data.
            let is_whole = is_full && sealed.compacted.generation == 0;
            if is_whole && self.disk_full.is_none() && self.recycled.has_room() {
                let holds = Holds { end, bytes: sealed.length_bytes.max(full_bytes) };
                self.recycled.promised.insert(path, holds);
            }
        }
    }

    /// As `promise_files`, for a partition that goes as a whole.
    pub(crate) fn promise_all_files(&mut self, slot: Slot) {
        let partition = self.partition(slot);
        let (base, length_bytes) = (partition.active, partition.published.position);
        let (written, compacted) = (Written::UNKNOWN, Compacted::default());
        let active = Sealed { base, length_bytes, written, compacted };
        let all: Vec<Sealed> = partition.sealed.iter().copied().chain([active]).collect();
        self.promise_files(slot, &all, self.end_of(slot));
    }

    /// The partition has no files any more.
    pub(crate) fn forget_promises(&mut self, id: PartitionId) {
        let directory = format!("{}/", partition_directory(id));
        self.recycled.promised.retain(|path, _| !path.starts_with(&directory));
    }

    /// A name for the file of `path`, if it is to be kept. Its directories are to be flushed.
    pub(crate) fn admit_recycled(&mut self, path: &str, is_in_use: bool) -> Option<RecycledFile> {
        if is_in_use || self.disk_full.is_some() {
            self.recycled.promised.remove(path);
        }
        self.recycled.admit(path)
    }

    /// The files have their names here and no others, durably; or, if that is not sure, they go.
    pub(crate) fn files_recycled(&mut self, files: Vec<RecycledFile>, is_durable: bool) {
        self.recycled.arriving -= files.len();
        for file in files {
            if is_durable && self.disk_full.is_none() {
                self.counters.recycled_segments += 1;
                self.recycled.ready.push_back(file);
            } else {
                self.remove_recycled(file.path);
            }
        }
        while self.recycled.is_too_full()
            && let Some(oldest) = self.recycled.ready.pop_front()
        {
            self.remove_recycled(oldest.path);
        }
    }

    /// A file for a new segment of the partition, if there is one that fits.
    pub(crate) fn take_recycled(&mut self, slot: Slot, segment: Offset) -> Option<RecycledFile> {
        let bytes_max = self.partition(slot).config.segment_bytes;
        let file = self.recycled.take(segment, bytes_max)?;
        self.counters.reused_segments += 1;
        Some(file)
    }

    /// On a full disk nothing is kept, and when it has gone, files are tried again.
    pub(crate) fn free_recycled(&mut self) {
        self.recycled.promised.clear();
        while let Some(file) = self.recycled.ready.pop_front() {
            self.remove_recycled(file.path);
        }
    }

    pub(crate) fn remove_recycled(&mut self, path: String) {
        self.recycled.leaving += 1;
        self.submit(Purpose::RemoveRecycled, DiskAction::Remove { path });
    }

    /// A file that fails to go is removed by the next start.
    pub(crate) fn handle_recycled_removed(&mut self) {
        self.recycled.leaving -= 1;
        if self.recycled.leaving == 0 && self.disk_full.is_some() {
            self.retry_full_disk();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(files: &[(u64, u64)]) -> RecycledFiles {
        let mut pool = RecycledFiles::new(3, 8);
        for (end, bytes) in files {
            let holds = Holds { end: Offset::new(*end), bytes: *bytes };
            pool.promised.insert(String::from("a"), holds);
            let file = pool.admit("a").unwrap();
            pool.ready.push_back(file);
        }
        pool
    }

    /// Batches that were left in a file and have the offsets of the new segment would be taken for
    /// its own by a repair that has lost the journal.
    #[test]
    fn a_file_goes_only_to_a_segment_behind_all_that_was_in_it() {
        let mut pool = pool(&[(100, 10), (70, 10), (90, 10)]);
        assert!(pool.take(Offset::new(69), 10).is_none());
        let taken = pool.take(Offset::new(99), 10).unwrap();
        assert_eq!(taken.holds.end, Offset::new(90), "the one that fits the fewest others");
        assert_eq!(pool.take(Offset::new(100), 10).unwrap().holds.end, Offset::new(100));
        assert_eq!(pool.take(Offset::new(100), 10).unwrap().holds.end, Offset::new(70));
        assert!(pool.take(Offset::new(100), 10).is_none());
    }

    #[test]
    fn a_file_that_is_longer_than_a_segment_may_be_is_not_for_it() {
        let mut pool = pool(&[(5, 200)]);
        assert!(pool.take(Offset::new(5), 199).is_none());
        assert!(pool.take(Offset::new(5), 200).is_some());
    }

    #[test]
    fn every_file_has_a_name_of_its_own_and_says_whose_it_is() {
        let pool = pool(&[(1, 1), (2, 2)]);
        let paths: Vec<&str> = pool.ready.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["recycled/00003-1.segment", "recycled/00003-2.segment"]);
    }
}
