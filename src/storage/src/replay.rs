//! Reading a journal: the chain of frames from the head on, and what lies beyond its end.
//!
//! The bytes of one lap are fed in order, beginning at the head. Frames are taken as long as each
//! follows on the one before. Where the chain ends, the rest is searched for a later frame that
//! knew the missing one to be on disk: if there is one, the journal is damaged; if not, its tail
//! was torn, and is cut.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::BLOCK_BYTES;

use crate::anchor::Anchor;
use crate::entry::{Entries, Entry};
use crate::error::Damage;
use crate::frame::{FrameHeader, Sequence};
use crate::identity::PartitionId;
use crate::journal::{Mark, journal_path};
use crate::manifest::DataDirId;
use crate::recovered::{Place, RecoveredPartition};

/// A frame that checks but may have been written just before the end: what it names is not known to
/// be on disk.
pub(crate) struct HeldFrame {
    pub(crate) header: FrameHeader,
    pub(crate) body: Vec<u8>,
}

/// A journal being read.
pub(crate) struct Replay {
    data_dir: DataDirId,
    journal: u16,
    area_bytes: u64,
    /// The frame that comes next, and where.
    expected: Mark,
    epoch: u64,
    /// Position of `buffer[0]`, counted on over all laps.
    at: u64,
    buffer: Vec<u8>,
    consumed: usize,
    in_chain: bool,
    durable_through: Sequence,
    held: VecDeque<HeldFrame>,
    partitions: BTreeMap<PartitionId, RecoveredPartition>,
    damage: Option<Damage>,
    frames: u64,
    clean: bool,
    newest_epoch: u64,
    cut_bytes: u64,
}

/// What a journal came to.
pub(crate) struct Replayed {
    pub(crate) partitions: BTreeMap<PartitionId, RecoveredPartition>,
    pub(crate) next: Mark,
    pub(crate) damage: Option<Damage>,
    pub(crate) frames: u64,
    /// Bytes of frames behind the end that were under way when the writer ended, as far as what is
    /// left of them tells.
    pub(crate) cut_bytes: u64,
    /// The latest start of which there is a frame anywhere in the file; 0 if there is none.
    pub(crate) newest_epoch: u64,
}

impl Replay {
    pub(crate) fn new(anchor: &Anchor, area_bytes: u64) -> Self {
        Self {
            data_dir: anchor.data_dir,
            journal: anchor.journal,
            area_bytes,
            expected: Mark {
                sequence: anchor.head,
                position: anchor.head_position,
                previous_check: anchor.previous_check,
            },
            epoch: 0,
            at: anchor.head_position,
            buffer: Vec::new(),
            consumed: 0,
            in_chain: true,
            durable_through: Sequence(0),
            held: VecDeque::new(),
            partitions: BTreeMap::new(),
            damage: None,
            frames: 0,
            clean: false,
            newest_epoch: 0,
            cut_bytes: 0,
        }
    }

    /// Takes the next bytes of the lap; whole blocks.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while self.step(false) {}
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
    }

    /// The lap is over: what is still incomplete is torn.
    pub(crate) fn finish(&mut self) {
        while self.step(true) {}
        self.buffer.clear();
        self.consumed = 0;
    }

    /// Looks at one block or frame. False when more bytes are needed.
    fn step(&mut self, last: bool) -> bool {
        let rest = &self.buffer[self.consumed..];
        if rest.len() < BLOCK_BYTES {
            return false;
        }
        let header = FrameHeader::decode(rest).filter(|header| self.is_of_journal(header));
        self.newest_epoch = self.newest_epoch.max(header.map_or(0, |header| header.epoch));
        let Some(header) = header.filter(|header| header.position == self.at) else {
            self.count_torn_header(header.is_some());
            self.in_chain = false;
            self.consume(BLOCK_BYTES);
            return true;
        };
        if !self.follows(&header) {
            self.in_chain = false;
            self.look_for_damage(&header);
            self.count_cut(&header);
            self.consume(BLOCK_BYTES);
            return true;
        }
        if rest.len() < header.length_bytes && !last {
            return false;
        }
        match header.body(rest).map(<[u8]>::to_vec) {
            Some(body) => {
                self.accept(HeldFrame { header, body });
                self.consume(header.length_bytes);
            }
            None => {
                self.in_chain = false;
                self.count_cut(&header);
                self.consume(BLOCK_BYTES);
            }
        }
        true
    }

    fn consume(&mut self, bytes: usize) {
        self.consumed += bytes;
        self.at += bytes as u64;
    }

    /// Whether it was written to this journal, now or laps ago.
    fn is_of_journal(&self, header: &FrameHeader) -> bool {
        header.data_dir == self.data_dir && header.journal == self.journal
    }

    /// Whether this is the frame that comes next: right behind the last one, or, where it would
    /// not have fitted, at the front of the file.
    fn follows(&self, header: &FrameHeader) -> bool {
        let at_front = self.at.is_multiple_of(self.area_bytes);
        (self.in_chain || at_front)
            && header.sequence == self.expected.sequence
            && header.previous_check == self.expected.previous_check
            && header.epoch >= self.epoch
    }

    /// A later frame that knew the missing one to be on disk says that it is damaged.
    fn look_for_damage(&mut self, header: &FrameHeader) {
        let missing = self.expected.sequence;
        let knew = header.sequence > missing && header.durable_through >= missing;
        if knew && header.epoch >= self.epoch && self.damage.is_none() {
            let what = format!(
                "frame {missing} does not check, but frame {} says that it was on disk",
                header.sequence
            );
            self.damage = Some(self.damage_at(self.expected.position, what));
        }
    }

    /// The frame that comes next may have begun here.
    fn count_torn_header(&mut self, is_other_frame: bool) {
        let raw = &self.buffer[self.consumed..];
        let here = (self.expected.sequence, self.at);
        if !is_other_frame && let Some(torn) = FrameHeader::torn_bytes(raw, self.data_dir, here) {
            self.cut_bytes += torn as u64;
        }
    }

    /// A frame of the last writer that does not count. Those that an earlier start cut off are of
    /// an earlier one, if anything was written since.
    fn count_cut(&mut self, header: &FrameHeader) {
        if header.sequence >= self.expected.sequence && header.epoch >= self.epoch {
            self.cut_bytes += header.length_bytes as u64;
        }
    }

    fn damage_at(&self, position: u64, what: String) -> Damage {
        Damage {
            path: journal_path(self.journal),
            position_bytes: crate::anchor::ANCHOR_BYTES + position % self.area_bytes,
            partition: None,
            what,
        }
    }

    fn accept(&mut self, frame: HeldFrame) {
        let header = frame.header;
        self.in_chain = true;
        self.frames += 1;
        self.epoch = header.epoch;
        self.clean = header.clean;
        self.expected = Mark {
            sequence: header.sequence.next(),
            position: header.position + header.length_bytes as u64,
            previous_check: header.check,
        };
        self.durable_through = self.durable_through.max(header.durable_through);
        self.held.push_back(frame);
        while self.held.front().is_some_and(|frame| frame.header.sequence <= self.durable_through) {
            if let Some(frame) = self.held.pop_front() {
                self.apply(&frame);
            }
        }
    }

    /// The oldest frame whose extents are still to be looked at.
    pub(crate) fn front_held(&self) -> Option<&HeldFrame> {
        self.held.front()
    }

    /// Its extents are on disk: it counts.
    pub(crate) fn take_held(&mut self) {
        if let Some(frame) = self.held.pop_front() {
            self.apply(&frame);
        }
    }

    /// An extent of it is not on disk: it and what follows was never acked, and is cut.
    pub(crate) fn cut_held(&mut self) {
        if let Some(frame) = self.held.front() {
            self.expected = Mark {
                sequence: frame.header.sequence,
                position: frame.header.position,
                previous_check: frame.header.previous_check,
            };
            self.frames -= self.held.len() as u64;
            let cut = self.held.iter().map(|frame| frame.header.length_bytes as u64);
            self.cut_bytes += cut.sum::<u64>();
        }
        self.held.clear();
    }

    fn apply(&mut self, frame: &HeldFrame) {
        if self.damage.as_ref().is_some_and(|_| frame.header.sequence >= self.expected.sequence) {
            return;
        }
        let place = Place {
            epoch: frame.header.epoch,
            journal: self.journal,
            sequence: frame.header.sequence,
        };
        for entry in Entries::new(&frame.body) {
            let applied = match entry {
                Ok(entry) => self.apply_entry(&entry, place),
                Err(_) => Err("an entry does not read"),
            };
            if let Err(what) = applied
                && self.damage.is_none()
            {
                let what = format!("frame {}: {what}", frame.header.sequence);
                self.damage = Some(self.damage_at(frame.header.position, what));
            }
        }
    }

    fn apply_entry(&mut self, entry: &Entry<'_>, place: Place) -> Result<(), &'static str> {
        match entry {
            Entry::Append(entry) => {
                let begins = entry.segment == Offset::ZERO && entry.position == 0;
                let partition = self.partitions.entry(entry.partition);
                let partition =
                    partition.or_insert_with(|| RecoveredPartition::begin(Offset::ZERO, place));
                // The head may stand behind a partition's first frames when a snapshot of it is
                // further on; what lies between says nothing.
                partition.headless |= !begins && partition.is_lease_only();
                partition.append(entry, place)
            }
            Entry::Snapshot(entry) => {
                let partition = RecoveredPartition::from_snapshot(entry, place);
                self.partitions.insert(entry.partition, partition);
                Ok(())
            }
            Entry::Lease(id, lease) => {
                // A lease without data before it is the first thing of a new partition.
                let partition = self.partitions.entry(*id);
                partition
                    .or_insert_with(|| RecoveredPartition::begin(Offset::ZERO, place))
                    .set_lease(*lease, place);
                Ok(())
            }
            Entry::Producers(entry) => match self.partitions.get_mut(&entry.partition) {
                Some(partition) => {
                    partition.set_producers(entry);
                    Ok(())
                }
                None => Err("producers of a partition without data"),
            },
            Entry::Start(entry) => {
                let partition = self.partitions.entry(entry.partition);
                let partition =
                    partition.or_insert_with(|| RecoveredPartition::begin(Offset::ZERO, place));
                // As with data: what it is about is not in the journal, and a snapshot follows.
                partition.headless |= partition.is_lease_only();
                partition.move_start(entry, place)
            }
            Entry::Compacted(entry) => {
                let partition = self.partitions.entry(entry.partition);
                let partition =
                    partition.or_insert_with(|| RecoveredPartition::begin(Offset::ZERO, place));
                partition.headless |= partition.is_lease_only();
                partition.compacted(entry, place)
            }
        }
    }

    /// What the journal came to, after `finish` and when no frame is held any more.
    pub(crate) fn outcome(mut self) -> Replayed {
        for partition in self.partitions.values_mut() {
            partition.seal_if_filled_up();
        }
        // What is damaged stays as it is.
        let is_damaged = self.damage.is_some();
        Replayed {
            partitions: self.partitions,
            next: self.expected,
            damage: self.damage,
            frames: self.frames,
            newest_epoch: self.newest_epoch,
            cut_bytes: if is_damaged { 0 } else { self.cut_bytes },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::crc;
    use crate::entry::{LEASE_BYTES, encode_lease};
    use crate::frame::FRAME_HEADER_BYTES;
    use alloc::vec;
    use proptest::prelude::*;

    const DIR: DataDirId = DataDirId([9; 16]);
    const BLOCKS: u64 = 16;
    const ID: PartitionId = PartitionId { topic: 1, partition: 0 };

    /// A journal's area, written frame by frame of one block each.
    struct Area {
        bytes: Vec<u8>,
        next: Mark,
        epoch: u64,
    }

    impl Area {
        fn new() -> Self {
            let next = Mark { sequence: Sequence(1), position: 0, previous_check: 0 };
            Self { bytes: vec![0; BLOCKS as usize * BLOCK_BYTES], next, epoch: 1 }
        }

        fn write(&mut self, durable_through: u64) -> usize {
            let mut frame = vec![0; BLOCK_BYTES];
            let lease = Offset::new(self.next.sequence.0 * 100);
            encode_lease(ID, lease, &mut frame[FRAME_HEADER_BYTES..]);
            let mut header = FrameHeader {
                clean: false,
                length_bytes: BLOCK_BYTES,
                body_bytes: LEASE_BYTES,
                data_dir: DIR,
                journal: 0,
                epoch: self.epoch,
                sequence: self.next.sequence,
                position: self.next.position,
                durable_through: Sequence(durable_through),
                body_crc: crc(&frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + LEASE_BYTES]),
                previous_check: self.next.previous_check,
                check: 0,
            };
            header.check = header.encode(&mut frame);
            let at = (self.next.position % (BLOCKS * BLOCK_BYTES as u64)) as usize;
            self.bytes[at..at + BLOCK_BYTES].copy_from_slice(&frame);
            self.next = Mark {
                sequence: header.sequence.next(),
                position: header.position + BLOCK_BYTES as u64,
                previous_check: header.check,
            };
            at
        }

        fn replay(&self, head: Mark) -> Replay {
            let anchor = Anchor {
                data_dir: DIR,
                journal: 0,
                generation: 1,
                head: head.sequence,
                head_position: head.position,
                previous_check: head.previous_check,
                file_bytes: 0,
            };
            let mut replay = Replay::new(&anchor, BLOCKS * BLOCK_BYTES as u64);
            let at = (head.position % (BLOCKS * BLOCK_BYTES as u64)) as usize;
            for part in [&self.bytes[at..], &self.bytes[..at]] {
                for piece in part.chunks(3 * BLOCK_BYTES) {
                    replay.feed(piece);
                }
            }
            replay.finish();
            replay
        }
    }

    fn origin() -> Mark {
        Mark { sequence: Sequence(1), position: 0, previous_check: 0 }
    }

    fn all(mut replay: Replay) -> Replayed {
        while replay.front_held().is_some() {
            replay.take_held();
        }
        replay.outcome()
    }

    #[test]
    fn a_chain_is_read_to_its_end_over_the_end_of_the_file() {
        let mut area = Area::new();
        let mut head = origin();
        for number in 0..30_u64 {
            if number == 20 {
                head = area.next;
            }
            area.write(number);
        }
        let replayed = all(area.replay(head));
        assert_eq!((replayed.frames, replayed.cut_bytes), (10, 0));
        assert_eq!(replayed.next, area.next);
        assert!(replayed.damage.is_none());
        assert_eq!(replayed.partitions[&ID].lease, Offset::new(3000));
    }

    #[test]
    fn a_torn_tail_is_cut_although_the_frame_after_it_landed() {
        let mut area = Area::new();
        area.write(0);
        let torn = area.write(0);
        area.write(1);
        area.bytes[torn + 100] ^= 1;
        let replayed = all(area.replay(origin()));
        assert_eq!((replayed.frames, replayed.cut_bytes), (1, 2 * BLOCK_BYTES as u64));
        assert_eq!(replayed.next.sequence, Sequence(2));
        assert!(replayed.damage.is_none());
    }

    #[test]
    fn damage_below_the_durable_mark_is_reported_and_not_skipped() {
        let mut area = Area::new();
        area.write(0);
        let damaged = area.write(1);
        area.write(1);
        area.write(3);
        area.bytes[damaged + 90] ^= 1;
        let replayed = all(area.replay(origin()));
        assert_eq!(replayed.frames, 1);
        let damage = replayed.damage.unwrap();
        assert_eq!(damage.position_bytes, crate::anchor::ANCHOR_BYTES + damaged as u64);
        assert_eq!(replayed.partitions[&ID].lease, Offset::new(100));
    }

    #[test]
    fn frames_that_an_earlier_recovery_cut_off_do_not_come_back() {
        let mut area = Area::new();
        area.write(0);
        let cut = area.next;
        area.write(0);
        area.write(1);
        area.next = cut;
        area.epoch = 2;
        area.write(1);
        let replayed = all(area.replay(origin()));
        assert_eq!(replayed.cut_bytes, 0, "they were counted when they were cut");
        assert_eq!(replayed.frames, 2, "the old third frame does not follow on the new second");
        assert_eq!(replayed.next, area.next);
        assert!(replayed.damage.is_none());
    }

    #[test]
    fn the_last_frames_are_held_until_their_extents_are_seen() {
        let mut area = Area::new();
        area.write(0);
        area.write(1);
        area.write(1);
        let mut replay = area.replay(origin());
        assert_eq!(replay.front_held().unwrap().header.sequence, Sequence(2));
        replay.cut_held();
        let replayed = replay.outcome();
        assert_eq!(replayed.next.sequence, Sequence(2));
        assert_eq!((replayed.frames, replayed.cut_bytes), (1, 2 * BLOCK_BYTES as u64));
    }

    #[test]
    fn a_torn_header_is_counted_as_long_as_it_says() {
        let mut area = Area::new();
        area.write(0);
        let torn = area.write(0);
        area.bytes[torn + 60] ^= 1;
        assert_eq!(all(area.replay(origin())).cut_bytes, BLOCK_BYTES as u64);
        area.bytes[torn..torn + BLOCK_BYTES].fill(0);
        assert_eq!(all(area.replay(origin())).cut_bytes, 0, "nothing of it is there");
    }

    proptest! {
        #[test]
        fn arbitrary_journals_never_panic(
            noise in proptest::collection::vec((0_usize..65_536, any::<u8>()), 0..40),
            frames in 1_u64..40,
        ) {
            let mut area = Area::new();
            for number in 0..frames {
                area.write(number);
            }
            for (at, byte) in noise {
                area.bytes[at] = byte;
            }
            let replayed = all(area.replay(origin()));
            prop_assert!(replayed.frames <= frames);
        }
    }
}
