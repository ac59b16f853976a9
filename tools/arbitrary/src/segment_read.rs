//! A segment of arbitrary batches and a journal that names it: start, read all of it, `verify`,
//! `inspect`, repair. Nothing panics, nothing is lent that does not check or was never there, what
//! a reader is refused `verify` names, and after a repair neither finds anything.
//!
//! Random bytes are hardly ever a batch. The input is therefore cut into pieces, and most of them
//! become batches of this partition that follow one on the other, laid out by `FORMAT.md`; then a
//! byte is changed here and there, before the check is computed or behind it. What a newcomer gets
//! wrong: the journal says what the segment should hold, and it may be wrong about that too.

#![expect(clippy::expect_used, reason = "a panic is how a broken promise is reported")]

use std::ops::Range;
use std::time::Duration;

use plimsoll_batch::{BATCH_BYTES_MAX, Batch, BatchLimits, Offset};
use plimsoll_device::{Arena, Buffer, Instant, Now};
use plimsoll_storage::{
    ARENA_BYTES_MIN, Cursor, Finding, Level, Notice, PartitionConfig, PartitionId, ReadError,
    ReadOutcome, RepairConfig, Retention, Slot, Storage, StorageConfig, TopicRecord, TopicRecords,
    inspect, journal_path, repair, segment_path, verify,
};

use crate::directory::{Directory, File, Machine, recover};
use crate::journal_file::{BLOCK_BYTES, FILE_BYTES, JournalFile};

const ID: PartitionId = PartitionId { topic: 1, partition: 0 };
const SEGMENT_BYTES_MAX: usize = 128 << 10;
const NOW: Now = Now { monotonic: Instant::ORIGIN, unix_ms: 1_700_000_000_000 };

/// A segment, started from, read, verified, inspected and repaired.
///
/// # Panics
///
/// When what the module promises is broken.
pub fn segment_read(bytes: &[u8]) {
    let Some((&[layout, claim], input)) = bytes.split_first_chunk() else { return };
    let segment = Pieces::of(input);
    let mut files = Directory::with_manifest();
    let paths = lay_out(&mut files, &segment, layout % 4, claim);
    let read = read_all(&mut files.clone(), &segment.bytes);
    let mut damages = 0;
    let verified = verify(&mut files, read_topic, &mut |_| damages += 1);
    assert!(verified.is_ok() && (damages > 0 || read.is_ok()), "verify misses {read:?}");
    for path in &paths {
        // It may say that these bytes are nothing that it knows.
        let _ = inspect(&mut files, path, &mut String::new());
    }
    repaired(files, &segment.bytes);
}

/// What is damaged is cut off, and what is left is all sound.
fn repaired(mut files: Directory, bytes: &[u8]) {
    let topics = TopicRecords { read: read_topic, create: write_topic };
    let journal_bytes = FILE_BYTES as u64;
    let config = RepairConfig { name: "now".to_owned(), journal_bytes, topics };
    let plan = repair(&mut files, &config, &mut |_| ()).expect("nothing fails to be read");
    for step in plan.steps {
        files.carry_out(step);
    }
    let mut left = Vec::new();
    let summary = verify(&mut files, read_topic, &mut |finding| left.push(finding));
    // A batch that is the first of its start and the last of its segment is believed by a repair
    // whatever offset it has; `verify` sees that the segment behind it begins lower. Not mended.
    let is_known = |finding: &Finding| finding.to_string().contains("in the segment before it");
    if left.iter().any(is_known) {
        return;
    }
    assert!(summary.is_ok_and(|summary| summary.damages == 0), "after a repair: {left:?}");
    let read = read_all(&mut files, bytes);
    assert!(read.is_ok(), "after a repair: {read:?}");
}

/// A start, and everything of the partition that it lends.
fn read_all(directory: &mut Directory, bytes: &[u8]) -> Result<(), String> {
    let started = match recover(directory, FILE_BYTES) {
        Ok(started) if started.damages.is_empty() => started,
        Ok(started) => return Err(format!("{:?}", started.damages)),
        Err(error) => return Err(error.to_string()),
    };
    let epoch = started.manifest.epoch;
    let config = started.share_out([5; 16], true, 0).pop().expect("there is one shard");
    let mut shard = Shard::new(config, directory);
    let start = shard.storage.describe(shard.slot).watermarks.start;
    let mut cursor = Cursor::at(start);
    // What is not lent yet. A segment's end may hold what is no batch, and nobody needs.
    let mut left = bytes;
    for _ in 0..10_000 {
        let lent = match shard.read(cursor) {
            Ok(Some(lent)) => lent,
            Ok(None) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let given = shard.storage.bytes(lent.range).to_vec();
        check_lent(&given, epoch, cursor.offset()..lent.next.offset());
        let mut places = left.windows(given.len().max(1));
        let at = if given.is_empty() { Some(0) } else { places.position(|it| it == given) };
        left = &left[at.expect("what is lent is there, and was not lent before") + given.len()..];
        assert!(lent.next.offset() > cursor.offset(), "a read that gives nothing goes on");
        cursor = lent.next;
        shard.storage.release(lent);
    }
    panic!("a reader comes to the end");
}

/// Whole batches, each of which checks and is of this partition, up to where the reader goes on.
fn check_lent(mut given: &[u8], epoch_max: u64, offsets: Range<Offset>) {
    let limits = BatchLimits { batch_bytes_max: BATCH_BYTES_MAX };
    let mut end = None;
    while !given.is_empty() {
        let batch = Batch::validate_first(given, &limits).expect("what is lent checks");
        let header = batch.header();
        let epoch = (header.leader_epoch ^ mark_of(ID)).min(header.leader_epoch);
        assert!(
            u64::from(epoch) <= epoch_max,
            "it is a batch of another partition, or of no start"
        );
        assert!(end.is_none_or(|end| end <= header.base_offset), "offsets go up");
        assert!(header.next_offset() > offsets.start, "it was read before");
        end = Some(header.next_offset());
        given = &given[header.length_bytes..];
    }
    assert!(end.is_none_or(|end| end == offsets.end));
}

/// A shard's log on its machine.
struct Shard<'a> {
    storage: Storage,
    machine: Machine<'a>,
    slot: Slot,
    notices: Vec<Notice>,
}

impl<'a> Shard<'a> {
    fn new(config: StorageConfig, directory: &'a mut Directory) -> Self {
        let arena = Arena::on_heap(Buffer::zeroed(ARENA_BYTES_MIN));
        let mut storage = Storage::new(config, arena);
        let partition = PartitionConfig {
            segment_bytes: 1 << 20,
            batch_bytes_max: 1 << 20,
            flush_interval: Duration::from_millis(100),
            retention: Retention::UNLIMITED,
            compaction: None,
        };
        storage.open_partition(PartitionId::METADATA, partition);
        let slot = storage.open_partition(ID, partition);
        storage.finish_opening(NOW);
        let machine = Machine::new(directory);
        let mut shard = Self { storage, machine, slot, notices: Vec::new() };
        shard.settle();
        if shard.notices.iter().any(|notice| matches!(notice, Notice::Seeded)) {
            shard.storage.all_seeded();
            shard.settle();
        }
        shard
    }

    /// Carries out what is asked for, until nothing is.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            while let Some(op) = self.storage.poll_op() {
                self.machine.submit_of(&mut self.storage, op);
            }
            while let Some(notice) = self.storage.poll_notice() {
                self.notices.push(notice);
            }
            match self.machine.done.pop_front() {
                Some(completion) => self.storage.handle(completion, NOW),
                None => return,
            }
        }
        panic!("a shard without work comes to rest");
    }

    fn read(&mut self, cursor: Cursor) -> Result<Option<plimsoll_storage::Lent>, ReadError> {
        let asked = match self.storage.read(self.slot, cursor, Level::Disk, 16 << 10)? {
            ReadOutcome::Ready(lent) => return Ok(Some(lent)),
            ReadOutcome::UpToDate => return Ok(None),
            ReadOutcome::Pending(id) => id,
        };
        self.settle();
        for notice in self.notices.drain(..) {
            match notice {
                Notice::Read(id, outcome) if id == asked => return outcome.map(Some),
                _ => {}
            }
        }
        panic!("a read is answered");
    }
}

/// What the input comes to: batches, and bytes that are none.
struct Pieces {
    bytes: Vec<u8>,
    /// Where the pieces end, and the offsets after them.
    ends: Vec<(usize, u64)>,
}

impl Pieces {
    fn of(mut input: &[u8]) -> Self {
        let mut pieces = Self { bytes: Vec::new(), ends: Vec::new() };
        let (mut offset, mut epoch) = (0, 1);
        while let Some((&[how, size, tweak, value], rest)) = input.split_first_chunk() {
            let (payload, rest) = rest.split_at(rest.len().min(usize::from(size)));
            input = rest;
            if how % 4 == 0 {
                pieces.bytes.extend_from_slice(payload);
            } else {
                if how & 8 > 0 {
                    // A later start, which may have left offsets out.
                    (epoch, offset) = (epoch + 1, offset + u64::from(value % 3));
                }
                // Long ones, that a read takes in parts.
                let repeats = if size % 16 == 15 { 64 } else { 1 };
                let payload = payload.repeat(repeats);
                let records = 1 + u32::from(size % 4);
                let mut batch = batch(&payload, (offset, epoch), records);
                let at = usize::from(tweak) % batch.len();
                batch[at] ^= value;
                if how & 4 == 0 {
                    let check = crc32c::crc32c(&batch[21..]);
                    batch[17..21].copy_from_slice(&check.to_be_bytes());
                }
                offset += u64::from(records);
                pieces.bytes.append(&mut batch);
            }
            if pieces.bytes.len() > SEGMENT_BYTES_MAX {
                break;
            }
            pieces.ends.push((pieces.bytes.len(), offset));
        }
        pieces.bytes.truncate(pieces.ends.last().map_or(0, |(end, _)| *end));
        pieces
    }
}

/// A batch of this partition by `FORMAT.md`, without its check.
fn batch(payload: &[u8], (offset, epoch): (u64, u32), records: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(61 + payload.len());
    out.extend_from_slice(&offset.to_be_bytes());
    out.extend_from_slice(&(49 + payload.len() as u32).to_be_bytes());
    out.extend_from_slice(&(epoch ^ mark_of(ID)).to_be_bytes());
    out.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&(records - 1).to_be_bytes());
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&[0xFF; 14]);
    out.extend_from_slice(&records.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// The mark of a partition, as `FORMAT.md` has it.
fn mark_of(id: PartitionId) -> u32 {
    let mut x = (u64::from(id.topic) << 32 | u64::from(id.partition)) ^ 0x9e37_79b9_7f4a_7c15;
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        x = (x ^ (x >> 33)).wrapping_mul(factor);
    }
    (x >> 32) as u32
}

/// Puts the pieces into files, and names them in a journal. One of: an active segment, a sealed
/// one, one of each, or a compacted one. Gives the paths.
fn lay_out(files: &mut Directory, segment: &Pieces, layout: u8, claim: u8) -> Vec<String> {
    let (length, next) = segment.ends.last().copied().unwrap_or_default();
    // Now and then the journal knows of one offset more or less than there are.
    let next = match claim {
        ..240 => next,
        240..248 => next + 1,
        248.. => next.saturating_sub(1),
    };
    let (split, middle) = match layout {
        0 => (0, 0),
        1 | 3 => (length, next),
        _ => segment.ends.get(segment.ends.len() / 2).copied().unwrap_or_default(),
    };
    let (split, middle) = if middle == 0 || middle > next { (0, 0) } else { (split, middle) };
    let (sealed, active) = segment.bytes.split_at(split);
    let stored = active.len() / BLOCK_BYTES * BLOCK_BYTES;
    let is_compacted = layout == 3 && !sealed.is_empty();
    let mut paths = vec![journal_path(0)];
    if !sealed.is_empty() {
        let mut file = File::of(sealed);
        file.lengthen(split.next_multiple_of(BLOCK_BYTES));
        let path = segment_path(ID, Offset::ZERO);
        let path = match is_compacted {
            true => path.replace(".segment", "-1.segment"),
            false => path,
        };
        files.0.insert(path.clone(), file);
        paths.push(path);
    }
    if stored > 0 {
        let path = segment_path(ID, Offset::new(middle));
        files.0.insert(path.clone(), File::of(&active[..stored]));
        paths.push(path);
    }
    let mut body = snapshot(sealed, active, (middle, next, stored));
    if is_compacted {
        body.extend(compacted(split as u64, middle));
    }
    let mut journal = JournalFile::new(0);
    journal.push(&body, 1, (0, 0));
    // So that what the first one says was on disk.
    journal.push(&[], 1, (0, 0));
    files.0.insert(journal_path(0), journal.into_file());
    paths
}

fn snapshot(sealed: &[u8], active: &[u8], (middle, next, stored): (u64, u64, usize)) -> Vec<u8> {
    let tail = &active[stored..];
    let mut out = entry_head(2);
    // From the first offset on, without a lease.
    for field in [0, next, 0, middle, active.len() as u64, stored as u64] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&u32::from(!sealed.is_empty()).to_le_bytes());
    out.extend_from_slice(&(tail.len() as u32).to_le_bytes());
    if !sealed.is_empty() {
        out.extend_from_slice(&0_u64.to_le_bytes());
        out.extend_from_slice(&(sealed.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(tail);
    with_length(out)
}

/// The sealed segment is one of the first generation, of the same length: nothing was taken out.
fn compacted(length: u64, behind: u64) -> Vec<u8> {
    let mut out = entry_head(0x21);
    for field in [0, behind, length] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [0_u32, 1, 0, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    with_length(out)
}

fn entry_head(kind: u8) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&ID.topic.to_le_bytes());
    out.extend_from_slice(&ID.partition.to_le_bytes());
    out
}

fn with_length(mut entry: Vec<u8>) -> Vec<u8> {
    entry.resize(entry.len().next_multiple_of(8), 0);
    let length = entry.len() as u32;
    entry[4..8].copy_from_slice(&length.to_le_bytes());
    entry
}

/// Records of the metadata topic: a topic and its partitions, or nothing that is known.
fn read_topic(record: &[u8]) -> Option<TopicRecord> {
    let (topic, partitions) = record.split_first_chunk::<4>()?;
    let partitions = u32::from_le_bytes(partitions.try_into().ok()?);
    Some(TopicRecord::Created { topic: u32::from_le_bytes(*topic), partitions })
}

fn write_topic(topic: u32, partitions: u32) -> Vec<u8> {
    [topic.to_le_bytes(), partitions.to_le_bytes()].concat()
}
