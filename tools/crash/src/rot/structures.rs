//! Which structure each byte of a data directory belongs to, so that none is left out.
//!
//! It follows `src/storage/FORMAT.md` with the decoders of `plimsoll-storage`. What a newcomer gets
//! wrong: a frame that no later one knows to be on disk is a structure of its own, because nothing
//! can tell a torn one from a rotten one.

use std::collections::BTreeMap;
use std::ops::Range;

use plimsoll_batch::BatchHeader;
use plimsoll_storage::{
    Anchor, FrameHeader, Manifest, PartitionId, RECYCLED_DIRECTORY, RecoveredPartition, SegmentName,
};

use super::files::Files;
use super::vanished::GROUP;

/// What a byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Structure {
    Manifest,
    Anchor,
    FrameHeader,
    AppendEntry,
    InlineData,
    Snapshot,
    SnapshotTail,
    SnapshotLists,
    Lease,
    Start,
    Compacted,
    ShareState,
    LastFrame,
    BatchHeader,
    Records,
    CompactedHeader,
    CompactedRecords,
    SegmentPadding,
    IndexHeader,
    IndexPlaces,
    // From here on: bytes that mean nothing.
    Reserved,
    FramePadding,
    JournalUnused,
    SegmentAhead,
    StaleBatches,
    Recycled,
    OtherFile,
}

pub(crate) const STRUCTURES: [(Structure, &str); 27] = [
    (Structure::Manifest, "MANIFEST"),
    (Structure::Anchor, "anchor"),
    (Structure::FrameHeader, "frame header"),
    (Structure::AppendEntry, "append entry"),
    (Structure::InlineData, "inline data"),
    (Structure::Snapshot, "snapshot"),
    (Structure::SnapshotTail, "snapshot's tail"),
    (Structure::SnapshotLists, "snapshot's lists"),
    (Structure::Lease, "lease"),
    (Structure::Start, "start"),
    (Structure::Compacted, "compacted"),
    (Structure::ShareState, "state of a share group"),
    (Structure::LastFrame, "last frame"),
    (Structure::BatchHeader, "batch header"),
    (Structure::Records, "records"),
    (Structure::CompactedHeader, "compacted batch header"),
    (Structure::CompactedRecords, "compacted records"),
    (Structure::SegmentPadding, "segment padding"),
    (Structure::IndexHeader, "index header"),
    (Structure::IndexPlaces, "index places"),
    (Structure::Reserved, "reserved, unused"),
    (Structure::FramePadding, "frame padding, unused"),
    (Structure::JournalUnused, "earlier laps, unused"),
    (Structure::SegmentAhead, "allocated ahead, unused"),
    (Structure::StaleBatches, "old batches, unused"),
    (Structure::Recycled, "recycled files, unused"),
    (Structure::OtherFile, "other files, unused"),
];

/// Bytes of a file that belong to one structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) path: String,
    pub(crate) bytes: Range<usize>,
    pub(crate) structure: Structure,
}

const BLOCK: usize = 4096;
const AREA_AT: usize = 2 * BLOCK;
const FRAME_HEADER: usize = 80;

/// Every byte of the directory, in regions.
pub(crate) fn regions(
    files: &Files,
    partitions: &BTreeMap<PartitionId, RecoveredPartition>,
) -> Vec<Region> {
    let mut map = Map { files, regions: Vec::new() };
    let manifest = files.0.get("MANIFEST").and_then(|bytes| Manifest::decode(bytes).ok());
    map.put("MANIFEST", 0..48, Structure::Manifest);
    for (path, bytes) in &files.0 {
        if path.starts_with("journal/")
            && let Some(manifest) = &manifest
            && let Some(anchor) =
                Anchor::newest(&bytes[..AREA_AT], manifest.data_dir, number_of(path))
        {
            map.journal(path, bytes, &anchor);
        }
    }
    for (id, partition) in partitions {
        map.partition(*id, partition);
    }
    map.rest();
    map.regions
}

/// Those of structures with this in their name.
pub(crate) fn only(regions: Vec<Region>, name: &str) -> Vec<Region> {
    let has = |structure: Structure| {
        STRUCTURES.iter().any(|(it, its_name)| *it == structure && its_name.contains(name))
    };
    regions.into_iter().filter(|region| has(region.structure)).collect()
}

struct Map<'a> {
    files: &'a Files,
    regions: Vec<Region>,
}

impl Map<'_> {
    fn put(&mut self, path: &str, bytes: Range<usize>, structure: Structure) {
        if !bytes.is_empty() {
            self.regions.push(Region { path: path.to_owned(), bytes, structure });
        }
    }

    fn journal(&mut self, path: &str, bytes: &[u8], anchor: &Anchor) {
        for at in [0, BLOCK] {
            self.put(path, at..at + 72, Structure::Anchor);
        }
        let area = (bytes.len() - AREA_AT) as u64;
        let mut frames: Vec<(usize, FrameHeader)> = Vec::new();
        let (mut position, mut sequence) = (anchor.head_position, anchor.head.0);
        loop {
            let front = position - position % area + area;
            let found = [position, front].into_iter().find_map(|position| {
                let at = AREA_AT + (position % area) as usize;
                let header = FrameHeader::decode(&bytes[at..])?;
                let is_next = header.sequence.0 == sequence && header.position == position;
                is_next.then_some((at, header))
            });
            let Some((at, header)) = found else { break };
            sequence += 1;
            position = header.position + header.length_bytes as u64;
            frames.push((at, header));
        }
        // One that rots cannot speak for itself, as the frames of a journal that grew would.
        let knows = |header: &FrameHeader| header.durable_through.0.min(header.sequence.0 - 1);
        let durable = frames.iter().map(|(_, header)| knows(header)).max().unwrap_or(0);
        for (at, header) in frames {
            if header.sequence.0 > durable {
                let used = FRAME_HEADER + header.body_bytes;
                self.put(path, at..at + used, Structure::LastFrame);
                self.put(path, at + used..at + header.length_bytes, Structure::FramePadding);
            } else {
                self.frame(path, bytes, at, &header);
            }
        }
    }

    fn frame(&mut self, path: &str, bytes: &[u8], at: usize, header: &FrameHeader) {
        self.put(path, at..at + FRAME_HEADER, Structure::FrameHeader);
        let end = at + FRAME_HEADER + header.body_bytes;
        let mut entry = at + FRAME_HEADER;
        while entry + 24 <= end {
            let length = number(bytes, entry + 4);
            if length < 24 || entry + length > end {
                break;
            }
            self.entry(path, bytes, entry..entry + length);
            entry += length;
        }
        self.put(path, end..at + header.length_bytes, Structure::FramePadding);
    }

    /// One entry of a frame: its fixed part, and what comes behind.
    fn entry(&mut self, path: &str, bytes: &[u8], at: Range<usize>) {
        let names_group = |range: Range<usize>| {
            bytes[range].windows(GROUP.len()).any(|window| window == GROUP.as_bytes())
        };
        let mut put = |from: usize, to: usize, structure| {
            let to = to.min(at.len());
            self.put(path, at.start + from.min(to)..at.start + to, structure);
        };
        match bytes[at.start] {
            1 => {
                put(0, 72, Structure::AppendEntry);
                let is_share = names_group(at.clone());
                let of_rest = if is_share { Structure::ShareState } else { Structure::InlineData };
                put(72, at.len(), of_rest);
            }
            2 => {
                let lists_at = 72 + 16 * number(bytes, at.start + 64);
                let tail = number(bytes, at.start + 68).next_multiple_of(8);
                put(0, lists_at, Structure::Snapshot);
                let is_share = names_group(at.start + lists_at..at.start + lists_at + tail);
                let of_tail =
                    if is_share { Structure::ShareState } else { Structure::SnapshotTail };
                put(lists_at, lists_at + tail, of_tail);
                put(lists_at + tail, at.len(), Structure::SnapshotLists);
            }
            0x20 => put(0, at.len(), Structure::Start),
            0x21 => put(0, at.len(), Structure::Compacted),
            _ => put(0, at.len(), Structure::Lease),
        }
    }

    fn partition(&mut self, id: PartitionId, partition: &RecoveredPartition) {
        let name = |segment, generation| SegmentName { segment, generation };
        let sealed = partition
            .sealed
            .iter()
            .map(|sealed| (name(sealed.base, sealed.compacted.generation), sealed.length_bytes));
        for (name, length) in sealed.chain([(name(partition.active, 0), partition.end())]) {
            let run = partition.runs.iter().find(|run| run.segment == name.segment);
            let stored = run.map_or(length, |run| run.stored.min(length)) as usize;
            let path = name.path(id);
            let Some(bytes) = self.files.0.get(&path) else { continue };
            let (of_header, of_records) = match name.generation {
                0 => (Structure::BatchHeader, Structure::Records),
                _ => (Structure::CompactedHeader, Structure::CompactedRecords),
            };
            let mut at = 0;
            while at < stored {
                let Ok(header) = BatchHeader::decode(&bytes[at..]) else { break };
                let end = (at + header.length_bytes).min(stored);
                self.put(&path, at..(at + 61).min(end), of_header);
                self.put(&path, (at + 61).min(end)..end, of_records);
                at = end;
            }
            let padded = stored.next_multiple_of(BLOCK).min(bytes.len());
            if name.segment != partition.active && stored == length as usize {
                self.put(&path, stored..padded, Structure::SegmentPadding);
            }
            for block in (padded..bytes.len()).step_by(BLOCK) {
                let range = block..(block + BLOCK).min(bytes.len());
                if bytes[range.clone()].iter().any(|byte| *byte != 0) {
                    self.put(&path, range, Structure::StaleBatches);
                }
            }
            let path = name.index_path(id);
            if let Some(bytes) = self.files.0.get(&path) {
                let places = number(bytes, 64);
                self.put(&path, 0..72, Structure::IndexHeader);
                self.put(&path, 72..72 + 24 * places, Structure::IndexPlaces);
            }
        }
    }

    /// What no structure holds.
    fn rest(&mut self) {
        let mut taken: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
        for region in &self.regions {
            taken.entry(&region.path).or_default().push(region.bytes.clone());
        }
        let mut unused = Vec::new();
        for (path, bytes) in &self.files.0 {
            let structure = match path.as_str() {
                "MANIFEST" => Structure::Reserved,
                path if path.starts_with("journal/") => Structure::JournalUnused,
                path if path.starts_with(RECYCLED_DIRECTORY) => Structure::Recycled,
                path if path.ends_with(".index") => Structure::Reserved,
                path if !taken.contains_key(path) => Structure::OtherFile,
                _ => Structure::SegmentAhead,
            };
            let mut ranges = taken.remove(path.as_str()).unwrap_or_default();
            ranges.sort_by_key(|range| range.start);
            ranges.push(bytes.len()..bytes.len());
            let mut at = 0;
            for range in ranges {
                unused.push((path.clone(), at..range.start, structure));
                at = at.max(range.end);
            }
        }
        for (path, bytes, structure) in unused {
            let is_anchor = path.starts_with("journal/") && bytes.end <= AREA_AT;
            let structure = if is_anchor { Structure::Reserved } else { structure };
            self.put(&path, bytes, structure);
        }
    }
}

/// The number in a journal's name.
fn number_of(path: &str) -> u16 {
    let name = path.trim_start_matches("journal/").trim_end_matches(".journal");
    name.parse().unwrap_or_default()
}

fn number(bytes: &[u8], at: usize) -> usize {
    let raw = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
    u32::from_le_bytes(raw) as usize
}
