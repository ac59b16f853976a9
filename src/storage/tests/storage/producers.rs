//! Idempotent producers: a batch that is sent again is where it was, whatever happened in between,
//! and one that was lost is taken as if it had never been.

use plimsoll_batch::{Offset, ProducerStamp, stamp};
use plimsoll_sim::{Random, Survival};
use plimsoll_storage::{AppendError, Appended, Level, PRODUCERS_MAX, PartitionId};

use crate::model::{Batch, Partition, batch_of};
use crate::world::{CONFIG, Crash, Cut, Settings, World, id};

/// What the model says of a batch, by the batches that are there and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Next,
    Duplicate(Offset),
    OutOfSequence(i32),
    Unknown,
}

impl Partition {
    /// The batches of a producer, oldest first.
    pub(crate) fn of_producer(&self, id: i64) -> Vec<(ProducerStamp, u32, &Batch)> {
        let batches = self.batches.iter().map(|batch| {
            let header = plimsoll_batch::BatchHeader::decode(&batch.bytes).expect("sound");
            (header.producer(), header.record_count(), batch)
        });
        let of_producer = |(stamp, records, batch)| Some((stamp?, records, batch));
        batches.filter_map(of_producer).filter(|it| it.0.id == id).collect()
    }

    pub(crate) fn expected_of(&self, stamp: ProducerStamp, records: u32) -> Expected {
        let written = self.of_producer(stamp.id);
        let last_five = written.iter().rev().take(5);
        let again = |it: &&(ProducerStamp, u32, &Batch)| it.0 == stamp && it.1 == records;
        if let Some((.., batch)) = last_five.into_iter().find(again) {
            return Expected::Duplicate(batch.base);
        }
        let next = written.last().map(|(last, records, _)| last.after(*records).base_sequence);
        match next {
            None if stamp.base_sequence == 0 => Expected::Next,
            None => Expected::Unknown,
            Some(next) if next == stamp.base_sequence => Expected::Next,
            Some(next) => Expected::OutOfSequence(next),
        }
    }
}

impl World {
    /// The batch as the next one of a producer.
    pub(crate) fn numbered(&self, id: PartitionId, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let first = ProducerStamp { id: 5, epoch: 0, base_sequence: 0 };
        let written = self.model[&id].of_producer(first.id);
        let next = written.last().map_or(first, |(last, records, _)| last.after(*records));
        stamp(&mut bytes, next);
        bytes
    }

    /// Right after a start: what is known of producers is what the batches that are there say.
    /// Their last five are duplicates, and one that skips a batch is told which comes next.
    pub(crate) fn check_producers(&mut self, id: PartitionId) {
        let partition = &self.model[&id];
        let mut asked = Vec::new();
        for producer in 0..8 {
            let written = partition.of_producer(producer);
            let Some((last, records, _)) = written.last() else { continue };
            let last_five = written.iter().rev().take(5).rev();
            asked.extend(last_five.map(|(.., batch)| batch.bytes.clone()));
            let mut skipping = batch_of(100, 1, 0, 0);
            stamp(&mut skipping, last.after(records + 1));
            asked.push(skipping);
        }
        for bytes in asked {
            // It is compared with what the model says.
            let judged = self.try_append(id, bytes, Level::Memory);
            let is_gap = matches!(judged, Err(AppendError::OutOfSequence { .. }));
            assert!(is_gap || judged.is_ok_and(|it| it.is_duplicate), "{id}: nothing is written");
        }
    }

    /// A producer sends its next batch, one again, or one from nowhere.
    pub(crate) fn produce(
        &mut self,
        id: PartitionId,
        (producer, size): (i64, usize),
        level: Level,
        random: &mut Random,
    ) -> Result<Appended, AppendError> {
        let partition = &self.model[&id];
        let written = partition.of_producer(producer);
        let first = ProducerStamp { id: producer, epoch: 0, base_sequence: 0 };
        let next = written.last().map_or(first, |(last, records, _)| last.after(*records));
        let stray = ProducerStamp { base_sequence: random.below(40) as i32, ..next };
        let (stamped, mut bytes) = match random.below(10) {
            0..3 if !written.is_empty() => {
                let back = random.below(written.len().min(8) as u64) as usize;
                let (stamp, _, batch) = written[written.len() - 1 - back];
                (stamp, batch.bytes.clone())
            }
            3 => (stray, batch_of(size, 1 + random.below(3) as usize, 5, random.next_u64())),
            _ => (next, batch_of(size, 1 + random.below(3) as usize, 5, random.next_u64())),
        };
        stamp(&mut bytes, stamped);
        self.try_append(id, bytes, level)
    }
}

const ID: PartitionId = PartitionId { topic: 1, partition: 0 };

fn begun(settings: Settings) -> World {
    let mut world = World::new(7, settings);
    world.create(ID, CONFIG);
    world.start(1).expect("nothing cuts it");
    world
}

fn batch(producer: i64, sequence: i32, size: usize) -> Vec<u8> {
    let mut bytes = batch_of(size, 1, 5, sequence as u64);
    stamp(&mut bytes, ProducerStamp { id: producer, epoch: 0, base_sequence: sequence });
    bytes
}

/// Appends batches of a producer, and comes to rest.
fn write(world: &mut World, sequences: std::ops::Range<i32>, size: usize) -> Result<(), Cut> {
    for sequence in sequences {
        let appended = world.append(ID, &batch(7, sequence, size), Level::Disk)?;
        assert!(!appended.is_duplicate);
        world.settle()?;
    }
    Ok(())
}

/// The last five are known again, at their offsets; the one before them is not, and the next is
/// next. The model compares.
fn judged(world: &mut World, next: i32, size: usize) {
    for sequence in (next - 5..next).rev() {
        let again = world.try_append(ID, batch(7, sequence, size), Level::Disk).unwrap();
        assert!(again.is_duplicate, "{sequence}");
    }
    let stray = world.try_append(ID, batch(7, next + 1, size), Level::Disk);
    assert_eq!(stray, Err(AppendError::OutOfSequence { expected: next, got: next + 1 }));
    let taken = world.try_append(ID, batch(7, next, size), Level::Disk).unwrap();
    assert!(!taken.is_duplicate);
}

#[test]
fn the_last_batches_are_known_again_after_a_power_loss_from_inline_data_and_from_extents() {
    for size in [500, 150_000] {
        let mut world = begun(Settings::default());
        write(&mut world, 0..8, size).expect("nothing cuts it");
        world.crash(Crash::Power(Survival::Nothing));
        world.start(1).expect("nothing cuts it");
        judged(&mut world, 8, size);
    }
}

#[test]
fn what_a_checkpoint_has_moved_past_is_known_again() {
    let mut world = begun(Settings::default());
    world.create(id(1, 1), CONFIG);
    write(&mut world, 0..8, 500).expect("nothing cuts it");
    for fill in 0..600 {
        let other = batch_of(40_000, 1, 5, fill);
        world.append(id(1, 1), &other, Level::Disk).expect("nothing cuts it");
        if fill % 8 == 0 {
            world.settle().expect("nothing cuts it");
        }
    }
    world.settle().expect("nothing cuts it");
    let checkpoints = world.life().shards[0].counters().checkpoints;
    assert!(checkpoints > 1, "{checkpoints} checkpoints");
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect("nothing cuts it");
    judged(&mut world, 8, 500);
}

#[test]
fn a_partition_that_moves_to_another_shard_takes_its_producers_along() {
    let mut world = begun(Settings::default());
    write(&mut world, 0..8, 500).expect("nothing cuts it");
    for shards in [3, 2, 3] {
        world.stop().expect("nothing cuts it");
        world.start(shards).expect("nothing cuts it");
    }
    judged(&mut world, 8, 500);
}

#[test]
fn a_batch_that_was_lost_is_no_duplicate() {
    let mut world = begun(Settings::default());
    write(&mut world, 0..3, 500).expect("nothing cuts it");
    for sequence in 3..6 {
        world.append(ID, &batch(7, sequence, 500), Level::Memory).expect("nothing cuts it");
    }
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect("nothing cuts it");
    let gap = world.try_append(ID, batch(7, 5, 500), Level::Disk);
    assert_eq!(gap, Err(AppendError::OutOfSequence { expected: 3, got: 5 }));
    assert!(!world.try_append(ID, batch(7, 3, 500), Level::Disk).unwrap().is_duplicate);
}

#[test]
fn what_only_the_arena_had_is_known_again_after_a_kill() {
    let mut world = begun(Settings::default());
    for sequence in 0..8 {
        world.append(ID, &batch(7, sequence, 500), Level::Memory).expect("nothing cuts it");
    }
    // It was shown: the lease is there.
    while world.life().shards[0].watermarks(plimsoll_storage::Slot(0)).memory < Offset::new(8) {
        world.step().expect("nothing cuts it");
    }
    world.crash(Crash::Kill);
    world.start(1).expect("nothing cuts it");
    judged(&mut world, 8, 500);
}

#[test]
fn a_later_epoch_begins_anew_and_fences_the_one_before() {
    let mut world = begun(Settings::default());
    write(&mut world, 0..3, 500).expect("nothing cuts it");
    let (shard, slot) = world.life().slots[&ID];
    let mut bytes = batch_of(500, 1, 5, 1);
    let mut append = |world: &mut World, epoch, base_sequence| {
        stamp(&mut bytes, ProducerStamp { id: 7, epoch, base_sequence });
        let limits = plimsoll_batch::BatchLimits::default();
        let batch = plimsoll_batch::Batch::validate(&bytes, &limits).unwrap();
        let now = world.clock.now;
        world.life().shards[shard].append(slot, &batch, Level::Disk, now)
    };
    let gap = append(&mut world, 1, 3);
    assert_eq!(gap, Err(AppendError::OutOfSequence { expected: 0, got: 3 }));
    assert!(!append(&mut world, 1, 0).unwrap().is_duplicate);
    assert_eq!(append(&mut world, 0, 3), Err(AppendError::ProducerFenced { epoch: 1 }));
    assert!(append(&mut world, 1, 0).unwrap().is_duplicate);
}

#[test]
fn producers_are_bounded_and_the_one_that_rested_longest_is_forgotten() {
    let mut world = begun(Settings::default());
    let producers = PRODUCERS_MAX as i64;
    for producer in 0..producers {
        world.append(ID, &batch(producer, 0, 100), Level::Memory).expect("nothing cuts it");
    }
    world.append(ID, &batch(0, 1, 100), Level::Memory).expect("nothing cuts it");
    world.append(ID, &batch(producers, 0, 100), Level::Memory).expect("nothing cuts it");
    let (shard, slot) = world.life().slots[&ID];
    let now = world.clock.now;
    let mut append = |producer, sequence| {
        let bytes = batch(producer, sequence, 100);
        let limits = plimsoll_batch::BatchLimits::default();
        let batch = plimsoll_batch::Batch::validate(&bytes, &limits).unwrap();
        world.life().shards[shard].append(slot, &batch, Level::Memory, now)
    };
    assert_eq!(append(1, 1), Err(AppendError::ProducerUnknown));
    assert!(append(0, 1).unwrap().is_duplicate);
    assert!(append(2, 0).unwrap().is_duplicate);
}

#[test]
fn a_producer_that_rests_too_long_is_forgotten_also_when_a_start_lies_between() {
    for restarts in [false, true] {
        let mut world = begun(Settings::default());
        write(&mut world, 0..3, 500).expect("nothing cuts it");
        if restarts {
            // Inline data does not say when it was written: the rest begins with the start.
            world.clock.advance(std::time::Duration::from_secs(30));
            world.stop().expect("nothing cuts it");
            world.start(1).expect("nothing cuts it");
        }
        world.life().shards[0].set_producer_expiry(std::time::Duration::from_secs(60));
        world.clock.advance(std::time::Duration::from_secs(59));
        let again = world.try_append(ID, batch(7, 2, 500), Level::Disk).unwrap();
        assert!(again.is_duplicate);
        world.clock.advance(std::time::Duration::from_secs(3));
        let (shard, slot) = world.life().slots[&ID];
        let bytes = batch(7, 3, 500);
        let limits = plimsoll_batch::BatchLimits::default();
        let batch = plimsoll_batch::Batch::validate(&bytes, &limits).unwrap();
        let now = world.clock.now;
        let late = world.life().shards[shard].append(slot, &batch, Level::Disk, now);
        assert_eq!(late, Err(AppendError::ProducerUnknown), "restarts: {restarts}");
    }
}

/// A producer rested by the wall clock: when that leapt by more than the expiry while a batch was
/// in doubt, the batch came again, nobody knew it any more, and it was written twice.
#[test]
fn a_leap_of_the_clock_makes_no_producer_forgotten() {
    const MONTH_MS: i64 = 31 * 24 * 3600 * 1000;
    for by_ms in [MONTH_MS, -MONTH_MS] {
        for restarts in [false, true] {
            let mut world = begun(Settings::default());
            write(&mut world, 0..1, 500).expect("nothing cuts it");
            world.clock.now.unix_ms += by_ms;
            if restarts {
                world.crash(Crash::Kill);
                world.start(1).expect("nothing cuts it");
            }
            let again = world.try_append(ID, batch(7, 0, 500), Level::Disk).unwrap();
            assert!(again.is_duplicate, "{by_ms} ms, restarts: {restarts}");
            // Put right.
            world.clock.now.unix_ms -= by_ms;
            let again = world.try_append(ID, batch(7, 0, 500), Level::Disk).unwrap();
            assert!(again.is_duplicate, "back from {by_ms} ms, restarts: {restarts}");
        }
    }
}

/// Somebody with many producers in one partition cost those of another partition their place.
#[test]
fn producers_of_all_partitions_are_bounded_and_a_crowd_gives_way_before_a_few() {
    let mut world = begun(Settings::default());
    let few = id(1, 9);
    world.create(few, CONFIG);
    let crowds: Vec<PartitionId> = (1..7).map(|partition| id(1, partition)).collect();
    for crowd in &crowds {
        world.create(*crowd, CONFIG);
    }
    let now = world.clock.now;
    let life = world.life();
    let mut append = |id: PartitionId, producer, sequence| {
        let (shard, slot) = life.slots[&id];
        let bytes = batch(producer, sequence, 100);
        let limits = plimsoll_batch::BatchLimits::default();
        let batch = plimsoll_batch::Batch::validate(&bytes, &limits).unwrap();
        life.shards[shard].append(slot, &batch, Level::Memory, now)
    };
    append(few, 7, 0).unwrap();
    let producers = PRODUCERS_MAX as i64;
    for producer in 0..producers {
        for crowd in &crowds {
            append(*crowd, producer, 0).unwrap();
        }
    }
    assert!(append(few, 7, 0).unwrap().is_duplicate);
    let known =
        |append: &mut dyn FnMut(i64) -> bool| (0..producers).filter(|it| append(*it)).count();
    let mut total = 0;
    for crowd in &crowds {
        total +=
            known(&mut |producer| append(*crowd, producer, 1) != Err(AppendError::ProducerUnknown));
        assert!(append(*crowd, producers - 1, 1).unwrap().is_duplicate, "the last one is known");
    }
    // The journal has 8 MiB: a producer for each 2 KiB of it.
    assert!((3_900..=4_096).contains(&total), "{total} are known");
}
