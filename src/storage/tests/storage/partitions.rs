//! Many partitions, partitions that move between shards, leases, removal.

use plimsoll_batch::Offset;
use plimsoll_sim::Survival;
use plimsoll_storage::{AppendError, Level, PartitionConfig, PartitionState};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Settings, World, id};

const FINE: &str = "nothing cuts it";

fn large() -> Settings {
    Settings { arena_bytes: 16 << 20, journal_bytes: 32 << 20, ..Settings::default() }
}

#[test]
fn two_thousand_partitions_with_small_appends_survive() {
    let mut world = World::new(1, large());
    for number in 0..2_000 {
        world.create(id(1, number), CONFIG);
    }
    world.start(2).expect(FINE);
    for turn in 0..3 {
        for number in 0..2_000 {
            let bytes = batch_of(300, 1, turn, u64::from(number));
            world.append(id(1, number), &bytes, Level::Disk).expect(FINE);
        }
    }
    world.settle().expect(FINE);
    let commits: u64 = world.life().shards.iter().map(|it| it.counters().commits).sum();
    assert!(commits < 200, "{commits} commits for 6,000 appends: they are gathered");
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    world.stop().expect(FINE);
}

/// The last block of each partition stays in memory, at first in a span that is larger than that.
/// Spans filled the arena to its last page; giving one back takes a page for that block, so that
/// nothing could be given back and every producer waited for ever.
#[test]
fn memory_that_many_partitions_hold_a_little_of_is_given_back() {
    let mut world = World::new(
        6,
        Settings { arena_bytes: 12 << 20, journal_bytes: 24 << 20, ..Settings::default() },
    );
    for number in 0..1_000 {
        world.create(id(1, number), CONFIG);
    }
    world.start(1).expect(FINE);
    for turn in 0..2 {
        for number in 0..1_000 {
            let bytes = batch_of(9_500, 1, turn, u64::from(number));
            world.append(id(1, number), &bytes, Level::Disk).expect(FINE);
        }
    }
    world.settle().expect(FINE);
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    world.stop().expect(FINE);
}

#[test]
fn partitions_move_to_other_shards_and_back() {
    let mut world = World::new(2, Settings::default());
    for number in 0..5 {
        world.create(id(3, number), PartitionConfig { segment_bytes: 100_000, ..CONFIG });
    }
    for (life, shards) in [1, 3, 2, 1, 3, 1, 2, 2].into_iter().enumerate() {
        world.start(shards).expect(FINE);
        for turn in 0..20 {
            let bytes = batch_of(500 + turn * 700, 1, 0, life as u64);
            world.append(id(3, turn as u32 % 5), &bytes, Level::Disk).expect(FINE);
        }
        world.settle().expect(FINE);
        match life % 3 {
            0 => world.crash(Crash::Power(Survival::Random)),
            1 => world.crash(Crash::Kill),
            _ => world.stop().expect(FINE),
        }
    }
    world.start(1).expect(FINE);
}

#[test]
fn offsets_jump_only_when_the_arena_was_lost() {
    let mut world = World::new(3, Settings::default());
    world.create(id(1, 0), CONFIG);
    world.start(1).expect(FINE);
    let first = world.append(id(1, 0), &batch_of(100, 1, 0, 0), Level::Disk).expect(FINE);
    assert_eq!(first.base, Offset::ZERO);
    world.settle().expect(FINE);
    world.stop().expect(FINE);
    world.start(1).expect(FINE);
    let second = world.append(id(1, 0), &batch_of(100, 1, 0, 1), Level::Disk).expect(FINE);
    assert_eq!(second.base, first.next, "a clean stop leaves no gap");
    world.settle().expect(FINE);
    world.crash(Crash::Kill);
    world.start(1).expect(FINE);
    let third = world.append(id(1, 0), &batch_of(100, 1, 0, 2), Level::Disk).expect(FINE);
    assert_eq!(third.base, second.next, "a kill leaves no gap");
    world.settle().expect(FINE);
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    let fourth = world.append(id(1, 0), &batch_of(100, 1, 0, 3), Level::Disk).expect(FINE);
    assert!(fourth.base > third.next, "records that were shown may be gone");
}

#[test]
fn a_reader_whose_offset_was_never_given_out_goes_on_behind_the_gap() {
    let mut world = World::new(4, Settings::default());
    world.create(id(1, 0), CONFIG);
    world.start(1).expect(FINE);
    world.append(id(1, 0), &batch_of(5_000, 1, 0, 0), Level::Disk).expect(FINE);
    world.settle().expect(FINE);
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    let read = |world: &mut World| {
        for level in [Level::Memory, Level::Disk] {
            let read = world.read_from(id(1, 0), Offset::new(1), level, 1 << 20, true);
            read.expect(FINE).expect("a gap is no damage");
        }
    };
    read(&mut world);
    world.append(id(1, 0), &batch_of(5_000, 1, 0, 1), Level::Memory).expect(FINE);
    read(&mut world);
    world.settle().expect(FINE);
    read(&mut world);
    world.stop().expect(FINE);
    world.start(1).expect(FINE);
    read(&mut world);
}

#[test]
fn a_partition_that_is_busy_is_removed_and_another_takes_its_place() {
    for seed in 0..60 {
        let mut world = World::new(seed, Settings::default());
        world.create(id(1, 0), PartitionConfig { segment_bytes: 150_000, ..CONFIG });
        world.create(id(2, 0), CONFIG);
        world.start(1).expect(FINE);
        for turn in 0..14 {
            let bytes = batch_of(40_000, 1, 0, turn);
            world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
            world.step().expect(FINE);
        }
        for _ in 0..seed {
            world.step().expect(FINE);
        }
        let (shard, slot) = world.life().slots[&id(1, 0)];
        let cursor = plimsoll_storage::Cursor::at(Offset::ZERO);
        let read = world.life().shards[shard].read(slot, cursor, Level::Memory, 1 << 20);
        if let Ok(plimsoll_storage::ReadOutcome::Ready(lent)) = read {
            world.life().shards[shard].release(lent);
        }
        world.remove(id(1, 0));
        world.create(id(9, 0), CONFIG);
        world.append(id(9, 0), &batch_of(90_000, 1, 0, 1), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
        assert!(world.life().removing.is_empty(), "seed {seed}: the removal never ended");
        assert!(!world.machine.disk.files().iter().any(|path| path.starts_with("topics/1/")));
        world.crash(if seed % 2 == 0 { Crash::Kill } else { Crash::Power(Survival::Nothing) });
        world.start(1).expect(FINE);
    }
}

#[test]
fn a_removed_partition_does_not_damage_the_journal_that_goes_on() {
    let settings = Settings { journal_bytes: 8 << 20, ..Settings::default() };
    let mut world = World::new(5, settings);
    world.create(id(1, 0), CONFIG);
    world.create(id(2, 0), CONFIG);
    world.start(1).expect(FINE);
    for turn in 0..400 {
        if turn == 60 {
            world.remove(id(1, 0));
        }
        let which = if turn < 60 && turn % 2 == 0 { id(1, 0) } else { id(2, 0) };
        world.append(which, &batch_of(20_000, 1, 0, turn), Level::Disk).expect(FINE);
        world.step().expect(FINE);
        if turn % 50 == 49 {
            world.settle().expect(FINE);
        }
    }
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    let (shard, slot) = world.life().slots[&id(2, 0)];
    assert_eq!(world.life().shards[shard].state(slot), PartitionState::Healthy);
}

/// A frame whose extent is missing looks as if it had never landed, and is cut with all that it has
/// of others: so files go only when a later frame says that this one is known to be there.
#[test]
fn what_is_in_one_frame_with_a_partition_that_goes_stays() {
    let begun = || {
        let mut world = World::new(41, Settings::default());
        let (goes, stays) = (id(1, 0), id(2, 0));
        world.create(goes, CONFIG);
        world.create(stays, CONFIG);
        world.start(1).expect("nothing cuts it");
        world.append(goes, &batch_of(70_000, 1, 0, 1), Level::Disk).expect("nothing cuts it");
        world.settle().expect("nothing cuts it");
        // Its file is there: this goes straight to it.
        world.append(goes, &batch_of(90_000, 1, 0, 2), Level::Disk).expect("nothing cuts it");
        let end = world.append(stays, &batch_of(300, 1, 0, 3), Level::Disk);
        end.expect("nothing cuts it");
        while world.model[&stays].disk < world.model[&stays].end() {
            world.step().expect("nothing cuts it");
        }
        assert!(world.life().shards[0].counters().extent_bytes > 0);
        world.remove(goes);
        world
    };
    let mut whole = begun();
    let first = whole.steps + 1;
    whole.settle().expect("nothing cuts it");
    for cut in first..=whole.steps {
        let mut world = begun();
        world.cut_at = Some(cut);
        world.settle().expect_err("it is cut");
        world.cut_at = None;
        world.crash(Crash::KillLosingArenas);
        world.start(1).expect("nothing cuts it");
        assert_eq!(world.model[&id(2, 0)].batches.len(), 1);
    }
}

#[test]
fn a_lease_is_longer_before_it_ends() {
    let mut world = World::new(6, large());
    world.create(id(1, 0), CONFIG);
    world.start(1).expect(FINE);
    for turn in 0..14 {
        let records = 90_000;
        let bytes = batch_of(records * 10, records, 0, turn);
        world.append(id(1, 0), &bytes, Level::Memory).expect(FINE);
        for _ in 0..12 {
            world.step().expect(FINE);
        }
    }
    world.settle().expect(FINE);
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
}

#[test]
fn a_full_disk_refuses_appends_and_lets_readers_go_on_until_there_is_room() {
    let mut world = World::new(7, Settings::default());
    world.create(id(1, 0), CONFIG);
    world.start(1).expect(FINE);
    world.append(id(1, 0), &batch_of(90_000, 1, 0, 0), Level::Disk).expect(FINE);
    world.settle().expect(FINE);
    world.machine.disk.faults.no_space = true;
    let mut refused = false;
    for turn in 0..200 {
        match world.try_append(id(1, 0), batch_of(60_000, 1, 0, turn), Level::Disk) {
            Ok(_) => {}
            Err(AppendError::DiskFull) => {
                refused = true;
                break;
            }
            Err(error) => panic!("{error}"),
        }
        for _ in 0..10 {
            world.step().expect(FINE);
        }
    }
    assert!(refused, "a full disk is told");
    let all = world.read_from(id(1, 0), Offset::ZERO, Level::Memory, 1 << 20, true);
    all.expect(FINE).expect("reads go on");
    world.machine.disk.faults.no_space = false;
    world.settle().expect(FINE);
    assert!(world.life().disk_rooms > 0, "the notice came");
    world.append(id(1, 0), &batch_of(60_000, 1, 0, 1), Level::Disk).expect(FINE);
    world.settle().expect(FINE);
}

#[test]
fn after_a_failed_flush_nothing_is_acked_and_reads_go_on() {
    for nth in 1..25 {
        let mut world = World::new(nth, Settings::default());
        world.create(id(1, 0), PartitionConfig { segment_bytes: 100_000, ..CONFIG });
        world.start(1).expect(FINE);
        let counts = world.machine.disk.counts();
        world.machine.disk.faults.fail_sync_nth = Some(counts.syncs + nth);
        world.machine.disk.faults.flush_drops_on_failure = true;
        for turn in 0..60 {
            let size = [200, 30_000, 80_000][turn as usize % 3];
            match world.try_append(id(1, 0), batch_of(size, 1, 0, turn), Level::Disk) {
                Ok(_) | Err(AppendError::Failed(_) | AppendError::NoRoom) => {}
                Err(error) => panic!("{error}"),
            }
            world.step().expect(FINE);
            world.step().expect(FINE);
        }
        assert!(!world.life().failed.is_empty(), "flush {nth} failed, and a notice told it");
        world.check_marks();
        let read = world.read_from(id(1, 0), Offset::ZERO, Level::Disk, 1 << 20, true);
        read.expect(FINE).expect("reads below the watermark go on");
        world.stop().expect(FINE);
        world.boot += 1;
        world.machine.disk.power_loss();
        world.start(1).expect(FINE);
    }
}

/// A partition that goes on behind a gap, with the last block of the data before it in memory. A
/// checkpoint logged it while the first batch behind the gap was in the arena only, and took the
/// offset before the gap for the next one: after a kill that batch was not taken from the arena,
/// since another offset was next, and offsets of the gap were given out.
#[test]
fn a_checkpoint_of_a_partition_behind_a_gap_keeps_the_gap() {
    let mut world = World::new(7, Settings { journal_bytes: 4 << 20, ..Settings::default() });
    let an_hour = std::time::Duration::from_secs(3600);
    world.create(id(1, 0), PartitionConfig { flush_interval: an_hour, ..CONFIG });
    world.create(id(1, 1), CONFIG);
    world.start(1).expect(FINE);
    world.append(id(1, 0), &batch_of(300, 3, 0, 1), Level::Disk).expect(FINE);
    world.settle().expect(FINE);
    world.crash(Crash::Power(Survival::Nothing));

    world.start(1).expect(FINE);
    let behind = world.append(id(1, 0), &batch_of(300, 3, 0, 2), Level::PageCache).expect(FINE);
    assert!(behind.base > Offset::new(3), "there is no gap");
    let begun = world.life().shards[0].counters().checkpoints;
    let mut turn = 0;
    while world.life().shards[0].counters().checkpoints == begun {
        turn += 1;
        assert!(turn < 1_000, "no checkpoint comes");
        world.append(id(1, 1), &batch_of(10_000, 1, 0, turn), Level::Disk).expect(FINE);
        while world.model[&id(1, 1)].disk < world.model[&id(1, 1)].end() {
            world.step().expect(FINE);
        }
    }
    assert!(world.model[&id(1, 0)].disk <= behind.base, "it was flushed");
    world.crash(Crash::Kill);
    world.start(1).expect(FINE);
    world.stop().expect(FINE);
}

/// The last blocks of all partitions were more than half of the one journal: checkpoints logged
/// them again and again, and appends were never let in.
#[test]
fn one_shard_that_takes_over_what_many_had_goes_on() {
    for (shards, partitions, bytes) in [(3, 150, 60_000), (3, 1_000, 3_800), (12, 3_600, 3_800)] {
        let mut world = World::new(31, Settings::default());
        for number in 0..partitions {
            world.create(id(1, number), CONFIG);
        }
        world.start(shards).expect(FINE);
        for number in 0..partitions {
            let bytes = batch_of(bytes, 1, 0, u64::from(number));
            world.append(id(1, number), &bytes, Level::Disk).expect(FINE);
            if number % 100 == 0 {
                world.settle().expect(FINE);
            }
        }
        world.settle().expect(FINE);
        world.crash(Crash::Power(Survival::Nothing));
        world.start(1).expect(FINE);
        for number in 0..2 * partitions {
            let number = number % partitions;
            let bytes = batch_of(12_000, 1, 1, u64::from(number));
            world.append(id(1, number), &bytes, Level::Disk).expect(FINE);
            if number % 100 == 0 {
                world.settle().expect(FINE);
            }
        }
        world.settle().expect(FINE);
        world.stop().expect(FINE);
    }
}

/// A file that had more blocks than were needed at once was asked to be as long as was needed:
/// shorter than it is.
#[test]
fn a_file_is_not_made_shorter_when_a_full_disk_is_tried_again() {
    let mut world = World::new(7, Settings::default());
    let ids = [id(1, 0), id(1, 1)];
    for which in ids {
        world.create(which, PartitionConfig { segment_bytes: 4 << 20, ..CONFIG });
    }
    world.start(1).expect(FINE);
    world.append(ids[0], &batch_of(100_000, 1, 0, 3), Level::Disk).expect(FINE);
    world.settle().expect(FINE);
    world.machine.disk.faults.no_space = true;
    world.append(ids[1], &batch_of(100_000, 1, 0, 3), Level::Disk).expect(FINE);
    for _ in 0..20 {
        world.step().expect(FINE);
    }
    for _ in 0..15 {
        let bytes = batch_of(20_000, 1, 0, 3);
        world.try_append(ids[0], bytes, Level::Memory).expect("its file has blocks for it");
    }
    world.machine.disk.faults.no_space = false;
    // Tried again before any of it is on its way.
    world.clock.advance(std::time::Duration::from_millis(300));
    let now = world.clock.now;
    world.life().shards[0].handle_timeout(now);
    world.settle().expect(FINE);
}
