//! Verifying the segments of a partition, batch by batch, up to where the journal says that they
//! end.
//!
//! A batch's CRC covers all but its first 21 bytes. Of those, offset and epoch are checked against
//! the batches around: offsets have no holes but where a later start began, and epochs never go
//! down.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use plimsoll_batch::{Batch, BatchHeader, BatchLimits, HEADER_BYTES, Offset};
use plimsoll_device::{BLOCK_BYTES, IoError, IoErrorKind};

use crate::identity::PartitionId;
use crate::index::{IndexEntry, SparseIndex};
use crate::journal::journal_path;
use crate::origin::of_partition;
use crate::partition::{SegmentName, segment_path};
use crate::recovered::RecoveredPartition;
use crate::verify::{DataFiles, Finding, Verification};

const CHUNK_BYTES: usize = 1 << 20;
/// An index file is never larger than this.
const INDEX_BYTES_MAX: usize = 16 << 10;

/// Data of one segment: the front in its file, the rest in the journal.
pub(crate) struct SegmentData<'a> {
    pub(crate) id: PartitionId,
    pub(crate) base: Offset,
    pub(crate) generation: u32,
    pub(crate) path: String,
    pub(crate) length: u64,
    /// Up to here in the file.
    pub(crate) stored: u64,
    pub(crate) tail: &'a [u8],
}

impl SegmentData<'_> {
    fn index_path(&self) -> String {
        let (segment, generation) = (self.base, self.generation);
        SegmentName { segment, generation }.index_path(self.id)
    }
}

/// Where the walk through a partition stands.
pub(crate) struct Walk {
    pub(crate) expected: Offset,
    pub(crate) epoch: u32,
}

impl<F: DataFiles, R: FnMut(Finding)> Verification<'_, F, R> {
    pub(crate) fn check_partition(&mut self, id: PartitionId, partition: &RecoveredPartition) {
        self.summary.partitions += 1;
        if partition.headless {
            let what = "the journal has a part of this partition only, and not its beginning";
            let path = journal_path(partition.journal);
            return self.damage(path, 0, Some(id), what.to_string());
        }
        let sealed = partition.sealed.iter().map(|sealed| (sealed.base, sealed.length_bytes));
        let segments: Vec<(Offset, u64)> =
            sealed.chain([(partition.active, partition.end())]).collect();
        let expected = segments.first().map_or(partition.start, |(base, _)| *base);
        // Only a start after the first one can leave a hole.
        let mut walk = Walk { expected, epoch: 1 };
        let mut is_sound = true;
        for (base, length) in segments {
            let run = partition.runs.iter().find(|run| run.segment == base);
            let name = partition.name_of(base);
            let data = SegmentData {
                id,
                base,
                generation: name.generation,
                path: name.path(id),
                length,
                stored: run.map_or(length, |run| run.stored.min(length)),
                tail: run.map_or(&[], |run| &run.bytes),
            };
            let is_sealed = base != partition.active;
            is_sound &= self.check_segment(&data, is_sealed, &mut walk);
        }
        let (end, last) = (partition.next_offset, walk.expected);
        let may_jump = partition.epoch > u64::from(walk.epoch) || last.value() == 0;
        if is_sound && (last > end || (last < end && !may_jump)) {
            let what = format!("batches end at offset {last}, the journal says {end}");
            self.damage(segment_path(id, partition.active), 0, Some(id), what);
        }
        let is_shortened = id == PartitionId::METADATA && partition.start > Offset::ZERO;
        if is_shortened && self.summary.damages == 0 {
            self.topics.note_begins_with_all();
        }
    }

    /// True if nothing is wrong with it.
    fn check_segment(&mut self, data: &SegmentData<'_>, is_sealed: bool, walk: &mut Walk) -> bool {
        let before = self.summary.damages;
        if data.stored > 0 && !self.check_file(data, is_sealed) {
            return false;
        }
        if data.base < walk.expected {
            let what = format!("offset {} is in the segment before it already", data.base);
            self.damage(data.path.clone(), 0, Some(data.id), what);
        }
        let index = if is_sealed { self.read_index(data) } else { None };
        let mut places = index.iter().flat_map(SparseIndex::entries).copied().peekable();
        let mut misplaced = false;
        self.check_batches(data, walk, &mut |position, header| {
            while let Some(place) = places.next_if(|place| place.position <= position) {
                misplaced |= !is_place_of(&place, position, header);
            }
        });
        let is_sound = self.summary.damages == before;
        if is_sound && (misplaced || places.next().is_some()) {
            let what = "derived index: names places where no batch begins".to_string();
            self.damage(data.index_path(), 0, Some(data.id), what);
        }
        is_sound
    }

    /// Whether the file has the data that the journal says is in it; and zeros after a sealed end.
    fn check_file(&mut self, data: &SegmentData<'_>, is_sealed: bool) -> bool {
        let SegmentData { id, path, length, stored, .. } = data;
        let found = match self.files.length_bytes(path) {
            Ok(found) => found,
            Err(error) => {
                let _: Option<()> = self.unreadable(path.clone(), 0, Some(*id), error);
                return false;
            }
        };
        self.count_file(found.min(*stored));
        if found < *stored {
            let what = format!("the file ends here, the journal says that it has {stored} bytes");
            self.damage(path.clone(), found, Some(*id), what);
            return false;
        }
        if is_sealed && stored == length {
            let padding = length.wrapping_neg() % BLOCK_BYTES as u64;
            let mut bytes = [0; BLOCK_BYTES];
            let bytes = &mut bytes[..usize::try_from(padding).unwrap_or(BLOCK_BYTES)];
            let read = self.files.read(path, *length, bytes);
            let is_zero = bytes.iter().all(|byte| *byte == 0);
            if read != Ok(bytes.len()) || !is_zero {
                let what = "the padding after the last batch is not zero".to_string();
                self.damage(path.clone(), *length, Some(*id), what);
            }
        }
        true
    }

    fn check_batches(
        &mut self,
        data: &SegmentData<'_>,
        walk: &mut Walk,
        seen: &mut impl FnMut(u64, &BatchHeader),
    ) {
        let mut window = Window::new();
        let mut position = 0;
        // The batch before, if it is the first of its start: only the one behind confirms it.
        let mut unconfirmed: Option<u64> = None;
        while position < data.length {
            let bytes = match window.batch_at(self.files, data, position) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let path = data.path.clone();
                    let _: Option<()> = self.unreadable(path, position, Some(data.id), error);
                    return;
                }
            };
            let header = BatchHeader::decode(bytes);
            let epoch_max = self.epoch_max;
            let own = |header| of_partition(header, data.id, epoch_max);
            let wrong = match Batch::validate_first(bytes, &BatchLimits::default()) {
                Ok(batch) => {
                    self.summary.batches += 1;
                    if data.id == PartitionId::METADATA {
                        self.note_topics(&batch);
                    }
                    seen(position, batch.header());
                    let wrong = match own(*batch.header()) {
                        Ok(header) => misfit(&header, data, walk),
                        Err(what) => Some(what),
                    };
                    wrong.map(|what| match unconfirmed {
                        Some(at) => (at, format!("this batch or the one behind it: {what}")),
                        None => (position, what),
                    })
                }
                Err(error) => Some((position, error.to_string())),
            };
            let is_wrong = wrong.is_some();
            if let Some((at, what)) = wrong {
                self.damage_at(data, at, what);
            }
            let Ok(header) = header else { return self.unchecked(data, position) };
            let next = position + header.length_bytes as u64;
            // A length that cannot be trusted is, if a batch that follows on this one stands there.
            if is_wrong && !window.follows_at(self.files, data, next, &header) {
                return self.unchecked(data, next.min(data.length));
            }
            let epoch = own(header).map_or(walk.epoch, |header| header.leader_epoch);
            unconfirmed = (epoch > walk.epoch).then_some(position);
            walk.expected = header.next_offset();
            walk.epoch = epoch;
            position = next;
        }
    }

    fn damage_at(&mut self, data: &SegmentData<'_>, position: u64, what: String) {
        let in_file = position < data.stored;
        let what = if in_file { what } else { format!("{what} (this part is in the journal)") };
        self.damage(data.path.clone(), position, Some(data.id), what);
    }

    fn unchecked(&mut self, data: &SegmentData<'_>, position: u64) {
        if position < data.length {
            let left = data.length - position;
            let what = format!("{left} bytes from byte {position} on could not be checked");
            self.note(data.path.clone(), what);
        }
    }

    fn note_topics(&mut self, batch: &Batch<'_>) {
        let records = batch.records().into_iter().flatten().flatten();
        let values = records.filter_map(|record| record.value);
        values.filter_map(self.topic_record).for_each(|record| self.topics.note(record));
    }

    /// The index file of a sealed segment, if there is one. Damage in it is reported; it is only
    /// derived.
    fn read_index(&mut self, data: &SegmentData<'_>) -> Option<SparseIndex> {
        let path = data.index_path();
        let mut bytes = vec![0; INDEX_BYTES_MAX];
        let length = match self.files.read(&path, 0, &mut bytes) {
            Ok(length) => length,
            Err(error) if error.kind == IoErrorKind::NotFound => return None,
            Err(error) => return self.unreadable(path, 0, Some(data.id), error),
        };
        self.count_file(length as u64);
        let bytes = &bytes[..length];
        if bytes.iter().all(|byte| *byte == 0) {
            let what = "derived index: it never reached the disk; made anew when it is needed";
            self.note(path, what.to_string());
            return None;
        }
        match SparseIndex::decode(bytes, self.data_dir?, data.id, data.base) {
            Some(index) if index.through() == data.length => Some(index),
            // The segment was sealed, the index written, and a power loss took the data from under
            // it before that was durable.
            Some(_) => {
                let what = "derived index: of data that a crash took; made anew when it is needed";
                self.note(path, what.to_string());
                None
            }
            None => {
                let what = "derived index: it does not check; nothing is lost, it is made anew \
                            when it is needed";
                self.damage(path, 0, Some(data.id), what.to_string());
                None
            }
        }
    }
}

fn is_place_of(place: &IndexEntry, position: u64, header: &BatchHeader) -> bool {
    place.position == position && place.offset == header.base_offset
}

/// What of the batch does not fit the batches before it.
pub(crate) fn misfit(header: &BatchHeader, data: &SegmentData<'_>, walk: &Walk) -> Option<String> {
    let (base, epoch) = (header.base_offset, header.leader_epoch);
    let Walk { expected, epoch: epoch_before } = *walk;
    if epoch < epoch_before {
        return Some(format!("batch of start {epoch} comes after one of start {epoch_before}"));
    }
    if base < expected || base < data.base {
        return Some(format!("batch has offset {base}, {expected} comes next"));
    }
    if base > expected && epoch == epoch_before {
        return Some(format!("batch has offset {base}, {expected} comes next: a gap"));
    }
    None
}

/// A part of a segment in memory: at most the largest batch and a chunk.
pub(crate) struct Window {
    at: u64,
    bytes: Vec<u8>,
    /// How much is read at once.
    chunk_bytes: usize,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { at: 0, bytes: Vec::new(), chunk_bytes: CHUNK_BYTES }
    }

    /// One that reads block by block: it comes as close as can be to what the disk does not give.
    pub(crate) fn of_blocks() -> Self {
        Self { chunk_bytes: BLOCK_BYTES, ..Self::new() }
    }

    pub(crate) fn is_of_blocks(&self) -> bool {
        self.chunk_bytes == BLOCK_BYTES
    }

    /// The batch at `position`, whole if the segment's data has it whole, with what happens to
    /// follow.
    pub(crate) fn batch_at<F: DataFiles>(
        &mut self,
        files: &mut F,
        data: &SegmentData<'_>,
        position: u64,
    ) -> Result<&[u8], IoError> {
        self.fill(files, data, position, HEADER_BYTES)?;
        let header = BatchHeader::decode(self.from(position));
        let length = header.map_or(0, |header| header.length_bytes);
        self.fill(files, data, position, length)?;
        Ok(self.from(position))
    }

    /// Whether a batch stands at `position` that comes after `before`, or the data ends there.
    fn follows_at<F: DataFiles>(
        &mut self,
        files: &mut F,
        data: &SegmentData<'_>,
        position: u64,
        before: &BatchHeader,
    ) -> bool {
        if position >= data.length {
            return position == data.length;
        }
        let header = self.batch_at(files, data, position).ok().map(BatchHeader::decode);
        matches!(header, Some(Ok(header)) if header.base_offset >= before.next_offset())
    }

    fn from(&self, position: u64) -> &[u8] {
        let skip = usize::try_from(position - self.at).unwrap_or(usize::MAX);
        self.bytes.get(skip..).unwrap_or_default()
    }

    /// Holds at least `wanted` bytes from `position` on, or all that there are.
    fn fill<F: DataFiles>(
        &mut self,
        files: &mut F,
        data: &SegmentData<'_>,
        position: u64,
        wanted: usize,
    ) -> Result<(), IoError> {
        while self.from(position).len() < wanted {
            let end = self.at + self.bytes.len() as u64;
            if end >= data.length {
                return Ok(());
            }
            let done = usize::try_from(position - self.at).unwrap_or(usize::MAX);
            self.bytes.drain(..done.min(self.bytes.len()));
            self.at = position;
            let held = self.bytes.len();
            self.read_on(files, data, position.max(end))?;
            if self.bytes.len() == held {
                // The journal names more than it has: the batch is too short.
                return Ok(());
            }
        }
        Ok(())
    }

    fn read_on<F: DataFiles>(
        &mut self,
        files: &mut F,
        data: &SegmentData<'_>,
        from: u64,
    ) -> Result<(), IoError> {
        if from >= data.stored {
            let skip = usize::try_from(from - data.stored).unwrap_or(usize::MAX);
            self.bytes.extend_from_slice(data.tail.get(skip..).unwrap_or_default());
            return Ok(());
        }
        let chunk = self.chunk_bytes;
        let length = usize::try_from(data.stored - from).unwrap_or(chunk).min(chunk);
        let kept = self.bytes.len();
        self.bytes.resize(kept + length, 0);
        let read = files.read(&data.path, from, &mut self.bytes[kept..]);
        if read != Ok(length) {
            self.bytes.truncate(kept);
        }
        match read? {
            read if read == length => Ok(()),
            _ => Err(IoError::new(IoErrorKind::Other, 0)),
        }
    }
}
