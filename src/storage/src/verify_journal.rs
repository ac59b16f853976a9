//! Verifying a journal: both anchors, the chain of frames, their entries, and the extents that they
//! name.
//!
//! It uses the very replay that a start uses, so that what it calls sound is what a start would
//! take. What a newcomer gets wrong: the bytes behind the end of the chain are of earlier laps, and
//! no matter.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::{BLOCK_BYTES, IoError, IoErrorKind};

use crate::anchor::{ANCHOR_BYTES, Anchor};
use crate::entry::{Entries, Entry, Extent};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, Sequence};
use crate::identity::PartitionId;
use crate::journal::{Mark, journal_path};
use crate::limits::journal_bytes_min;
use crate::manifest::DataDirId;
use crate::partition::segment_path;
use crate::recovered::RecoveredPartition;
use crate::replay::{HeldFrame, Replay};
use crate::verify::{DataFiles, Finding, Verification};

const CHUNK_BYTES: usize = 1 << 20;

/// A journal after its replay.
pub(crate) struct VerifiedJournal {
    pub(crate) place: JournalPlace,
    pub(crate) head: Mark,
    /// The sequence after the last frame's.
    pub(crate) end: Sequence,
    pub(crate) partitions: BTreeMap<PartitionId, RecoveredPartition>,
    /// The latest start of which it has a frame.
    pub(crate) newest_epoch: u64,
}

/// Whose frames they are, and how long a lap is.
#[derive(Clone, Copy)]
pub(crate) struct JournalPlace {
    pub(crate) data_dir: DataDirId,
    pub(crate) journal: u16,
    pub(crate) area_bytes: u64,
}

impl JournalPlace {
    pub(crate) fn file_position(&self, position: u64) -> u64 {
        ANCHOR_BYTES + position % self.area_bytes
    }

    /// Where a frame may stand that comes next: there, or, where it would not have fitted, at the
    /// front.
    fn candidates(&self, next: u64) -> [u64; 2] {
        [next, next.saturating_sub(next % self.area_bytes).saturating_add(self.area_bytes)]
    }
}

impl<F: DataFiles, R: FnMut(Finding)> Verification<'_, F, R> {
    /// Reads a journal as a start does. `None` if nothing can be read of it, which is reported.
    pub(crate) fn check_journal(
        &mut self,
        number: u16,
        data_dir: DataDirId,
    ) -> Option<VerifiedJournal> {
        let path = journal_path(number);
        let file_bytes = match self.files.length_bytes(&path) {
            Ok(length) => length,
            Err(error) => return self.unreadable(path, 0, None, error),
        };
        self.count_file(file_bytes);
        let expected = newest_anchor(self.files, &path, data_dir, number)
            .map_or(file_bytes, |anchor| anchor.length_or(file_bytes));
        if file_bytes != expected {
            let what = format!("the file has {file_bytes} bytes, its anchor says {expected}");
            self.damage(path, file_bytes.min(expected), None, what);
            return None;
        }
        let is_whole = file_bytes.is_multiple_of(BLOCK_BYTES as u64);
        if file_bytes < journal_bytes_min(0) || !is_whole {
            let what = format!("a journal cannot have {file_bytes} bytes");
            self.damage(path, 0, None, what);
            return None;
        }
        let anchor = self.check_anchors(&path, data_dir, number)?;
        let area_bytes = file_bytes - ANCHOR_BYTES;
        let place = JournalPlace { data_dir, journal: number, area_bytes };
        let mut replay = Replay::new(&anchor, area_bytes);
        if let Err((position, error)) = self.feed(&path, &place, &anchor, &mut replay) {
            return self.unreadable(path, position, None, error);
        }
        replay.finish();
        self.settle_held(&path, &place, &mut replay);
        let replayed = replay.outcome();
        self.summary.frames += replayed.frames;
        let is_damaged = replayed.damage.is_some();
        if let Some(damage) = replayed.damage {
            self.damaged(damage);
        }
        if !is_damaged {
            self.note_torn_frame(&path, &place, replayed.next);
        }
        let head = Mark {
            sequence: anchor.head,
            position: anchor.head_position,
            previous_check: anchor.previous_check,
        };
        let (end, partitions) = (replayed.next.sequence, replayed.partitions);
        let newest_epoch = replayed.newest_epoch;
        Some(VerifiedJournal { place, head, end, partitions, newest_epoch })
    }

    /// Checks both copies, and gives the newer one that checks.
    fn check_anchors(&mut self, path: &str, data_dir: DataDirId, number: u16) -> Option<Anchor> {
        let mut blocks = vec![0; 2 * BLOCK_BYTES];
        if let Err(error) = self.files.read(path, 0, &mut blocks) {
            return self.unreadable(path.to_string(), 0, None, error);
        }
        let Some(newest) = Anchor::newest(&blocks, data_dir, number) else {
            let what = "neither anchor of the journal checks".to_string();
            self.damage(path.to_string(), 0, None, what);
            return None;
        };
        for (copy, block) in blocks.chunks_exact(BLOCK_BYTES).enumerate() {
            let position = (copy * BLOCK_BYTES) as u64;
            let anchor = Anchor::newest(block, data_dir, number);
            let checks = anchor.is_some_and(|anchor| anchor.file_position() == position);
            // The second copy is written by the first checkpoint.
            let is_unwritten = newest.generation == 0 && block.iter().all(|byte| *byte == 0);
            if !checks && !is_unwritten {
                let what = "this copy of the anchor does not check; the other one is used";
                self.damage(path.to_string(), position, None, what.to_string());
            }
        }
        Some(newest)
    }

    /// Feeds one lap to the replay, from the head around to the head.
    fn feed(
        &mut self,
        path: &str,
        place: &JournalPlace,
        anchor: &Anchor,
        replay: &mut Replay,
    ) -> Result<(), (u64, IoError)> {
        let area = place.area_bytes;
        let (mut fed, mut buffer) = (0, vec![0; CHUNK_BYTES]);
        while fed < area {
            let at = anchor.head_position.wrapping_add(fed) % area;
            let length = (area - fed).min(area - at).min(CHUNK_BYTES as u64);
            let position = ANCHOR_BYTES + at;
            let piece = &mut buffer[..usize::try_from(length).unwrap_or(CHUNK_BYTES)];
            let read = self.files.read(path, position, piece).map_err(|error| (position, error))?;
            if read < piece.len() {
                return Err((position, IoError::new(IoErrorKind::Other, 0)));
            }
            replay.feed(piece);
            fed += length;
        }
        Ok(())
    }

    /// Decides, as a start does, over the last frames: whether what they name is on the disk.
    fn settle_held(&mut self, path: &str, place: &JournalPlace, replay: &mut Replay) {
        while let Some(frame) = replay.front_held() {
            let (sequence, position) = (frame.header.sequence, frame.header.position);
            match self.missing_extent(frame) {
                None => replay.take_held(),
                Some(what) => {
                    replay.cut_held();
                    let position = place.file_position(position);
                    let what = format!(
                        "frame {sequence} at byte {position} is cut as a torn tail: {what}, and \
                         nothing says that it ever was"
                    );
                    self.note(path.to_string(), what);
                }
            }
        }
    }

    fn missing_extent(&mut self, frame: &HeldFrame) -> Option<String> {
        for (id, segment, extent) in extents_of(&frame.body) {
            if !matches!(extent_matches(self.files, id, segment, &extent), Ok(true)) {
                let path = segment_path(id, segment);
                let position = extent.position;
                return Some(format!("its extent at byte {position} of {path} is not there"));
            }
        }
        None
    }

    /// Tells of a frame behind the end that may have been whole once. Nothing can tell a frame that
    /// was torn from one that was damaged, if no later frame knew it to be on disk.
    fn note_torn_frame(&mut self, path: &str, place: &JournalPlace, next: Mark) {
        for candidate in place.candidates(next.position) {
            let mut raw = [0; FRAME_HEADER_BYTES];
            let position = place.file_position(candidate);
            if !matches!(self.files.read(path, position, &mut raw), Ok(FRAME_HEADER_BYTES)) {
                continue;
            }
            let torn =
                FrameHeader::torn_bytes(&raw, place.data_dir, (next.sequence, candidate)).is_some();
            let is_stale = FrameHeader::decode(&raw)
                .is_some_and(|header| header.previous_check != next.previous_check);
            if torn && !is_stale {
                let what = format!(
                    "frame {} at byte {position} does not check and nothing says that it was ever \
                     on disk: it is cut as a torn tail",
                    next.sequence
                );
                return self.note(path.to_string(), what);
            }
        }
    }

    /// Checks every extent that the chain still names. Gives the extents whose bytes do not match.
    pub(crate) fn check_chain(
        &mut self,
        journal: &VerifiedJournal,
        partitions: &BTreeMap<PartitionId, RecoveredPartition>,
    ) -> Vec<(PartitionId, Offset, Extent)> {
        let mut rotten = Vec::new();
        let path = journal_path(journal.place.journal);
        let mut next = journal.head;
        while next.sequence < journal.end {
            let found = read_next_frame(self.files, &path, &journal.place, next);
            let Some((header, frame)) = found else { break };
            for (id, segment, extent) in header.body(&frame).map(extents_of).unwrap_or_default() {
                let is_kept = partitions.get(&id).is_some_and(|partition| {
                    let oldest = partition.sealed.first().map_or(partition.active, |it| it.base);
                    // Of a compacted segment this file does not count any more.
                    segment >= oldest && partition.name_of(segment).generation == 0
                });
                if is_kept
                    && !self.is_deleted(id)
                    && !self.check_extent(id, segment, &extent, header.sequence)
                {
                    rotten.push((id, segment, extent));
                }
            }
            next = mark_after(&header);
        }
        rotten
    }

    /// False if its bytes are there and do not match.
    fn check_extent(
        &mut self,
        id: PartitionId,
        segment: Offset,
        extent: &Extent,
        frame: Sequence,
    ) -> bool {
        let path = segment_path(id, segment);
        match extent_matches(self.files, id, segment, extent) {
            Ok(true) => return true,
            Ok(false) => {
                let what = format!(
                    "{} bytes do not match the CRC that frame {frame} has of them",
                    extent.length_bytes
                );
                self.damage(path, extent.position, Some(id), what);
                return false;
            }
            // A missing file is reported once, with its partition.
            Err(error) if error.kind == IoErrorKind::NotFound => {}
            Err(error) => {
                let _: Option<()> = self.unreadable(path, extent.position, Some(id), error);
            }
        }
        true
    }

    /// Reports bytes that the disk does not give.
    pub(crate) fn unreadable<T>(
        &mut self,
        path: String,
        position: u64,
        partition: Option<PartitionId>,
        error: IoError,
    ) -> Option<T> {
        let what = match error.kind {
            IoErrorKind::NotFound => "the file is missing".to_string(),
            _ => format!("cannot be read: {error}"),
        };
        self.damage(path, position, partition, what);
        None
    }
}

/// The anchor that counts, as far as its two blocks can be read.
pub(crate) fn newest_anchor<F: DataFiles>(
    files: &mut F,
    path: &str,
    data_dir: DataDirId,
    journal: u16,
) -> Option<Anchor> {
    let mut blocks = vec![0; 2 * BLOCK_BYTES];
    let read = files.read(path, 0, &mut blocks).ok()?;
    Anchor::newest(&blocks[..read], data_dir, journal)
}

/// Whether the segment's file has the bytes that the extent's CRC is of.
pub(crate) fn extent_matches<F: DataFiles>(
    files: &mut F,
    id: PartitionId,
    segment: Offset,
    extent: &Extent,
) -> Result<bool, IoError> {
    extent_matches_to(files, id, (segment, u64::MAX), extent)
}

/// The same with zeros for what the file has from `data_end` on: padding is no data.
pub(crate) fn extent_matches_to<F: DataFiles>(
    files: &mut F,
    id: PartitionId,
    (segment, data_end): (Offset, u64),
    extent: &Extent,
) -> Result<bool, IoError> {
    let path = segment_path(id, segment);
    let (mut done, mut computed) = (0, 0);
    let mut buffer = vec![0; CHUNK_BYTES.min(extent.length_bytes as usize)];
    while done < extent.length_bytes as usize {
        let length = buffer.len().min(extent.length_bytes as usize - done);
        let Some(position) = extent.position.checked_add(done as u64) else { return Ok(false) };
        let read = files.read(&path, position, &mut buffer[..length])?;
        if read < length {
            return Ok(false);
        }
        let of_data = usize::try_from(data_end.saturating_sub(position)).unwrap_or(length);
        buffer[of_data.min(length)..length].fill(0);
        computed = crc32c::crc32c_append(computed, &buffer[..length]);
        done += length;
    }
    Ok(computed == extent.crc)
}

/// Reads the frame that follows, whole; `None` where the chain ends.
pub(crate) fn read_next_frame<F: DataFiles>(
    files: &mut F,
    path: &str,
    place: &JournalPlace,
    next: Mark,
) -> Option<(FrameHeader, Vec<u8>)> {
    place.candidates(next.position).into_iter().find_map(|candidate| {
        let mut frame = vec![0; BLOCK_BYTES];
        let position = place.file_position(candidate);
        let read = files.read(path, position, &mut frame).ok()?;
        let header = FrameHeader::decode(&frame[..read])?;
        let follows = header.data_dir == place.data_dir
            && header.journal == place.journal
            && header.position == candidate
            && header.sequence == next.sequence
            && header.previous_check == next.previous_check;
        if !follows {
            return None;
        }
        frame.resize(header.length_bytes, 0);
        let read = files.read(path, position, &mut frame).ok()?;
        (read == frame.len() && header.body(&frame).is_some()).then_some((header, frame))
    })
}

/// Where the frame after this one is expected.
pub(crate) fn mark_after(header: &FrameHeader) -> Mark {
    Mark {
        sequence: header.sequence.next(),
        position: header.position + header.length_bytes as u64,
        previous_check: header.check,
    }
}

/// The extents that a frame's body names.
pub(crate) fn extents_of(body: &[u8]) -> Vec<(PartitionId, Offset, Extent)> {
    let appends = Entries::new(body).filter_map(|entry| match entry {
        Ok(Entry::Append(entry)) => Some(entry),
        _ => None,
    });
    appends.filter_map(|it| Some((it.partition, it.segment, it.extent?))).collect()
}
