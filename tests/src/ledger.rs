//! What the server said, over all its lives, and whether it kept its word.
//!
//! Each partition has a map from offset to the number of the record there, for every offset that
//! was ever shown to anyone: by an ack at any level, or to a consumer. What a newcomer gets wrong:
//! an offset whose record was lost stays in the map, because it must never be given to another.

use std::collections::BTreeMap;

use plimsoll_wire::{AckLevel, Watermarks};

/// A batch that was acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its partition.
    pub partition: u32,
    /// The deepest level that was acked.
    pub level: AckLevel,
    /// The offset of its first record.
    pub base_offset: u64,
    /// The number of its first record.
    pub first_id: u64,
    /// How many records.
    pub records: u32,
}

/// Everything that was acked or seen.
#[derive(Clone, Debug)]
pub struct Ledger {
    partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    /// By offset: who is there, and up to which level that was promised.
    records: BTreeMap<u64, Entry>,
    /// What is issued in this life of the server lies at or beyond.
    floor: u64,
    /// The greatest watermarks that anyone was told: memory, page_cache, disk.
    watermarks: [u64; 3],
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u64,
    promised: AckLevel,
    lost: bool,
}

impl Ledger {
    /// Nothing acked, nothing seen.
    #[must_use]
    pub fn new(partitions: u32) -> Ledger {
        Ledger { partitions: vec![Partition::default(); partitions as usize] }
    }

    /// How many partitions.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }

    /// A batch was acked.
    ///
    /// # Panics
    ///
    /// If one of its offsets was given to another record, or belongs to an earlier life.
    pub fn acked(&mut self, ack: &Ack) {
        for index in 0..u64::from(ack.records) {
            self.shown(ack.partition, ack.base_offset + index, ack.first_id + index, ack.level);
        }
    }

    /// A consumer at this level saw a record, or a producer was told.
    ///
    /// # Panics
    ///
    /// If its offset was given to another record, or belongs to an earlier life.
    pub fn shown(&mut self, partition: u32, offset: u64, id: u64, level: AckLevel) {
        let Partition { records, floor, .. } = &mut self.partitions[partition as usize];
        let is_known = records.contains_key(&offset);
        let entry = records.entry(offset).or_insert(Entry { id, promised: level, lost: false });
        assert_eq!(
            entry.id, id,
            "partition {partition}: offset {offset} was given to record {:#x} and to {id:#x}",
            entry.id
        );
        assert!(
            is_known || offset >= *floor,
            "partition {partition}: offset {offset} is given out after a restart, and {floor} is \
             the next that nobody can have seen"
        );
        assert!(
            !entry.lost,
            "partition {partition}: record {id:#x} at {offset} was gone, and is back"
        );
        entry.promised = entry.promised.max(level);
    }

    /// Someone was told where a partition stands.
    pub fn told(&mut self, partition: u32, watermarks: &Watermarks) {
        let Partition { watermarks: greatest, .. } = &mut self.partitions[partition as usize];
        let told = [watermarks.memory, watermarks.page_cache, watermarks.disk];
        for (greatest, told) in greatest.iter_mut().zip(told) {
            *greatest = (*greatest).max(told.value());
        }
    }

    /// Where a partition stands after a restart, before anything is appended.
    ///
    /// # Panics
    ///
    /// If a watermark went back, which no failure excuses: `disk` survives all of them, and the
    /// offsets below the others may have been seen and are not given out again.
    pub fn check_watermarks_after_restart(&mut self, partition: u32, watermarks: &Watermarks) {
        let greatest = self.partitions[partition as usize].watermarks;
        let told = [watermarks.memory, watermarks.page_cache, watermarks.disk];
        for (greatest, told) in greatest.into_iter().zip(told) {
            assert!(
                told.value() >= greatest,
                "partition {partition}: a watermark was {greatest}, and after a restart the \
                 partition stands at {watermarks:?}"
            );
        }
        self.told(partition, watermarks);
    }

    /// How many records are there, and how many are gone that were not promised to stay.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let records = self.partitions.iter().flat_map(|partition| partition.records.values());
        let (lost, there): (Vec<&Entry>, Vec<&Entry>) = records.partition(|entry| entry.lost);
        (there.len(), lost.len())
    }

    /// The server has died and lives again; `survived` is the level that its death leaves. What
    /// `found` gives of a partition, from the offset `from` on, is all that is there.
    ///
    /// # Panics
    ///
    /// If something promised is missing, changed, out of order, or not a prefix.
    pub fn check_after_restart(
        &mut self,
        partition: u32,
        from: u64,
        survived: AckLevel,
        found: &[(u64, u64)],
    ) {
        let Partition { records, floor, .. } = &mut self.partitions[partition as usize];
        for pair in found.windows(2) {
            assert!(pair[0].0 < pair[1].0, "partition {partition}: out of order at {pair:?}");
        }
        let mut there = found.iter().copied().peekable();
        let mut gone = None;
        for (&offset, entry) in records.range_mut(from..) {
            while there.next_if(|(place, _)| *place < offset).is_some() {}
            let Some((_, id)) = there.next_if(|(place, _)| *place == offset) else {
                assert!(
                    entry.promised < survived || entry.lost,
                    "partition {partition}: record {:#x} at {offset} was promised at {} and is \
                     gone",
                    entry.id,
                    entry.promised
                );
                if !entry.lost {
                    gone = gone.or(Some(offset));
                }
                entry.lost = true;
                continue;
            };
            assert_eq!(entry.id, id, "partition {partition}: another record is at {offset}");
            assert!(!entry.lost, "partition {partition}: {offset} was gone and is back");
            assert_eq!(
                gone, None,
                "partition {partition}: {offset} is there, and before it a hole"
            );
        }
        for (offset, id) in found {
            // What nobody was told of may be there; from now on it may not change either.
            let entry = Entry { id: *id, promised: AckLevel::Disk, lost: false };
            records.entry(*offset).or_insert(entry).promised = AckLevel::Disk;
        }
        let end = records.last_key_value().map_or(0, |(offset, _)| offset + 1);
        *floor = (*floor).max(end);
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::Offset;

    use super::*;

    /// Records 70, 71, 72 at 0, 1, 2: at disk, page_cache, memory.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(1);
        for (base_offset, level) in
            (0..).zip([AckLevel::Disk, AckLevel::PageCache, AckLevel::Memory])
        {
            let first_id = 70 + base_offset;
            ledger.acked(&Ack { partition: 0, level, base_offset, first_id, records: 1 });
        }
        ledger
    }

    fn check(survived: AckLevel, found: &[(u64, u64)]) -> Ledger {
        let mut ledger = ledger();
        ledger.check_after_restart(0, 0, survived, found);
        ledger
    }

    #[test]
    fn what_a_death_may_take_is_counted_as_lost() {
        assert_eq!(check(AckLevel::PageCache, &[(0, 70), (1, 71)]).counts(), (2, 1));
        assert_eq!(check(AckLevel::Disk, &[(0, 70)]).counts(), (1, 2));
    }

    #[test]
    #[should_panic(expected = "promised at page-cache and is gone")]
    fn a_missing_record_is_found() {
        check(AckLevel::PageCache, &[(0, 70)]);
    }

    #[test]
    #[should_panic(expected = "another record is at 0")]
    fn a_changed_record_is_found() {
        check(AckLevel::Disk, &[(0, 71)]);
    }

    #[test]
    #[should_panic(expected = "before it a hole")]
    fn a_hole_is_found() {
        check(AckLevel::Disk, &[(0, 70), (2, 72)]);
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn records_out_of_order_are_found() {
        check(AckLevel::Disk, &[(1, 71), (0, 70)]);
    }

    #[test]
    #[should_panic(expected = "3 is the next that nobody can have seen")]
    fn the_offset_of_a_lost_record_that_is_given_out_again_is_found() {
        let mut ledger = Ledger::new(1);
        ledger.shown(0, 2, 72, AckLevel::Memory);
        ledger.check_after_restart(0, 0, AckLevel::Disk, &[]);
        ledger.shown(0, 1, 99, AckLevel::Memory);
    }

    #[test]
    #[should_panic(expected = "a watermark was 3")]
    fn a_watermark_that_goes_back_is_found() {
        let at = |offset: u64| Watermarks {
            start: Offset::ZERO,
            memory: Offset::new(offset),
            page_cache: Offset::new(offset),
            disk: Offset::ZERO,
        };
        let mut ledger = Ledger::new(1);
        ledger.told(0, &at(3));
        ledger.told(0, &at(2));
        ledger.check_watermarks_after_restart(0, &at(2));
    }

    #[test]
    #[should_panic(expected = "was given to record")]
    fn an_offset_with_two_records_is_found() {
        ledger().shown(0, 2, 99, AckLevel::Memory);
    }
}
