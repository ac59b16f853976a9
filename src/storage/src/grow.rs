//! Making segment files: directories, the file, its blocks, all durable before anything relies on
//! them.
//!
//! It happens ahead of need and off the hot path; until a file is ready, data goes inline into the
//! journal. A full disk is not a failure: the file is tried again until there is room.

use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::{DiskAction, DiskResult, FileId, IoError, IoErrorKind, OpenMode};

use crate::encoding::{block_ceil, block_floor};
use crate::error::{Damage, Failure};
use crate::flight::Purpose;
use crate::identity::Slot;
use crate::limits::{ALLOCATE_BYTES_MAX, ALLOCATE_BYTES_MIN, DISK_FULL_RETRY};
use crate::notice::Notice;
use crate::partition::{
    RECYCLED_DIRECTORY, SegmentFile, TOPICS_DIRECTORY, partition_directory, topic_directory,
};
use crate::recycled::RecycledFile;
use crate::storage::Storage;

/// A job that makes or grows the file of one segment.
pub(crate) struct Grow {
    segment: Offset,
    /// Wanted length of the file, in bytes.
    wanted: u64,
    step: Step,
    file: Option<FileId>,
    /// The file that becomes the segment's.
    recycled: Option<RecycledFile>,
    /// It is, durably.
    is_named: bool,
}

impl Grow {
    pub(crate) fn segment(&self) -> Offset {
        self.segment
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    MakeTopic,
    SyncTopics,
    MakePartition,
    SyncTopic,
    /// A file that is there is opened to learn its length.
    Probe,
    /// A recycled file gets the segment's name.
    Rename,
    SyncRecycled,
    Create,
    Allocate,
    SyncFile,
    SyncPartition,
    Done,
}

impl Storage {
    /// Gives the active segment blocks before they are needed.
    pub(crate) fn grow_ahead(&mut self, slot: Slot) {
        let partition = self.partition_mut(slot);
        let (active, position) = (partition.active, partition.published.position);
        // Topics are deleted by a record, and positions are records: on a full disk there must be
        // blocks for them.
        let is_reserved = partition.id.is_internal();
        if position < ALLOCATE_BYTES_MIN / 4 && !is_reserved {
            return;
        }
        let ahead = position.clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX / 2);
        let limit = partition.config.segment_bytes.max(position);
        let wanted = (position + ahead).min(limit);
        if partition.file(active).is_none_or(|file| file.allocated < wanted) {
            self.grow(slot, active, wanted);
        }
    }

    /// Makes the segment's file at least `end` bytes long, unless a job for the partition is at it.
    pub(crate) fn grow(&mut self, slot: Slot, segment: Offset, end: u64) {
        let idle = !self.grows.contains_key(&slot) && self.failure.is_none();
        if !idle || self.partition(slot).closing || self.partition(slot).damage.is_some() {
            return;
        }
        if self.disk_full.is_some() {
            self.full_slots.insert(slot);
            return;
        }
        let step = self.first_grow_step(slot, segment);
        let partition = self.partition_mut(slot);
        let ahead = end.clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX);
        let limit = partition.config.segment_bytes;
        let ahead = if segment == partition.active { (end + ahead).min(limit) } else { end };
        // A segment that was sealed early has more blocks than it needs: they are not given back.
        let allocated = partition.file(segment).map_or(0, |file| file.allocated);
        let wanted = block_ceil(ahead.max(end)).max(allocated);
        partition.jobs += 1;
        let job = Grow { segment, wanted, step, file: None, recycled: None, is_named: false };
        self.grows.insert(slot, job);
        self.begin_file(slot);
        self.run_grow(slot);
    }

    fn first_grow_step(&mut self, slot: Slot, segment: Offset) -> Step {
        let topic_ready = self.topics_ready.contains(&self.partition(slot).id.topic);
        let partition = self.partition_mut(slot);
        let directory_ready = partition.directory_ready;
        match partition.file(segment) {
            Some(file) if file.exists && file.allocated == 0 => Step::Probe,
            Some(file) if file.exists => Step::Allocate,
            Some(_) | None if directory_ready => Step::Create,
            Some(_) | None if topic_ready => Step::MakePartition,
            Some(_) | None => Step::MakeTopic,
        }
    }

    /// When the segment's file is next: a recycled one, if there is one that fits.
    fn begin_file(&mut self, slot: Slot) {
        let Some(Grow { step: Step::Create, segment, .. }) = self.grows.get(&slot) else { return };
        let recycled = self.take_recycled(slot, *segment);
        if let Some(job) = self.grows.get_mut(&slot)
            && recycled.is_some()
        {
            job.step = Step::Rename;
            job.recycled = recycled;
        }
    }

    fn run_grow(&mut self, slot: Slot) {
        let id = self.partition(slot).id;
        let Some(job) = self.grows.get(&slot) else { return };
        let (step, wanted) = (job.step, job.wanted);
        let on_file = |file: FileId| match step {
            Step::Create | Step::Allocate => DiskAction::Allocate { file, length_bytes: wanted },
            _ => DiskAction::SyncData { file },
        };
        let action = match step {
            Step::MakeTopic => DiskAction::CreateDirectory { path: topic_directory(id.topic) },
            Step::SyncTopics => DiskAction::SyncDirectory { path: String::from(TOPICS_DIRECTORY) },
            Step::MakePartition => DiskAction::CreateDirectory { path: partition_directory(id) },
            Step::SyncTopic => DiskAction::SyncDirectory { path: topic_directory(id.topic) },
            Step::SyncPartition => DiskAction::SyncDirectory { path: partition_directory(id) },
            Step::Rename => {
                let from = job.recycled.as_ref().map(|file| file.path.clone()).unwrap_or_default();
                DiskAction::Rename { from, to: self.partition(slot).segment_path(job.segment) }
            }
            Step::SyncRecycled => {
                DiskAction::SyncDirectory { path: String::from(RECYCLED_DIRECTORY) }
            }
            Step::Done => return self.finish_grow(slot),
            Step::Probe | Step::Create | Step::Allocate | Step::SyncFile => {
                let file = self.grow_file(slot);
                return self.submit_on(file, Purpose::Grow(slot), on_file(file));
            }
        };
        self.submit(Purpose::Grow(slot), action);
    }

    /// The file that the job works on, held until the job ends.
    fn grow_file(&mut self, slot: Slot) -> FileId {
        let Some(job) = self.grows.get(&slot) else { return self.journal_file };
        if let Some(file) = job.file {
            return file;
        }
        let create = job.step == Step::Create;
        let mode = if create { OpenMode::CreateEmpty } else { OpenMode::Existing };
        let path = self.partition(slot).segment_path(job.segment);
        let file = self.hold_file(&path, mode);
        if let Some(job) = self.grows.get_mut(&slot) {
            job.file = Some(file);
        }
        file
    }

    pub(crate) fn handle_grow(&mut self, slot: Slot, result: &DiskResult) {
        let DiskResult::Done(result) = result else {
            panic!("{result:?} does not answer a step of growing")
        };
        let Some(job) = self.grows.get(&slot) else { return };
        match (job.step, result) {
            (Step::MakeTopic | Step::MakePartition, Err(error))
                if error.kind == IoErrorKind::AlreadyExists => {}
            (_, Err(error)) => return self.grow_failed(slot, *error),
            (_, Ok(())) => {}
        }
        self.next_grow_step(slot);
        self.run_grow(slot);
    }

    fn next_grow_step(&mut self, slot: Slot) {
        let topic = self.partition(slot).id.topic;
        let Some(job) = self.grows.get_mut(&slot) else { return };
        let (segment, wanted) = (job.segment, job.wanted);
        let next = match job.step {
            Step::MakeTopic => Step::SyncTopics,
            Step::SyncTopics => Step::MakePartition,
            Step::MakePartition => Step::SyncTopic,
            Step::SyncTopic => Step::Create,
            Step::Probe => {
                // A file of an earlier start: it has the blocks that it has.
                let length = job.file.map_or(0, |file| self.files.length_bytes(file));
                job.wanted = wanted.max(block_floor(length));
                if length < wanted { Step::Allocate } else { Step::Done }
            }
            Step::Create | Step::Allocate => Step::SyncFile,
            // Both names, the new one and that the old one is gone, before anything relies on it.
            Step::Rename => Step::SyncPartition,
            Step::SyncPartition if job.recycled.is_some() => Step::SyncRecycled,
            Step::SyncRecycled => {
                (job.recycled, job.is_named) = (None, true);
                Step::Probe
            }
            Step::SyncFile | Step::SyncPartition | Step::Done => Step::Done,
        };
        let created = job.step == Step::SyncFile && !job.is_named;
        job.step = next;
        match next {
            Step::MakePartition => {
                self.topics_ready.insert(topic);
            }
            Step::Create => {
                self.partition_mut(slot).directory_ready = true;
                return self.begin_file(slot);
            }
            _ => {}
        }
        let partition = self.partition_mut(slot);
        if created && !partition.file(segment).is_some_and(|file| file.exists) {
            self.set_grow_step(slot, Step::SyncPartition);
        }
    }

    fn set_grow_step(&mut self, slot: Slot, step: Step) {
        if let Some(job) = self.grows.get_mut(&slot) {
            job.step = step;
        }
    }

    fn finish_grow(&mut self, slot: Slot) {
        let Some(job) = self.end_grow(slot) else { return };
        let segment = job.segment;
        let partition = self.partition_mut(slot);
        match partition.file(segment) {
            Some(file) => {
                file.allocated = file.allocated.max(job.wanted);
                file.exists = true;
            }
            None => {
                let file = SegmentFile { segment, exists: true, allocated: job.wanted };
                partition.files.push(file);
            }
        }
        if partition.closing {
            return self.continue_removal(slot);
        }
        self.want_spill(slot);
        self.consider_trim(slot);
        self.consider_compaction(slot);
        if self.disk_full.is_some() {
            self.full_slots.remove(&slot);
            self.retry_full_disk();
        }
    }

    fn end_grow(&mut self, slot: Slot) -> Option<Grow> {
        let job = self.grows.remove(&slot)?;
        if let Some(file) = job.file {
            self.files.release(file);
        }
        self.partition_mut(slot).jobs -= 1;
        Some(job)
    }

    fn grow_failed(&mut self, slot: Slot, error: IoError) {
        let Some(job) = self.end_grow(slot) else { return };
        let path = self.partition(slot).segment_path(job.segment);
        match error.kind {
            IoErrorKind::NoSpace => {
                self.full_slots.insert(slot);
                if self.disk_full.is_none() {
                    self.disk_full = Some(self.clock + DISK_FULL_RETRY);
                }
                if let Some(file) = job.recycled {
                    self.remove_recycled(file.path);
                }
                self.free_recycled();
            }
            IoErrorKind::NotFound if job.step == Step::Probe => {
                let partition = Some(self.partition(slot).id);
                let what = String::from("the segment's file is missing");
                let damage = Damage { path, position_bytes: 0, partition, what };
                self.partition_mut(slot).damage = Some(damage);
            }
            // The partition's topic is being deleted, and so is the partition.
            _ if self.partition(slot).closing => {}
            IoErrorKind::NotFound if job.step == Step::MakePartition => {
                // The last partition of the topic was removed meanwhile, and the directory with it.
                let topic = self.partition(slot).id.topic;
                self.topics_ready.remove(&topic);
                self.grow(slot, job.segment, job.wanted);
            }
            _ => {
                let (operation, length_bytes) = ("preparation", job.wanted);
                self.fail(Failure { operation, path, position_bytes: 0, length_bytes, error });
            }
        }
        if self.partition(slot).closing {
            self.continue_removal(slot);
        }
    }

    /// Tries again to make one of the files for which there was no room.
    pub(crate) fn retry_full_disk(&mut self) {
        // `grow` refuses while the disk is known to be full.
        let retry = self.disk_full.take();
        while let Some(slot) = self.full_slots.pop_first() {
            if !self.is_open(slot) || self.grows.contains_key(&slot) {
                continue;
            }
            let active = self.partition(slot).active;
            let spans = self.partition(slot).spans.iter().map(|id| self.memory.span(*id));
            let unstored = spans.into_iter().find(|span| span.closed != Some(span.stored));
            let (segment, end) = unstored.map_or((active, 1), |span| (span.segment, span.end()));
            self.grow(slot, segment, end.max(1));
            if self.grows.contains_key(&slot) {
                self.disk_full = retry;
                return;
            }
        }
        self.notices.push_back(Notice::DiskHasRoom);
    }

    /// Forgets the files of sealed segments that are wholly stored.
    pub(crate) fn drop_finished_files(&mut self, slot: Slot) {
        let partition = self.partition(slot);
        if partition.files.len() <= 1 {
            return;
        }
        let active = partition.active;
        let growing = self.grows.get(&slot).map(|job| job.segment);
        let needed = |segment: Offset| {
            segment == active
                || growing == Some(segment)
                || partition.spans.iter().any(|id| {
                    let span = self.memory.span(*id);
                    span.segment == segment && span.closed != Some(span.stored_durable)
                })
        };
        let segments = partition.files.iter().map(|file| file.segment);
        let needed: Vec<Offset> = segments.filter(|segment| needed(*segment)).collect();
        self.partition_mut(slot).files.retain(|file| needed.contains(&file.segment));
    }
}
