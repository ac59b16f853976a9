//! What readers get of a partition that is compacted, record by record.
//!
//! A record is gone only for a reason: a later one of its key is there, or it deleted its key and
//! is old; and none goes before the lag is over. What a newcomer gets wrong: the batches are not
//! those that were appended any more, but each record that is there is, byte for byte.

use std::collections::BTreeMap;

use plimsoll_batch::{Batches, Offset};
use plimsoll_storage::{Compaction, Cursor, Level, PartitionId, ReadError};

use super::{Cut, World};
use crate::model::Partition;

/// Key and value of a record.
pub(crate) type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

/// What one walk of a reader came to.
#[derive(Default)]
pub(crate) struct Walked {
    pub(crate) records: BTreeMap<u64, Pair>,
    /// The offset after the last batch.
    pub(crate) end: Offset,
}

impl World {
    /// Reads from `from` to the end of `level`, and looks at what is missing.
    pub(crate) fn read_compacted(
        &mut self,
        id: PartitionId,
        from: Offset,
        level: Level,
        (bytes_max, hints): (usize, bool),
    ) -> Result<Result<Walked, ReadError>, Cut> {
        let (shard, slot) = self.life().slots[&id];
        let limit = self.life().shards[shard].watermarks(slot).at(level);
        let (mut cursor, mut first) = (Cursor::at(from), from);
        let mut walked = Walked { end: from, ..Walked::default() };
        let mut turns = 0;
        while cursor.offset() < limit {
            turns += 1;
            assert!(turns < 100_000, "{id}: a reader goes round in circles at {}", cursor.offset());
            let lent = match self.read_once(shard, slot, cursor, level, bytes_max)? {
                Ok(Some(lent)) => lent,
                Ok(None) => break,
                // Deleted while it was read.
                Err(ReadError::OutOfRange { asked, start, .. }) if asked < start => {
                    (cursor, first) = (Cursor::at(start), start);
                    walked = Walked { end: start, ..Walked::default() };
                    continue;
                }
                Err(error) => return Ok(Err(error)),
            };
            let storage = &mut self.life.as_mut().expect("a life has begun").shards[shard];
            for batch in Batches::new(storage.bytes(lent.range)) {
                let batch = batch.expect("whole batches are lent");
                let header = *batch.header();
                assert!(header.next_offset() > walked.end, "{id}: a reader goes back");
                walked.end = header.next_offset();
                let Ok(records) = batch.records() else { continue };
                for record in records {
                    let record = record.expect("a record decodes");
                    let pair = (record.key.map(Vec::from), record.value.map(Vec::from));
                    if record.offset >= first {
                        walked.records.insert(record.offset.value(), pair);
                    }
                }
            }
            assert!(lent.next.offset() > cursor.offset(), "{id}: the cursor stands still");
            assert!(lent.next.offset() >= walked.end, "{id}: the cursor stays behind");
            cursor = if hints { lent.next } else { Cursor::at(lent.next.offset()) };
            storage.release(lent);
        }
        self.check_walked(id, first, &walked);
        Ok(Ok(walked))
    }

    fn check_walked(&self, id: PartitionId, first: Offset, walked: &Walked) {
        let partition = &self.model[&id];
        let Some(settings) = partition.config.compaction else { return };
        let all = records_of(partition, walked.end);
        for (offset, pair) in &walked.records {
            let appended = all.get(offset).unwrap_or_else(|| panic!("{id}: a ghost at {offset}"));
            assert!(appended.0 == *pair, "{id}: another record at {offset}");
        }
        let mut latest: BTreeMap<&[u8], u64> = BTreeMap::new();
        for (offset, ((key, _), _)) in &all {
            latest.extend(key.as_deref().map(|key| (key, *offset)));
        }
        let keys = walked.records.iter().map(|(offset, (key, _))| (key.as_deref(), *offset));
        let there: BTreeMap<&[u8], u64> =
            keys.filter_map(|(key, offset)| Some((key?, offset))).collect();
        let missing = all.iter().filter(|(offset, _)| {
            **offset >= first.value() && !walked.records.contains_key(offset)
        });
        for (offset, ((key, value), written_ms)) in missing {
            let what = format!("{id}: the record at {offset}");
            let key = key.as_deref().unwrap_or_else(|| panic!("{what} has no key, and is gone"));
            let age_ms = u128::try_from(partition.now_ms - written_ms).expect("time goes on");
            assert!(age_ms >= settings.lag.as_millis(), "{what} is gone after {age_ms} ms");
            if latest[key] > *offset {
                continue;
            }
            assert!(value.is_none(), "{what} is gone, and was the latest of its key {key:?}");
            let is_old = age_ms >= settings.tombstone_retention.as_millis();
            assert!(is_old, "{what} is gone, a deletion of {age_ms} ms");
            // Of what is below the place from which it was read, nothing is known.
            let older = there.get(key);
            assert!(older.is_none(), "{what} is gone, and an older value, {older:?}, is not");
        }
    }

    /// After a start: up to where the log goes, by what is there.
    pub(super) fn count_kept_compacted(&mut self, id: PartitionId) -> Result<usize, Cut> {
        let (shard, slot) = self.life().slots[&id];
        let start = self.life().shards[shard].watermarks(slot).start;
        let walked = match self.read_compacted(id, start, Level::Memory, (300_000, true))? {
            Ok(walked) => walked,
            Err(ReadError::Failed(_)) if self.may_fail => return Err(Cut),
            Err(error) => panic!("{id}: {error}"),
        };
        let partition = self.model.get_mut(&id).expect("in the model");
        let end = walked.end.max(start);
        Ok(partition.batches.partition_point(|batch| batch.next <= end))
    }

    /// All that is there now, from the front.
    pub(crate) fn pairs(&mut self, id: PartitionId) -> BTreeMap<u64, Pair> {
        self.pairs_until_cut(id).expect("nothing cuts it")
    }

    /// The same, where something may cut it.
    pub(crate) fn pairs_until_cut(&mut self, id: PartitionId) -> Result<BTreeMap<u64, Pair>, Cut> {
        let (shard, slot) = self.life().slots[&id];
        let start = self.life().shards[shard].watermarks(slot).start;
        let walked = self.read_compacted(id, start, Level::Disk, (1 << 20, true))?;
        Ok(walked.expect("it can be read").records)
    }
}

/// The records that were appended up to an offset, and when.
fn records_of(partition: &Partition, end: Offset) -> BTreeMap<u64, (Pair, i64)> {
    let batches = partition.batches.iter().filter(|batch| batch.next <= end);
    let mut all = BTreeMap::new();
    for batch in batches {
        for sound in Batches::new(&batch.bytes).flatten() {
            for record in sound.records().into_iter().flatten().flatten() {
                let pair = (record.key.map(Vec::from), record.value.map(Vec::from));
                all.insert(record.offset.value(), (pair, batch.written_ms));
            }
        }
    }
    all
}

/// As a partition is compacted in tests.
pub(crate) const COMPACTION: Compaction = Compaction {
    lag: std::time::Duration::ZERO,
    tombstone_retention: std::time::Duration::from_secs(3600),
};
