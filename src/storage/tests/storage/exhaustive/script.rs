//! The life itself: all that a log does, in as few operations of the device as it can be had.
//!
//! It begins with a journal that is almost round, because going round takes more operations than
//! all the rest; `first_start` is what comes before that. At its end the life says what was in it,
//! so that a change of the log which makes a part of the script do nothing is noticed. What a
//! newcomer gets wrong: the order in which operations in flight end is drawn from the seed, and is
//! the same in each run up to the cut.

use plimsoll_batch::Offset;
use plimsoll_sim::Survival;
use plimsoll_storage::{AppendError, Level, PartitionConfig, PartitionId, TrimError};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Cut, Settings, World, id};

/// The life may have so many operations.
pub(crate) const OPERATIONS_MAX: u64 = 400;

/// Small segments, so that they are rolled.
pub(crate) const SMALL: PartitionConfig = PartitionConfig { segment_bytes: 180_000, ..CONFIG };

pub(crate) const ROLLED: PartitionId = PartitionId { topic: 1, partition: 0 };
const REMOVED: PartitionId = PartitionId { topic: 2, partition: 0 };
const CREATED: PartitionId = PartitionId { topic: 3, partition: 0 };

/// What was in a life.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) operations: u64,
    /// Frames of the first shard's journal, before the life and in it.
    journal_bytes_before: u64,
    journal_bytes: u64,
    extent_bytes: u64,
    spilled_bytes: u64,
    checkpoints: u64,
    /// Segments of one partition at once.
    segments: usize,
    removed_segments: u64,
    /// Files of such segments that became new ones.
    reused_segments: u64,
    removed_partitions: u64,
    created_partitions: u64,
    stamped_batches: usize,
    /// Operations of starts, which are cut as well.
    start_steps: Vec<u64>,
}

/// A world whose journal is almost round, between two lives, and the bytes of frames in it.
pub(crate) fn almost_round(durable_writes: bool) -> (World, u64) {
    let settings = Settings { durable_writes, ..Settings::default() };
    let mut world = World::new(20, settings);
    let wide: Vec<PartitionId> = (0..4).map(|partition| id(9, partition)).collect();
    world.create(REMOVED, SMALL);
    wide.iter().for_each(|which| world.create(*which, CONFIG));
    let fine = "nothing cuts it";
    world.start(1).expect(fine);
    append(&mut world, REMOVED, 300, Level::Disk).expect(fine);
    while frame_bytes(&mut world) + 500_000 < area_bytes(&world) {
        for which in &wide {
            append(&mut world, *which, 60_000, Level::Disk).expect(fine);
        }
        world.settle().expect(fine);
    }
    wide.iter().for_each(|which| world.remove(*which));
    world.settle().expect(fine);
    let bytes = frame_bytes(&mut world);
    world.stop().expect(fine);
    (world, bytes)
}

/// In a data directory that is empty: what a first start makes, and the first appends.
pub(crate) fn first_start(world: &mut World) -> Result<(), Cut> {
    world.start(1)?;
    append(world, ROLLED, 300, Level::Disk)?;
    append(world, ROLLED, 90_000, Level::Memory)?;
    world.settle()?;
    world.stop()
}

/// `before` is what `almost_round` gave.
pub(crate) fn script(world: &mut World, before: u64) -> Result<Seen, Cut> {
    let mut seen = Seen { journal_bytes_before: before, ..Seen::default() };
    let begun = world.steps;
    start(world, 1, &mut seen)?;
    world.create(ROLLED, SMALL);
    roll_and_delete(world, &mut seen)?;
    go_round(world, &seen)?;
    create_and_remove(world, &mut seen)?;
    seen.count(world);
    for size in [50, 70_000, 300] {
        append(world, ROLLED, size, Level::PageCache)?;
        go_on(world)?;
    }
    world.crash(Crash::Kill);
    start(world, 2, &mut seen)?;
    append(world, ROLLED, 4_000, Level::Disk)?;
    append(world, CREATED, 4_000, Level::Disk)?;
    go_on(world)?;
    world.crash(Crash::Power(Survival::Random));
    start(world, 1, &mut seen)?;
    append(world, CREATED, 4_000, Level::Disk)?;
    world.stop()?;
    let stamped = world.model.values().flat_map(|partition| partition.of_producer(5));
    seen.stamped_batches = stamped.count();
    seen.operations = world.steps - begun;
    Ok(seen)
}

fn start(world: &mut World, shards: u16, seen: &mut Seen) -> Result<(), Cut> {
    let before = world.steps;
    world.start(shards)?;
    seen.start_steps.push(world.steps - before);
    Ok(())
}

/// Appends of all levels, inline and as extents, more than one segment holds; then the first ones
/// are deleted, and with them a segment, whose file becomes the next one.
fn roll_and_delete(world: &mut World, seen: &mut Seen) -> Result<(), Cut> {
    for (turn, size) in [300, 90_000, 80_000].into_iter().enumerate() {
        let level = [Level::Disk, Level::Memory, Level::PageCache][turn % 3];
        append(world, ROLLED, size, level)?;
        go_on(world)?;
    }
    world.settle()?;
    append(world, ROLLED, 90_000, Level::Disk)?;
    world.settle()?;
    seen.segments = world.segments(ROLLED).len();
    // Straight to the segment, whose file is there now.
    append(world, ROLLED, 80_000, Level::Disk)?;
    let end = world.model[&ROLLED].disk;
    delete_below(world, ROLLED, end.value() - 1)?;
    world.settle()?;
    append(world, ROLLED, 90_000, Level::Disk)?;
    world.settle()
}

/// Inline, until the journal has gone round: so little of each partition that it needs no file.
fn go_round(world: &mut World, seen: &Seen) -> Result<(), Cut> {
    for round in 0..6 {
        if seen.journal_bytes_before + frame_bytes(world) > area_bytes(world) + 4096
            && world.life().shards[0].counters().checkpoints > 0
        {
            break;
        }
        let four = [0, 1, 2, 3].map(|partition| id(4, round * 4 + partition));
        for which in four {
            world.create(which, CONFIG);
            append(world, which, 60_000, Level::Disk)?;
        }
        while four.iter().any(|which| world.model[which].disk == Offset::ZERO) {
            go_on(world)?;
        }
    }
    Ok(())
}

fn create_and_remove(world: &mut World, seen: &mut Seen) -> Result<(), Cut> {
    world.create(CREATED, SMALL);
    append(world, CREATED, 500, Level::Disk)?;
    world.remove(REMOVED);
    // Not until all is at rest: then everything would be moved to files.
    while !world.life().removing.is_empty() || world.model[&CREATED].disk == Offset::ZERO {
        go_on(world)?;
    }
    seen.created_partitions += u64::from(world.model[&CREATED].disk > Offset::ZERO);
    seen.removed_partitions += u64::from(world.life().removing.is_empty());
    Ok(())
}

fn area_bytes(world: &World) -> u64 {
    world.settings.journal_bytes - 8192
}

fn frame_bytes(world: &mut World) -> u64 {
    let counters = world.life().shards[0].counters();
    counters.commit_bytes - counters.extent_bytes
}

/// One operation; a failed disk ends the script.
fn go_on(world: &mut World) -> Result<(), Cut> {
    let any = world.step()?;
    let failed = !world.life().failed.is_empty();
    assert!(any || failed, "there is something to do");
    if failed { Err(Cut) } else { Ok(()) }
}

fn delete_below(world: &mut World, which: PartitionId, offset: u64) -> Result<(), Cut> {
    match world.delete_records(which, Offset::new(offset)) {
        Ok(()) => Ok(()),
        Err(TrimError::Failed(_)) => Err(Cut),
        Err(error) => panic!("{which}: {error}"),
    }
}

/// Of an idempotent producer; a failed disk ends the script.
pub(crate) fn append(
    world: &mut World,
    which: PartitionId,
    size: usize,
    level: Level,
) -> Result<(), Cut> {
    let fill = world.model[&which].end().value();
    let bytes = world.numbered(which, &batch_of(size, 1 + size % 2, 0, fill));
    loop {
        match world.try_append(which, bytes.clone(), level) {
            Ok(_) => return Ok(()),
            Err(AppendError::NoRoom) => world.wait_for_room()?,
            Err(AppendError::Failed(_)) => return Err(Cut),
            Err(error) => panic!("{which}: {error}"),
        }
    }
}

impl Seen {
    fn count(&mut self, world: &mut World) {
        let counters = world.life().shards[0].counters();
        self.journal_bytes = counters.commit_bytes - counters.extent_bytes;
        self.extent_bytes = counters.extent_bytes;
        self.spilled_bytes = counters.spilled_bytes;
        self.checkpoints = counters.checkpoints;
        self.removed_segments = counters.removed_segments;
        self.reused_segments = counters.reused_segments;
    }

    /// Each thing that the life is to have was in it, and no more operations than it may have.
    pub(crate) fn assert_complete(&self, world: &World) {
        let area_bytes = area_bytes(world);
        assert!(self.operations <= OPERATIONS_MAX, "{self:?}");
        assert!(self.journal_bytes_before < area_bytes, "it goes round in the life: {self:?}");
        assert!(self.journal_bytes_before + self.journal_bytes > area_bytes, "{self:?}");
        assert!(self.checkpoints > 0, "{self:?}");
        assert!(self.extent_bytes > 0 && self.spilled_bytes > 0, "{self:?}");
        assert!(self.segments > 1, "segments were rolled: {self:?}");
        assert!(self.removed_segments > 0 && self.reused_segments > 0, "{self:?}");
        assert_eq!((self.created_partitions, self.removed_partitions), (1, 1), "{self:?}");
        assert!(self.start_steps.len() == 3, "{self:?}");
        assert!(self.stamped_batches > 0, "a producer is idempotent: {self:?}");
    }
}
