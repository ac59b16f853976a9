//! Partitions that move between shards while a journal is damaged: an older state that another
//! journal still has is not believed, and nothing that is sound is forgotten.

use std::collections::BTreeMap;

use plimsoll_batch::{Batch, BatchLimits, Offset};
use plimsoll_sim::{Disk, Random};
use plimsoll_storage::{
    AppendError, DataFiles, IoError, IoErrorKind, Level, PartitionId, RepairConfig, RepairStep,
    TopicRecords, journal_path, repair,
};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Settings, World, id};

const FINE: &str = "nothing cuts it";
/// Shard 0 of one, shard 1 of two, shard 2 of three.
const MOVED: PartitionId = PartitionId { topic: 5, partition: 0 };
/// Shard 0 of one and of two.
const STAYED: PartitionId = PartitionId { topic: 6, partition: 0 };

fn append(world: &mut World, which: PartitionId, fill: u64) {
    world.append(which, &batch_of(1_000, 1, 0, fill), Level::Disk).expect(FINE);
    rest(world);
}

/// What is fenced is behind the model, so that nothing is compared.
fn rest(world: &mut World) {
    while world.step().expect(FINE) {}
}

/// Three records with one shard, three more with two; then the second shard's journal rots from its
/// first frame on.
fn moved_and_rotten() -> World {
    let mut world = World::new(4, Settings::default());
    for which in [MOVED, STAYED] {
        world.create(which, CONFIG);
    }
    for (life, shards) in [1, 2].into_iter().enumerate() {
        world.start(shards).expect(FINE);
        for turn in 0..3 {
            append(&mut world, MOVED, life as u64 * 10 + turn);
            append(&mut world, STAYED, life as u64 * 10 + turn);
        }
        world.stop().expect(FINE);
    }
    world.machine.disk.flip_bit(&journal_path(1), 8_192 + 40, 1);
    world
}

fn assert_fenced(world: &mut World, which: PartitionId) {
    let refused = world.try_append(which, batch_of(100, 1, 0, 0), Level::Memory);
    assert!(matches!(refused, Err(AppendError::Damaged(_))), "{which}: {refused:?}");
}

/// How many records of it can be read.
fn readable(world: &mut World, which: PartitionId) -> u64 {
    let (shard, slot) = world.life().slots[&which];
    let end = world.life().shards[shard].watermarks(slot).memory;
    let read = world.read_from(which, Offset::ZERO, Level::Memory, 1 << 20, true).expect(FINE);
    read.expect("what is there is sound");
    end.value()
}

/// It went on at offset 3 of the older state, and gave out 3, 4 and 5 a second time.
#[test]
fn a_partition_that_moved_away_and_back_is_not_taken_up_in_its_older_state() {
    let mut world = moved_and_rotten();
    for _ in 0..3 {
        world.start_unchecked(1).expect(FINE);
        assert_eq!(readable(&mut world, MOVED), 3);
        assert_fenced(&mut world, MOVED);
        // The damaged journal never had anything of this one.
        let taken = world.try_append(STAYED, batch_of(100, 1, 0, 0), Level::Disk);
        assert!(taken.is_ok(), "{taken:?}");
        rest(&mut world);
        world.crash(Crash::Kill);
    }
}

/// It stays in the journal where it was found, which therefore takes nothing more.
#[test]
fn what_is_older_than_a_damaged_journal_does_not_move_on_to_a_third_shard() {
    let mut world = moved_and_rotten();
    for shards in [3, 1, 2, 3, 4] {
        world.start_unchecked(shards).expect(FINE);
        assert_eq!(readable(&mut world, MOVED), 3, "with {shards} shards");
        assert_fenced(&mut world, MOVED);
        world.crash(Crash::Kill);
    }
}

/// A start with fewer shards had gone on beside the damaged journal. With more shards again the
/// damaged shard could not take over what was new, and the journal that had it went round: it was
/// gone.
#[test]
fn what_was_acked_beside_a_damaged_journal_is_there_when_its_shard_comes_back() {
    let mut world = moved_and_rotten();
    world.start_unchecked(1).expect(FINE);
    let new = id(3, 0);
    world.create(new, CONFIG);
    for turn in 0..3 {
        append(&mut world, new, 100 + turn);
    }
    world.crash(Crash::Kill);
    for _ in 0..2 {
        world.start_unchecked(2).expect(FINE);
        assert_eq!(readable(&mut world, new), 3);
        assert_fenced(&mut world, new);
        // Once around, if it is let.
        for turn in 0..200 {
            let bytes = batch_of(60_000, 1, 0, turn);
            match world.try_append(STAYED, bytes, Level::Disk) {
                Ok(_) => {}
                Err(AppendError::NoRoom) => world.wait_for_room().expect(FINE),
                Err(AppendError::Damaged(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        rest(&mut world);
        world.crash(Crash::Kill);
    }
    // Nobody can tell that the journal was damaged before those starts.
    world.start_unchecked(1).expect(FINE);
    assert_eq!(readable(&mut world, new), 3);
    assert_fenced(&mut world, new);
}

/// The files of a world between two lives, as a repair sees and changes them.
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn of(world: &World) -> Self {
        let disk = &world.machine.disk;
        let content = |path: &String| disk.read_file(path).expect("a file has content");
        Self(disk.files().into_iter().map(|path| (path.clone(), content(&path))).collect())
    }

    fn carry_out(&mut self, step: RepairStep) {
        match step {
            RepairStep::Create { path, mut bytes, length_bytes } => {
                bytes.resize(length_bytes as usize, 0);
                self.0.insert(path, bytes);
            }
            RepairStep::WriteAt { path, position_bytes, bytes } => {
                let file = self.0.entry(path).or_default();
                let start = position_bytes as usize;
                file.resize(file.len().max(start + bytes.len()), 0);
                file[start..][..bytes.len()].copy_from_slice(&bytes);
            }
            RepairStep::Rename { from, to } => {
                let file = self.0.remove(&from).expect("it is there");
                self.0.insert(to, file);
            }
            RepairStep::Remove { path } => drop(self.0.remove(&path)),
            // What was cut off is kept for people.
            RepairStep::Copy { .. } | RepairStep::Link { .. } => {}
        }
    }

    fn file(&self, path: &str) -> Result<&Vec<u8>, IoError> {
        self.0.get(path).ok_or(IoError::new(IoErrorKind::NotFound, 2))
    }
}

impl DataFiles for Files {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, IoError> {
        let within = |path: &String| {
            let rest = path.strip_prefix(directory)?.trim_start_matches('/');
            rest.split('/').next().map(String::from)
        };
        let mut names: Vec<String> = self.0.keys().filter_map(within).collect();
        names.dedup();
        Ok(names)
    }

    fn length_bytes(&mut self, path: &str) -> Result<u64, IoError> {
        self.file(path).map(|file| file.len() as u64)
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let rest = self.file(path)?.get(position as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// The repair found it sound where it was, and it went on at offset 3 of the older state.
#[test]
fn a_repair_lets_a_partition_go_on_beyond_what_a_damaged_journal_may_have_had_of_it() {
    for restarted in [false, true] {
        let mut world = moved_and_rotten();
        if restarted {
            world.start_unchecked(1).expect(FINE);
            world.crash(Crash::Kill);
        }
        let mut files = Files::of(&world);
        let topics = TopicRecords { read: |_| None, create: |_, _| unreachable!() };
        let config = RepairConfig { name: "r".to_string(), journal_bytes: 8 << 20, topics };
        let repair = repair(&mut files, &config, &mut |_| {}).expect("it can be repaired");
        repair.steps.into_iter().for_each(|step| files.carry_out(step));
        let mut disk = Disk::new(&Random::new(5));
        files.0.iter().for_each(|(path, bytes)| disk.write_file(path, bytes));
        world.machine.disk = disk;
        world.start_unchecked(1).expect(FINE);
        let (shard, slot) = world.life().slots[&MOVED];
        let now = world.clock.now;
        let bytes = batch_of(100, 1, 0, 0);
        let batch = Batch::validate(&bytes, &BatchLimits::default()).expect("sound");
        let appended = world.life().shards[shard].append(slot, &batch, Level::Disk, now);
        let base = appended.expect("it takes appends again").base;
        assert!(base >= Offset::new(6), "{base} was given out before");
    }
}
