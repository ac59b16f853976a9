//! How far a partition is sound, and what it is without the rest.
//!
//! A partition keeps its longest sound beginning: readers are never served a hole. What a newcomer
//! gets wrong: nothing is cut out of a segment's file. A cut is a shorter length in the journal,
//! and the bytes behind it are nothing from then on.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use plimsoll_batch::{Batch, BatchHeader, BatchLimits, Offset};
use plimsoll_device::{BLOCK_BYTES, IoError};

use crate::compacted::Compacted;
use crate::encoding::{block_ceil, block_floor};
use crate::entry::Sealed;
use crate::identity::PartitionId;
use crate::origin::of_partition;
use crate::partition::{SegmentName, partition_directory, segment_path};
use crate::producers::ProducerTable;
use crate::recovered::{Place, RecoveredPartition, Run};
use crate::verify::DataFiles;
use crate::verify_segment::{SegmentData, Walk, Window, misfit};
use crate::written::{Written, WrittenSpan};

/// A place between two batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) segment: Offset,
    pub(crate) position: u64,
    /// The offset that comes next there.
    pub(crate) offset: Offset,
}

/// How a walk through a partition's batches ended.
pub(crate) struct Walked {
    /// The first batch that does not check, does not follow, or is rotten, and what is wrong.
    pub(crate) misfit: Option<(Point, String)>,
    /// Where the last batch begins, if there is no misfit.
    pub(crate) last: Option<Point>,
    pub(crate) epoch: u32,
}

/// Bytes of a segment that are known to be damaged somewhere, although their batches may check.
pub(crate) type Rotten = (Offset, Range<u64>);

/// Walks from the first batch to the first that is not sound, and shows batches on the way: those
/// from the misfit's offset on do not count.
///
/// Where an extent does not match its CRC the batches tell which of them is damaged; only if all of
/// them check, none of them is believed.
pub(crate) fn walk<F: DataFiles>(
    files: &mut F,
    (id, partition): (PartitionId, &RecoveredPartition),
    epoch_max: u64,
    rotten: &[Rotten],
    seen: &mut impl FnMut(&Batch<'_>),
) -> Walked {
    let segments = segments_of(partition);
    let expected = segments.first().map_or(partition.start, |(base, _)| *base);
    let mut walked = Walked { misfit: None, last: None, epoch: 1 };
    let mut walk = Walk { expected, epoch: 1 };
    for (base, length) in segments {
        let run = partition.runs.iter().find(|run| run.segment == base);
        let stored = run.map_or(length, |run| run.stored.min(length));
        let tail = run.map_or(&[][..], |run| &run.bytes);
        let name = partition.name_of(base);
        let (path, generation) = (name.path(id), name.generation);
        let data = SegmentData { id, base, generation, path, length, stored, tail };
        let here = |range: &&Rotten| range.0 == base;
        let rotten: Vec<Range<u64>> =
            rotten.iter().filter(here).map(|(_, range)| range.clone()).collect();
        let end = walk_segment(files, &data, &mut walk, (epoch_max, &rotten), &mut |at, batch| {
            walked.last = Some(Point { segment: base, ..at });
            seen(batch);
        });
        walked.epoch = walk.epoch;
        if let Err((position, what)) = end {
            let offset = walk.expected.max(base);
            walked.misfit = Some((Point { segment: base, position, offset }, what));
            return walked;
        }
    }
    walked
}

/// The segments with their lengths, the active one last.
pub(crate) fn segments_of(partition: &RecoveredPartition) -> Vec<(Offset, u64)> {
    let sealed = partition.sealed.iter().map(|sealed| (sealed.base, sealed.length_bytes));
    sealed.chain([(partition.active, partition.end())]).collect()
}

/// Ok at the end of the data, or where it is not sound and why; the walk then stands there.
fn walk_segment<F: DataFiles>(
    files: &mut F,
    data: &SegmentData<'_>,
    walk: &mut Walk,
    (epoch_max, rotten): (u64, &[Range<u64>]),
    seen: &mut impl FnMut(Point, &Batch<'_>),
) -> Result<(), (u64, String)> {
    let mut window = Window::new();
    let mut position = 0;
    // The batch before, if it is the first of its start: only the one behind confirms its offset.
    let mut unconfirmed: Option<Stand> = None;
    let mut unplaced: Vec<(u64, Stand)> = Vec::new();
    while position < data.length {
        let here = Stand { position, expected: walk.expected, epoch: walk.epoch };
        if let Some(front) = front_of_passed(&unplaced, position) {
            return Err(front.go_back(walk, NOT_PLACED.to_string()));
        }
        let wrong = |what: String| (position, what);
        let is_unreadable = window.batch_at(files, data, position).is_err();
        if is_unreadable && !window.is_of_blocks() {
            window = Window::of_blocks();
            continue;
        }
        let bytes = window.batch_at(files, data, position);
        let bytes = bytes.map_err(|_| wrong("the file does not give it".to_string()))?;
        let batch = Batch::validate_first(bytes, &BatchLimits::default());
        let batch = batch.map_err(|error| wrong(error.to_string()))?;
        let header = of_partition(*batch.header(), data.id, epoch_max).map_err(wrong)?;
        if let Some(what) = misfit(&header, data, walk) {
            return Err(match unconfirmed {
                Some(before) => {
                    let what = format!("this batch or the one behind it: {what}");
                    before.go_back(walk, what)
                }
                None => wrong(what),
            });
        }
        let next = position + header.length_bytes as u64;
        let is_new = |range: &&Range<u64>| {
            (position < range.end && range.start < next)
                && unplaced.iter().all(|(end, _)| *end != range.end)
        };
        let met: Vec<u64> = rotten.iter().filter(is_new).map(|range| range.end).collect();
        unplaced.extend(met.into_iter().map(|end| (end, here)));
        seen(Point { segment: data.base, position, offset: walk.expected }, &batch);
        unconfirmed = (header.leader_epoch > walk.epoch).then_some(here);
        walk.expected = header.next_offset();
        walk.epoch = header.leader_epoch;
        position = next;
    }
    match front_of_passed(&unplaced, u64::MAX) {
        Some(front) => Err(front.go_back(walk, NOT_PLACED.to_string())),
        None => Ok(()),
    }
}

/// A batch's check leaves out its first bytes: an extent that does not match may be damaged there.
const NOT_PLACED: &str = "within bytes that do not match a frame's CRC, and every batch of them \
                          checks: the damage cannot be placed";

/// Where a walk stood before a batch.
#[derive(Clone, Copy)]
struct Stand {
    position: u64,
    expected: Offset,
    epoch: u32,
}

impl Stand {
    fn go_back(self, walk: &mut Walk, what: String) -> (u64, String) {
        (walk.expected, walk.epoch) = (self.expected, self.epoch);
        (self.position, what)
    }
}

/// Where the first of the rotten ranges begins that end before `position`, each given by its end
/// and its first batch: whatever is wrong in it, no batch of it told.
fn front_of_passed(unplaced: &[(u64, Stand)], position: u64) -> Option<Stand> {
    let passed = unplaced.iter().filter(|(end, _)| *end <= position);
    passed.map(|(_, front)| *front).min_by_key(|front| front.position)
}

/// Shortens a partition to what comes before a point.
pub(crate) fn cut<F: DataFiles>(
    files: &mut F,
    id: PartitionId,
    partition: &mut RecoveredPartition,
    at: Point,
) -> Result<(), IoError> {
    if partition.name_of(at.segment).generation > 0 {
        cut_compacted(partition, at);
        return Ok(());
    }
    let found = partition.runs.iter().find(|run| run.segment == at.segment).cloned();
    let file_end = found.as_ref().map_or(u64::MAX, |run| run.stored);
    let run = match found {
        Some(mut run) if run.stored <= block_floor(at.position) => {
            run.bytes.truncate(usize::try_from(at.position - run.stored).unwrap_or(usize::MAX));
            Run { end: at.position, ..run }
        }
        run => {
            let stored = block_floor(at.position);
            let from_file = at.position.min(file_end) - stored;
            let mut bytes = vec![0; usize::try_from(from_file).unwrap_or(BLOCK_BYTES)];
            read_exactly(files, &segment_path(id, at.segment), stored, &mut bytes)?;
            if at.position > file_end
                && let Some(run) = run
            {
                let more = usize::try_from(at.position - file_end).unwrap_or(usize::MAX);
                bytes.extend_from_slice(&run.bytes[..more.min(run.bytes.len())]);
            }
            Run { segment: at.segment, stored, bytes, end: at.position }
        }
    };
    partition.sealed.retain(|sealed| sealed.base < at.segment);
    partition.active = at.segment;
    partition.active_written = WrittenSpan::default();
    partition.runs.retain(|run| run.segment < at.segment);
    partition.runs.push_back(run);
    partition.next_offset = at.offset;
    partition.producers.cut(at.offset);
    Ok(())
}

/// Of a segment that was compacted the front stays, sealed; an empty one takes data behind it.
fn cut_compacted(partition: &mut RecoveredPartition, at: Point) {
    let is_kept = |sealed: &Sealed| match at.position {
        0 => sealed.base < at.segment,
        _ => sealed.base <= at.segment,
    };
    partition.sealed.retain(is_kept);
    if let Some(last) = partition.sealed.last_mut().filter(|last| last.base == at.segment) {
        last.length_bytes = at.position;
    }
    let active = if at.position == 0 { at.segment } else { at.offset };
    partition.active = active;
    partition.active_written = WrittenSpan::default();
    partition.runs.retain(|run| run.segment < at.segment);
    partition.runs.push_back(Run { segment: active, stored: 0, bytes: Vec::new(), end: 0 });
    partition.next_offset = at.offset;
    partition.producers.cut(at.offset);
}

/// What a partition's files hold, where no journal says what counts of them: batch after batch for
/// as long as one follows on the other.
pub(crate) fn rebuild<F: DataFiles>(
    files: &mut F,
    id: PartitionId,
    epoch_max: u64,
    place: Place,
) -> Result<RecoveredPartition, IoError> {
    let files_of = segment_files(files, id);
    let start = files_of.first().map_or(Offset::ZERO, |first| first.segment);
    let mut walk = Walk { expected: start, epoch: 1 };
    let mut sealed: Vec<Sealed> = Vec::new();
    let mut producers = ProducerTable::default();
    let mut seen = |_, batch: &Batch<'_>| producers.apply(batch.header(), 0);
    for SegmentName { segment: base, generation } in files_of {
        if base < walk.expected {
            // What a compacted one stands for was not removed yet.
            match sealed.last().is_some_and(|last| last.compacted.generation > 0) {
                true => continue,
                false => break,
            }
        }
        let path = SegmentName { segment: base, generation }.path(id);
        let length = files.length_bytes(&path)?;
        let data = SegmentData { id, base, generation, path, length, stored: length, tail: &[] };
        let end = walk_segment(files, &data, &mut walk, (epoch_max, &[]), &mut seen);
        let length_bytes = end.err().map_or(length, |(position, _)| position);
        if length_bytes > 0 || sealed.is_empty() {
            let compacted = Compacted { generation, ..Compacted::default() };
            sealed.push(Sealed { base, length_bytes, written: Written::UNKNOWN, compacted });
        }
        if length_bytes == 0 || !is_padded(files, &data, length_bytes) {
            break;
        }
    }
    let mut partition = RecoveredPartition::begin(start, place);
    producers.cut(walk.expected);
    partition.producers = producers;
    let takes_data = |last: &Sealed| last.compacted.generation == 0;
    if sealed.last().is_some_and(|last| !takes_data(last)) {
        partition.active = walk.expected;
        partition.next_offset = walk.expected;
        let run = Run { segment: walk.expected, stored: 0, bytes: Vec::new(), end: 0 };
        (partition.sealed, partition.runs) = (sealed, [run].into());
    } else if let Some(active) = sealed.pop() {
        partition.sealed = sealed;
        partition.active = active.base;
        let stored = block_floor(active.length_bytes);
        let length = usize::try_from(active.length_bytes - stored).unwrap_or(BLOCK_BYTES);
        let mut bytes = vec![0; length];
        read_exactly(files, &segment_path(id, active.base), stored, &mut bytes)?;
        let end = active.length_bytes;
        partition.runs = [Run { segment: active.base, stored, bytes, end }].into();
        partition.next_offset = walk.expected.max(active.base);
    }
    Ok(partition)
}

/// The files of segments, one for each base. Of several the one of the least generation: as long as
/// it is there, so is everything that the others were made of.
fn segment_files<F: DataFiles>(files: &mut F, id: PartitionId) -> Vec<SegmentName> {
    let names = files.list(&partition_directory(id)).unwrap_or_default();
    let segments = names.iter().filter(|name| name.ends_with(".segment"));
    let mut known: Vec<SegmentName> =
        segments.filter_map(|name| SegmentName::of_file(name)).collect();
    known.sort_unstable();
    known.dedup_by_key(|name| name.segment);
    known
}

/// Whether zeros follow to the end of the block, as behind a sealed segment's data.
fn is_padded<F: DataFiles>(files: &mut F, data: &SegmentData<'_>, end: u64) -> bool {
    let length = usize::try_from(block_ceil(end) - end).unwrap_or(BLOCK_BYTES);
    let mut bytes = [0; BLOCK_BYTES];
    let bytes = &mut bytes[..length];
    files.read(&data.path, end, bytes) == Ok(length) && bytes.iter().all(|byte| *byte == 0)
}

pub(crate) fn read_exactly<F: DataFiles>(
    files: &mut F,
    path: &str,
    position: u64,
    bytes: &mut [u8],
) -> Result<(), IoError> {
    if bytes.is_empty() {
        return Ok(());
    }
    match files.read(path, position, bytes)? {
        length if length == bytes.len() => Ok(()),
        _ => Err(IoError::new(plimsoll_device::IoErrorKind::Other, 0)),
    }
}

/// The next offset of the batches at the front of `bytes`, for what a repair adds.
pub(crate) fn next_offset_of(bytes: &[u8]) -> Option<Offset> {
    BatchHeader::decode(bytes).ok().map(|header| header.next_offset())
}
