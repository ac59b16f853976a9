//! What a start must have, by the acknowledgements of the lives before.

use plimsoll_batch::{Batches, Offset};
use plimsoll_storage::{Cursor, Level, PartitionId, ReadError};

use super::{Cut, World};

impl World {
    /// Right after a start: what is there is a prefix of what was appended, and has all it must.
    pub(super) fn check_all(&mut self) -> Result<(), Cut> {
        let ids: Vec<PartitionId> = self.model.keys().copied().collect();
        for id in ids {
            self.check_partition(id)?;
        }
        Ok(())
    }

    fn check_partition(&mut self, id: PartitionId) -> Result<(), Cut> {
        let life = self.life();
        let (shard, slot) = life.slots[&id];
        let marks = life.shards[shard].watermarks(slot);
        let partition = self.model.get_mut(&id).expect("in the model");
        assert!(marks.memory >= partition.shown, "{id}: {marks:?} below {}", partition.shown);
        assert!(marks.disk >= partition.disk, "{id}: {marks:?} below disk {}", partition.disk);
        // Which batches are there is what reading says; it compares each with the model.
        let kept = self.count_kept(id)?;
        let partition = self.model.get_mut(&id).expect("in the model");
        assert!(marks.start >= partition.start, "{id}: {marks:?} below start {}", partition.start);
        let must = partition.batches.partition_point(|batch| batch.next <= partition.must);
        assert!(kept >= must, "{id}: {kept} batches, {must} survive ({})", partition.must);
        partition.batches.truncate(kept);
        if !partition.may_jump {
            assert_eq!(marks.memory, partition.end().max(partition.shown), "{id} jumped");
        }
        partition.may_jump = false;
        let marks = self.life().shards[shard].watermarks(slot);
        let partition = self.model.get_mut(&id).expect("in the model");
        partition.seen = None;
        partition.checked = true;
        partition.saw(marks);
        partition.must = Offset::ZERO;
        self.check_producers(id);
        let partition = self.model.get_mut(&id).expect("in the model");
        let random_from = Offset::new(self.random.below(partition.end().value() + 1));
        let random_from = random_from.max(marks.start);
        let sizes = [1, 5_000, 100_000, 1 << 20];
        let bytes_max = sizes[self.random.below(4) as usize];
        self.read_recovered(id, random_from, Level::Memory, bytes_max, true)?;
        if self.random.chance(300) {
            self.read_recovered(id, marks.start, Level::Disk, 1, false)?;
        }
        Ok(())
    }

    fn read_recovered(
        &mut self,
        id: PartitionId,
        from: Offset,
        level: Level,
        bytes_max: usize,
        hints: bool,
    ) -> Result<(), Cut> {
        match self.read_from(id, from, level, bytes_max, hints)? {
            Err(ReadError::Failed(_)) if self.may_fail => return Err(Cut),
            read => read.expect("what was recovered can be read"),
        };
        Ok(())
    }

    /// How many batches of the model are there.
    fn count_kept(&mut self, id: PartitionId) -> Result<usize, Cut> {
        let (shard, slot) = self.life().slots[&id];
        if self.model[&id].config.compaction.is_some() {
            return self.count_kept_compacted(id);
        }
        let marks = self.life().shards[shard].watermarks(slot);
        let limit = marks.memory;
        let mut cursor = Cursor::at(marks.start);
        // What is below the start is not there to be counted.
        let asked = self.model[&id].start_wanted.min(marks.start);
        let mut kept = self.forget_what_went(id, asked, marks.start);
        while cursor.offset() < limit {
            let lent = match self.read_once(shard, slot, cursor, Level::Memory, 300_000)? {
                Ok(Some(lent)) => lent,
                Ok(None) => break,
                Err(ReadError::Failed(_)) if self.may_fail => return Err(Cut),
                // It went by itself meanwhile.
                Err(ReadError::OutOfRange { asked, start, .. }) if asked < start => {
                    kept = self.forget_what_went(id, cursor.offset(), start);
                    cursor = Cursor::at(start);
                    continue;
                }
                Err(error) => panic!("{id}: {error}"),
            };
            let life = self.life.as_mut().expect("a life has begun");
            let storage = &mut life.shards[shard];
            let partition = &self.model[&id];
            for batch in Batches::new(storage.bytes(lent.range)) {
                let batch = batch.expect("whole batches are lent");
                let wanted = partition.batches.get(kept);
                let wanted = wanted.unwrap_or_else(|| panic!("{id}: more than was appended"));
                assert_eq!(batch.header().base_offset, wanted.base, "{id}: a hole or a ghost");
                assert!(batch.bytes() == wanted.bytes, "{id}: other bytes at {}", wanted.base);
                kept += 1;
            }
            assert!(lent.next.offset() > cursor.offset(), "{id}: the cursor stands still");
            cursor = lent.next;
            storage.release(lent);
        }
        Ok(kept)
    }

    /// Retention has moved the start, to `start`: of the batches from `surely` on it is not known
    /// whether it took them or the crash did, so that they are no witnesses of an age. Gives how
    /// many are left below.
    fn forget_what_went(&mut self, id: PartitionId, surely: Offset, start: Offset) -> usize {
        let partition = self.model.get_mut(&id).expect("in the model");
        let surely = surely.max(partition.must);
        partition.batches.retain(|batch| batch.next <= surely || batch.next > start);
        partition.batches.partition_point(|batch| batch.next <= start)
    }
}
