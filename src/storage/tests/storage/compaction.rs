//! Compaction by key: the latest record of each key is there, whatever ends whichever life when.

use std::time::Duration;

use plimsoll_batch::{BatchBuilder, Offset};
use plimsoll_sim::Survival;
use plimsoll_storage::{
    AppendError, Compaction, Level, PartitionConfig, PartitionState, Retention, SegmentName,
};

use crate::world::compacted::COMPACTION;
use crate::world::{CONFIG, Crash, Cut, Settings, World, id};

const FINE: &str = "nothing cuts it";
const KEYED: PartitionConfig =
    PartitionConfig { segment_bytes: 40_000, compaction: Some(COMPACTION), ..CONFIG };

fn new_world(config: PartitionConfig, durable_writes: bool) -> World {
    let mut world = World::new(77, Settings { durable_writes, ..Settings::default() });
    world.create(id(1, 0), config);
    world.create(id(1, 1), config);
    world
}

/// A batch of keys with values of so many bytes; of no bytes: deletions.
fn keyed(keys: &[u64], value_bytes: usize, fill: u64) -> Vec<u8> {
    let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
    for key in keys {
        let mut value = vec![fill as u8; value_bytes];
        if let Some(front) = value.first_chunk_mut() {
            *front = (fill + key).to_le_bytes();
        }
        let value = (value_bytes > 0).then_some(&value[..]);
        builder.append(0, Some(&key.to_le_bytes()), value, &[]).unwrap();
    }
    builder.finish_into(&mut bytes);
    bytes
}

/// Rounds over keys, so that all but the last of each are superseded.
fn rounds(world: &mut World, partition: u32, rounds: u64, keys: u64) -> Result<(), Cut> {
    for round in 0..rounds {
        for key in (0..keys).step_by(2) {
            let bytes = keyed(&[key, key + 1], 2_000, round);
            world.append(id(1, partition), &bytes, Level::Disk)?;
        }
        world.step()?;
    }
    Ok(())
}

fn delete(world: &mut World, partition: u32, keys: &[u64]) -> Result<(), Cut> {
    world.append(id(1, partition), &keyed(keys, 0, 0), Level::Disk).map(|_| ())
}

/// Seals what there is by filling up the segment with keys that nobody looks at.
fn seal(world: &mut World, partition: u32) -> Result<(), Cut> {
    for filler in 0..10 {
        let bytes = keyed(&[1_000 + filler], 8_000, filler);
        world.append(id(1, partition), &bytes, Level::Disk)?;
    }
    Ok(())
}

/// Until passes are over, without the hour of the tombstones.
fn rest(world: &mut World) {
    for _ in 0..20 {
        world.settle_for(Duration::from_secs(1));
    }
}

fn counters(world: &mut World) -> plimsoll_storage::StorageCounters {
    let (shard, _) = world.life().slots[&id(1, 0)];
    world.life().shards[shard].counters()
}

#[test]
fn the_latest_record_of_each_key_stays_and_the_others_go() {
    let mut world = new_world(KEYED, false);
    world.start(1).expect(FINE);
    rounds(&mut world, 0, 12, 20).expect(FINE);
    rest(&mut world);
    let (shard, slot) = world.life().slots[&id(1, 0)];
    let described = world.life().shards[shard].describe(slot);
    assert!(counters(&mut world).compactions > 0);
    assert!(described.bytes < 160_000, "{described:?} of 480 kB");
    let pairs = world.pairs(id(1, 0));
    assert!((20..80).contains(&pairs.len()), "{} records of 240", pairs.len());
    let files = world.machine.disk.files();
    let segments = files.iter().filter(|path| path.starts_with("topics/1/0/")).count();
    assert!(segments < 2 * described.segments as usize + 1, "{files:?}");
    for shards in [1, 2] {
        world.stop().expect(FINE);
        world.start(shards).expect(FINE);
        rest(&mut world);
        let again = world.pairs(id(1, 0));
        assert!(again.iter().all(|(offset, pair)| pairs.get(offset) == Some(pair)));
    }
}

/// Where data ages, a segment is sealed although nothing comes behind it. The journal of one that
/// was compacted then said that it is damaged, at every start.
#[test]
fn an_idle_partition_is_compacted_up_to_its_end_and_starts_again() {
    for blocks in [false, true] {
        let retention = Retention { age: Some(Duration::from_secs(400)), bytes: None };
        let mut world = new_world(PartitionConfig { retention, ..KEYED }, false);
        world.start(1).expect(FINE);
        for round in 0..3 {
            let mut bytes = keyed(&[1], 1_000, round);
            if blocks {
                // The segment ends with a block.
                let more = 2 * 4_096 - bytes.len();
                bytes = keyed(&[1], 1_000 + more, round);
                assert_eq!(bytes.len(), 2 * 4_096);
            }
            world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
        }
        world.settle_for(Duration::from_secs(120));
        assert!(counters(&mut world).compacted_away_bytes > 0);
        for crash in [Crash::Kill, Crash::Power(Survival::Nothing)] {
            world.crash(crash);
            world.start(1).expect(FINE);
            world.settle_for(Duration::from_secs(1));
            assert_eq!(world.pairs(id(1, 0)).len(), 1, "the latest of its only key");
        }
        world.append(id(1, 0), &keyed(&[2], 1_000, 9), Level::Disk).expect(FINE);
        world.stop().expect(FINE);
        world.start(1).expect(FINE);
        assert_eq!(world.pairs(id(1, 0)).len(), 2);
    }
}

/// What was not worth a pass beside much that was clean is, when that has gone from the front: also
/// where nobody appends any more. In one order of operations out of ten a sealed segment stayed in
/// the journal, behind one that was stored, and was not looked at for an hour.
#[test]
fn what_is_left_when_the_start_has_moved_is_compacted_too() {
    let mut seen = 0;
    for seed in 0..30 {
        let mut world = World::new(seed, Settings::default());
        world.create(id(1, 0), KEYED);
        world.start(1).expect(FINE);
        for filler in 0..40 {
            let bytes = keyed(&[1_000 + filler], 8_000, filler);
            world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
        }
        rest(&mut world);
        let (shard, slot) = world.life().slots[&id(1, 0)];
        let clean_end = world.life().shards[shard].watermarks(slot).memory;
        rounds(&mut world, 0, 6, 8).expect(FINE);
        rest(&mut world);
        let is_not_worth_it_yet = world.pairs(id(1, 0)).len() == 40 + 48;
        seen += u32::from(is_not_worth_it_yet);
        world.delete_records(id(1, 0), clean_end).expect("it is within");
        rest(&mut world);
        let after = world.pairs(id(1, 0)).len();
        assert!(after < 40, "seed {seed}: {after} records of 48");
    }
    assert!(seen > 20, "{seen} times there was something to look at again");
}

#[test]
fn what_compaction_does_and_has_before_it_is_counted() {
    let mut world = new_world(KEYED, false);
    world.start(1).expect(FINE);
    rounds(&mut world, 0, 12, 20).expect(FINE);
    let mut backlog_max = 0;
    for _ in 0..2_000 {
        world.settle_for(Duration::from_millis(1));
        backlog_max = world.life().shards[0].compaction_backlog().max(backlog_max);
    }
    rest(&mut world);
    let (counters, left) = (counters(&mut world), world.pairs(id(1, 0)).len() as u64);
    assert_eq!(counters.compacted_away_records, 240 - left, "{counters:?}");
    assert!(counters.compacted_bytes > 0 && counters.compaction_ms > 0, "{counters:?}");
    assert_eq!((backlog_max, world.life().shards[0].compaction_backlog()), (1, 0));
}

/// Without its pauses compaction takes the disk from producers for as long as it has work; with
/// pauses that are too long it never catches up with them.
#[test]
fn compaction_takes_no_more_of_the_disk_than_it_may_and_not_much_less() {
    const BYTES_A_SECOND: u64 = 64 << 20;
    const BURST_BYTES: u64 = (1 << 20) + (256 << 10);
    let config = PartitionConfig { segment_bytes: 2 << 20, ..KEYED };
    let mut world = new_world(config, false);
    world.start(1).expect(FINE);
    let has_work = |world: &mut World| world.life().shards[0].compaction_backlog() > 0;
    let worked_on = |world: &mut World| {
        let counters = counters(world);
        counters.read_bytes + counters.compacted_bytes
    };
    for round in 0..20 {
        for partition in [0, 1] {
            for keys in [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, round + 100]] {
                let bytes = keyed(&keys, 20_000, round);
                world.append(id(1, partition), &bytes, Level::Disk).expect(FINE);
            }
        }
    }
    let (begun, before) = (world.clock.now.monotonic, worked_on(&mut world));
    assert!(has_work(&mut world) && before < 4 << 20, "{before} bytes of it are done");
    let mut worked = 0;
    while has_work(&mut world) {
        assert!(world.step().expect(FINE), "it goes on by itself");
        worked = worked_on(&mut world) - before;
        let elapsed_us = world.clock.now.monotonic.since(begun).as_micros() as u64;
        let allowed = BYTES_A_SECOND * elapsed_us / 1_000_000 + BURST_BYTES;
        assert!(worked <= allowed, "{worked} bytes in {elapsed_us} us");
    }
    let took_us = world.clock.now.monotonic.since(begun).as_micros() as u64;
    let enough_us = worked * 1_000_000 / BYTES_A_SECOND;
    assert!(worked > 16 << 20, "{worked} bytes are too few to tell");
    assert!(took_us <= enough_us + enough_us / 10, "{took_us} us: {enough_us} are enough");
}

/// Ten records of one key stayed ten for ever.
#[test]
fn a_topic_that_is_smaller_than_a_segment_is_compacted_in_time_and_then_rests() {
    let hour = Duration::from_secs(3600);
    let mut world = new_world(PartitionConfig { segment_bytes: 1 << 30, ..KEYED }, false);
    world.start(1).expect(FINE);
    for fill in 0..10 {
        world.append(id(1, 0), &keyed(&[1, 2], 100, fill), Level::Disk).expect(FINE);
    }
    world.settle_for(hour / 2);
    assert_eq!(world.pairs(id(1, 0)).len(), 20, "it is not sealed for every record");
    world.settle_for(hour / 2 + Duration::from_secs(60));
    assert_eq!(world.pairs(id(1, 0)).len(), 2);
    let passes = counters(&mut world).compactions;
    world.settle_for(2 * hour);
    assert_eq!(counters(&mut world).compactions, passes, "nothing came, nothing is to be done");
    // Less than half of it is new: that waits until there is more, and is found then.
    world.append(id(1, 0), &keyed(&[1], 1, 0), Level::Disk).expect(FINE);
    world.settle_for(hour + Duration::from_secs(60));
    assert_eq!(world.pairs(id(1, 0)).len(), 3);
    for fill in 0..10 {
        world.append(id(1, 0), &keyed(&[1, 2], 100, fill), Level::Disk).expect(FINE);
    }
    world.settle_for(hour + Duration::from_secs(60));
    assert_eq!(world.pairs(id(1, 0)).len(), 2);
}

#[test]
fn records_without_a_key_all_stay() {
    let mut world = new_world(KEYED, false);
    world.start(1).expect(FINE);
    for turn in 0..20 {
        let bytes = crate::model::batch_of(6_000, 2, 0, turn);
        world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
    }
    rest(&mut world);
    assert_eq!(world.pairs(id(1, 0)).len(), 40);
}

#[test]
fn nothing_is_touched_before_the_lag_is_over() {
    let lag = Duration::from_secs(600);
    let compaction = Some(Compaction { lag, ..COMPACTION });
    let mut world = new_world(PartitionConfig { compaction, ..KEYED }, false);
    world.start(1).expect(FINE);
    rounds(&mut world, 0, 8, 20).expect(FINE);
    world.settle_for(Duration::from_secs(500));
    assert_eq!(world.pairs(id(1, 0)).len(), 160);
    world.settle_for(Duration::from_secs(300));
    assert!(world.pairs(id(1, 0)).len() < 100);
}

#[test]
fn a_deletion_hides_its_key_until_its_retention_is_over_and_then_goes_too() {
    let mut world = new_world(KEYED, false);
    world.start(1).expect(FINE);
    rounds(&mut world, 0, 4, 20).expect(FINE);
    let gone: Vec<u64> = (0..10).collect();
    delete(&mut world, 0, &gone).expect(FINE);
    for _ in 0..4 {
        seal(&mut world, 0).expect(FINE);
    }
    rest(&mut world);
    let of_key = |world: &mut World, key: u64| {
        let pairs = world.pairs(id(1, 0)).into_values();
        let key = key.to_le_bytes();
        let values = pairs.filter(|(it, _)| it.as_deref() == Some(&key[..]));
        values.map(|(_, value)| value.map(|it| it.len())).collect::<Vec<_>>()
    };
    assert_eq!(of_key(&mut world, 3), [None], "only the deletion is left");
    world.stop().expect(FINE);
    world.start(1).expect(FINE);
    world.settle_for(Duration::from_secs(3000));
    assert_eq!(of_key(&mut world, 3), [None]);
    world.settle_for(Duration::from_secs(1000));
    assert_eq!(of_key(&mut world, 3), []);
    assert_eq!(of_key(&mut world, 13).len(), 1);
}

/// What is in them is not known: a deletion behind one may be all that hides a value in it.
#[test]
fn compressed_batches_stay_as_they_are_and_deletions_behind_them_too() {
    let mut world = new_world(KEYED, false);
    world.start(1).expect(FINE);
    let mut compressed = keyed(&[1, 2], 3_000, 7);
    compressed[22] = 4;
    let crc = crc32c(&compressed[21..]);
    compressed[17..21].copy_from_slice(&crc.to_be_bytes());
    rounds(&mut world, 0, 1, 4).expect(FINE);
    let refused = world.try_append(id(1, 0), compressed.clone(), Level::Disk);
    assert!(matches!(refused, Err(AppendError::Compressed { .. })), "{refused:?}");
    // As it was before somebody had it compacted.
    world.set_config(id(1, 0), PartitionConfig { compaction: None, ..KEYED });
    let at = world.append(id(1, 0), &compressed, Level::Disk).expect(FINE);
    world.set_config(id(1, 0), KEYED);
    delete(&mut world, 0, &[1, 2]).expect(FINE);
    rounds(&mut world, 0, 4, 20).expect(FINE);
    delete(&mut world, 0, &[1, 2]).expect(FINE);
    seal(&mut world, 0).expect(FINE);
    world.settle_for(Duration::from_secs(9000));
    let pairs = world.pairs(id(1, 0));
    let deletions = pairs.values().filter(|(_, value)| value.is_none()).count();
    assert_eq!(deletions, 2, "the latest of two keys");
    let (shard, slot) = world.life().slots[&id(1, 0)];
    let cursor = plimsoll_storage::Cursor::at(at.base);
    let lent = world.read_once(shard, slot, cursor, Level::Disk, 1).expect(FINE).expect("read");
    let lent = lent.expect("it is there");
    let storage = &mut world.life().shards[shard];
    let bytes = &storage.bytes(lent.range)[61..compressed.len()];
    assert!(*bytes == compressed[61..], "byte for byte");
    storage.release(lent);
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(!0, step)
}

/// Work on two partitions: starts that move while segments are compacted, deletions, settings that
/// change, stops and another number of shards.
fn script(world: &mut World) -> Result<(), Cut> {
    world.start(1)?;
    rounds(world, 0, 5, 14)?;
    rounds(world, 1, 2, 14)?;
    for _ in 0..40 {
        world.step()?;
    }
    delete(world, 0, &[1, 2, 3])?;
    rounds(world, 1, 3, 10)?;
    let (shard, slot) = world.life().slots[&id(1, 1)];
    let shown = world.life().shards[shard].watermarks(slot).memory;
    world.delete_records(id(1, 1), Offset::new(30).min(shown)).expect("it is within");
    seal(world, 0)?;
    for _ in 0..60 {
        world.step()?;
    }
    world.set_config(id(1, 1), PartitionConfig { compaction: None, ..KEYED });
    world.set_config(id(1, 1), KEYED);
    world.settle()?;
    world.pairs_until_cut(id(1, 0))?;
    world.stop()?;
    world.start(2)?;
    rounds(world, 0, 3, 14)?;
    world.settle()
}

fn live_on(mut world: World, what: &str) {
    let seen = std::panic::AssertUnwindSafe(|| {
        world.start(1 + (world.steps % 2) as u16).expect(FINE);
        rounds(&mut world, 0, 2, 14).expect(FINE);
        world.settle().expect(FINE);
        world.pairs(id(1, 0));
        world.pairs(id(1, 1));
        check_names(&mut world);
        world.stop().expect(FINE);
        world.start(1).expect(FINE);
    });
    if let Err(panic) = std::panic::catch_unwind(seen) {
        eprintln!("in the state: {what}");
        std::panic::resume_unwind(panic);
    }
}

/// At rest there is one file for each segment, and none that no segment has.
fn check_names(world: &mut World) {
    for which in [id(1, 0), id(1, 1)] {
        let (shard, slot) = world.life().slots[&which];
        let segments = world.life().shards[shard].describe(slot).segments as usize;
        let directory = plimsoll_storage::partition_directory(which);
        let files = world.machine.disk.files();
        let names = files.iter().filter_map(|path| path.strip_prefix(&directory));
        let names = names.filter(|name| name.ends_with(".segment"));
        let names: Vec<SegmentName> =
            names.filter_map(|name| SegmentName::of_file(&name[1..])).collect();
        // The active segment may have a file and no data, or data and no file.
        assert!(names.len() <= segments + 1, "{which}: {segments} segments in {names:?}");
    }
}

fn cut_everywhere(durable_writes: bool) {
    let mut whole = new_world(KEYED, durable_writes);
    script(&mut whole).expect(FINE);
    let files = whole.machine.disk.files();
    assert!(files.iter().any(|path| path.contains('-')), "it compacts: {files:?}");
    let all = std::env::var("PLIMSOLL_EXHAUSTIVE").is_ok_and(|value| value == "1");
    for cut in 1..whole.steps {
        if !all && cut % 7 != u64::from(durable_writes) {
            continue;
        }
        let mut world = new_world(KEYED, durable_writes);
        world.cut_at = Some(cut);
        script(&mut world).expect_err("it is cut");
        world.cut_at = None;
        world.die();
        let mut killed = world.fork();
        killed.crash(Crash::Kill);
        live_on(killed, &format!("cut {cut}, killed"));
        world.machine.land();
        let unflushed = world.machine.disk.unflushed();
        let mut survivals = vec![Survival::Nothing, Survival::Everything];
        let some = if unflushed == 0 { 0..0 } else { cut as usize % unflushed..unflushed };
        for which in some.take(if all { usize::MAX } else { 1 }) {
            survivals.extend([Survival::Only(which), Survival::AllBut(which)]);
        }
        for survival in survivals {
            live_on(world.fork_at_power_loss(survival), &format!("cut {cut}, {survival:?}"));
        }
    }
}

/// A file that took the place of others before it was flushed, or others that went before the frame
/// was: the latest record of a key would be gone.
#[test]
fn no_key_loses_its_latest_record_by_a_crash_at_any_operation() {
    cut_everywhere(false);
}

#[test]
fn no_key_loses_its_latest_record_by_a_crash_with_durable_writes() {
    cut_everywhere(true);
}

/// No append names the segment behind one that was sealed for compaction: the next start took the
/// journal for damaged.
#[test]
fn a_segment_that_was_sealed_to_be_compacted_is_there_although_nothing_follows() {
    // Its lag is over when nobody writes any more.
    let compaction = Some(Compaction { lag: Duration::from_secs(9), ..COMPACTION });
    let config = PartitionConfig { segment_bytes: 8 << 20, compaction, ..CONFIG };
    let mut world = new_world(config, false);
    world.start(1).expect(FINE);
    rounds(&mut world, 0, 30, 20).expect(FINE);
    rest(&mut world);
    assert!(counters(&mut world).compactions > 0, "it was sealed and compacted");
    let pairs = world.pairs(id(1, 0));
    assert!(pairs.len() < 300, "{} records of 600", pairs.len());
    world.die();
    let mut killed = world.fork();
    killed.crash(Crash::Kill);
    live_on(killed, "killed");
    world.machine.land();
    live_on(world.fork_at_power_loss(Survival::Nothing), "power is lost");
}

#[test]
fn a_reader_that_is_in_a_segment_when_it_is_compacted_goes_on() {
    let mut world = new_world(KEYED, false);
    world.start(1).expect(FINE);
    rounds(&mut world, 0, 12, 20).expect(FINE);
    for bytes_max in [1, 3_000, 9_000, 30_000] {
        // Each read lets operations of the compaction complete.
        let read = world.read_compacted(id(1, 0), Offset::ZERO, Level::Disk, (bytes_max, true));
        read.expect(FINE).expect("it can be read");
        rounds(&mut world, 0, 3, 20).expect(FINE);
    }
    assert!(counters(&mut world).compactions > 0);
}

#[test]
fn a_topic_is_removed_and_a_server_stops_while_it_is_compacted() {
    for turns in 0..60 {
        let mut world = new_world(KEYED, false);
        world.start(1).expect(FINE);
        rounds(&mut world, 0, 4, 20).expect(FINE);
        rounds(&mut world, 1, 4, 20).expect(FINE);
        for _ in 0..3 * turns {
            world.step().expect(FINE);
        }
        world.remove(id(1, 1));
        if turns % 2 == 0 {
            world.settle().expect(FINE);
            let files = world.machine.disk.files();
            assert!(!files.iter().any(|path| path.starts_with("topics/1/1/")), "{files:?}");
        }
        world.stop().expect(FINE);
        world.start(1).expect(FINE);
        rest(&mut world);
        check_latest_only(&mut world);
    }
}

fn check_latest_only(world: &mut World) {
    let pairs = world.pairs(id(1, 0));
    assert!(pairs.len() < 80, "{} records", pairs.len());
}

#[test]
fn a_full_disk_puts_compaction_off() {
    let mut world = new_world(KEYED, false);
    world.start(1).expect(FINE);
    let lag = Duration::from_secs(100);
    let compaction = Some(Compaction { lag, ..COMPACTION });
    world.set_config(id(1, 0), PartitionConfig { compaction, ..KEYED });
    rounds(&mut world, 0, 8, 20).expect(FINE);
    rest(&mut world);
    world.machine.disk.faults.no_space = true;
    world.settle_for(Duration::from_secs(200));
    assert_eq!(counters(&mut world).compacted_away_bytes, 0);
    assert_eq!(world.pairs(id(1, 0)).len(), 160);
    let (shard, _) = world.life().slots[&id(1, 0)];
    assert!(world.life().shards[shard].failure().is_none());
    world.machine.disk.faults.no_space = false;
    world.settle_for(Duration::from_secs(200));
    assert!(world.pairs(id(1, 0)).len() < 100);
}

#[test]
fn damage_stops_the_compaction_of_its_partition_and_takes_nothing() {
    let lag = Duration::from_secs(100);
    let compaction = Some(Compaction { lag, ..COMPACTION });
    let mut world = new_world(PartitionConfig { compaction, ..KEYED }, false);
    world.start(1).expect(FINE);
    rounds(&mut world, 0, 8, 20).expect(FINE);
    rest(&mut world);
    let second = world.segments(id(1, 0))[1];
    let path = plimsoll_storage::segment_path(id(1, 0), Offset::new(second));
    world.machine.disk.flip_bit(&path, 5_000, 3);
    world.settle_for(Duration::from_secs(200));
    assert_eq!(counters(&mut world).compacted_away_bytes, 0);
    let stopped = &world.life().compaction_stopped;
    assert!(
        matches!(&stopped[..], [plimsoll_storage::ReadError::Damaged(damage)]
        if damage.path == path && damage.partition == Some(id(1, 0))),
        "{stopped:?}"
    );
    let (shard, slot) = world.life().slots[&id(1, 0)];
    let storage = &world.life().shards[shard];
    assert_eq!(storage.state(slot), PartitionState::Healthy, "it takes appends, as for a reader");
}

/// P7: who cannot write a new file cannot be believed with another one.
#[test]
fn a_write_or_flush_of_a_compacted_segment_that_fails_is_latched_and_loses_nothing() {
    let mut failures = 0;
    for nth in 0..40 {
        let mut world = new_world(KEYED, false);
        world.start(1).expect(FINE);
        rounds(&mut world, 0, 6, 20).expect(FINE);
        let counts = world.machine.disk.counts();
        match nth % 2 {
            0 => world.machine.disk.faults.fail_write_nth = Some(counts.writes + nth / 2),
            _ => world.machine.disk.faults.fail_sync_nth = Some(counts.syncs + nth / 2),
        }
        world.may_fail = true;
        world.settle_for(Duration::from_secs(30));
        failures += world.life().failed.len();
        world.crash(Crash::Power(Survival::Nothing));
        world.machine.disk.faults = Default::default();
        world.may_fail = false;
        world.start(1).expect(FINE);
        world.settle_for(Duration::from_secs(30));
        world.pairs(id(1, 0));
    }
    assert!(failures > 20, "{failures}");
}
