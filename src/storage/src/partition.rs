//! One partition's state: its segments, its spans, its marks.
//!
//! Plain state and what can be read off it; what changes it is in the file that is named after the
//! change. What a newcomer gets wrong: `published`, `shown` and `durable` are three different ends.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use plimsoll_batch::Offset;
use plimsoll_device::Instant;

use crate::compaction::CompactionState;
use crate::entry::Sealed;
use crate::error::Damage;
use crate::frame::Sequence;
use crate::identity::{PartitionConfig, PartitionId};
use crate::index::SparseIndex;
use crate::level::Watermarks;
use crate::producer_books::Producers;
use crate::span::SpanId;
use crate::written::{Written, WrittenSpan};

/// A place between two batches of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Offset of the batch after it.
    pub(crate) offset: Offset,
    /// The segment that it lies in, by base offset.
    pub(crate) segment: Offset,
    /// Bytes from the segment's start.
    pub(crate) position: u64,
}

/// The file of a segment that takes data, or did until lately.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) segment: Offset,
    /// There is a file, durably.
    pub(crate) exists: bool,
    /// It has blocks up to here, durably: it may be written up to here.
    pub(crate) allocated: u64,
}

/// Stored bytes that do not check, and that were read twice.
pub(crate) struct Rot {
    pub(crate) segment: Offset,
    pub(crate) generation: u32,
    pub(crate) damage: Damage,
}

/// What is known of one partition that is open here.
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) config: PartitionConfig,
    /// First offset that can be read; durable.
    pub(crate) start: Offset,
    /// Where it is to be.
    pub(crate) start_wanted: Offset,
    /// Where a frame in flight puts it, and the first segment that counts then.
    pub(crate) start_planned: Offset,
    pub(crate) first_planned: Offset,
    /// In the list of partitions whose start moves with the next frame.
    pub(crate) trim_listed: bool,
    /// End of what is published in the arena.
    pub(crate) published: Point,
    /// End of what may be shown: published, and below the lease.
    pub(crate) shown: Point,
    /// End of what is durable.
    pub(crate) durable: Point,
    /// Offsets below this may be shown; durable.
    pub(crate) lease: Offset,
    /// The lease that a frame in flight asks for.
    pub(crate) lease_planned: Offset,
    /// In the list of partitions that wait for a lease.
    pub(crate) lease_wanted: bool,
    /// A snapshot is in a frame in flight, or listed for the next.
    pub(crate) snapshot_planned: bool,
    pub(crate) sealed: Vec<Sealed>,
    /// Base of the segment that takes data.
    pub(crate) active: Offset,
    /// When its data was written.
    pub(crate) active_written: WrittenSpan,
    /// When to look for segments that are too old.
    pub(crate) age_due: Option<Instant>,
    /// Sealed bytes, all segments.
    pub(crate) sealed_bytes: u64,
    /// Spans in order; the front ones may be settled, the last one takes data.
    pub(crate) spans: VecDeque<SpanId>,
    /// Files of segments that still take data: the active one, and sealed ones not yet stored.
    pub(crate) files: Vec<SegmentFile>,
    /// A segment of an earlier start that has data: its file exists with these blocks.
    pub(crate) directory_ready: bool,
    pub(crate) index: SparseIndex,
    /// Idempotent producers, once there was one.
    pub(crate) producers: Option<Box<Producers>>,
    /// The oldest frame that is needed to recover the partition; none: it is nowhere in the
    /// journal.
    pub(crate) oldest_frame: Option<Sequence>,
    /// When data of a weaker level must be on its way to the disk.
    pub(crate) due: Option<Instant>,
    /// In the list of partitions for the next commit.
    pub(crate) urgent: bool,
    /// A background move to the segment is under way.
    pub(crate) spilling: bool,
    /// In the line of partitions that hold memory.
    pub(crate) in_memory_order: bool,
    /// Jobs on the partition's files that are under way: it is not forgotten before they end.
    pub(crate) jobs: u32,
    /// To be logged whole here before anything else of it is.
    pub(crate) relog: bool,
    /// In the list of partitions to spill.
    pub(crate) spill_wanted: bool,
    /// Memory is short: what it has is to move to the disk as soon as that is possible.
    pub(crate) relieve: bool,
    /// A watermark moved, and the shard was not told yet.
    pub(crate) advanced: bool,
    /// Size of the last span, in bytes: the next one is larger if it filled quickly.
    pub(crate) span_bytes: usize,
    pub(crate) damage: Option<Damage>,
    /// What a reader found of this start: nothing is put behind it.
    pub(crate) rot: Option<Box<Rot>>,
    /// Damage that was found at the start, and may have taken what was behind the end.
    pub(crate) lost_end: Option<Damage>,
    pub(crate) compaction: CompactionState,
    /// Being removed: no new work begins.
    pub(crate) closing: bool,
}

impl Partition {
    pub(crate) fn new(id: PartitionId, config: PartitionConfig, start: Offset) -> Self {
        let origin = Point { offset: start, segment: start, position: 0 };
        Self {
            id,
            config,
            start,
            start_wanted: start,
            start_planned: start,
            first_planned: start,
            trim_listed: false,
            published: origin,
            shown: origin,
            durable: origin,
            lease: start,
            lease_planned: start,
            lease_wanted: false,
            snapshot_planned: false,
            sealed: Vec::new(),
            active: start,
            active_written: WrittenSpan::default(),
            age_due: None,
            sealed_bytes: 0,
            spans: VecDeque::new(),
            files: Vec::new(),
            directory_ready: false,
            index: SparseIndex::new(),
            producers: None,
            oldest_frame: None,
            due: None,
            urgent: false,
            spilling: false,
            in_memory_order: false,
            jobs: 0,
            relog: false,
            spill_wanted: false,
            relieve: false,
            advanced: false,
            span_bytes: 0,
            damage: None,
            rot: None,
            lost_end: None,
            compaction: CompactionState::default(),
            closing: false,
        }
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        Watermarks {
            start: self.start,
            memory: self.shown.offset,
            page_cache: self.shown.offset,
            disk: self.durable.offset,
        }
    }

    /// Why it takes no appends: what a start found, or a reader, unless the segment has gone.
    ///
    /// The latter stops nothing else: what was taken before is committed and moved to segments.
    pub(crate) fn why_fenced(&self) -> Option<&Damage> {
        let is_here = |rot: &&Rot| self.generation(rot.segment) == Some(rot.generation);
        let rot = self.rot.as_deref().filter(is_here).map(|rot| &rot.damage);
        self.damage.as_ref().or(rot)
    }

    /// Shows what is published as far as the lease allows. True if the mark moved.
    pub(crate) fn show(&mut self) -> bool {
        let before = self.shown.offset;
        if self.published.offset <= self.lease {
            self.shown = self.published;
        } else if self.durable.offset > self.shown.offset {
            self.shown = self.durable;
        }
        self.shown.offset > before
    }

    /// Bytes that no durable frame holds yet; the sum over segments.
    pub(crate) fn file(&mut self, segment: Offset) -> Option<&mut SegmentFile> {
        self.files.iter_mut().find(|file| file.segment == segment)
    }

    /// Path of a segment.
    pub(crate) fn segment_path(&self, segment: Offset) -> String {
        self.name_of(segment).path(self.id)
    }

    /// Path of its index.
    pub(crate) fn index_path(&self, segment: Offset) -> String {
        self.name_of(segment).index_path(self.id)
    }

    fn name_of(&self, segment: Offset) -> SegmentName {
        SegmentName { segment, generation: self.generation(segment).unwrap_or(0) }
    }

    /// Which of the segment's files counts; `None` if it is no segment of the partition.
    pub(crate) fn generation(&self, segment: Offset) -> Option<u32> {
        if segment == self.active {
            return Some(0);
        }
        let at = self.sealed.binary_search_by_key(&segment, |sealed| sealed.base).ok()?;
        Some(self.sealed[at].compacted.generation)
    }

    /// Length of the data of `segment` as published.
    pub(crate) fn segment_length(&self, segment: Offset) -> Option<u64> {
        if segment == self.active {
            return Some(self.published.position);
        }
        let at = self.sealed.binary_search_by_key(&segment, |sealed| sealed.base).ok()?;
        Some(self.sealed[at].length_bytes)
    }

    /// When the segment's last data was written.
    pub(crate) fn segment_written(&self, segment: Offset) -> Written {
        if segment == self.active {
            return self.active_written.last;
        }
        match self.sealed.binary_search_by_key(&segment, |sealed| sealed.base) {
            Ok(at) => self.sealed[at].written,
            Err(_) => Written::UNKNOWN,
        }
    }

    /// When the segment's data was written. Of a sealed one the beginning is not known any more.
    pub(crate) fn span_written(&self, segment: Offset) -> WrittenSpan {
        if segment == self.active {
            return self.active_written;
        }
        let last = self.segment_written(segment);
        WrittenSpan { first: last, last }
    }

    /// The segment in which `offset` lies, or would lie.
    pub(crate) fn segment_of(&self, offset: Offset) -> Offset {
        if offset >= self.active {
            return self.active;
        }
        let after = self.sealed.partition_point(|sealed| sealed.base <= offset);
        match after.checked_sub(1) {
            Some(at) => self.sealed[at].base,
            None => self.first_segment(),
        }
    }

    /// The first segment that counts.
    pub(crate) fn first_segment(&self) -> Offset {
        self.sealed.first().map_or(self.active, |first| first.base)
    }

    /// The segment after `segment`.
    pub(crate) fn segment_after(&self, segment: Offset) -> Option<Offset> {
        let after = self.sealed.partition_point(|sealed| sealed.base <= segment);
        match self.sealed.get(after) {
            Some(sealed) => Some(sealed.base),
            None => (segment < self.active).then_some(self.active),
        }
    }
}

/// Directory of a partition's files, relative to the data directory.
pub fn partition_directory(id: PartitionId) -> String {
    format!("{}/{}", topic_directory(id.topic), id.partition)
}

/// Directory of a topic's partitions, relative to the data directory.
pub fn topic_directory(topic: u32) -> String {
    format!("{TOPICS_DIRECTORY}/{topic}")
}

/// Directory of all topics, relative to the data directory.
pub const TOPICS_DIRECTORY: &str = "topics";

/// Directory of files that wait for their next segment, relative to the data directory.
pub const RECYCLED_DIRECTORY: &str = "recycled";

/// Path of a segment as it was written, relative to the data directory.
pub fn segment_path(id: PartitionId, segment: Offset) -> String {
    SegmentName { segment, generation: 0 }.path(id)
}

/// Path of its index, relative to the data directory.
pub fn index_path(id: PartitionId, segment: Offset) -> String {
    SegmentName { segment, generation: 0 }.index_path(id)
}

/// What the files of a segment are called: by its base, and by how often it was compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Its base offset.
    pub segment: Offset,
    /// 0 for the file that it was written to.
    pub generation: u32,
}

impl SegmentName {
    /// Path of the segment's file, relative to the data directory.
    pub fn path(self, id: PartitionId) -> String {
        format!("{}/{self}.segment", partition_directory(id))
    }

    /// Path of its index, relative to the data directory.
    pub fn index_path(self, id: PartitionId) -> String {
        format!("{}/{self}.index", partition_directory(id))
    }

    /// Of a file in a partition's directory; `None` for what is no segment's.
    pub fn of_file(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".segment").or_else(|| name.strip_suffix(".index"))?;
        let (base, generation) = match stem.split_once('-') {
            None => (stem, 0),
            Some((base, generation)) => (base, generation.parse().ok().filter(|it| *it > 0)?),
        };
        let base: u64 = (base.len() == 20).then(|| base.parse().ok()).flatten()?;
        let known = base <= Offset::MAX.value();
        let name_of = Self { segment: Offset::new(base), generation };
        // One name for one segment: no signs, no zeros in front.
        (known && stem.len() == format!("{name_of}").len()).then_some(name_of)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            0 => write!(f, "{:020}", self.segment.value()),
            generation => write!(f, "{:020}-{generation}", self.segment.value()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_segments_are_known_by_their_names_and_nothing_else_is() {
        for (segment, generation) in [(42, 0), (42, 7), (0, 4_000_000_000)] {
            let name = SegmentName { segment: Offset::new(segment), generation };
            for file in [format!("{name}.segment"), format!("{name}.index")] {
                assert_eq!(SegmentName::of_file(&file), Some(name));
            }
        }
        for other in [
            "42.segment",
            "notes.txt",
            "00000000000000000042.segment.old",
            ".segment",
            "00000000000000000042-0.segment",
            "00000000000000000042-07.segment",
            "00000000000000000042-+7.segment",
            "00000000000000000042-.segment",
        ] {
            assert_eq!(SegmentName::of_file(other), None, "{other}");
        }
    }
}
