//! What was acked, and the comparison with what is there.
//!
//! The ledger keeps a line for each acked batch, not for each record: the values follow from the
//! [`Source`]. What a newcomer gets wrong: a record that was *not* acked may be there as well. It
//! was sent, and its fate was unknown; only its order is checked.

use std::collections::BTreeMap;

use crate::Source;
use crate::payload::Key;

/// One acked batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckedBatch {
    /// The offset of its first record.
    pub base_offset: u64,
    /// The sequence number of its first record on its connection.
    pub first_sequence: u64,
    /// The connection that sent it.
    pub connection: u32,
    /// How many records.
    pub records: u32,
}

/// All acked batches of a run, by partition.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    partitions: Vec<Vec<AckedBatch>>,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(partitions: u32) -> Ledger {
        Ledger { partitions: (0..partitions).map(|_| Vec::new()).collect() }
    }

    /// Notes an acked batch.
    pub fn note(&mut self, partition: u32, batch: AckedBatch) {
        if let Some(batches) = self.partitions.get_mut(partition as usize) {
            batches.push(batch);
        }
    }

    /// The batches of a partition, in the order of their acks.
    #[must_use]
    pub fn batches(&self, partition: u32) -> &[AckedBatch] {
        self.partitions.get(partition as usize).map_or(&[], Vec::as_slice)
    }

    /// How many records were acked.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.partitions.iter().flatten().map(|batch| u64::from(batch.records)).sum()
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Records that were acked.
    pub acked: u64,
    /// Acked records that are there, unchanged.
    pub found: u64,
    /// Acked records that are not there.
    pub lost: u64,
    /// Acked records in whose place something else is.
    pub changed: u64,
    /// Records of this run that come before an earlier one of the same connection, or twice.
    pub out_of_order: u64,
    /// Records of this run that were never acked and are there: their fate was unknown.
    pub unacked: u64,
    /// The first few of what is wrong.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether nothing is lost, changed or out of order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.is_undamaged()
    }

    /// Whether everything that is there is right: nothing changed, nothing out of order.
    #[must_use]
    pub fn is_undamaged(&self) -> bool {
        self.changed == 0 && self.out_of_order == 0
    }
}

/// Examples to keep.
const EXAMPLES_MAX: usize = 10;

/// Compares, record by record, what a reader finds with the ledger.
#[derive(Debug)]
pub struct Checker<'a> {
    run: u64,
    source: &'a Source,
    partitions: Vec<Cursor>,
    verdict: Verdict,
}

/// Where the comparison of a partition stands.
#[derive(Debug, Default)]
struct Cursor {
    /// In the order of their offsets.
    batches: Vec<AckedBatch>,
    /// The batch that the next acked record is in, and its place there.
    batch: usize,
    record: u32,
    last_offset: Option<u64>,
    /// The last sequence number of each connection.
    last_sequences: BTreeMap<u32, u64>,
}

impl<'a> Checker<'a> {
    /// A comparison with what `ledger` says of the run `run`, whose values came from `source`.
    #[must_use]
    pub fn new(run: u64, source: &'a Source, ledger: &Ledger) -> Checker<'a> {
        let cursor = |batches: &Vec<AckedBatch>| {
            let mut batches = batches.clone();
            batches.sort_by_key(|batch| batch.base_offset);
            Cursor { batches, ..Cursor::default() }
        };
        Checker {
            run,
            source,
            partitions: ledger.partitions.iter().map(cursor).collect(),
            verdict: Verdict { acked: ledger.records(), ..Verdict::default() },
        }
    }

    /// The next record of a partition, in the order in which it was delivered.
    pub fn record(
        &mut self,
        partition: u32,
        offset: u64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let Checker { run, source, partitions, verdict } = self;
        let Some(cursor) = partitions.get_mut(partition as usize) else { return };
        if cursor.last_offset.is_some_and(|last| last >= offset) {
            verdict.out_of_order += 1;
            note(verdict, || format!("partition {partition}: offset {offset} came again"));
            return;
        }
        cursor.last_offset = Some(offset);
        let key = key.and_then(Key::decode).filter(|key| key.run == *run);
        if let Some(key) = key {
            let last = cursor.last_sequences.insert(key.connection, key.sequence);
            if last.is_some_and(|last| last >= key.sequence) {
                verdict.out_of_order += 1;
                let Key { connection, sequence, .. } = key;
                note(verdict, || {
                    format!(
                        "partition {partition}, offset {offset}: record {sequence} of connection \
                         {connection} comes after {}",
                        last.unwrap_or_default()
                    )
                });
            }
        }
        cursor.lose_before(offset, partition, verdict);
        let Some((expected, connection, sequence)) = cursor.expected() else {
            verdict.unacked += u64::from(key.is_some());
            return;
        };
        if expected > offset {
            verdict.unacked += u64::from(key.is_some());
            return;
        }
        cursor.advance();
        let wanted = source.value(connection, sequence);
        if key == Some(Key::of(*run, connection, sequence, wanted)) && value == Some(wanted) {
            verdict.found += 1;
        } else {
            verdict.changed += 1;
            note(verdict, || {
                format!(
                    "partition {partition}, offset {offset}: record {sequence} of connection \
                     {connection} was acked here, and something else is"
                )
            });
        }
    }

    /// Everything was read: what did not come is lost.
    #[must_use]
    pub fn finish(mut self) -> Verdict {
        for (partition, cursor) in (0_u32..).zip(&mut self.partitions) {
            cursor.lose_before(u64::MAX, partition, &mut self.verdict);
        }
        self.verdict
    }
}

impl Cursor {
    /// Offset, connection and sequence number of the next acked record.
    fn expected(&self) -> Option<(u64, u32, u64)> {
        let batch = self.batches.get(self.batch)?;
        let record = u64::from(self.record);
        Some((batch.base_offset + record, batch.connection, batch.first_sequence + record))
    }

    fn advance(&mut self) {
        self.record += 1;
        if self.batches.get(self.batch).is_some_and(|batch| self.record >= batch.records) {
            self.batch += 1;
            self.record = 0;
        }
    }

    fn lose_before(&mut self, offset: u64, partition: u32, verdict: &mut Verdict) {
        while let Some((expected, connection, sequence)) = self.expected()
            && expected < offset
        {
            self.advance();
            verdict.lost += 1;
            note(verdict, || {
                format!(
                    "partition {partition}, offset {expected}: record {sequence} of connection \
                     {connection} was acked, and is gone"
                )
            });
        }
    }
}

fn note(verdict: &mut Verdict, example: impl FnOnce() -> String) {
    if verdict.examples.len() < EXAMPLES_MAX {
        verdict.examples.push(example());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 77;

    /// Two acked batches of connection 1: records 0 to 2 at offset 10, 3 and 4 at offset 20.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(1);
        let batch = |base_offset, first_sequence, records| AckedBatch {
            base_offset,
            first_sequence,
            connection: 1,
            records,
        };
        ledger.note(0, batch(10, 0, 3));
        ledger.note(0, batch(20, 3, 2));
        ledger
    }

    /// What the checker says when these (offset, sequence number) are there.
    fn checked(records: &[(u64, u64)]) -> Verdict {
        checked_with(records, |_, _| {})
    }

    fn checked_with(records: &[(u64, u64)], change: impl Fn(u64, &mut Vec<u8>)) -> Verdict {
        let source = Source::generated(20);
        let mut checker = Checker::new(RUN, &source, &ledger());
        for (offset, sequence) in records {
            let mut value = source.value(1, *sequence).to_vec();
            let key = Key::of(RUN, 1, *sequence, &value).encode();
            change(*offset, &mut value);
            checker.record(0, *offset, Some(&key), Some(&value));
        }
        checker.finish()
    }

    const ALL: [(u64, u64); 5] = [(10, 0), (11, 1), (12, 2), (20, 3), (21, 4)];

    #[test]
    fn what_is_all_there_is_clean() {
        let verdict = checked(&ALL);
        assert!(verdict.is_clean());
        assert_eq!((verdict.acked, verdict.found), (5, 5));
    }

    #[test]
    fn a_record_that_is_gone_is_lost_at_the_end_and_in_the_middle() {
        let verdict = checked(&ALL[..4]);
        assert_eq!((verdict.found, verdict.lost), (4, 1));
        let verdict = checked(&[ALL[0], ALL[2], ALL[3], ALL[4]]);
        assert_eq!((verdict.found, verdict.lost), (4, 1));
        assert!(verdict.examples[0].contains("offset 11"), "{:?}", verdict.examples);
        assert_eq!(checked(&[]).lost, 5);
    }

    #[test]
    fn a_changed_value_is_changed() {
        let verdict = checked_with(&ALL, |offset, value| {
            if offset == 12 {
                value[7] ^= 1;
            }
        });
        assert_eq!((verdict.found, verdict.changed, verdict.lost), (4, 1, 0));
    }

    #[test]
    fn two_records_in_each_others_places_are_changed_and_out_of_order() {
        let verdict = checked(&[(10, 1), (11, 0), ALL[2], ALL[3], ALL[4]]);
        assert_eq!((verdict.changed, verdict.out_of_order), (2, 1));
        assert!(!verdict.is_undamaged());
    }

    #[test]
    fn an_offset_that_comes_twice_is_out_of_order() {
        let verdict = checked(&[ALL[0], ALL[1], ALL[1], ALL[2], ALL[3], ALL[4]]);
        assert_eq!((verdict.found, verdict.out_of_order), (5, 1));
    }

    #[test]
    fn a_record_that_is_there_twice_at_two_offsets_is_out_of_order() {
        let verdict = checked(&[ALL[0], ALL[1], ALL[2], ALL[3], ALL[4], (22, 4)]);
        assert_eq!((verdict.found, verdict.out_of_order), (5, 1));
    }

    #[test]
    fn records_that_were_never_acked_may_be_there() {
        let verdict = checked(&[ALL[0], ALL[1], ALL[2], ALL[3], ALL[4], (22, 5), (23, 6)]);
        assert!(verdict.is_clean());
        assert_eq!(verdict.unacked, 2);
    }

    #[test]
    fn records_of_another_run_are_nobodys_loss() {
        let source = Source::generated(20);
        let mut checker = Checker::new(RUN, &source, &Ledger::new(1));
        checker.record(0, 0, Some(b"another key"), Some(b"value"));
        checker.record(0, 1, None, None);
        let verdict = checker.finish();
        assert!(verdict.is_clean());
        assert_eq!(verdict.unacked, 0);
    }
}
