//! What is in a file: manifest, journal, segment, index or arena, in lines for people and for
//! `grep`.
//!
//! A line is a word that says what it is and `name=value` pairs; what belongs to the line before it
//! is indented. The file is recognised by its content. Nothing is judged here but checks: whether
//! something is missing, only the whole directory tells ([`verify`](crate::verify)). What a
//! newcomer gets wrong: a segment's file may go on with batches that check, of another segment that
//! had the file before; only the journal says where it ends.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use plimsoll_batch::{Batch, BatchHeader, BatchLimits, HEADER_BYTES, Offset};
use plimsoll_device::{BLOCK_BYTES, IoError};

use crate::anchor::{ANCHOR_BYTES, Anchor};
use crate::arena_layout::{
    ArenaHeader, ArenaHeaderError, ArenaLayout, SPAN_HEADER_BYTES, SpanHeader,
};
use crate::compacted::{Compacted, CompactedEntry};
use crate::encoding::Reader;
use crate::entry::{
    AppendEntry, Entries, Entry, ProducersEntry, Sealed, SnapshotEntry, StartEntry,
};
use crate::frame::FrameHeader;
use crate::identity::PartitionId;
use crate::index::SparseIndex;
use crate::journal::Mark;
use crate::manifest::{DataDirId, FORMAT_VERSION, Manifest};
use crate::origin::of_partition;
use crate::partition::SegmentName;
use crate::producers::ProducersIn;
use crate::verify::DataFiles;
use crate::verify_journal::{JournalPlace, mark_after, read_next_frame};

/// More than any file needs to be recognised, and any index file whole.
const HEAD_BYTES: usize = 4 * BLOCK_BYTES;

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `MANIFEST`
    Manifest,
    /// A shard's journal.
    Journal,
    /// A segment, or other batches end to end.
    Segment,
    /// A segment's index.
    Index,
    /// A shard's arena.
    Arena,
}

/// Why a file was not shown, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InspectError {
    /// It could not be read.
    Unreadable(IoError),
    /// It begins like none of the files of a data directory.
    Unknown,
    /// The lines could not be written.
    Output,
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::Unknown => {
                f.write_str("neither manifest, journal, segment, index nor arena (or damaged)")
            }
            Self::Output => f.write_str("the output could not be written"),
        }
    }
}

impl core::error::Error for InspectError {}

impl From<IoError> for InspectError {
    fn from(error: IoError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<fmt::Error> for InspectError {
    fn from(_: fmt::Error) -> Self {
        Self::Output
    }
}

/// Writes what is in the file `path` to `out`, line by line.
pub fn inspect<F: DataFiles, W: Write>(
    files: &mut F,
    path: &str,
    out: &mut W,
) -> Result<FileKind, InspectError> {
    let mut head = vec![0; HEAD_BYTES];
    let length = files.read(path, 0, &mut head)?;
    head.truncate(length);
    let Some(kind) = recognise(&head) else {
        let is_blank = path.ends_with(".segment") && head.iter().all(|byte| *byte == 0);
        if !is_blank {
            return Err(InspectError::Unknown);
        }
        writeln!(out, "no batch: blocks that are kept ready")?;
        return Ok(FileKind::Segment);
    };
    match kind {
        FileKind::Manifest => show_manifest(&head, out)?,
        FileKind::Journal => show_journal(files, path, &head, out)?,
        FileKind::Segment => {
            let end = files.length_bytes(path)?;
            show_batches(files, (path, partition_of(path)), (0, end), "", out)?;
        }
        FileKind::Index => show_index(&head, out)?,
        FileKind::Arena => show_arena(files, path, &head, out)?,
    }
    Ok(kind)
}

fn recognise(head: &[u8]) -> Option<FileKind> {
    let begins = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|it| it.starts_with(magic));
    if begins(0, b"PLIMSOLL") {
        Some(FileKind::Manifest)
    } else if begins(0, b"PLJANCHR") || begins(BLOCK_BYTES, b"PLJANCHR") {
        Some(FileKind::Journal)
    } else if begins(0, b"PLINDEX\0") {
        Some(FileKind::Index)
    } else if begins(0, b"PLARENA\0") {
        Some(FileKind::Arena)
    } else {
        BatchHeader::decode(head).is_ok().then_some(FileKind::Segment)
    }
}

fn show_manifest<W: Write>(head: &[u8], out: &mut W) -> Result<(), InspectError> {
    match Manifest::decode(head) {
        Ok(Manifest { data_dir, epoch, shards, counts }) => {
            let data_dir = Hex(&data_dir.0);
            writeln!(
                out,
                "manifest format={FORMAT_VERSION} data_dir={data_dir} epoch={epoch} \
                 shards={shards} check=ok"
            )?;
            for (epoch, shards) in counts.changes() {
                writeln!(out, "  shards={shards} since epoch={epoch}")?;
            }
        }
        Err(error) => writeln!(out, "manifest check=bad: {error}")?,
    }
    Ok(())
}

fn show_journal<F: DataFiles, W: Write>(
    files: &mut F,
    path: &str,
    head: &[u8],
    out: &mut W,
) -> Result<(), InspectError> {
    let file_bytes = files.length_bytes(path)?;
    writeln!(out, "journal bytes={file_bytes}")?;
    let copies: Vec<Option<Anchor>> =
        head.chunks(BLOCK_BYTES).take(2).map(Anchor::decode).collect();
    for (copy, anchor) in copies.iter().enumerate() {
        let at = copy * BLOCK_BYTES;
        let Some(anchor) = anchor else {
            writeln!(out, "anchor at={at} check=bad-or-never-written")?;
            continue;
        };
        writeln!(
            out,
            "anchor at={at} journal={} data_dir={} generation={} head={} head_position={} \
             previous_check={:#010x} journal_bytes={} check=ok",
            anchor.journal,
            Hex(&anchor.data_dir.0),
            anchor.generation,
            anchor.head,
            anchor.head_position,
            anchor.previous_check,
            anchor.file_bytes
        )?;
    }
    let newest = copies.into_iter().flatten().max_by_key(|anchor| anchor.generation);
    let Some(anchor) = newest else { return Ok(()) };
    let expected = anchor.length_or(file_bytes);
    if expected != file_bytes {
        writeln!(out, "length found={file_bytes} expected={expected} check=bad")?;
    }
    let area_bytes = expected.saturating_sub(ANCHOR_BYTES);
    if area_bytes == 0 {
        return Ok(());
    }
    let place = JournalPlace { data_dir: anchor.data_dir, journal: anchor.journal, area_bytes };
    let mut next = Mark {
        sequence: anchor.head,
        position: anchor.head_position,
        previous_check: anchor.previous_check,
    };
    while let Some((header, frame)) = read_next_frame(files, path, &place, next) {
        show_frame(&place, &header, &frame, out)?;
        next = mark_after(&header);
    }
    let at = place.file_position(next.position);
    writeln!(out, "end sequence={} at={at} position={}", next.sequence, next.position)?;
    Ok(())
}

fn show_frame<W: Write>(
    place: &JournalPlace,
    header: &FrameHeader,
    frame: &[u8],
    out: &mut W,
) -> Result<(), InspectError> {
    let FrameHeader { sequence, position, epoch, length_bytes, body_bytes, clean, .. } = header;
    let at = place.file_position(*position);
    writeln!(
        out,
        "frame sequence={sequence} at={at} position={position} bytes={length_bytes} \
         body={body_bytes} epoch={epoch} durable_through={} previous_check={:#010x} \
         check={:#010x} clean={clean}",
        header.durable_through, header.previous_check, header.check
    )?;
    for entry in Entries::new(header.body(frame).unwrap_or_default()) {
        match entry {
            Ok(Entry::Append(entry)) => show_append(&entry, out)?,
            Ok(Entry::Snapshot(entry)) => show_snapshot(&entry, out)?,
            Ok(Entry::Lease(id, lease)) => writeln!(out, "  lease partition={id} lease={lease}")?,
            Ok(Entry::Producers(entry)) => show_producers(&entry, out)?,
            Ok(Entry::Start(StartEntry { partition, start, first_segment })) => {
                writeln!(
                    out,
                    "  start partition={partition} start={start} first_segment={first_segment}"
                )?;
            }
            Ok(Entry::Compacted(CompactedEntry { partition, segment, until })) => {
                write!(out, "  compacted partition={partition} until={until} ")?;
                show_sealed(&segment, out)?;
            }
            Err(_) => writeln!(out, "  unreadable entry: nothing after it is read")?,
        }
    }
    Ok(())
}

fn show_producers<W: Write>(entry: &ProducersEntry<'_>, out: &mut W) -> fmt::Result {
    let ProducersEntry { partition, count, list } = entry;
    writeln!(out, "  producers partition={partition} count={count}")?;
    ProducersIn::new(list).try_for_each(|(id, producer)| producer.show(id, out))
}

fn show_append<W: Write>(entry: &AppendEntry<'_>, out: &mut W) -> fmt::Result {
    let AppendEntry { partition, segment, position, end, next_offset, .. } = entry;
    let inline = entry.inline.len();
    write!(
        out,
        "  append partition={partition} segment={segment} position={position} end={end} \
         next_offset={next_offset} inline={inline}"
    )?;
    if let Some(extent) = entry.extent {
        let crc = extent.crc;
        write!(out, " extent={}+{} crc={crc:#010x}", extent.position, extent.length_bytes)?;
    }
    writeln!(out)
}

fn show_snapshot<W: Write>(entry: &SnapshotEntry<'_>, out: &mut W) -> fmt::Result {
    let SnapshotEntry { partition, start, next_offset, lease, active, end, stored, .. } = entry;
    let tail = entry.tail.len();
    writeln!(
        out,
        "  snapshot partition={partition} start={start} next_offset={next_offset} lease={lease} \
         segment={active} end={end} stored={stored} inline={tail}"
    )?;
    for sealed in entry.sealed() {
        write!(out, "    sealed ")?;
        show_sealed(&sealed, out)?;
    }
    Ok(())
}

fn show_sealed<W: Write>(sealed: &Sealed, out: &mut W) -> fmt::Result {
    let Sealed { base, length_bytes, written, compacted } = sealed;
    write!(out, "segment={base} bytes={length_bytes} written={written}")?;
    if *compacted != Compacted::default() {
        let Compacted { generation, cleaned, tombstones } = compacted;
        write!(out, " generation={generation} clean_since={cleaned} tombstones={tombstones}")?;
    }
    writeln!(out)
}

/// Of which partition a segment is, by the directories that it lies in.
fn partition_of(path: &str) -> Option<PartitionId> {
    let mut names = path.rsplit('/').skip(1);
    let partition = names.next()?.parse().ok()?;
    Some(PartitionId { topic: names.next()?.parse().ok()?, partition })
}

/// Of which start a batch is; or what stands in its field, if that is none of its partition.
fn shown_epoch(header: &BatchHeader, id: Option<PartitionId>) -> String {
    match id.map(|id| of_partition(*header, id, EPOCHS_SHOWN_MAX)) {
        Some(Ok(header)) => format!("epoch={}", header.leader_epoch),
        _ => format!("epoch_field={:#010x}", header.leader_epoch),
    }
}

/// A file alone does not say how many starts there were.
const EPOCHS_SHOWN_MAX: u64 = 1 << 20;

/// Shows the batches between two positions of a file, and where they stop.
fn show_batches<F: DataFiles, W: Write>(
    files: &mut F,
    (path, id): (&str, Option<PartitionId>),
    (start, end): (u64, u64),
    indent: &str,
    out: &mut W,
) -> Result<(), InspectError> {
    let mut position = start;
    let mut bytes = Vec::new();
    let name = path.rsplit('/').next().unwrap_or(path);
    let base = SegmentName::of_file(name).map_or(Offset::ZERO, |name| name.segment);
    while position < end {
        let left = usize::try_from(end - position).unwrap_or(usize::MAX);
        bytes.resize(HEADER_BYTES.min(left), 0);
        let read = files.read(path, position, &mut bytes)?;
        let header = match BatchHeader::decode(&bytes[..read]) {
            Ok(header) => header,
            Err(error) => {
                let is_zero = bytes[..read].iter().all(|byte| *byte == 0);
                let what = if is_zero { "zeros" } else { "no batch" };
                writeln!(out, "{indent}end at={} rest={left} {what}: {error}", position - start)?;
                return Ok(());
            }
        };
        if header.base_offset < base {
            let (at, offset) = (position - start, header.base_offset);
            let what = "left of another segment, or damaged";
            writeln!(out, "{indent}end at={at} rest={left} {what}: offset {offset}")?;
            return Ok(());
        }
        bytes.resize(header.length_bytes.min(left), 0);
        let read = files.read(path, position, &mut bytes)?;
        let checked = Batch::validate_first(&bytes[..read], &BatchLimits::default());
        let codec = header.codec().map_or("unknown", plimsoll_batch::Codec::name);
        write!(
            out,
            "{indent}batch at={} bytes={} offset={} last={} records={} {} codec={codec} \
             timestamp={} max_timestamp={} producer={}/{}/{}",
            position - start,
            header.length_bytes,
            header.base_offset,
            header.last_offset(),
            header.record_count(),
            shown_epoch(&header, id),
            header.base_timestamp_ms,
            header.max_timestamp_ms,
            header.producer_id,
            header.producer_epoch,
            header.base_sequence
        )?;
        match checked {
            Ok(_) => writeln!(out, " check=ok")?,
            Err(error) => writeln!(out, " check=bad: {error}")?,
        }
        position += header.length_bytes as u64;
    }
    writeln!(out, "{indent}end at={} rest=0", position.min(end) - start)?;
    Ok(())
}

fn show_index<W: Write>(head: &[u8], out: &mut W) -> Result<(), InspectError> {
    let mut fields = Reader::new(head.get(16..).unwrap_or_default());
    let whose = (fields.array::<16>(), fields.u32(), fields.u32(), fields.u64());
    let (Some(data_dir), Some(topic), Some(partition), Some(segment)) = whose else {
        return Ok(writeln!(out, "index check=bad: shorter than its header")?);
    };
    let id = PartitionId { topic, partition };
    let is_offset = segment <= Offset::MAX.value();
    let index = is_offset
        .then(|| SparseIndex::decode(head, DataDirId(data_dir), id, Offset::new(segment)))
        .flatten();
    let data_dir = Hex(&data_dir);
    write!(out, "index partition={id} segment={segment} data_dir={data_dir}")?;
    let Some(index) = index else { return Ok(writeln!(out, " check=bad")?) };
    let (through, places) = (index.through(), index.entries());
    writeln!(out, " through={through} places={} check=ok", places.len())?;
    for place in places {
        let (offset, position) = (place.offset, place.position);
        let timestamp = place.max_timestamp_ms;
        writeln!(out, "place offset={offset} position={position} max_timestamp={timestamp}")?;
    }
    Ok(())
}

fn show_arena<F: DataFiles, W: Write>(
    files: &mut F,
    path: &str,
    head: &[u8],
    out: &mut W,
) -> Result<(), InspectError> {
    let header = match ArenaHeader::decode(head) {
        Ok(header) => header,
        Err(ArenaHeaderError::Version(version)) => {
            return Ok(writeln!(out, "arena layout={version} check=unknown-layout")?);
        }
        Err(ArenaHeaderError::NotAnArena) => return Ok(writeln!(out, "arena check=bad")?),
    };
    let file_bytes = files.length_bytes(path)?;
    writeln!(
        out,
        "arena boot_id={} data_dir={} epoch={} shard={} bytes={} check=ok",
        Hex(&header.boot_id),
        Hex(&header.data_dir.0),
        header.epoch,
        header.shard,
        header.length_bytes
    )?;
    let layout = ArenaLayout::of(usize::try_from(file_bytes).unwrap_or(usize::MAX));
    let mut place = [0; SPAN_HEADER_BYTES];
    for page in 0..layout.pages {
        let read = files.read(path, layout.place(page).start_bytes as u64, &mut place)?;
        let Some((span, published)) = SpanHeader::decode(&place[..read]) else { continue };
        let SpanHeader { partition, segment, position, pages, carried } = span;
        writeln!(
            out,
            "span page={page} pages={pages} partition={partition} segment={segment} \
             position={position} carried={carried} published={published}"
        )?;
        let start = layout.page_start(page) as u64;
        let end = start.saturating_add(published).min(file_bytes);
        let range = (start + u64::from(carried), end);
        show_batches(files, (path, Some(partition)), range, "  ", out)?;
    }
    Ok(())
}

/// Bytes in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
