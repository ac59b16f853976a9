//! What a damaged journal still says: its frames one by one, with or without an anchor.
//!
//! A start stops at the first frame that does not check, and may stop nowhere else. A repair reads
//! on: every later frame has positions and offsets of its own, so that for each partition it shows
//! whether something of it was lost in between. What a newcomer gets wrong: frames that a recovery
//! cut off once still lie in the file and check. Only a frame that knew the missing one to be on
//! disk, or one chained to such a frame, is taken after a gap.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::BLOCK_BYTES;

use crate::anchor::{ANCHOR_BYTES, Anchor};
use crate::entry::{AppendEntry, Entries, Entry};
use crate::frame::{FrameHeader, Sequence};
use crate::identity::PartitionId;
use crate::journal::Mark;
use crate::limits::FRAME_BYTES_MAX;
use crate::recovered::{Place, RecoveredPartition};
use crate::verify::DataFiles;
use crate::verify_journal::{JournalPlace, extent_matches, extents_of, mark_after};

const CHUNK_BYTES: usize = 1 << 20;

/// What could be read of a journal.
pub(crate) struct Salvaged {
    pub(crate) partitions: BTreeMap<PartitionId, SalvagedPartition>,
    pub(crate) gaps: Vec<Gap>,
    /// Frames that were read.
    pub(crate) frames: u64,
    /// The last one ends a clean stop: no lease is out.
    pub(crate) clean: bool,
}

/// Frames that are lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    /// Where in the file the first of them was expected.
    pub(crate) position_bytes: u64,
    pub(crate) first: Sequence,
    /// The next one that can be read, if there is one; the frame itself, if it checks and an entry
    /// in it does not.
    pub(crate) next: Option<Sequence>,
}

/// A partition as far as a damaged journal tells.
#[derive(Clone)]
pub(crate) struct SalvagedPartition {
    pub(crate) state: RecoveredPartition,
    /// Frames were lost, and nothing of the partition after them says that none of its data was.
    pub(crate) may_lack: bool,
    /// Frames were lost that may have had a longer lease.
    pub(crate) lease_unknown: bool,
    /// What came after the lost frames does not follow on what is known.
    pub(crate) broken: Option<&'static str>,
    /// The offset after the last one in anything that was read.
    pub(crate) seen: Offset,
}

/// Headers of all frames of a journal that lie where they say, of whatever age.
pub(crate) fn scan<F: DataFiles>(
    files: &mut F,
    path: &str,
    place: &JournalPlace,
) -> Vec<FrameHeader> {
    let mut headers = Vec::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < place.area_bytes {
        let length = (place.area_bytes - at).min(CHUNK_BYTES as u64);
        let piece = &mut buffer[..usize::try_from(length).unwrap_or(CHUNK_BYTES)];
        let read = files.read(path, ANCHOR_BYTES + at, piece);
        if read == Ok(0) {
            break;
        }
        if read != Ok(piece.len()) {
            // What the disk does not give is no frame; its neighbours may be.
            for (block, position) in piece.chunks_mut(BLOCK_BYTES).zip((at..).step_by(BLOCK_BYTES))
            {
                block.fill(0);
                let _unreadable = files.read(path, ANCHOR_BYTES + position, block);
            }
        }
        for (block, position) in piece.chunks(BLOCK_BYTES).zip((at..).step_by(BLOCK_BYTES)) {
            let is_ours = |header: &FrameHeader| {
                header.data_dir == place.data_dir
                    && header.journal == place.journal
                    && header.position % place.area_bytes == position
            };
            headers.extend(FrameHeader::decode(block).filter(is_ours));
        }
        at += length;
    }
    headers
}

/// Reads a journal in spite of its damage. Without an anchor, all frames of the last lap count:
/// what they say beyond what is needed has been said again by later ones.
pub(crate) fn salvage<F: DataFiles>(
    files: &mut F,
    path: &str,
    place: &JournalPlace,
    anchor: Option<&Anchor>,
) -> Salvaged {
    let headers = last_lap(scan(files, path, place), place, anchor);
    let first = headers.values().flatten().next().map(mark_of);
    let head = anchor.map(|anchor| Mark {
        sequence: anchor.head,
        position: anchor.head_position,
        previous_check: anchor.previous_check,
    });
    let salvaged =
        Salvaged { partitions: BTreeMap::new(), gaps: Vec::new(), frames: 0, clean: false };
    let Some(expected) = head.or(first) else { return salvaged };
    let reading = Reading {
        files,
        path,
        place: *place,
        headers,
        expected,
        epoch: 0,
        durable_through: Sequence(0),
        held: VecDeque::new(),
        front_unknown: anchor.is_none() && expected.sequence > Sequence(1),
        salvaged,
    };
    reading.run()
}

type Headers = BTreeMap<Sequence, Vec<FrameHeader>>;

/// Frames that the newest one has not written over, by sequence, those of the latest start first.
fn last_lap(headers: Vec<FrameHeader>, place: &JournalPlace, anchor: Option<&Anchor>) -> Headers {
    let mut by_sequence = Headers::new();
    let newest = headers.iter().max_by_key(|header| (header.epoch, header.sequence)).copied();
    let Some(newest) = newest else { return by_sequence };
    let end = mark_after(&newest).position;
    let head = anchor.map_or(Sequence(0), |anchor| anchor.head);
    for header in headers {
        let within = mark_after(&header).position <= end;
        let kept = header.position.saturating_add(place.area_bytes) >= end;
        if within && kept && header.sequence >= head && header.sequence <= newest.sequence {
            by_sequence.entry(header.sequence).or_default().push(header);
        }
    }
    for headers in by_sequence.values_mut() {
        headers.sort_by_key(|header| core::cmp::Reverse(header.epoch));
    }
    by_sequence
}

fn mark_of(header: &FrameHeader) -> Mark {
    Mark {
        sequence: header.sequence,
        position: header.position,
        previous_check: header.previous_check,
    }
}

struct Reading<'a, F> {
    files: &'a mut F,
    path: &'a str,
    place: JournalPlace,
    headers: Headers,
    expected: Mark,
    epoch: u64,
    durable_through: Sequence,
    held: VecDeque<(FrameHeader, Vec<u8>)>,
    /// Nobody knows whether the first frame that can be read was the oldest one needed.
    front_unknown: bool,
    salvaged: Salvaged,
}

impl<F: DataFiles> Reading<'_, F> {
    fn run(mut self) -> Salvaged {
        loop {
            if let Some((header, body)) = self.next_frame() {
                self.accept(header, body);
            } else if let Some(next) = self.frame_after_gap() {
                self.skip_to(&next);
            } else {
                break;
            }
        }
        self.settle_held();
        self.doubt_a_short_file();
        for partition in self.salvaged.partitions.values_mut() {
            let state = &mut partition.state;
            state.headless |= partition.may_lack && state.is_lease_only();
            state.seal_if_filled_up();
        }
        self.salvaged
    }

    /// The frame that follows on the last one, if it is whole.
    fn next_frame(&mut self) -> Option<(FrameHeader, Vec<u8>)> {
        let candidates = self.headers.get(&self.expected.sequence)?;
        let header = candidates.iter().find(|header| {
            header.previous_check == self.expected.previous_check && header.epoch >= self.epoch
        });
        let header = *header?;
        let mut frame = vec![0; header.length_bytes];
        let position = self.place.file_position(header.position);
        let read = self.files.read(self.path, position, &mut frame).ok()?;
        let body = header.body(frame.get(..read)?)?.to_vec();
        Some((header, body))
    }

    /// The first frame behind the missing one that, or a follower of which, knew it to be on disk.
    fn frame_after_gap(&self) -> Option<FrameHeader> {
        let missing = self.expected.sequence;
        let later = self.headers.range(missing.next()..).flat_map(|(_, headers)| headers);
        let later = later.filter(|header| header.epoch >= self.epoch);
        later.into_iter().find(|header| self.knows(header, missing)).copied()
    }

    fn knows(&self, header: &FrameHeader, missing: Sequence) -> bool {
        let mut header = header;
        loop {
            if header.durable_through >= missing {
                return true;
            }
            let followers = self.headers.get(&header.sequence.next());
            let follows = |next: &&FrameHeader| {
                next.previous_check == header.check && next.epoch >= header.epoch
            };
            match followers.and_then(|followers| followers.iter().find(follows)) {
                Some(next) => header = next,
                None => return false,
            }
        }
    }

    fn skip_to(&mut self, next: &FrameHeader) {
        // They were on disk with what they name: the frame behind the gap knew.
        while let Some((header, body)) = self.held.pop_front() {
            self.apply(&header, &body);
        }
        self.salvaged.gaps.push(Gap {
            position_bytes: self.place.file_position(self.expected.position),
            first: self.expected.sequence,
            next: Some(next.sequence),
        });
        self.doubt_all();
        self.expected = mark_of(next);
    }

    /// A file that lost its end may have lost frames with it that nothing else tells of.
    fn doubt_a_short_file(&mut self) {
        let found_bytes = self.files.length_bytes(self.path).unwrap_or(0);
        let position_bytes = self.place.file_position(self.expected.position);
        let is_short = found_bytes < ANCHOR_BYTES + self.place.area_bytes;
        if is_short && position_bytes + FRAME_BYTES_MAX as u64 > found_bytes {
            self.salvaged.gaps.push(Gap {
                position_bytes,
                first: self.expected.sequence,
                next: None,
            });
            self.doubt_all();
        }
    }

    fn doubt_all(&mut self) {
        for partition in self.salvaged.partitions.values_mut() {
            partition.may_lack = true;
            partition.lease_unknown = true;
        }
    }

    fn accept(&mut self, header: FrameHeader, body: Vec<u8>) {
        self.epoch = header.epoch;
        self.expected = mark_after(&header);
        self.durable_through = self.durable_through.max(header.durable_through);
        self.held.push_back((header, body));
        while let Some((header, body)) =
            self.held.pop_front_if(|(header, _)| header.sequence <= self.durable_through)
        {
            self.apply(&header, &body);
        }
    }

    /// The last frames count as far as what they name is on disk; as at a start.
    fn settle_held(&mut self) {
        while let Some((header, body)) = self.held.pop_front() {
            let is_whole = extents_of(&body).iter().all(|(id, segment, extent)| {
                matches!(extent_matches(self.files, *id, *segment, extent), Ok(true))
            });
            if !is_whole {
                return;
            }
            self.apply(&header, &body);
        }
    }

    fn apply(&mut self, header: &FrameHeader, body: &[u8]) {
        self.salvaged.frames += 1;
        self.salvaged.clean = header.clean;
        let place =
            Place { epoch: header.epoch, journal: header.journal, sequence: header.sequence };
        for entry in Entries::new(body) {
            let Ok(entry) = entry else {
                let position_bytes = self.place.file_position(header.position);
                let (first, next) = (header.sequence, Some(header.sequence));
                self.salvaged.gaps.push(Gap { position_bytes, first, next });
                return self.doubt_all();
            };
            self.apply_entry(&entry, place);
        }
    }

    fn apply_entry(&mut self, entry: &Entry<'_>, place: Place) {
        let may_lack = self.front_unknown || !self.salvaged.gaps.is_empty();
        let partitions = &mut self.salvaged.partitions;
        match entry {
            Entry::Snapshot(entry) => {
                let state = RecoveredPartition::from_snapshot(entry, place);
                partitions.insert(entry.partition, SalvagedPartition::sound(state));
            }
            Entry::Lease(id, lease) => {
                let partition = partitions.entry(*id);
                partition
                    .or_insert_with(|| SalvagedPartition::begin(place, may_lack))
                    .lease(*lease, place);
            }
            Entry::Producers(entry) => {
                if let Some(partition) = partitions.get_mut(&entry.partition)
                    && partition.broken.is_none()
                {
                    partition.state.set_producers(entry);
                }
            }
            Entry::Start(entry) => {
                let partition = partitions.entry(entry.partition);
                partition
                    .or_insert_with(|| SalvagedPartition::begin(place, may_lack))
                    .apply(place, |state| state.move_start(entry, place));
            }
            Entry::Compacted(entry) => {
                let partition = partitions.entry(entry.partition);
                partition
                    .or_insert_with(|| SalvagedPartition::begin(place, may_lack))
                    .apply(place, |state| state.compacted(entry, place));
            }
            Entry::Append(entry) => {
                let partition = partitions.entry(entry.partition);
                partition
                    .or_insert_with(|| SalvagedPartition::begin(place, may_lack))
                    .append(entry, place);
            }
        }
    }
}

impl SalvagedPartition {
    pub(crate) fn sound(state: RecoveredPartition) -> Self {
        let seen = state.next_offset;
        Self { state, may_lack: false, lease_unknown: false, broken: None, seen }
    }

    fn begin(place: Place, may_lack: bool) -> Self {
        let state = RecoveredPartition::begin(Offset::ZERO, place);
        Self { may_lack, lease_unknown: may_lack, ..Self::sound(state) }
    }

    fn lease(&mut self, lease: Offset, place: Place) {
        self.state.set_lease(lease, place);
        self.lease_unknown = false;
    }

    /// A start or what was compacted. Records that were deleted must not come back: what can be
    /// known of the start is kept.
    fn apply(
        &mut self,
        place: Place,
        entry: impl FnOnce(&mut RecoveredPartition) -> Result<(), &'static str>,
    ) {
        self.state.headless |= self.state.is_lease_only();
        if self.broken.is_some() {
            self.state.epoch = place.epoch;
            return;
        }
        let before = self.may_lack.then(|| self.state.clone());
        match (entry(&mut self.state), before) {
            (Ok(()), _) => {}
            (Err(what), Some(before)) => {
                self.state = RecoveredPartition { epoch: place.epoch, ..before };
                self.broken = Some(what);
            }
            (Err(what), None) => {
                self.state.headless = true;
                self.broken = Some(what);
            }
        }
    }

    fn append(&mut self, entry: &AppendEntry<'_>, place: Place) {
        let is_new = entry.end > entry.position;
        if is_new {
            self.seen = self.seen.max(entry.next_offset);
        }
        let begins = entry.segment == Offset::ZERO && entry.position == 0;
        self.state.headless |= !begins && self.state.is_lease_only();
        if self.broken.is_some() {
            self.state.epoch = place.epoch;
            return;
        }
        let before = self.may_lack.then(|| self.state.clone());
        if self.may_lack {
            self.state.skip_moved(entry);
        }
        match (self.state.append(entry, place), before) {
            (Ok(()), _) if is_new => self.may_lack = false,
            (Ok(()), _) => {}
            (Err(what), Some(before)) => {
                self.state = RecoveredPartition { epoch: place.epoch, ..before };
                self.broken = Some(what);
            }
            // In a sound chain: it was written wrongly, and what it left is not to be trusted.
            (Err(what), None) => {
                self.state.headless = true;
                self.broken = Some(what);
            }
        }
    }

    /// An offset beyond all that may ever have been shown.
    pub(crate) fn lease_needed(&self, clean: bool) -> Offset {
        let known = self.seen.max(self.state.lease).max(self.state.next_offset);
        let unknown = self.may_lack || (self.lease_unknown && !clean);
        if unknown { beyond_all(known) } else { known }
    }
}

/// Offsets that are left out where nobody can know any more how many were given out.
const UNKNOWN_OFFSETS: u64 = 1 << 40;

/// Beyond everything that can have been given out after `known`.
pub(crate) fn beyond_all(known: Offset) -> Offset {
    Offset::new(known.value().saturating_add(UNKNOWN_OFFSETS).min(Offset::MAX.value()))
}
