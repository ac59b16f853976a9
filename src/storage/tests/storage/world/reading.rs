//! Readers; all that they get is compared with the model.

use plimsoll_batch::{Batches, Offset};
use plimsoll_storage::{Cursor, Lent, Level, PartitionId, ReadError, ReadId, ReadOutcome, Slot};

use super::{Cut, World};

impl World {
    /// Reads from `from` to the end of `level`, comparing with the model. Gives what it could not.
    pub(crate) fn read_from(
        &mut self,
        id: PartitionId,
        from: Offset,
        level: Level,
        bytes_max: usize,
        hints: bool,
    ) -> Result<Result<usize, ReadError>, Cut> {
        if self.model[&id].config.compaction.is_some() {
            let walked = self.read_compacted(id, from, level, (bytes_max, hints))?;
            return Ok(walked.map(|walked| walked.records.len()));
        }
        let life = self.life();
        let (shard, slot) = life.slots[&id];
        let limit = life.shards[shard].watermarks(slot).at(level);
        let mut cursor = Cursor::at(from);
        let mut count = 0;
        let mut turns = 0;
        while cursor.offset() < limit {
            turns += 1;
            assert!(turns < 100_000, "{id}: a reader goes round in circles at {}", cursor.offset());
            let lent = match self.read_once(shard, slot, cursor, level, bytes_max)? {
                Ok(Some(lent)) => lent,
                Ok(None) => break,
                // Deleted while it was read.
                Err(ReadError::OutOfRange { asked, start, .. }) if asked < start => {
                    cursor = Cursor::at(start);
                    continue;
                }
                Err(error) => return Ok(Err(error)),
            };
            let life = self.life.as_mut().expect("a life has begun");
            let storage = &mut life.shards[shard];
            let marks = storage.watermarks(slot);
            let partition = &self.model[&id];
            let mut expected = partition.expected(cursor.offset(), marks.at(level)).iter();
            let mut end = cursor.offset();
            for batch in Batches::new(storage.bytes(lent.range)) {
                let batch = batch.expect("whole batches are lent");
                let wanted = expected.next();
                let wanted = wanted.unwrap_or_else(|| {
                    panic!("{id}: {} beyond {marks:?} at {level:?}", batch.header().base_offset)
                });
                assert_eq!(batch.header().base_offset, wanted.base, "{id} from {cursor:?}");
                assert!(batch.bytes() == wanted.bytes, "{id}: other bytes at {}", wanted.base);
                end = wanted.next;
                count += 1;
            }
            assert!(lent.next.offset() >= end, "{id}: the cursor stays behind");
            assert!(lent.next.offset() > cursor.offset(), "{id}: the cursor stands still");
            let skipped = partition.expected(end, lent.next.offset()).len();
            assert_eq!(skipped, 0, "{id}: {:?} skips batches after {end}", lent.next);
            cursor = if hints { lent.next } else { Cursor::at(lent.next.offset()) };
            storage.release(lent);
        }
        let left = self.model[&id].expected(cursor.offset(), limit).len();
        assert_eq!(left, 0, "{id}: the reader ends at {} of {limit}", cursor.offset());
        Ok(Ok(count))
    }

    pub(crate) fn read_once(
        &mut self,
        shard: usize,
        slot: Slot,
        cursor: Cursor,
        level: Level,
        bytes_max: usize,
    ) -> Result<Result<Option<Lent>, ReadError>, Cut> {
        let mut bound = 0;
        loop {
            let outcome = self.life().shards[shard].read(slot, cursor, level, bytes_max);
            let result = match outcome {
                Ok(ReadOutcome::Ready(lent)) => Ok(Some(lent)),
                Ok(ReadOutcome::UpToDate) => Ok(None),
                Ok(ReadOutcome::Pending(read)) => self.await_read(shard, read)?.map(Some),
                Err(error) => Err(error),
            };
            if !matches!(result, Err(ReadError::NoRoom)) {
                return Ok(result);
            }
            self.wait_for_room()?;
            bound += 1;
            assert!(bound < 1_000, "there is never room for a read");
        }
    }

    pub(crate) fn await_read(
        &mut self,
        shard: usize,
        read: ReadId,
    ) -> Result<Result<Lent, ReadError>, Cut> {
        let mut bound = 0;
        loop {
            self.pump();
            if let Some(result) = self.life().reads.remove(&(shard, read)) {
                return Ok(result);
            }
            assert!(self.step()?, "a read is never answered");
            bound += 1;
            assert!(bound < 100_000, "a read is not answered");
        }
    }

    pub(crate) fn locate(&mut self, id: PartitionId, timestamp_ms: i64) -> Result<Offset, Cut> {
        let (shard, slot) = self.life().slots[&id];
        let read = self.life().shards[shard].locate_timestamp(slot, timestamp_ms).expect("room");
        let mut bound = 0;
        loop {
            self.pump();
            if let Some(result) = self.life().located.remove(&(shard, read)) {
                return Ok(result.expect("located"));
            }
            assert!(self.step()?, "a search is never answered");
            bound += 1;
            assert!(bound < 100_000, "a search is not answered");
        }
    }
}
