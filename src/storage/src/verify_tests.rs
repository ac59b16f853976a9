//! `verify` and `inspect` on a data directory that the real storage wrote on the simulated disk.
//!
//! They build directories with the real log on the simulated disk, damage them, and compare what is
//! reported with what can still be read.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use std::println;

use plimsoll_batch::{Batch, BatchBuilder, BatchLimits};
use plimsoll_device::{Arena, BLOCK_BYTES, Instant, IoError, IoErrorKind, Now};
use plimsoll_sim::{Disk, Random, heap_arena};
use proptest::prelude::*;

use crate::*;

const NOW: Now = Now { monotonic: Instant::from_nanos(0), unix_ms: 0 };
const JOURNAL_BYTES: u64 = 8 << 20;
const ORDERS: [PartitionId; 2] =
    [PartitionId { topic: 1, partition: 0 }, PartitionId { topic: 1, partition: 1 }];
const DELETED: PartitionId = PartitionId { topic: 2, partition: 0 };

/// A data directory as bytes.
#[derive(Clone, Default)]
struct Copy(BTreeMap<String, Vec<u8>>);

impl Copy {
    fn of(disk: &Disk) -> Self {
        let paths = disk.files().into_iter();
        Self(paths.map(|path| (path.clone(), disk.read_file(&path).unwrap())).collect())
    }

    fn flip(&mut self, path: &str, bit: usize) {
        self.0.get_mut(path).unwrap()[bit / 8] ^= 1 << (bit % 8);
    }
}

impl DataFiles for Copy {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, IoError> {
        let prefix = match directory {
            "" => String::new(),
            directory => alloc::format!("{directory}/"),
        };
        let within = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut names: Vec<String> =
            within.map(|rest| rest.split('/').next().unwrap().to_string()).collect();
        names.dedup();
        Ok(names)
    }

    fn length_bytes(&mut self, path: &str) -> Result<u64, IoError> {
        let file = self.0.get(path).ok_or(IoError::new(IoErrorKind::NotFound, 2))?;
        Ok(file.len() as u64)
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let file = self.0.get(path).ok_or(IoError::new(IoErrorKind::NotFound, 2))?;
        let rest = file.get(usize::try_from(position).unwrap_or(usize::MAX)..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// The topic that a record of the metadata topic deletes, as these tests write it.
fn deleted_topic(value: &[u8]) -> Option<u32> {
    let id = value.strip_prefix(b"deleted ")?;
    Some(u32::from_le_bytes(id.try_into().ok()?))
}

fn verified(files: &mut Copy) -> (VerifySummary, Vec<Finding>) {
    let mut findings = Vec::new();
    let summary = verify(files, deleted_topic, &mut |finding| findings.push(finding)).unwrap();
    (summary, findings)
}

/// One life of a server with one shard.
struct Life {
    storage: Storage,
    seeded: bool,
    stopped: bool,
}

fn start(disk: &mut Disk) -> Started {
    let config =
        StartupConfig { shards: 1, journal_bytes: JOURNAL_BYTES, new_data_dir: DataDirId([7; 16]) };
    let mut startup = Startup::new(config);
    let mut arena = heap_arena(BLOCK_BYTES);
    loop {
        while let Some(op) = startup.poll_op() {
            disk.submit(op, &arena);
        }
        if let Some(outcome) = startup.outcome() {
            return outcome.unwrap();
        }
        startup.handle(disk.complete_one(&mut arena).expect("a start has something in flight"));
    }
}

impl Life {
    /// Starts without the arena of the life before: as after a power loss.
    fn begin(disk: &mut Disk, partitions: &[PartitionId]) -> Self {
        let mut started = start(disk);
        assert_eq!(started.damages, []);
        adopt_arenas(&mut started.partitions, &[]);
        let config = StorageConfig {
            data_dir: started.manifest.data_dir,
            epoch: started.manifest.epoch,
            boot_id: [1; 16],
            durable_writes: false,
            journal: started.journals.remove(0).journal,
            journal_damage: None,
            recovered: started.partitions,
        };
        let storage = Storage::new(config, heap_arena(ARENA_BYTES_MIN));
        let mut life = Self { storage, seeded: false, stopped: false };
        for id in partitions {
            let config = PartitionConfig {
                segment_bytes: 256 << 10,
                batch_bytes_max: 1 << 20,
                flush_interval: Duration::from_millis(1),
            };
            life.storage.open_partition(*id, config);
        }
        life.storage.finish_opening(NOW);
        life.run(disk);
        assert!(life.seeded);
        life.storage.all_seeded();
        life
    }

    fn run(&mut self, disk: &mut Disk) {
        loop {
            while let Some(op) = self.storage.poll_op() {
                disk.submit(op, self.storage.arena());
            }
            while let Some(notice) = self.storage.poll_notice() {
                match notice {
                    Notice::Seeded => self.seeded = true,
                    Notice::Stopped => self.stopped = true,
                    Notice::Failed(failure) => panic!("{failure}"),
                    _ => {}
                }
            }
            match disk.complete_one(self.storage.arena_mut()) {
                Some(completion) => self.storage.handle(completion, NOW),
                None => return,
            }
        }
    }

    fn append(&mut self, disk: &mut Disk, id: PartitionId, value: &[u8]) {
        let mut builder = BatchBuilder::new();
        builder.append(5, None, Some(value), &[]).unwrap();
        let mut bytes = Vec::new();
        builder.finish_into(&mut bytes);
        let batch = Batch::validate(&bytes, &BatchLimits::default()).unwrap();
        let slot = self.storage.slot(id).unwrap();
        self.storage.append(slot, &batch, Level::Disk, NOW).unwrap();
        self.run(disk);
    }

    fn stop(mut self, disk: &mut Disk) {
        self.storage.stop(NOW);
        self.run(disk);
        assert!(self.stopped);
        disk.kill();
    }
}

/// Two lives with a power loss between them: several segments, inline data, extents, an offset gap.
fn directory() -> Disk {
    let mut disk = Disk::new(&Random::new(11));
    let all = [PartitionId::METADATA, ORDERS[0], ORDERS[1], DELETED];
    let mut life = Life::begin(&mut disk, &all);
    for round in 0..12_u8 {
        life.append(&mut disk, ORDERS[0], &vec![round; 70_000]);
        life.append(&mut disk, ORDERS[1], &vec![round; 3_000]);
        life.append(&mut disk, DELETED, &vec![round; 20_000]);
    }
    drop(life);
    disk.power_loss();
    let mut life = Life::begin(&mut disk, &all);
    for round in 0..30_u8 {
        life.append(&mut disk, ORDERS[0], &vec![round; 9_000]);
        life.append(&mut disk, ORDERS[1], &[round; 30]);
    }
    life.stop(&mut disk);
    disk
}

#[test]
fn a_sound_directory_has_no_damage() {
    let mut files = Copy::of(&directory());
    let (summary, findings) = verified(&mut files);
    println!("{summary:?}");
    assert_eq!(findings, []);
    assert_eq!(summary.damages, 0);
    assert_eq!(summary.batches, 12 * 3 + 30 * 2);
    assert!(summary.files >= 5 && summary.frames > 0 && summary.partitions >= 3);
}

/// What recovery and readers get: the partitions as found, and all bytes of each.
fn readable(files: &Copy) -> (BTreeMap<PartitionId, RecoveredPartition>, Vec<Vec<u8>>) {
    let mut disk = Disk::new(&Random::new(1));
    for (path, bytes) in &files.0 {
        disk.write_file(path, bytes);
    }
    let started = start(&mut disk);
    assert_eq!(started.damages, []);
    let mut data = Vec::new();
    for (id, partition) in &started.partitions {
        let sealed = partition.sealed.iter().map(|it| (it.base, it.length_bytes));
        for (base, length) in sealed.chain([(partition.active, partition.end())]) {
            let run = partition.runs.iter().find(|run| run.segment == base);
            let stored = run.map_or(length, |run| run.stored.min(length)) as usize;
            let file = files.0.get(&segment_path(*id, base)).map_or(&[][..], |it| &it[..stored]);
            data.push([file, run.map_or(&[][..], |run| &run.bytes)].concat());
        }
    }
    (started.partitions, data)
}

/// Bits to flip: all of what is dense at the front, and some everywhere.
fn bits_of(bytes: &[u8], dense: &[core::ops::Range<usize>], random: &mut Random) -> Vec<usize> {
    let mut bits: Vec<usize> =
        dense.iter().flat_map(|range| (range.start * 8..range.end * 8).step_by(7)).collect();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bits.extend((0..60).map(|_| random.below(used as u64 * 8) as usize));
    bits.retain(|bit| *bit < bytes.len() * 8);
    bits
}

#[test]
fn every_flipped_bit_is_reported_or_changes_nothing_that_can_be_read() {
    let sound = Copy::of(&directory());
    let before = readable(&sound);
    let (mut random, mut silent, mut flips) = (Random::new(5), 0, 0);
    for (path, bytes) in &sound.0 {
        let in_journal = path.starts_with("journal");
        let dense = [0..80, 4096..if in_journal { 4176 } else { 4096 }, 8192..8288];
        for bit in bits_of(bytes, &dense, &mut random) {
            let mut files = sound.clone();
            files.flip(path, bit);
            flips += 1;
            let mut findings = 0;
            let end = verify(&mut files, deleted_topic, &mut |_| findings += 1);
            if findings > 0 || end.is_err() {
                continue;
            }
            silent += 1;
            assert!(readable(&files) == before, "bit {bit} of {path} changes what is read");
        }
    }
    println!("{flips} flips, {silent} of them in unused space");
    assert!(silent < flips / 2);
}

fn damage_of(files: &mut Copy) -> Vec<Damage> {
    let (summary, findings) = verified(files);
    let damages: Vec<Damage> = findings
        .into_iter()
        .filter_map(|finding| match finding {
            Finding::Damage(damage) => Some(damage),
            Finding::Note { .. } => None,
        })
        .collect();
    assert_eq!(summary.damages, damages.len() as u64);
    damages
}

#[test]
fn a_flipped_bit_in_a_batch_is_named_with_its_batch_and_the_next_batches_are_checked() {
    let mut files = Copy::of(&directory());
    let path = segment_path(ORDERS[0], plimsoll_batch::Offset::ZERO);
    files.flip(&path, 100 * 8);
    files.flip(&path, 150_000 * 8);
    let damages = damage_of(&mut files);
    let in_batches: Vec<_> = damages.iter().filter(|it| it.what.contains("checksum")).collect();
    assert_eq!(in_batches.len(), 2, "{damages:?}");
    assert_eq!(in_batches[0].position_bytes, 0);
    assert!((70_000..150_000).contains(&in_batches[1].position_bytes));
    assert!(damages.iter().all(|it| it.path == path && it.partition == Some(ORDERS[0])));
}

#[test]
fn a_missing_a_short_and_a_wrongly_padded_segment_are_damage() {
    let sound = Copy::of(&directory());
    let path = segment_path(ORDERS[0], plimsoll_batch::Offset::ZERO);

    let mut files = sound.clone();
    files.0.remove(&path);
    assert_eq!(damage_of(&mut files)[0].what, "the file is missing");

    let mut files = sound.clone();
    files.0.get_mut(&path).unwrap().truncate(8192);
    let damage = damage_of(&mut files).remove(0);
    assert!(damage.what.starts_with("the file ends here"), "{damage}");
    assert_eq!(damage.position_bytes, 8192);

    let (partitions, _) = readable(&sound);
    let length = partitions[&ORDERS[0]].sealed[0].length_bytes as usize;
    assert!(!length.is_multiple_of(BLOCK_BYTES));
    let mut files = sound.clone();
    files.flip(&path, length * 8);
    let damages = damage_of(&mut files);
    assert!(damages.iter().any(|it| it.what.contains("padding")), "{damages:?}");
}

#[test]
fn what_is_missing_of_a_deleted_topic_is_no_damage() {
    let mut disk = directory();
    let all = [PartitionId::METADATA, ORDERS[0], ORDERS[1], DELETED];
    let mut life = Life::begin(&mut disk, &all);
    life.append(&mut disk, PartitionId::METADATA, b"deleted \x02\0\0\0");
    life.stop(&mut disk);
    let mut files = Copy::of(&disk);
    let directory = partition_directory(DELETED);
    files.0.retain(|path, _| !path.starts_with(&directory));
    let (summary, findings) = verified(&mut files);
    assert_eq!(summary.damages, 0, "{findings:?}");
    assert!(findings.iter().any(|it| it.to_string().contains("deleted topic")));
}

#[test]
fn a_damaged_index_is_reported_as_derived_and_an_unwritten_one_is_noted() {
    let mut files = Copy::of(&directory());
    let path = files.0.keys().find(|path| path.ends_with(".index")).unwrap().clone();
    files.flip(&path, 90 * 8);
    let damages = damage_of(&mut files);
    assert_eq!(damages.len(), 1);
    assert!(damages[0].path == path && damages[0].what.starts_with("derived index"));
    files.0.get_mut(&path).unwrap().fill(0);
    let (summary, findings) = verified(&mut files);
    assert_eq!((summary.damages, findings.len()), (0, 1));
}

#[test]
fn a_damaged_manifest_or_anchor_does_not_keep_the_rest_from_being_verified() {
    let mut files = Copy::of(&directory());
    files.flip("MANIFEST", 20 * 8);
    files.flip("journal/00000.journal", 20 * 8);
    let segment = segment_path(ORDERS[0], plimsoll_batch::Offset::ZERO);
    files.flip(&segment, 100 * 8);
    files.0.insert("journal/core".to_string(), Vec::new());
    let damages = damage_of(&mut files);
    let paths: Vec<&str> = damages.iter().map(|damage| damage.path.as_str()).collect();
    assert!(paths.contains(&"MANIFEST"), "{damages:?}");
    assert!(paths.contains(&"journal/00000.journal"), "{damages:?}");
}

#[test]
fn a_missing_journal_is_damage_and_a_stranger_is_a_note() {
    let mut files = Copy::of(&directory());
    files.0.insert("core".to_string(), Vec::new());
    let (summary, findings) = verified(&mut files);
    assert_eq!((summary.damages, findings.len()), (0, 1), "{findings:?}");
    files.0.remove("journal/00000.journal");
    assert!(damage_of(&mut files)[0].what.starts_with("the journal is missing"));
    files.0.remove("MANIFEST");
    let end = verify(&mut files, deleted_topic, &mut |_| {});
    assert_eq!(end, Err(VerifyError::NotADataDirectory));
}

fn inspected(files: &mut Copy, path: &str) -> (FileKind, String) {
    let mut out = String::new();
    let kind = inspect(files, path, &mut out).unwrap();
    (kind, out)
}

#[test]
fn inspect_recognises_every_file_by_its_content() {
    let mut files = Copy::of(&directory());
    let segment = segment_path(ORDERS[0], plimsoll_batch::Offset::ZERO);
    let index = files.0.keys().find(|path| path.ends_with(".index")).unwrap().clone();
    let (arena, kept) = (arena_of_one_batch(), files.0[&segment].clone());
    files.0.insert("x".to_string(), plimsoll_sim::copy_of(&arena));
    files.0.insert("y".to_string(), kept);
    let expected = [
        ("MANIFEST", FileKind::Manifest, "manifest format=1 data_dir=0707"),
        ("journal/00000.journal", FileKind::Journal, "\nframe sequence="),
        ("journal/00000.journal", FileKind::Journal, "  append partition=1/1 segment=0 "),
        ("journal/00000.journal", FileKind::Journal, "    sealed segment=0 bytes="),
        (&index, FileKind::Index, "place offset=0 position=0 "),
        ("x", FileKind::Arena, "\nspan page="),
        ("x", FileKind::Arena, "\n  batch at=0 bytes="),
        ("y", FileKind::Segment, "batch at=0 bytes=70"),
    ];
    for (path, kind, text) in expected {
        let (found, out) = inspected(&mut files, path);
        assert_eq!(found, kind, "{path}");
        assert!(out.contains(text), "{path} should contain {text:?}:\n{out}");
        assert!(!out.contains("check=bad:"), "{out}");
    }
}

fn arena_of_one_batch() -> Arena {
    let mut disk = Disk::new(&Random::new(3));
    let mut life = Life::begin(&mut disk, &[PartitionId::METADATA]);
    life.append(&mut disk, PartitionId::METADATA, b"one");
    plimsoll_sim::arena_from(&plimsoll_sim::copy_of(life.storage.arena()))
}

#[test]
fn inspect_says_which_batch_does_not_check() {
    let mut files = Copy::of(&directory());
    let segment = segment_path(ORDERS[0], plimsoll_batch::Offset::ZERO);
    files.flip(&segment, 100 * 8);
    let (_, out) = inspected(&mut files, &segment);
    let first = out.lines().next().unwrap();
    assert!(first.contains("check=bad: batch checksum is"), "{first}");
    assert!(out.lines().nth(1).unwrap().ends_with("check=ok"));
    let stranger = inspect(&mut Copy::default(), "x", &mut String::new());
    assert!(matches!(stranger, Err(InspectError::Unreadable(_))));
}

#[test]
fn a_writer_that_takes_no_more_ends_the_inspection() {
    struct Closed;
    impl core::fmt::Write for Closed {
        fn write_str(&mut self, _: &str) -> core::fmt::Result {
            Err(core::fmt::Error)
        }
    }
    let mut files = Copy::of(&directory());
    assert_eq!(inspect(&mut files, "MANIFEST", &mut Closed), Err(InspectError::Output));
}

/// Makes the checks of a journal right again, so that noise gets past them.
fn repair(journal: &mut [u8]) {
    let crc = encoding::crc;
    for at in [0, BLOCK_BYTES] {
        let check = crc(&journal[at + 12..at + 72]);
        journal[at + 8..at + 12].copy_from_slice(&check.to_le_bytes());
    }
    let mut previous = None;
    for at in (2 * BLOCK_BYTES..journal.len()).step_by(BLOCK_BYTES) {
        let frame = &mut journal[at..];
        if frame[..4] != *b"PLJF" {
            continue;
        }
        let body_bytes = u32::from_le_bytes(frame[68..72].try_into().unwrap()) as usize;
        let end = (FRAME_HEADER_BYTES + body_bytes).min(frame.len());
        let body_crc = crc(&frame[FRAME_HEADER_BYTES..end]);
        frame[64..68].copy_from_slice(&body_crc.to_le_bytes());
        if let Some(previous) = previous {
            frame[72..76].copy_from_slice(&u32::to_le_bytes(previous));
        }
        let check = crc(&frame[8..FRAME_HEADER_BYTES]);
        frame[4..8].copy_from_slice(&check.to_le_bytes());
        previous = Some(check);
    }
}

fn sound() -> &'static Copy {
    static SOUND: std::sync::OnceLock<Copy> = std::sync::OnceLock::new();
    SOUND.get_or_init(|| Copy::of(&directory()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_verify_or_inspect_panic(
        file in any::<proptest::sample::Index>(),
        noise in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..80),
        repaired in any::<bool>(),
    ) {
        let mut files = sound().clone();
        let path = file.get(&files.0.keys().cloned().collect::<Vec<_>>()).clone();
        let bytes = files.0.get_mut(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        for (at, byte) in noise {
            bytes[at.index(used)] = byte;
        }
        if repaired && path.starts_with("journal") {
            repair(bytes);
        }
        let end = verify(&mut files, deleted_topic, &mut drop);
        prop_assert!(end.is_ok() || path == "MANIFEST");
        let _: Result<FileKind, InspectError> = inspect(&mut files, &path, &mut String::new());
    }

    #[test]
    fn no_entries_make_verify_panic(
        entry in any::<proptest::sample::Index>(),
        field in 0_usize..9,
        values in proptest::collection::vec(any::<u64>(), 1..4),
    ) {
        let mut files = sound().clone();
        let journal = files.0.get_mut("journal/00000.journal").unwrap();
        let frames: Vec<usize> = (2 * BLOCK_BYTES..journal.len())
            .step_by(BLOCK_BYTES)
            .filter(|at| journal[*at..].starts_with(b"PLJF"))
            .collect();
        for (number, value) in values.iter().enumerate() {
            // The fields of the first entry lie behind its head of 16 bytes.
            let at = frames[(entry.index(frames.len()) + number) % frames.len()];
            let at = at + FRAME_HEADER_BYTES + 16 + 8 * ((field + number) % 9);
            journal[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        repair(journal);
        let end = verify(&mut files, deleted_topic, &mut drop);
        prop_assert!(end.is_ok());
    }
}
