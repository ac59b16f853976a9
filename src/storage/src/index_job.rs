//! Index files: written when a segment is sealed, read when a reader needs them, made anew when
//! they are missing or damaged. An index that cannot be written or read stops nobody.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use plimsoll_batch::{BatchHeader, HEADER_BYTES, Offset};
use plimsoll_device::{BLOCK_BYTES, Buffer, DiskAction, DiskResult, FileId, Memory, OpenMode};

use crate::encoding::{block_ceil, block_floor};
use crate::entry::Sealed;
use crate::flight::Purpose;
use crate::identity::{PartitionId, Slot};
use crate::index::SparseIndex;
use crate::origin::of_partition;
use crate::read_job::follows;
use crate::storage::Storage;

/// Indexes of sealed segments that are kept in memory.
const CACHED_MAX: usize = 64;
/// An index file is never larger than this.
const FILE_BYTES_MAX: usize = 4 * BLOCK_BYTES;
/// The segment is scanned in pieces of this size.
const SCAN_BYTES: usize = 256 << 10;

/// Indexes of sealed segments that readers needed lately.
pub(crate) struct IndexCache {
    by_segment: BTreeMap<(PartitionId, Offset), (u64, SparseIndex)>,
    clock: u64,
}

impl IndexCache {
    pub(crate) fn new() -> Self {
        Self { by_segment: BTreeMap::new(), clock: 0 }
    }

    pub(crate) fn find(&mut self, id: PartitionId, segment: Offset) -> Option<&SparseIndex> {
        self.clock += 1;
        let clock = self.clock;
        let (used, index) = self.by_segment.get_mut(&(id, segment))?;
        *used = clock;
        Some(index)
    }

    /// The segments in the range are not what they were.
    pub(crate) fn forget(&mut self, id: PartitionId, segments: Range<Offset>) {
        let known = self.by_segment.range((id, segments.start)..(id, segments.end));
        let known: Vec<(PartitionId, Offset)> = known.map(|(key, _)| *key).collect();
        known.iter().for_each(|key| drop(self.by_segment.remove(key)));
    }

    fn insert(&mut self, id: PartitionId, segment: Offset, index: SparseIndex) {
        if self.by_segment.len() >= CACHED_MAX {
            let oldest = self.by_segment.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.by_segment.remove(&key);
            }
        }
        self.clock += 1;
        self.by_segment.insert((id, segment), (self.clock, index));
    }
}

/// Reading, making or writing the index of one segment.
pub(crate) struct IndexJob {
    slot: Slot,
    id: PartitionId,
    segment: Offset,
    /// Which of the segment's files it is about.
    generation: Option<u32>,
    step: Step,
    /// The read that waits for it.
    read: Option<u64>,
}

enum Step {
    /// Between two steps.
    Moving,
    ReadFile(FileId),
    /// `damaged`: the index ends here, and whoever reads from here on will name the damage.
    /// Without a file there is nothing to scan: memory holds all of the segment.
    Scan {
        file: Option<FileId>,
        index: SparseIndex,
        damaged: bool,
    },
    /// An index file may be left of data that a crash took, and other data came in its place:
    /// its last entry shows it.
    Verify {
        file: FileId,
        index: SparseIndex,
    },
    Create {
        file: FileId,
        content: Buffer,
    },
    Write(FileId),
}

impl Storage {
    /// Writes the index of a segment that was just sealed, if it covers the segment.
    pub(crate) fn write_index(&mut self, slot: Slot, sealed: Sealed, index: &SparseIndex) {
        let partition = self.partition(slot);
        let id = partition.id;
        if index.through() == sealed.length_bytes && partition.directory_ready {
            self.write_index_file(slot, id, sealed.base, index, None);
        }
    }

    /// Without blocks beyond those of the content there is nothing to flush: a damaged index file
    /// is as good as none.
    fn write_index_file(
        &mut self,
        slot: Slot,
        id: PartitionId,
        segment: Offset,
        index: &SparseIndex,
        read: Option<u64>,
    ) {
        let generation = self.partition(slot).generation(segment);
        let encoded = index.encode(self.data_dir, id, segment);
        let mut content = Buffer::zeroed(encoded.len());
        content[..encoded.len()].copy_from_slice(&encoded);
        let file = self.hold_file(&self.partition(slot).index_path(segment), OpenMode::CreateEmpty);
        let length_bytes = content.len() as u64;
        let step = Step::Create { file, content };
        let job = self.job();
        self.index_jobs.insert(job, IndexJob { slot, id, segment, generation, step, read });
        self.partition_mut(slot).jobs += 1;
        let action = DiskAction::Allocate { file, length_bytes };
        self.submit_on(file, Purpose::Index(job), action);
    }

    /// Gets the index of a segment for a read: from its file, else from the segment.
    pub(crate) fn load_index(&mut self, slot: Slot, segment: Offset, read: u64) {
        let partition = self.partition(slot);
        let (id, generation) = (partition.id, partition.generation(segment));
        let job = self.job();
        self.partition_mut(slot).jobs += 1;
        if segment == self.partition(slot).active {
            let step = self.scan(slot, segment);
            self.index_jobs
                .insert(job, IndexJob { slot, id, segment, generation, step, read: Some(read) });
            return self.scan_on(job);
        }
        let file = self.hold_file(&self.partition(slot).index_path(segment), OpenMode::Existing);
        let step = Step::ReadFile(file);
        self.index_jobs
            .insert(job, IndexJob { slot, id, segment, generation, step, read: Some(read) });
        let target = Memory::Buffer(Buffer::zeroed(FILE_BYTES_MAX));
        let action = DiskAction::Read { file, position_bytes: 0, target };
        self.submit_on(file, Purpose::Index(job), action);
    }

    fn scan(&mut self, slot: Slot, segment: Offset) -> Step {
        let path = self.partition(slot).segment_path(segment);
        let any = self.file_end(slot, segment) > 0;
        let file = any.then(|| self.hold_file(&path, OpenMode::Existing));
        Step::Scan { file, index: SparseIndex::new(), damaged: false }
    }

    pub(crate) fn handle_index(&mut self, number: u64, result: DiskResult) {
        let Some(job) = self.index_jobs.get_mut(&number) else { return };
        match (core::mem::replace(&mut job.step, Step::Moving), result) {
            (Step::ReadFile(file), DiskResult::Read(Memory::Buffer(buffer), result)) => {
                let (id, segment, slot) = (job.id, job.segment, job.slot);
                self.files.release(file);
                let length = result.unwrap_or(0);
                let index = SparseIndex::decode(&buffer[..length], self.data_dir, id, segment);
                let sealed = self.partition(slot).segment_length(segment);
                match index.filter(|index| Some(index.through()) == sealed) {
                    Some(index) => self.verify_index(number, slot, segment, index),
                    None => self.scan_instead(number, slot, segment),
                }
            }
            (Step::Verify { file, index }, DiskResult::Read(Memory::Buffer(buffer), result)) => {
                let (segment, slot) = (job.segment, job.slot);
                self.files.release(file);
                let last = index.entries().last().copied();
                let is_there = last.is_some_and(|last| {
                    let at = (last.position - block_floor(last.position)) as usize;
                    let bytes = buffer[..result.unwrap_or(0)].get(at..).unwrap_or_default();
                    BatchHeader::decode(bytes).is_ok_and(|it| it.base_offset == last.offset)
                });
                if is_there {
                    self.index_loaded(number, index);
                } else {
                    self.scan_instead(number, slot, segment);
                }
            }
            (Step::Scan { file, index, .. }, DiskResult::Read(memory, result)) => {
                self.scanned(number, (file, index), &memory, result.unwrap_or(0));
            }
            (Step::Create { file, content }, DiskResult::Done(Ok(()))) => {
                job.step = Step::Write(file);
                let action = DiskAction::Write {
                    file,
                    position_bytes: 0,
                    source: Memory::Buffer(content),
                    durable: false,
                };
                self.submit_on(file, Purpose::Index(number), action);
            }
            (Step::Create { file, .. } | Step::Write(file), _) => {
                self.files.release(file);
                self.end_index_job(number);
            }
            (step, result) => {
                drop(step);
                panic!("{result:?} does not answer a step of an index")
            }
        }
    }

    fn verify_index(&mut self, number: u64, slot: Slot, segment: Offset, index: SparseIndex) {
        let end = self.file_end(slot, segment);
        let last = index.entries().last().map(|last| last.position);
        let Some(last) = last.filter(|last| last + HEADER_BYTES as u64 <= end) else {
            return self.scan_instead(number, slot, segment);
        };
        let path = self.partition(slot).segment_path(segment);
        let file = self.hold_file(&path, OpenMode::Existing);
        if let Some(job) = self.index_jobs.get_mut(&number) {
            job.step = Step::Verify { file, index };
        }
        // A header may lie across two blocks.
        let position = block_floor(last);
        let length = (block_ceil(end) - position).min(2 * BLOCK_BYTES as u64) as usize;
        let target = Memory::Buffer(Buffer::zeroed(length));
        let action = DiskAction::Read { file, position_bytes: position, target };
        self.submit_on(file, Purpose::Index(number), action);
    }

    fn scan_instead(&mut self, number: u64, slot: Slot, segment: Offset) {
        let step = self.scan(slot, segment);
        if let Some(job) = self.index_jobs.get_mut(&number) {
            job.step = step;
        }
        self.scan_on(number);
    }

    /// Reads on where the index ends.
    fn scan_on(&mut self, number: u64) {
        let Some(job) = self.index_jobs.get(&number) else { return };
        let Step::Scan { file, index, damaged } = &job.step else { return };
        // Anew each time: the file grows while it is read.
        let end = self.file_end(job.slot, job.segment);
        let (through, damaged) = (index.through(), *damaged);
        let Some(file) = *file else { return self.scan_ended(number) };
        let position = block_floor(through);
        let left = block_ceil(end).saturating_sub(position);
        if damaged || through + HEADER_BYTES as u64 > end || left == 0 {
            return self.scan_ended(number);
        }
        let length = usize::try_from(left).unwrap_or(SCAN_BYTES).min(SCAN_BYTES);
        let target = Memory::Buffer(Buffer::zeroed(length));
        let action = DiskAction::Read { file, position_bytes: position, target };
        self.submit_on(file, Purpose::Index(number), action);
    }

    fn scan_ended(&mut self, number: u64) {
        let Some(job) = self.index_jobs.get_mut(&number) else { return };
        let step = core::mem::replace(&mut job.step, Step::Moving);
        if let Step::Scan { file, index, .. } = step {
            if let Some(file) = file {
                self.files.release(file);
            }
            self.index_loaded(number, index);
        }
    }

    /// Notes the batches whose headers are in what was read. It only finds places: whoever reads
    /// there checks the batches.
    fn scanned(
        &mut self,
        number: u64,
        (file, mut index): (Option<FileId>, SparseIndex),
        memory: &Memory,
        length: usize,
    ) {
        let before = index.through();
        if let Memory::Buffer(buffer) = memory {
            let start = block_floor(before);
            let id = self.index_jobs.get(&number).map(|job| job.id);
            let mut last = None;
            loop {
                let at = usize::try_from(index.through() - start).unwrap_or(usize::MAX);
                let Some(bytes) = buffer[..length].get(at..) else { break };
                let Ok(header) = BatchHeader::decode(bytes) else { break };
                let header = id.map(|id| of_partition(header, id, self.epoch));
                let Some(Ok(header)) = header else { break };
                if !follows(last.as_ref(), &header) {
                    break;
                }
                index.note(&header, index.through());
                last = Some(header);
            }
        }
        let damaged = index.through() == before;
        if let Some(job) = self.index_jobs.get_mut(&number) {
            job.step = Step::Scan { file, index, damaged };
        }
        self.scan_on(number);
    }

    fn index_loaded(&mut self, number: u64, index: SparseIndex) {
        let Some(job) = self.index_jobs.get(&number) else { return };
        let (slot, id, segment, read) = (job.slot, job.id, job.segment, job.read);
        let generation = job.generation;
        let partition = self.partition_mut(slot);
        let active = segment == partition.active;
        if generation != partition.generation(segment) {
            // Compacted meanwhile, or gone: the index is of a file that does not count any more.
        } else if active {
            if index.through() > partition.index.through() {
                partition.index = index;
            }
        } else {
            self.indexes.insert(id, segment, index);
        }
        self.end_index_job(number);
        if let Some(read) = read {
            self.continue_read(read);
        }
    }

    fn end_index_job(&mut self, number: u64) {
        if let Some(job) = self.index_jobs.remove(&number) {
            let partition = self.partition_mut(job.slot);
            partition.jobs -= 1;
            if partition.closing {
                self.continue_removal(job.slot);
            }
        }
    }
}
