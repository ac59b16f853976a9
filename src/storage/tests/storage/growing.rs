//! Journals that grow at a start. The arena may be at most half of its journal: with a larger arena
//! and the old journal a checkpoint needed more room than there was, and appends stopped for good.

use plimsoll_device::DiskAction;
use plimsoll_sim::{Disk, Random, Survival, heap_arena};
use plimsoll_storage::{
    Anchor, DataDirId, Level, PartitionConfig, Started, Startup, StartupConfig, journal_path,
};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Settings, World, id};

const FINE: &str = "nothing cuts it";
const SMALL_BYTES: u64 = 8 << 20;
const LARGE_BYTES: u64 = 9 << 20;
const BLOCK_BYTES: u64 = 4096;

/// Inline data, extents, leases and snapshots; the frames that are needed go over the end of the
/// file and on at its front.
fn wrapped(seed: u64) -> World {
    let settings = Settings { journal_bytes: SMALL_BYTES, ..Settings::default() };
    let mut world = World::new(seed, settings);
    for number in 0..5 {
        world.create(id(1, number), PartitionConfig { segment_bytes: 1 << 20, ..CONFIG });
    }
    world.start(1).expect(FINE);
    let mut random = Random::new(seed);
    for turn in 0..4_000 {
        let small = [300, 5_000, 20_000, 40_000][random.below(4) as usize];
        let bytes = if turn % 40 == 0 { 90_000 } else { small };
        let level = [Level::Disk, Level::Memory, Level::Disk][turn % 3];
        let which = id(1, random.below(5) as u32);
        world.append(which, &batch_of(bytes, 2, turn as i64, turn as u64), level).expect(FINE);
        for _ in 0..6 {
            world.step().expect(FINE);
        }
        if turn % 8 == 7 && is_wrapped(&world) {
            return world;
        }
    }
    panic!("the journal never went round");
}

/// Whether the chain goes over the end of the file.
fn is_wrapped(world: &World) -> bool {
    let file = world.machine.disk.durable_file(&journal_path(0)).expect("it is there");
    let copies = [Anchor::decode(&file), Anchor::decode(&file[BLOCK_BYTES as usize..])];
    let head = copies.into_iter().flatten().max_by_key(|anchor| anchor.generation);
    let head = head.expect("one of the anchors checks").head_position;
    let area = SMALL_BYTES - 2 * BLOCK_BYTES;
    // The first frame of the next lap is there.
    let front = plimsoll_storage::FrameHeader::decode(&file[2 * BLOCK_BYTES as usize..]);
    let at = head % area;
    at > area / 2 && front.is_some_and(|frame| frame.position >= head.next_multiple_of(area))
}

fn journal_of(world: &World) -> Vec<u8> {
    world.machine.disk.read_file(&journal_path(0)).expect("it is there")
}

#[test]
fn a_start_that_is_cut_while_the_journal_grows_loses_nothing() {
    let crashes = [Crash::Kill, Crash::Power(Survival::Nothing), Crash::Power(Survival::Random)];
    for (number, crash) in crashes.into_iter().enumerate() {
        let mut first = wrapped(40 + number as u64);
        first.crash(crash);
        first.settings.journal_bytes = LARGE_BYTES;
        for cut in 1.. {
            let mut world = first.after(cut);
            world.cut_at = Some(world.steps + cut);
            let whole = world.start_unchecked(1).is_ok();
            world.cut_at = None;
            if whole {
                assert!(cut > 20, "{cut} operations are too few to grow a journal");
                break;
            }
            world.crash(crash);
            let length = journal_of(&world).len() as u64;
            assert!(length == SMALL_BYTES || length == LARGE_BYTES, "{length} at {cut}");
            world.start(1).expect(FINE);
            assert_eq!(journal_of(&world).len() as u64, LARGE_BYTES, "cut {cut}");
            let goes_on = world.append(id(1, 0), &batch_of(700, 1, 0, 1), Level::Disk);
            goes_on.expect(FINE);
            world.settle().expect(FINE);
            world.crash(Crash::Power(Survival::Nothing));
            world.start(1).expect(FINE);
        }
    }
}

fn start(disk: &mut Disk, journal_bytes: u64) -> Started {
    start_on(disk, journal_bytes, false)
}

/// With `full` the disk has no room for a journal.
fn start_on(disk: &mut Disk, journal_bytes: u64, full: bool) -> Started {
    let config = StartupConfig { shards: 1, journal_bytes, new_data_dir: DataDirId([7; 16]) };
    let mut startup = Startup::new(config);
    let mut arena = heap_arena(BLOCK_BYTES as usize);
    loop {
        while let Some(op) = startup.poll_op() {
            disk.faults.no_space |= full && matches!(op.action, DiskAction::Allocate { .. });
            disk.submit(op, &arena);
        }
        if let Some(outcome) = startup.outcome() {
            disk.kill();
            return outcome.unwrap_or_else(|error| panic!("{error}"));
        }
        let completion = disk.complete_one(&mut arena).expect("the start waits for something");
        startup.handle(completion);
    }
}

#[test]
fn a_journal_that_grew_says_what_it_said_and_grows_once() {
    let mut world = wrapped(50);
    world.crash(Crash::Power(Survival::Nothing));
    let disk = &mut world.machine.disk;
    let before = start(disk, SMALL_BYTES);
    let area = before.journals[0].journal.area_bytes;
    let (head, next) = (before.journals[0].journal.head, before.journals[0].journal.next);
    assert!(head.position / area < (next.position - 1) / area, "the chain goes round");
    assert!(before.partitions.values().any(|it| it.runs.iter().any(|run| run.stored > 0)));

    let grown = start(disk, LARGE_BYTES);
    let file = disk.durable_file(&journal_path(0)).expect("it is there");
    assert_eq!((grown.grown.as_slice(), file.len() as u64), (&[0][..], LARGE_BYTES));
    assert_eq!(grown.partitions, before.partitions);
    assert_eq!(grown.frames, before.frames);
    let said = Anchor::decode(&file).expect("a new file has one anchor").length_or(0);
    assert_eq!(said, LARGE_BYTES);
    let again = start(disk, LARGE_BYTES);
    assert_eq!(again.grown, []);
    assert_eq!(again.partitions, before.partitions);
    assert_eq!(again.frames, before.frames);
    let (said, read) = (&grown.journals[0].journal, &again.journals[0].journal);
    assert_eq!((said.head, said.next, said.area_bytes), (read.head, read.next, read.area_bytes));
    assert_eq!(said.generation, read.generation);
    assert_eq!(read.next.sequence, next.sequence);
    assert_eq!(disk.read_file(&journal_path(0)).expect("it is there"), file);
    let smaller = start(disk, SMALL_BYTES);
    assert_eq!(smaller.journals[0].journal.area_bytes, read.area_bytes, "it keeps its size");
}

#[test]
fn a_larger_arena_does_not_stop_appends_for_good() {
    let settings = Settings { arena_bytes: 4 << 20, journal_bytes: 8 << 20, ..Settings::default() };
    let mut world = World::new(60, settings);
    for number in 0..400 {
        world.create(id(1, number), CONFIG);
    }
    world.start(1).expect(FINE);
    world.append(id(1, 0), &batch_of(500, 1, 0, 1), Level::Disk).expect(FINE);
    world.stop().expect(FINE);
    world.settings = Settings { arena_bytes: 32 << 20, journal_bytes: 64 << 20, ..settings };
    world.start(1).expect(FINE);
    for turn in 0..20 {
        for number in 0..400 {
            let bytes = batch_of(12_000, 1, turn, u64::from(number));
            world.append(id(1, number), &bytes, Level::Disk).expect(FINE);
        }
        world.settle().expect(FINE);
    }
    world.stop().expect(FINE);
}

#[test]
fn a_damaged_journal_is_not_grown() {
    let mut world = wrapped(70);
    world.stop().expect(FINE);
    for position in 0..2 * BLOCK_BYTES / 4 {
        world.machine.disk.flip_bit(&journal_path(0), position * 4, 0);
    }
    let before = journal_of(&world);
    let started = start(&mut world.machine.disk, LARGE_BYTES);
    assert!(started.journals[0].damage.is_some());
    assert_eq!(started.grown, []);
    assert!(journal_of(&world) == before, "the damaged journal was changed");
}

#[test]
fn a_journal_keeps_its_size_when_the_disk_has_no_room() {
    let mut world = wrapped(80);
    world.stop().expect(FINE);
    let disk = &mut world.machine.disk;
    let started = start_on(disk, LARGE_BYTES, true);
    disk.faults.no_space = false;
    assert_eq!(started.grown, []);
    assert!(started.damages.is_empty());
    assert_eq!(disk.files().into_iter().filter(|path| path.ends_with(".new")).count(), 0);
    assert_eq!(journal_of(&world).len() as u64, SMALL_BYTES);
    let disk = &mut world.machine.disk;
    assert_eq!(start(disk, LARGE_BYTES).grown, [0], "there is room again");
}
