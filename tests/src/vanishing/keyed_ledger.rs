//! What was written to a compacted topic, over all lives, and which of it may be gone.
//!
//! A record may be gone for three reasons: a later one of its key is there or was; it deleted its
//! key and nothing that the key had before is left; a crash took it, with all behind it, and nobody
//! was promised otherwise. What a newcomer gets wrong: what a crash took explains nothing; the
//! record before it must be there.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_wire::AckLevel;

use super::keyed::{is_deletion, key_of};
use crate::Ack;

/// One partition of a compacted topic.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyedLedger {
    /// By offset: everything that was ever there, as far as anybody was told.
    records: BTreeMap<u64, Entry>,
    /// What is issued in this life of the server lies at or beyond.
    floor: u64,
    /// Keys of deletions that were sent in the last life and not answered.
    open_deletions: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u64,
    promised: AckLevel,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    There,
    Compacted,
    Lost,
}

/// What is known of a key while the log is walked from its end.
#[derive(Clone, Copy, Debug, Default)]
struct Later {
    /// A later record is or was there.
    covers: bool,
    /// It is deleted, and the deletion is gone: there is nothing before it.
    hides: Option<u64>,
}

impl KeyedLedger {
    /// A batch was acked.
    ///
    /// # Panics
    ///
    /// If one of its offsets was given to another record, or belongs to an earlier life.
    pub(super) fn acked(&mut self, ack: &Ack) {
        for index in 0..u64::from(ack.records) {
            let (offset, id) = (ack.base_offset + index, ack.first_id + index);
            let new = Entry { id, promised: ack.level, fate: Fate::There };
            let is_known = self.records.contains_key(&offset);
            let entry = self.records.entry(offset).or_insert(new);
            assert_eq!(entry.id, id, "offset {offset} was given to {:#x} and {id:#x}", entry.id);
            assert!(is_known || offset >= self.floor, "offset {offset} is given out again");
            entry.promised = entry.promised.max(ack.level);
        }
    }

    /// A batch was sent, and nobody knows.
    pub(super) fn open(&mut self, first_id: u64, records: u32) {
        let ids = first_id..first_id + u64::from(records);
        self.open_deletions.extend(ids.filter(|id| is_deletion(*id)).map(key_of));
    }

    /// The server has died and lives again; `survived` is the level that its death leaves. What is
    /// found is all that is there. `took_long`: deletions that nobody was told of may have come and
    /// gone by now.
    ///
    /// # Panics
    ///
    /// If something is missing that may not be, or there that may not be.
    pub(super) fn check_after_restart(
        &mut self,
        survived: AckLevel,
        found: &[(u64, u64)],
        took_long: bool,
    ) {
        for pair in found.windows(2) {
            assert!(pair[0].0 < pair[1].0, "out of order at {pair:?}");
        }
        for (offset, id) in found {
            let new = Entry { id: *id, promised: AckLevel::Disk, fate: Fate::There };
            let is_known = self.records.contains_key(offset);
            let entry = self.records.entry(*offset).or_insert(new);
            assert_eq!(entry.id, *id, "another record is at {offset}");
            assert!(entry.fate == Fate::There, "{id:#x} at {offset} was gone and is back");
            assert!(is_known || *offset >= self.floor, "offset {offset} is given out again");
            entry.promised = AckLevel::Disk;
        }
        let unsure = if took_long { self.open_deletions.clone() } else { BTreeSet::new() };
        self.walk_back(survived, found, &unsure);
        self.open_deletions.clear();
        let end = self.records.last_key_value().map_or(0, |(offset, _)| offset + 1);
        self.floor = self.floor.max(end);
    }

    fn walk_back(&mut self, survived: AckLevel, found: &[(u64, u64)], unsure: &BTreeSet<u64>) {
        let mut keys: BTreeMap<u64, Later> = BTreeMap::new();
        let mut there = found.iter().rev().map(|(offset, _)| *offset).peekable();
        let end = found.last().map_or(0, |(offset, _)| offset + 1);
        for (&offset, entry) in self.records.iter_mut().rev() {
            let Entry { id, promised, fate } = *entry;
            let key = key_of(id);
            if offset >= end {
                let is_gone = fate == Fate::Lost || promised < survived;
                assert!(is_gone, "record {id:#x} at {offset}, promised at {promised}, is gone");
                entry.fate = Fate::Lost;
                continue;
            }
            if fate == Fate::Lost {
                continue;
            }
            let later = keys.entry(key).or_default();
            if there.next_if_eq(&offset).is_some() {
                if let Some(deleted) = later.hides {
                    panic!("key {key} was deleted at {deleted}, and its value at {offset} is back");
                }
                later.covers = true;
                continue;
            }
            if !later.covers && is_deletion(id) {
                later.hides = Some(offset);
            } else {
                assert!(
                    later.covers || later.hides.is_some() || unsure.contains(&key),
                    "record {id:#x} at {offset} is the latest of key {key}, and is gone"
                );
            }
            later.covers |= later.hides.is_none();
            entry.fate = Fate::Compacted;
        }
    }

    /// How many records there were, how many are compacted, and how many deletions of these.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let compacted = self.records.values().filter(|entry| entry.fate == Fate::Compacted);
        let deletions = compacted.clone().filter(|entry| is_deletion(entry.id)).count();
        (self.records.len(), compacted.count(), deletions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of a key's records in this order: values, or deletions.
    fn ids<const N: usize>(key: u64, deletes: [bool; N]) -> [u64; N] {
        let mut from = 0;
        deletes.map(|deletes| {
            let fits = |id: &u64| key_of(*id) == key && is_deletion(*id) == deletes;
            let id = (from..).find(fits).unwrap();
            from = id + 1;
            id
        })
    }

    /// A ledger with these at the offsets 0, 1, 2 ..., acked at disk.
    fn ledger(ids: &[u64]) -> KeyedLedger {
        let mut ledger = KeyedLedger::default();
        for (base_offset, first_id) in (0..).zip(ids.iter().copied()) {
            let level = AckLevel::Disk;
            ledger.acked(&Ack { partition: 0, level, base_offset, first_id, records: 1 });
        }
        ledger
    }

    #[test]
    fn what_a_later_record_stands_for_may_be_gone_and_a_deleted_key_too() {
        let [old, new] = ids(1, [false, false]);
        let [value, deletion] = ids(2, [false, true]);
        let [last] = ids(3, [false]);
        let mut ledger = ledger(&[old, value, new, deletion, last]);
        ledger.check_after_restart(AckLevel::Disk, &[(1, value), (2, new), (4, last)][1..], false);
        assert_eq!(ledger.counts(), (5, 3, 1));
    }

    #[test]
    #[should_panic(expected = "is the latest of key 1, and is gone")]
    fn the_latest_record_of_a_key_that_is_missing_is_found() {
        let ([old, new], [last]) = (ids(1, [false, false]), ids(3, [false]));
        ledger(&[old, new, last]).check_after_restart(
            AckLevel::Disk,
            &[(0, old), (2, last)],
            false,
        );
    }

    #[test]
    #[should_panic(expected = "was deleted at 1, and its value at 0 is back")]
    fn a_deleted_key_that_comes_back_is_found() {
        let ([value, deletion], [last]) = (ids(2, [false, true]), ids(3, [false]));
        let found = [(0, value), (2, last)];
        ledger(&[value, deletion, last]).check_after_restart(AckLevel::Disk, &found, false);
    }

    #[test]
    #[should_panic(expected = "was gone and is back")]
    fn a_record_that_was_compacted_and_comes_back_is_found() {
        let [old, new] = ids(1, [false, false]);
        let mut ledger = ledger(&[old, new]);
        ledger.check_after_restart(AckLevel::Disk, &[(1, new)], false);
        ledger.check_after_restart(AckLevel::Disk, &[(0, old), (1, new)], false);
    }

    /// The record that a compaction went by was not on disk yet, and power took it.
    #[test]
    #[should_panic(expected = "is the latest of key 1, and is gone")]
    fn a_record_that_went_for_one_which_a_crash_took_is_found() {
        let ([old, new], [last]) = (ids(1, [false, false]), ids(3, [false]));
        let mut ledger = ledger(&[old, last]);
        let ack = Ack {
            partition: 0,
            level: AckLevel::Memory,
            base_offset: 2,
            first_id: new,
            records: 1,
        };
        ledger.acked(&ack);
        ledger.check_after_restart(AckLevel::Disk, &[(1, last)], false);
    }

    #[test]
    #[should_panic(expected = "promised at disk, is gone")]
    fn an_end_that_was_promised_and_is_missing_is_found() {
        let [old, new] = ids(1, [false, false]);
        ledger(&[old, new]).check_after_restart(AckLevel::Disk, &[(0, old)], false);
    }

    #[test]
    fn a_deletion_of_unknown_fate_explains_a_key_that_is_gone_only_after_a_while() {
        let ([value, deletion], [last]) = (ids(2, [false, true]), ids(3, [false]));
        let mut books = ledger(&[value]);
        books.open(deletion, 1);
        let found = [(2, last)];
        let check = |took_long| {
            let mut books = books.clone();
            std::panic::catch_unwind(move || {
                books.check_after_restart(AckLevel::Disk, &found, took_long);
            })
        };
        assert!(check(true).is_ok());
        assert!(check(false).is_err());
    }
}
