//! Repairs of directories that the real storage wrote and a test damaged.
//!
//! After every repair `verify` finds nothing, every partition is a beginning of what it was and
//! takes appends, and no offset is given out again; also when the repair is cut off after any of
//! its steps and run again.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use std::println;

use plimsoll_batch::Offset;
use plimsoll_device::BLOCK_BYTES;
use plimsoll_sim::{Disk, Random};

use crate::verify_tests::directory::{Copy, DELETED, Life, ORDERS, start};
use crate::verify_tests::{topic_record, verified};
use crate::*;

mod extents;

const JOURNAL: &str = "journal/00000.journal";

fn created(topic: u32, partitions: u32) -> Vec<u8> {
    [&b"created "[..], &topic.to_le_bytes(), &partitions.to_le_bytes()].concat()
}

fn repaired(files: &mut Copy, name: &str) -> (Repair, Vec<RepairLine>) {
    let topics = TopicRecords { read: topic_record, create: created };
    let config = RepairConfig { name: name.to_string(), journal_bytes: 8 << 20, topics };
    let mut lines = Vec::new();
    let repair = repair(files, &config, &mut |line| lines.push(line)).unwrap();
    (repair, lines)
}

/// Carries a step out as the machine does, at once.
fn carry_out(files: &mut Copy, step: &RepairStep) {
    match step {
        RepairStep::Copy { from, position_bytes, length_bytes, more, to } => {
            let file = files.0.get(from).map_or(&[][..], Vec::as_slice);
            let start = (*position_bytes as usize).min(file.len());
            let end = (start + *length_bytes as usize).min(file.len());
            let copy = [&file[start..end], more].concat();
            files.0.insert(to.clone(), copy);
        }
        RepairStep::Link { from, to } => {
            if let Some(file) = files.0.get(from).cloned() {
                files.0.insert(to.clone(), file);
            }
        }
        RepairStep::Create { path, bytes, length_bytes } => {
            let mut bytes = bytes.clone();
            bytes.resize(*length_bytes as usize, 0);
            files.0.insert(path.clone(), bytes);
        }
        RepairStep::WriteAt { path, position_bytes, bytes } => {
            let file = files.0.entry(path.clone()).or_default();
            let end = *position_bytes as usize + bytes.len();
            file.resize(file.len().max(end), 0);
            file[*position_bytes as usize..end].copy_from_slice(bytes);
        }
        RepairStep::Rename { from, to } => {
            let file = files.0.remove(from).unwrap();
            files.0.insert(to.clone(), file);
        }
        RepairStep::Remove { path } => {
            files.0.remove(path);
        }
    }
}

fn disk_of(files: &Copy) -> Disk {
    let mut disk = Disk::new(&Random::new(1));
    for (path, bytes) in &files.0 {
        disk.write_file(path, bytes);
    }
    disk
}

struct Content {
    bytes: Vec<u8>,
    next: Offset,
    lease: Offset,
}

/// What a start finds, and the bytes of each partition.
fn content(files: &Copy) -> BTreeMap<PartitionId, Content> {
    let started = start(&mut disk_of(files));
    let mut all = BTreeMap::new();
    for (id, partition) in started.partitions {
        let mut bytes = Vec::new();
        let sealed = partition.sealed.iter().map(|it| (it.base, it.length_bytes));
        for (base, length) in sealed.chain([(partition.active, partition.end())]) {
            let run = partition.runs.iter().find(|run| run.segment == base);
            let stored = run.map_or(length, |run| run.stored.min(length)) as usize;
            let file = files.0.get(&segment_path(id, base)).map_or(&[][..], Vec::as_slice);
            bytes.extend_from_slice(&file[..stored.min(file.len())]);
            bytes.extend_from_slice(run.map_or(&[][..], |run| &run.bytes));
        }
        let (next, lease) = (partition.next_offset, partition.lease);
        all.insert(id, Content { bytes, next, lease });
    }
    all
}

const ALL: [PartitionId; 4] = [PartitionId::METADATA, ORDERS[0], ORDERS[1], DELETED];

/// Three lives with a power loss between the first two: sealed segments with indexes, inline data,
/// extents, an offset gap; topics 1 and 2 are in the metadata topic. The last life has no end.
fn directory(stops: bool) -> Copy {
    let mut disk = Disk::new(&Random::new(11));
    let mut life = Life::begin(&mut disk, &ALL);
    life.append(&mut disk, PartitionId::METADATA, &created(1, 2));
    life.append(&mut disk, PartitionId::METADATA, &created(2, 1));
    for round in 0..12_u8 {
        life.append(&mut disk, ORDERS[0], &vec![round; 70_000]);
        life.append(&mut disk, ORDERS[1], &vec![round; 3_000]);
        life.append(&mut disk, DELETED, &vec![round; 20_000]);
    }
    drop(life);
    disk.power_loss();
    let mut life = Life::begin(&mut disk, &ALL);
    for round in 0..30_u8 {
        life.append(&mut disk, ORDERS[0], &vec![round; 9_000]);
        life.append(&mut disk, ORDERS[1], &[round; 30]);
    }
    if stops {
        life.stop(&mut disk);
    }
    Copy::of(&disk)
}

/// Repairs, and asserts what is promised of a repair.
fn assert_repairs(damaged: &Copy, before: &BTreeMap<PartitionId, Content>, context: &str) -> Copy {
    let mut files = damaged.clone();
    let (repair, lines) = repaired(&mut files, "first");
    for step in &repair.steps {
        carry_out(&mut files, step);
    }
    let said = || {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        alloc::format!("{context}:\n{}", lines.join("\n"))
    };
    let (summary, findings) = verified(&mut files);
    assert_eq!(summary.damages, 0, "{}\nafterwards: {findings:#?}", said());
    for (id, after) in content(&files) {
        let Some(before) = before.get(&id) else { continue };
        let is_metadata = id == PartitionId::METADATA;
        // With no journal, nothing says that there was a segment before the first one there is.
        let has_front = before.bytes.starts_with(&after.bytes);
        let lost = !damaged.0.contains_key(JOURNAL);
        let is_part = has_front || lost && is_within(&after.bytes, &before.bytes);
        assert!(is_metadata || is_part, "{id}: {}", said());
    }
    assert_takes_appends(&files, before, repair.damages > 0, &said());
    let (again, _) = repaired(&mut files, "second");
    assert_eq!(again.steps, [], "a repaired directory needs nothing: {}", said());
    files
}

fn is_within(part: &[u8], whole: &[u8]) -> bool {
    let front = &part[..part.len().min(100)];
    let places = whole.windows(front.len().max(1)).enumerate();
    places.into_iter().any(|(at, window)| window == front && whole[at..].starts_with(part))
}

fn assert_takes_appends(
    files: &Copy,
    before: &BTreeMap<PartitionId, Content>,
    was_damaged: bool,
    said: &str,
) {
    let (mut disk, known) = (disk_of(files), content(files));
    let mut life = Life::begin(&mut disk, &ALL);
    for id in ALL {
        let slot = life.storage.slot(id).unwrap();
        life.append(&mut disk, id, b"after");
        let next = life.storage.watermarks(slot).disk;
        let shown = before.get(&id).map_or(Offset::ZERO, |before| before.next.max(before.lease));
        let (is_known, base) = (known.contains_key(&id), Offset::new(next.value() - 1));
        assert!(!was_damaged || !is_known || base >= shown, "{id}: {base} < {shown}: {said}");
    }
    life.stop(&mut disk);
    let (summary, findings) = verified(&mut Copy::of(&disk));
    assert_eq!(summary.damages, 0, "after a life: {findings:?}: {said}");
}

/// Frames of the journal with their places in the file.
fn frames(files: &Copy) -> Vec<(usize, FrameHeader)> {
    let journal = &files.0[JOURNAL];
    let places = (2 * BLOCK_BYTES..journal.len()).step_by(BLOCK_BYTES);
    places.filter_map(|at| Some((at, FrameHeader::decode(&journal[at..])?))).collect()
}

/// Every kind of damage that there is a name for.
fn damages(sound: &Copy) -> Vec<(&'static str, Copy)> {
    let segment = segment_path(ORDERS[0], Offset::ZERO);
    let later = sound.0.keys().filter(|path| path.starts_with("topics/1/0/"));
    let later = later.filter(|path| path.ends_with(".segment")).nth(1).unwrap().clone();
    let index = sound.0.keys().find(|path| path.ends_with(".index")).unwrap().clone();
    let anchor = Anchor::newest(&sound.0[JOURNAL], DataDirId([7; 16]), 0).unwrap();
    let mut frames = frames(sound);
    frames.retain(|(_, header)| header.sequence >= anchor.head);
    frames.sort_by_key(|(_, header)| header.sequence);
    let with = |change: &dyn Fn(&mut Copy)| {
        let mut files = sound.clone();
        change(&mut files);
        files
    };
    let frame = |number: usize| {
        let at = frames[number].0;
        with(&|files| files.flip(JOURNAL, (at + 40) * 8))
    };
    vec![
        ("a batch in the first segment", with(&|files| files.flip(&segment, 150_000 * 8))),
        ("the first batch", with(&|files| files.flip(&segment, 100 * 8))),
        ("the offset of a batch", with(&|files| files.flip(&segment, 7 * 8))),
        ("a batch in a later segment", with(&|files| files.flip(&later, 5_000 * 8))),
        ("a missing segment", with(&|files| drop(files.0.remove(&segment)))),
        ("a missing later segment", with(&|files| drop(files.0.remove(&later)))),
        ("a short segment", with(&|files| files.0.get_mut(&segment).unwrap().truncate(100_000))),
        ("an index", with(&|files| files.flip(&index, 90 * 8))),
        ("the first frame", frame(0)),
        ("a frame in the middle", frame(frames.len() / 2)),
        ("a late frame", frame(frames.len() - 4)),
        ("one anchor", with(&|files| files.flip(JOURNAL, 20 * 8))),
        ("no journal", with(&|files| drop(files.0.remove(JOURNAL)))),
        ("an empty journal", with(&|files| files.0.get_mut(JOURNAL).unwrap().fill(0))),
        ("a short journal", with(&|files| files.0.get_mut(JOURNAL).unwrap().truncate(9_000))),
        ("the manifest", with(&|files| files.flip("MANIFEST", 20 * 8))),
        ("no manifest", with(&|files| drop(files.0.remove("MANIFEST")))),
        (
            "both anchors and a frame",
            with(&|files| {
                files.flip(JOURNAL, 20 * 8);
                files.flip(JOURNAL, (BLOCK_BYTES + 20) * 8);
                files.flip(JOURNAL, (frames[frames.len() / 3].0 + 90) * 8);
            }),
        ),
        (
            "manifest and anchor",
            with(&|files| {
                files.flip("MANIFEST", 20 * 8);
                files.flip(JOURNAL, 20 * 8);
                files.flip(JOURNAL, (BLOCK_BYTES + 20) * 8);
            }),
        ),
    ]
}

/// Files that are whole, and are not those that should be there.
fn strangers(sound: &Copy) -> Vec<(&'static str, Copy)> {
    let frames = frames(sound);
    let with = |change: &dyn Fn(&mut Copy)| {
        let mut files = sound.clone();
        change(&mut files);
        files
    };
    vec![
        (
            "a journal cut off at a frame",
            with(&|files| {
                let at = frames[frames.len() - 9].0;
                files.0.get_mut(JOURNAL).unwrap().truncate(at);
            }),
        ),
        (
            "a journal without its last block",
            with(&|files| {
                let journal = files.0.get_mut(JOURNAL).unwrap();
                journal.truncate(journal.len() - BLOCK_BYTES);
            }),
        ),
        ("a longer journal", with(&|files| files.0.get_mut(JOURNAL).unwrap().extend([0; 4096]))),
        (
            "an older manifest",
            with(&|files| {
                let block = files.0.get_mut("MANIFEST").unwrap();
                let manifest = Manifest::decode(block).unwrap();
                Manifest { epoch: manifest.epoch - 1, ..manifest }.encode(block);
            }),
        ),
    ]
}

#[test]
fn a_sound_directory_needs_no_repair() {
    let (repair, lines) = repaired(&mut directory(true), "first");
    assert_eq!((repair, lines), (Repair::default(), Vec::new()));
}

#[test]
fn after_the_repair_of_any_damage_all_is_sound_and_takes_appends() {
    for stops in [true, false] {
        let sound = directory(stops);
        let before = content(&sound);
        // After a crash the front of the list says nothing new.
        let skipped = if stops { 0 } else { 8 };
        let damages = damages(&sound).into_iter().chain(strangers(&sound));
        for (name, damaged) in damages.skip(skipped) {
            println!("{name}, stopped: {stops}");
            let damages = repaired(&mut damaged.clone(), "first").0.damages;
            assert!(damages > 0, "{name} is no damage");
            assert_repairs(&damaged, &before, name);
        }
    }
}

#[test]
fn a_repair_that_is_cut_off_after_any_step_is_finished_by_the_next() {
    let sound = directory(false);
    let before = content(&sound);
    let chosen = ["a batch in a later segment", "a frame in the middle", "manifest and anchor"];
    for (name, damaged) in damages(&sound).into_iter().filter(|it| chosen.contains(&it.0)) {
        let steps = repaired(&mut damaged.clone(), "zeroth").0.steps;
        for count in 0..=steps.len() {
            let mut files = damaged.clone();
            for step in &steps[..count] {
                carry_out(&mut files, step);
            }
            let context = alloc::format!("{name}, cut off after {count} steps");
            let files = assert_repairs(&files, &before, &context);
            let unnamed = verified(&mut files.clone()).1;
            let left = unnamed.iter().filter(|it| it.to_string().contains("segment")).count();
            let is_switched = steps[..count].iter().any(|step| {
                matches!(step, RepairStep::Create { path, .. } if path.ends_with("unfinished"))
            });
            assert!(!is_switched || left == 0, "{context}: {unnamed:?}");
        }
    }
}

#[test]
fn a_damaged_frame_costs_only_the_partitions_that_it_named() {
    let sound = directory(true);
    let before = content(&sound);
    let frames = frames(&sound);
    // The second life's appends alternate between the partitions, a frame each.
    let (at, _) = frames[frames.len() - 20];
    let mut damaged = sound.clone();
    damaged.flip(JOURNAL, (at + 90) * 8);
    let files = assert_repairs(&damaged, &before, "one frame");
    let after = content(&files);
    let whole = ORDERS.iter().filter(|id| after[id].bytes == before[id].bytes).count();
    assert_eq!(whole, 1, "one of the two is whole, the other is cut");
}

/// The topics' partition was judged a second time, as one of those that only their files tell of:
/// what was in sound frames alone was given up, and with a topic's creation the topic went.
#[test]
fn a_damaged_frame_costs_no_topic_that_another_frame_has() {
    let mut disk = Disk::new(&Random::new(15));
    let mut life = Life::begin(&mut disk, &ALL);
    life.append(&mut disk, PartitionId::METADATA, &created(1, 2));
    life.append(&mut disk, ORDERS[0], b"one");
    life.append(&mut disk, PartitionId::METADATA, &created(2, 1));
    for _ in 0..5 {
        life.append(&mut disk, ORDERS[1], b"behind");
    }
    drop(life);
    let mut sound = Copy::of(&disk);
    // Made ahead, and empty.
    let path = segment_path(PartitionId::METADATA, Offset::ZERO);
    sound.0.entry(path).or_insert_with(|| alloc::vec![0; 64 << 10]);
    let before = content(&sound);
    let names = |bytes: &[u8], topic: u32| {
        let created = created(topic, 1);
        bytes.windows(12).any(|window| window == &created[..12])
    };
    let lost = frames(&sound)
        .into_iter()
        .find(|(at, header)| names(&sound.0[JOURNAL][*at..*at + header.length_bytes], 2));
    let mut damaged = sound.clone();
    damaged.flip(JOURNAL, (lost.unwrap().0 + 90) * 8);
    let after = content(&assert_repairs(&damaged, &before, "the creation of the other"));
    assert!(names(&after[&PartitionId::METADATA].bytes, 1), "the first topic is there");
    assert_eq!(after[&ORDERS[0]].bytes, before[&ORDERS[0]].bytes);
    assert_eq!(after[&ORDERS[1]].bytes, before[&ORDERS[1]].bytes);
}

#[test]
fn what_is_cut_is_kept_with_its_origin() {
    let sound = directory(true);
    let segment = segment_path(ORDERS[0], Offset::ZERO);
    let mut files = sound.clone();
    files.flip(&segment, 150_000 * 8);
    let damaged = files.clone();
    let (repair, lines) = repaired(&mut files, "first");
    let cut = lines.iter().find_map(|line| match line {
        RepairLine::Cut(cut) => Some(cut.clone()),
        _ => None,
    });
    let cut = cut.unwrap();
    assert_eq!((cut.partition, cut.path.as_str(), repair.cuts), (ORDERS[0], segment.as_str(), 1));
    for step in &repair.steps {
        carry_out(&mut files, step);
    }
    let kept = String::from_utf8(files.0["repair/first/kept.txt"].clone()).unwrap();
    let name = alloc::format!("topics-1-0-{:020}.segment-at-{}", 0, cut.position_bytes);
    assert!(kept.contains(&alloc::format!("{name} from={segment} position=")), "{kept}");
    let copy = &files.0[&alloc::format!("repair/first/{name}")];
    assert!(damaged.0[&segment][cut.position_bytes as usize..].starts_with(copy));
    assert_eq!(files.0["repair/first/journal-00000.journal"], damaged.0[JOURNAL]);
    let later = damaged.0.keys().filter(|path| path.starts_with("topics/1/0/"));
    for path in later.filter(|path| path.ends_with(".segment") && **path != segment) {
        let copy = alloc::format!("repair/first/{}", path.replace('/', "-"));
        assert_eq!(files.0[&copy], damaged.0[path], "{path}");
        assert!(!files.0.contains_key(path), "{path}");
    }
}

#[test]
fn topics_whose_records_are_lost_are_found_again_by_their_files() {
    let sound = directory(true);
    let mut files = sound.clone();
    files.0.remove(JOURNAL);
    let (repair, lines) = repaired(&mut files, "first");
    assert!(lines.iter().any(|line| line.to_string().contains("topics/1: its name is lost")));
    for step in &repair.steps {
        carry_out(&mut files, step);
    }
    let metadata = &content(&files)[&PartitionId::METADATA].bytes;
    let needle = &created(1, 0)[..12];
    assert!(metadata.windows(needle.len()).any(|bytes| bytes == needle));
}

#[test]
fn random_damage_is_repaired() {
    let seed = std::env::var("PLIMSOLL_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let cases = std::env::var("PLIMSOLL_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let sound = [directory(true), directory(false)];
    let before = [content(&sound[0]), content(&sound[1])];
    let seeds = seed.map_or(0..cases.unwrap_or(10), |seed| seed..seed + 1);
    for seed in seeds {
        let mut random = Random::new(seed);
        let which = random.below(2) as usize;
        let mut files = sound[which].clone();
        let paths: Vec<String> = files.0.keys().cloned().collect();
        for _ in 0..=random.below(4) {
            let path = &paths[random.below(paths.len() as u64) as usize];
            let Some(bytes) = files.0.get_mut(path).filter(|bytes| !bytes.is_empty()) else {
                continue;
            };
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
            let block = random.below(used.div_ceil(BLOCK_BYTES) as u64) as usize * BLOCK_BYTES;
            let block = block..(block + BLOCK_BYTES).min(bytes.len());
            match random.below(6) {
                0 => bytes[block].fill(0),
                1 => bytes.truncate(block.start),
                2 => bytes.copy_within(block, 0),
                3 => drop(files.0.remove(path)),
                _ => {
                    let bit = random.below(used as u64 * 8) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
        let context = alloc::format!(
            "PLIMSOLL_SEED={seed} cargo test -p plimsoll-storage random_damage_is_repaired"
        );
        let end = verify(&mut files, topic_record, &mut drop);
        // A newer format is refused, and must be.
        let is_refused = matches!(end, Err(VerifyError::Manifest(_)));
        let is_known = files.0.contains_key(JOURNAL)
            || Manifest::decode(files.0.get("MANIFEST").map_or(&[], Vec::as_slice)).is_ok();
        if !is_refused && is_known {
            println!("{context}");
            assert_repairs(&files, &before[which], &context);
        }
    }
}

/// Partitions that take the same batches in turn have old batches of one where new ones of the
/// other would stand, with the very offsets. Of what is in a file, only the offsets tell then.
#[test]
fn a_repair_without_a_journal_stops_at_what_an_earlier_segment_left() {
    // Four batches of whole blocks fill a segment.
    const VALUE_BYTES: usize = (64 << 10) - 72;
    let mut disk = Disk::new(&Random::new(12));
    let mut life = Life::begin(&mut disk, &ALL);
    life.append(&mut disk, PartitionId::METADATA, &created(1, 2));
    life.append(&mut disk, PartitionId::METADATA, &created(2, 1));
    for _ in 0..13 {
        life.append(&mut disk, ORDERS[0], &[b'a'; VALUE_BYTES]);
    }
    for _ in 0..8 {
        life.append(&mut disk, ORDERS[1], &[b'b'; VALUE_BYTES]);
    }
    let slot = life.storage.slot(ORDERS[0]).unwrap();
    life.storage.delete_records(slot, Offset::new(12)).unwrap();
    life.append(&mut disk, DELETED, b"meanwhile its files go");
    assert_eq!(life.storage.counters().recycled_segments, 3);
    for _ in 0..2 {
        life.append(&mut disk, ORDERS[1], &[b'b'; VALUE_BYTES]);
    }
    assert_eq!(life.storage.counters().reused_segments, 1, "the one of offsets 4 to 7");
    life.stop(&mut disk);
    Life::begin(&mut disk, &ALL).stop(&mut disk);
    let mut files = Copy::of(&disk);
    let active = &files.0[&segment_path(ORDERS[1], Offset::new(8))];
    let fills: Vec<u8> = active.chunks(64 << 10).map(|batch| batch[200]).collect();
    assert_eq!(fills, [b'b', b'b', b'a', b'a']);
    files.0.remove(JOURNAL);
    let (repair, _) = repaired(&mut files, "first");
    for step in &repair.steps {
        carry_out(&mut files, step);
    }
    let found = &content(&files)[&ORDERS[1]];
    assert_eq!(found.bytes.len(), 10 * (64 << 10));
    for batch in found.bytes.chunks(64 << 10) {
        assert!(batch[100..60_000].iter().all(|byte| *byte == b'b'), "another partition's records");
    }
}
