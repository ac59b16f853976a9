//! What a repair does to the files: a list of steps, each of which may be the last.
//!
//! The order makes it safe. First everything that will be cut is copied to the side; then bytes are
//! written that count for nothing yet; then a journal is replaced, at once, and the cut is made;
//! files that nothing names any more go last. What a newcomer gets wrong: a step is done when what
//! it wrote is flushed.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use plimsoll_device::BLOCK_BYTES;

use crate::anchor::{ANCHOR_BYTES, Anchor};
use crate::encoding::{block_ceil, block_floor, crc};
use crate::entry::{
    PRODUCERS_BYTES, SEALED_BYTES, SNAPSHOT_BYTES, SnapshotFields, encode_producers,
    encode_snapshot, snapshot_bytes,
};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, Sequence};
use crate::identity::PartitionId;
use crate::journal::Mark;
use crate::limits::FRAME_BYTES_MAX;
use crate::manifest::DataDirId;
use crate::partition::segment_path;
use crate::producers::ProducerTable;
use crate::recovered::RecoveredPartition;
use crate::written::WrittenSpan;

/// One change of the files. Paths are relative to the data directory; a directory that a path
/// needs is made. Each step may be done twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairStep {
    /// Copies a part of a file, and these bytes after it, to a new file. What the disk does not
    /// give, and blocks of zeros, may be left out as holes.
    Copy {
        /// The file; it may be missing.
        from: String,
        /// Where the part begins.
        position_bytes: u64,
        /// How long it is, at most.
        length_bytes: u64,
        /// What follows in the copy.
        more: Vec<u8>,
        /// The copy.
        to: String,
    },
    /// Gives a file that will not be written again a second name.
    Link {
        /// The file; it may be missing.
        from: String,
        /// The second name.
        to: String,
    },
    /// Makes a new file, or an old one anew: these bytes, then zeros to its length.
    Create {
        /// The file.
        path: String,
        /// What it begins with.
        bytes: Vec<u8>,
        /// How long it is.
        length_bytes: u64,
    },
    /// Writes into a file that may be there.
    WriteAt {
        /// The file.
        path: String,
        /// Where.
        position_bytes: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Puts a file in the place of another, at once.
    Rename {
        /// The new file.
        from: String,
        /// The one that it replaces.
        to: String,
    },
    /// Removes a file, if it is there.
    Remove {
        /// The file.
        path: String,
    },
}

/// A partition as a repaired journal has it.
pub(crate) struct Logged {
    fields: SnapshotFields,
    sealed: Vec<crate::entry::Sealed>,
    tail: Vec<u8>,
    producers: ProducerTable,
}

impl Logged {
    /// The partition in one snapshot; what is not in its segments and has to be goes to `steps`.
    pub(crate) fn of(
        id: PartitionId,
        partition: &RecoveredPartition,
        steps: &mut Vec<RepairStep>,
    ) -> Self {
        let mut tail = Vec::new();
        let end = partition.end();
        for run in &partition.runs {
            let is_active = run.segment == partition.active;
            let filled = if is_active { block_floor(run.end) } else { block_ceil(run.end) };
            let whole = filled.saturating_sub(run.stored);
            let mut bytes = run.bytes.clone();
            let held = usize::try_from(whole).unwrap_or(usize::MAX);
            if is_active {
                tail = bytes.split_off(held.min(bytes.len()));
            } else {
                bytes.resize(held, 0);
            }
            if !bytes.is_empty() {
                let path = segment_path(id, run.segment);
                steps.push(RepairStep::WriteAt { path, position_bytes: run.stored, bytes });
            }
        }
        let fields = SnapshotFields {
            partition: id,
            start: partition.start,
            next_offset: partition.next_offset,
            lease: partition.lease,
            active: partition.active,
            written: partition.active_written,
            end,
            stored: block_floor(end),
        };
        let producers = partition.producers.clone();
        Self { fields, sealed: partition.sealed.clone(), tail, producers }
    }

    /// One of which nothing is left but its name.
    pub(crate) fn empty(id: PartitionId, next: plimsoll_batch::Offset) -> Self {
        let fields = SnapshotFields {
            partition: id,
            start: next,
            next_offset: next,
            lease: next,
            active: next,
            written: WrittenSpan::default(),
            end: 0,
            stored: 0,
        };
        let producers = ProducerTable::default();
        Self { fields, sealed: Vec::new(), tail: Vec::new(), producers }
    }

    fn entry(&self) -> Vec<u8> {
        let mut entry = vec![0; snapshot_bytes(&self.sealed, self.tail.len())];
        encode_snapshot(&self.fields, &self.sealed, &mut entry);
        let at = SNAPSHOT_BYTES + self.sealed.len() * SEALED_BYTES;
        entry[at..at + self.tail.len()].copy_from_slice(&self.tail);
        let mut list = Vec::new();
        let count = self.producers.encode_all(&mut list);
        if count > 0 {
            let at = entry.len();
            entry.resize(at + PRODUCERS_BYTES + list.len(), 0);
            encode_producers(self.fields.partition, count, &list, &mut entry[at..]);
        }
        entry
    }
}

/// The front of a new journal, and how long its file is, of `usual_bytes` or more: an anchor, and
/// frames that say these partitions. A last frame without entries says that those before it are on
/// disk, so that rot in them will be noticed.
pub(crate) fn journal_of(
    (data_dir, journal, epoch): (DataDirId, u16, u64),
    partitions: &[Logged],
    usual_bytes: u64,
) -> (Vec<u8>, u64) {
    let mut out = vec![0; 2 * BLOCK_BYTES];
    let mut next = Mark { sequence: Sequence(1), position: 0, previous_check: 0 };
    let mut body: Vec<u8> = Vec::new();
    let mut put = |body: &mut Vec<u8>| {
        let frame = frame_of((data_dir, journal, epoch), next, body);
        next = crate::verify_journal::mark_after(&frame.0);
        out.extend_from_slice(&frame.1);
        body.clear();
    };
    for partition in partitions {
        let entry = partition.entry();
        if FRAME_HEADER_BYTES + body.len() + entry.len() > FRAME_BYTES_MAX {
            put(&mut body);
        }
        body.extend_from_slice(&entry);
    }
    if !body.is_empty() {
        put(&mut body);
    }
    put(&mut body);
    let file_bytes = usual_bytes.max(ANCHOR_BYTES + 4 * block_ceil(out.len() as u64));
    let anchor = Anchor {
        data_dir,
        journal,
        generation: 0,
        head: Sequence(1),
        head_position: 0,
        previous_check: 0,
        file_bytes,
    };
    anchor.encode(&mut out);
    (out, file_bytes)
}

fn frame_of(
    (data_dir, journal, epoch): (DataDirId, u16, u64),
    place: Mark,
    body: &[u8],
) -> (FrameHeader, Vec<u8>) {
    let length_bytes = FrameHeader::frame_bytes(body.len());
    let mut frame = vec![0; length_bytes];
    frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + body.len()].copy_from_slice(body);
    let mut header = FrameHeader {
        clean: false,
        length_bytes,
        body_bytes: body.len(),
        data_dir,
        journal,
        epoch,
        sequence: place.sequence,
        position: place.position,
        durable_through: Sequence(place.sequence.0 - 1),
        body_crc: crc(body),
        previous_check: place.previous_check,
        check: 0,
    };
    header.check = header.encode(&mut frame);
    (header, frame)
}
