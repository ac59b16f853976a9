//! Producers, who wait when there is no room.

use plimsoll_batch::{Batch, BatchLimits};
use plimsoll_storage::{AppendError, Appended, Level, PartitionId};

use super::{Cut, World};
use crate::model;
use crate::producers::Expected;

impl World {
    pub(crate) fn try_append(
        &mut self,
        id: PartitionId,
        mut bytes: Vec<u8>,
        level: Level,
    ) -> Result<Appended, AppendError> {
        let now = self.clock.now;
        let epoch = self.epoch as u32;
        let life = self.life.as_mut().expect("a life has begun");
        let (shard, slot) = life.slots[&id];
        let storage = &mut life.shards[shard];
        let batch = Batch::validate(&bytes, &BatchLimits::default()).expect("a sound batch");
        let header = batch.header();
        let expected = header
            .producer()
            .map(|stamp| self.model[&id].expected_of(stamp, header.record_count()));
        let appended = storage.append(slot, &batch, level, now);
        let appended = match (expected, appended) {
            (Some(Expected::Duplicate(base)), appended) => {
                let appended = appended.expect("a duplicate is never refused");
                assert!(appended.is_duplicate, "{id}: {appended:?} is at {base} already");
                assert_eq!(appended.base, base, "{id}");
                return Ok(appended);
            }
            (Some(Expected::OutOfSequence(next)), appended) => {
                let got = header.base_sequence;
                let gap = AppendError::OutOfSequence { expected: next, got };
                assert_eq!(appended, Err(gap.clone()), "{id}");
                return Err(gap);
            }
            (Some(Expected::Unknown), appended) => {
                assert_eq!(appended, Err(AppendError::ProducerUnknown), "{id}");
                return appended;
            }
            (_, appended) => appended?,
        };
        assert!(!appended.is_duplicate, "{id}: {appended:?} is new");
        plimsoll_batch::assign(&mut bytes, appended.base, epoch ^ mark_of(id));
        let partition = self.model.get_mut(&id).expect("in the model");
        assert!(!life.failed.contains(&shard), "a failed shard took an append");
        assert!(appended.base >= partition.shown, "{id}: {appended:?} was shown before");
        assert!(appended.base >= partition.end(), "{id}: {appended:?} was given out before");
        partition.now_ms = now.unix_ms;
        partition.batches.push(model::Batch {
            base: appended.base,
            next: appended.next,
            bytes,
            written_ms: now.unix_ms,
        });
        partition.saw(storage.watermarks(slot));
        Ok(appended)
    }

    /// Appends, waiting for room as long as it takes.
    pub(crate) fn append(
        &mut self,
        id: PartitionId,
        bytes: &[u8],
        level: Level,
    ) -> Result<Appended, Cut> {
        loop {
            match self.try_append(id, bytes.to_vec(), level) {
                Ok(appended) => return Ok(appended),
                Err(AppendError::NoRoom) => self.wait_for_room()?,
                Err(error) => panic!("{id}: {error}"),
            }
        }
    }

    /// The notice must come.
    pub(crate) fn wait_for_room(&mut self) -> Result<(), Cut> {
        let before = self.life().rooms;
        let mut bound = 0;
        loop {
            self.pump();
            if self.life().rooms > before || !self.life().failed.is_empty() {
                return Ok(());
            }
            let went_on = self.step()?;
            assert!(went_on, "no room, and nothing goes on");
            bound += 1;
            assert!(bound < 20_000, "room does not come");
        }
    }
}

/// The mark of a partition in its batches, as `FORMAT.md` has it.
fn mark_of(id: PartitionId) -> u32 {
    let mut x = (u64::from(id.topic) << 32 | u64::from(id.partition)) ^ 0x9e37_79b9_7f4a_7c15;
    x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (x >> 32) as u32
}
