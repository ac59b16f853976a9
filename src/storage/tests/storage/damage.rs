//! Damaged bytes: found, named, fenced, and never skipped in silence.

use plimsoll_batch::Offset;
use plimsoll_sim::{Disk, Random, Survival};
use plimsoll_storage::{
    AppendError, FrameHeader, Level, PartitionConfig, PartitionState, ReadError, StartupError,
    journal_path, segment_path,
};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Settings, World, id};

const FINE: &str = "nothing cuts it";

/// Ten commits of one block each; gives the world after a stop.
fn ten_commits() -> World {
    let mut world = World::new(1, Settings::default());
    world.create(id(1, 0), CONFIG);
    world.start(1).expect(FINE);
    for turn in 0..10 {
        world.append(id(1, 0), &batch_of(1_000, 1, 0, turn), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    world
}

#[test]
fn damage_below_a_durable_frame_fences_appends_and_not_reads() {
    let mut world = ten_commits();
    world.stop().expect(FINE);
    // Frames begin behind the anchors; the fifth holds the fifth batch.
    world.machine.disk.flip_bit(&journal_path(0), 8_192 + 4 * 4_096 + 300, 1);
    world.start_unchecked(1).expect(FINE);
    let (shard, slot) = world.life().slots[&id(1, 0)];
    assert!(matches!(world.life().shards[shard].state(slot), PartitionState::Damaged(_)));
    let refused = world.try_append(id(1, 0), batch_of(100, 1, 0, 0), Level::Disk);
    assert!(matches!(refused, Err(AppendError::Damaged(_))), "{refused:?}");
    let read = world.read_from(id(1, 0), Offset::ZERO, Level::Memory, 1 << 20, true);
    assert!(read.expect(FINE).expect("what is sound can be read") >= 4);
    world.crash(Crash::Kill);
    // Nothing of it was written over: the next start finds the same.
    world.start_unchecked(2).expect(FINE);
    let (shard, slot) = world.life().slots[&id(1, 0)];
    assert!(matches!(world.life().shards[shard].state(slot), PartitionState::Damaged(_)));
}

/// The last start had moved it to another shard and was killed before that one had logged it: all
/// of it was in a journal that rotted then, and it began again at offset 0.
#[test]
fn a_partition_that_only_another_shards_damaged_journal_had_takes_nothing() {
    let mut world = ten_commits();
    world.create(id(1, 1), CONFIG);
    world.stop().expect(FINE);
    world.machine.disk.flip_bit(&journal_path(0), 8_192 + 40, 1);
    // Both belong to shards that have no journal yet, or an empty one.
    for shards in [4, 5] {
        world.start_unchecked(shards).expect(FINE);
        for id in [id(1, 0), id(1, 1)] {
            let refused = world.try_append(id, batch_of(100, 1, 0, 0), Level::Memory);
            assert!(matches!(refused, Err(AppendError::Damaged(_))), "{id}: {refused:?}");
        }
        // What is new has no past that could be lost.
        world.create(id(2, 0), CONFIG);
        let taken = world.try_append(id(2, 0), batch_of(100, 1, 0, 0), Level::Memory);
        assert!(taken.is_ok(), "{taken:?}");
        world.remove(id(2, 0));
        world.crash(Crash::Kill);
    }
}

/// Epochs would have been given out a second time: frames, leases and arenas of two starts could
/// not have been told apart.
#[test]
fn a_manifest_that_is_older_than_the_journals_stops_the_start_every_time() {
    let mut world = ten_commits();
    let older = world.machine.disk.read_file("MANIFEST").expect("it is there");
    for _ in 0..3 {
        world.stop().expect(FINE);
        world.start(1).expect(FINE);
        world.append(id(1, 0), &batch_of(100, 1, 0, 1), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    world.stop().expect(FINE);
    let newest = world.machine.disk.read_file("MANIFEST").expect("it is there");
    world.machine.disk.write_file("MANIFEST", &older);
    for _ in 0..5 {
        assert!(world.start_unchecked(1).is_err());
        let Some(StartupError::OldManifest { known, path, epoch }) = world.start_error.take()
        else {
            panic!("another error, or none")
        };
        assert_eq!((known, path, epoch), (1, journal_path(0), 4));
    }
    assert!(world.machine.disk.read_file("MANIFEST").expect("it is there") == older);
    world.machine.disk.write_file("MANIFEST", &newest);
    world.start(1).expect(FINE);
}

#[test]
fn journals_without_a_manifest_stop_the_start() {
    let mut world = ten_commits();
    world.stop().expect(FINE);
    let mut without = Disk::new(&Random::new(1));
    let disk = &world.machine.disk;
    for path in disk.files().into_iter().filter(|path| path != "MANIFEST") {
        without.write_file(&path, &disk.read_file(&path).expect("a file has content"));
    }
    world.machine.disk = without;
    assert!(world.start_unchecked(1).is_err());
    assert!(matches!(world.start_error, Some(StartupError::MissingManifest)));
    assert_eq!(world.machine.disk.read_file("MANIFEST"), None);
}

/// The last frames of a clean stop looked like a torn tail when they rotted, and were cut without a
/// word: records that had been acked at disk.
#[test]
fn after_a_clean_stop_rot_in_any_frame_with_records_is_damage() {
    let mut world = ten_commits();
    world.stop().expect(FINE);
    let journal = world.machine.disk.read_file(&journal_path(0)).expect("it is there");
    let blocks = journal.chunks(4096).enumerate().skip(2);
    let frames = blocks.filter_map(|(at, block)| Some((at, FrameHeader::decode(block)?)));
    let frames: Vec<(usize, FrameHeader)> = frames.collect();
    let (last, before) = frames.split_last().expect("there are frames");
    assert!(before.len() > 10 && before[before.len() - 1].1.clean);
    assert_eq!((last.1.body_bytes, last.1.clean), (0, true), "the last one holds nothing");
    for (at, header) in before {
        for position in [40, 100] {
            let mut rotten = world.after(1);
            rotten.machine.disk.flip_bit(&journal_path(0), *at as u64 * 4096 + position, 2);
            rotten.start_unchecked(1).expect(FINE);
            let (shard, slot) = rotten.life().slots[&id(1, 0)];
            let state = rotten.life().shards[shard].state(slot);
            assert!(matches!(state, PartitionState::Damaged(_)), "frame {}", header.sequence);
        }
    }
    world.machine.disk.flip_bit(&journal_path(0), last.0 as u64 * 4096 + 40, 2);
    world.start(1).expect(FINE);
}

#[test]
fn a_torn_last_frame_is_cut_and_the_log_goes_on() {
    let mut world = ten_commits();
    let disk = world.model[&id(1, 0)].disk;
    world.append(id(1, 0), &batch_of(900, 1, 0, 77), Level::Disk).expect(FINE);
    world.pump();
    world.crash(Crash::Power(Survival::Nothing));
    world.start(1).expect(FINE);
    assert_eq!(world.model[&id(1, 0)].end(), disk);
    world.append(id(1, 0), &batch_of(900, 1, 0, 78), Level::Disk).expect(FINE);
    world.settle().expect(FINE);
}

/// An operator reads in the start's line of the log what a power loss took.
#[test]
fn a_torn_tail_is_counted_in_bytes_and_a_clean_start_cuts_none() {
    let mut world = ten_commits();
    world.stop().expect(FINE);
    world.start(1).expect(FINE);
    assert_eq!(world.cut_bytes, 0, "after a clean stop");
    world.append(id(1, 0), &batch_of(9_000, 1, 0, 77), Level::Disk).expect(FINE);
    world.settle().expect(FINE);
    world.crash(Crash::Power(Survival::Nothing));
    // The last frame, of three blocks, did not land whole.
    let journal = world.machine.disk.read_file(&journal_path(0)).expect("it is there");
    let frames = journal.chunks(4096).enumerate().skip(2);
    let last = frames.filter_map(|(at, block)| Some((at, FrameHeader::decode(block)?)));
    let (at, header) = last.max_by_key(|(_, header)| header.sequence).expect("there are frames");
    assert_eq!(header.length_bytes, 3 * 4096);
    world.machine.disk.flip_bit(&journal_path(0), (at as u64 + 2) * 4096, 3);
    world.start_unchecked(1).expect(FINE);
    assert_eq!(world.cut_bytes, 3 * 4096);
}

/// Offsets were left out before it, so that the batch before says nothing of its offset: it was
/// delivered under another one.
#[test]
fn a_damaged_offset_behind_a_gap_is_found_by_the_batch_behind_it() {
    let mut world = World::new(3, Settings::default());
    world.create(id(1, 0), CONFIG);
    for life in 0..2 {
        world.start(1).expect(FINE);
        for turn in 0..4 {
            let bytes = batch_of(20_000, 600, life, turn);
            world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
        }
        world.settle().expect(FINE);
        match life {
            0 => world.crash(Crash::KillLosingArenas),
            _ => world.stop().expect(FINE),
        }
    }
    let path = segment_path(id(1, 0), Offset::ZERO);
    let file = world.machine.disk.read_file(&path).expect("it is there");
    let length = |at: usize| 12 + u32::from_be_bytes(file[at + 8..][..4].try_into().expect("four"));
    let fifth = (0..4).fold(0, |at, _| at + length(at) as usize);
    let base = u64::from_be_bytes(file[fifth..][..8].try_into().expect("eight"));
    assert!(base > 10_000, "the fifth batch begins behind a gap");
    world.start(1).expect(FINE);
    let sound = world.read_from(id(1, 0), Offset::new(2_400), Level::Disk, 1 << 20, true);
    assert_eq!(sound.expect(FINE).expect("it is sound"), 4);
    world.crash(Crash::Kill);
    world.machine.disk.flip_bit(&path, fifth as u64 + 6, 1);
    world.start_unchecked(1).expect(FINE);
    for from in [0, 2_400, base] {
        let from = Offset::new(from);
        let read = world.read_from(id(1, 0), from, Level::Disk, 1 << 20, true).expect(FINE);
        match (from.value(), read) {
            (_, Err(ReadError::Damaged(damage))) => {
                assert_eq!((damage.path, damage.position_bytes), (path.clone(), fifth as u64));
            }
            (from, other) => panic!("from {from}: {other:?}"),
        }
    }
}

#[test]
fn a_damaged_batch_is_named_and_never_delivered() {
    let mut world = World::new(2, Settings::default());
    world.create(id(1, 0), CONFIG);
    world.start(1).expect(FINE);
    for turn in 0..40 {
        world.append(id(1, 0), &batch_of(20_000, 1, 0, turn), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    world.stop().expect(FINE);
    let path = segment_path(id(1, 0), Offset::ZERO);
    for position in [5, 9, 20, 60, 5_000] {
        world.machine.disk.flip_bit(&path, 2 * 19_991 + position, 2);
        world.start_unchecked(1).expect(FINE);
        for bytes_max in [1, 1 << 20] {
            let read = world.read_from(id(1, 0), Offset::ZERO, Level::Disk, bytes_max, true);
            match read.expect(FINE) {
                Err(ReadError::Damaged(damage)) => {
                    assert_eq!(damage.path, path);
                    assert_eq!(damage.partition, Some(id(1, 0)));
                }
                other => panic!("position {position}: {other:?}"),
            }
        }
        let behind = world.read_from(id(1, 0), Offset::new(30), Level::Disk, 1 << 20, true);
        behind.expect(FINE).expect("what is sound can be read");
        world.crash(Crash::Kill);
        world.machine.disk.flip_bit(&path, 2 * 19_991 + position, 2);
    }
}

/// Appends were taken and acked behind a batch that a reader had just found damaged, `describe`
/// said `healthy`, and the next repair cut them.
#[test]
fn what_a_reader_finds_damaged_fences_its_partition_until_it_is_deleted() {
    let mut world = World::new(2, Settings::default());
    for id in [id(1, 0), id(1, 1)] {
        world.create(id, CONFIG);
    }
    world.start(1).expect(FINE);
    for turn in 0..40 {
        world.append(id(1, 0), &batch_of(20_000, 1, 0, turn), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    world.stop().expect(FINE);
    world.machine.disk.flip_bit(&segment_path(id(1, 0), Offset::ZERO), 2 * 19_991 + 5_000, 2);
    world.start_unchecked(1).expect(FINE);
    let (shard, slot) = world.life().slots[&id(1, 0)];
    // Nobody has read it yet.
    world.append(id(1, 0), &batch_of(100, 1, 0, 40), Level::Disk).expect(FINE);
    while world.step().expect(FINE) {}
    world.append(id(1, 0), &batch_of(100, 1, 0, 40), Level::PageCache).expect(FINE);
    assert_eq!(world.life().shards[shard].state(slot), PartitionState::Healthy);
    let read = world.read_from(id(1, 0), Offset::ZERO, Level::Disk, 1, true).expect(FINE);
    let Err(ReadError::Damaged(damage)) = read else { panic!("{read:?}") };
    assert_eq!(world.life().shards[shard].state(slot), PartitionState::Damaged(damage.clone()));
    let refused = world.try_append(id(1, 0), batch_of(100, 1, 0, 41), Level::Memory);
    assert!(matches!(refused, Err(AppendError::Damaged(named)) if named == damage));
    // What was taken before comes to the disk, what is sound is read, others take appends.
    while world.step().expect(FINE) {}
    let marks = world.life().shards[shard].watermarks(slot);
    assert_eq!(marks.disk, marks.memory);
    let behind = world.read_from(id(1, 0), Offset::new(30), Level::Disk, 1 << 20, true);
    behind.expect(FINE).expect("what is sound can be read");
    world.append(id(1, 1), &batch_of(100, 1, 0, 0), Level::Disk).expect(FINE);
    // The segment goes, and with it the damage.
    world.delete_records(id(1, 0), Offset::new(30)).expect("it is sound there");
    while world.step().expect(FINE) {}
    assert_eq!(world.life().shards[shard].state(slot), PartitionState::Healthy);
    world.append(id(1, 0), &batch_of(100, 1, 0, 41), Level::Disk).expect(FINE);
}

/// A device may give wrong bytes once. A partition that was fenced for that would refuse appends
/// until a restart, and nothing is wrong with it.
#[test]
fn bytes_that_are_read_wrongly_once_are_no_damage() {
    let mut world = World::new(2, Settings::default());
    world.create(id(1, 0), CONFIG);
    world.start(1).expect(FINE);
    for turn in 0..40 {
        world.append(id(1, 0), &batch_of(20_000, 1, 0, turn), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    world.stop().expect(FINE);
    for nth in 1..30 {
        let mut world = world.after(nth);
        world.start_unchecked(1).expect(FINE);
        let (shard, slot) = world.life().slots[&id(1, 0)];
        let reads = world.machine.disk.counts().reads;
        world.machine.disk.faults.flip_read_nth = Some(reads + nth);
        for from in [0, 17, 30] {
            let read = world.read_from(id(1, 0), Offset::new(from), Level::Disk, 1, true);
            read.expect(FINE).expect("nothing is damaged");
        }
        assert!(world.machine.disk.counts().reads > reads + nth, "read {nth} was none");
        assert_eq!(world.life().shards[shard].state(slot), PartitionState::Healthy);
    }
}

/// A reader that goes on where it stood took a batch whose offset had rotted downwards for the one
/// in the middle of which it was, and showed its records under the offsets of others.
#[test]
fn a_batch_whose_offset_rotted_downwards_is_not_taken_for_one_that_was_begun() {
    let mut world = World::new(2, Settings::default());
    world.create(id(1, 0), CONFIG);
    world.start(1).expect(FINE);
    for turn in 0..4 {
        world.append(id(1, 0), &batch_of(20_000, 600, 0, turn), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    world.stop().expect(FINE);
    let path = segment_path(id(1, 0), Offset::ZERO);
    let file = world.machine.disk.read_file(&path).expect("it is there");
    let length = |at: usize| 12 + u32::from_be_bytes(file[at + 8..][..4].try_into().expect("four"));
    let third = (0..2).fold(0, |at, _| at + length(at) as usize);
    // 1200 becomes 1072, and the batch goes on beyond 1200.
    world.machine.disk.flip_bit(&path, third as u64 + 7, 7);
    world.start_unchecked(1).expect(FINE);
    for (bytes_max, hints) in [(1, true), (1, false), (1 << 20, true)] {
        let read = world.read_from(id(1, 0), Offset::ZERO, Level::Disk, bytes_max, hints);
        match read.expect(FINE) {
            Err(ReadError::Damaged(damage)) => {
                assert_eq!((damage.path, damage.position_bytes), (path.clone(), third as u64));
            }
            other => panic!("{bytes_max} bytes at a time, hints {hints}: {other:?}"),
        }
    }
}

/// The first batch of a segment has nothing before it that tells of a rotted offset, but the
/// segment's own base: no batch in it is of an earlier offset.
#[test]
fn a_first_batch_whose_offset_rotted_downwards_is_known_by_its_segment() {
    let mut world = World::new(2, Settings::default());
    world.create(id(1, 0), PartitionConfig { segment_bytes: 48 << 10, ..CONFIG });
    world.start(1).expect(FINE);
    for turn in 0..6 {
        world.append(id(1, 0), &batch_of(20_000, 600, 0, turn), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    world.stop().expect(FINE);
    let path = segment_path(id(1, 0), Offset::new(1_200));
    // 1200 becomes 1072, and the batch goes on beyond 1200.
    world.machine.disk.flip_bit(&path, 7, 7);
    world.start_unchecked(1).expect(FINE);
    for from in [0, 1_200, 1_300] {
        for (bytes_max, hints) in [(1, true), (1, false), (1 << 20, true)] {
            let from = Offset::new(from);
            let read = world.read_from(id(1, 0), from, Level::Disk, bytes_max, hints);
            match read.expect(FINE) {
                Err(ReadError::Damaged(damage)) => {
                    assert_eq!((damage.path, damage.position_bytes), (path.clone(), 0));
                }
                other => panic!("{bytes_max} bytes from {from}, hints {hints}: {other:?}"),
            }
        }
    }
}

/// A write was lost, and what stood there before was of another partition: a sound batch, under the
/// offset that was expected. Readers were shown it.
#[test]
fn a_sound_batch_of_another_partition_is_damage() {
    let mut world = World::new(2, Settings::default());
    let ids = [id(1, 0), id(1, 1), id(2, 0)];
    for id in ids {
        world.create(id, CONFIG);
    }
    world.start(1).expect(FINE);
    for turn in 0..4 {
        for id in ids {
            world.append(id, &batch_of(70_000, 2, 0, turn), Level::Disk).expect(FINE);
            world.settle().expect(FINE);
        }
    }
    world.stop().expect(FINE);
    let [path, other, third] = ids.map(|id| segment_path(id, Offset::ZERO));
    let foreign = world.machine.disk.read_file(&other).expect("it is there");
    assert_ne!(foreign, world.machine.disk.read_file(&path).expect("it is there"));
    for path in [&path, &third] {
        world.machine.disk.write_file(path, &foreign);
    }
    world.start_unchecked(1).expect(FINE);
    for (place, path) in [(ids[0], path), (ids[2], third)] {
        for (from, bytes_max) in [(0, 1), (0, 1 << 20), (4, 1)] {
            let from = Offset::new(from);
            let read = world.read_from(place, from, Level::Disk, bytes_max, true);
            match read.expect(FINE) {
                Err(ReadError::Damaged(damage)) => assert_eq!(damage.path, path),
                other => panic!("{bytes_max} bytes from {from}: {other:?}"),
            }
        }
    }
    let own = world.read_from(ids[1], Offset::ZERO, Level::Disk, 1 << 20, true);
    own.expect(FINE).expect("what is its own can be read");
}

/// A partition that begins a new part of its log at a start is logged whole first, and what it has
/// in the journal only is stored before that. Where its file is gone nothing can be stored: no
/// partition was served any more, and what others wrote filled the journal.
#[test]
fn a_segment_file_that_is_gone_stops_neither_a_start_nor_the_journal_for_others() {
    let mut world = World::new(3, Settings::default());
    world.create(id(1, 0), PartitionConfig { segment_bytes: 4 << 20, ..CONFIG });
    world.create(id(1, 1), CONFIG);
    world.start(1).expect(FINE);
    // In the segment, then in the journal only.
    for (turn, bytes) in [200_000, 40_000, 40_000, 40_000, 40_000].into_iter().enumerate() {
        world.append(id(1, 0), &batch_of(bytes, 1, 0, turn as u64), Level::Disk).expect(FINE);
        world.settle().expect(FINE);
    }
    world.crash(Crash::Power(Survival::Nothing));
    let path = segment_path(id(1, 0), Offset::ZERO);
    let bytes = world.machine.disk.read_file(&path).expect("it is there");
    world.machine.disk.remove_file(&path);
    for life in 0..2 {
        world.start_unchecked(1).expect(FINE);
        // Far more than the journal takes at once.
        for turn in 0..400 {
            let taken = world.try_append(id(1, 1), batch_of(50_000, 1, 0, turn), Level::Disk);
            assert!(taken.is_ok(), "{taken:?}");
            while world.step().expect(FINE) {}
        }
        let (shard, slot) = world.life().slots[&id(1, 1)];
        assert!(world.life().shards[shard].watermarks(slot).disk >= Offset::new(400 * life + 400));
        let refused = world.try_append(id(1, 0), batch_of(100, 1, 0, 0), Level::Disk);
        assert!(matches!(refused, Err(AppendError::Damaged(_))), "{refused:?}");
        let read = world.read_from(id(1, 0), Offset::ZERO, Level::Disk, 1 << 20, true);
        assert!(matches!(read, Ok(Err(ReadError::Failed(_)))), "{read:?}");
        world.crash(Crash::Power(Survival::Nothing));
    }
    // Somebody finds the file: what was in the journal was carried along all the time.
    world.machine.disk.write_file(&path, &bytes);
    world.start_unchecked(1).expect(FINE);
    let read = world.read_from(id(1, 0), Offset::ZERO, Level::Disk, 1 << 20, true);
    assert_eq!(read.expect(FINE).expect("all of it is there"), 5);
}
