//! `verify` and `inspect` on a data directory that the real storage wrote on the simulated disk.
//!
//! They build directories with the real log on the simulated disk, damage them, and compare what is
//! reported with what can still be read.

pub(crate) mod directory;
mod inspecting;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::println;

use plimsoll_device::BLOCK_BYTES;
use plimsoll_sim::{Disk, Random};
use proptest::prelude::*;

use self::directory::{Copy, DELETED, JOURNAL_BYTES, Life, ORDERS, directory, start, start_with};
use crate::*;

/// A record of the metadata topic, as these tests write it.
pub(crate) fn topic_record(value: &[u8]) -> Option<TopicRecord> {
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    if let Some(id) = value.strip_prefix(b"deleted ") {
        return Some(TopicRecord::Deleted { topic: number(id)? });
    }
    let (topic, partitions) = value.strip_prefix(b"created ")?.split_at_checked(4)?;
    Some(TopicRecord::Created { topic: number(topic)?, partitions: number(partitions)? })
}

pub(crate) fn verified(files: &mut Copy) -> (VerifySummary, Vec<Finding>) {
    let mut findings = Vec::new();
    let summary = verify(files, topic_record, &mut |finding| findings.push(finding)).unwrap();
    (summary, findings)
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

#[test]
fn a_journal_that_was_made_larger_has_no_damage() {
    let mut disk = directory();
    let before = verified(&mut Copy::of(&disk)).0;
    assert_eq!(start_with(&mut disk, JOURNAL_BYTES + (1 << 20)).grown, [0]);
    let (after, findings) = verified(&mut Copy::of(&disk));
    assert_eq!(findings, []);
    assert_eq!((after.frames, after.batches), (before.frames, before.batches));
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
            let end = verify(&mut files, topic_record, &mut |_| findings += 1);
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

/// It was named at the batch behind it, which is sound.
#[test]
fn an_epoch_that_was_raised_is_named_at_its_own_batch() {
    let sound = Copy::of(&directory());
    let path = segment_path(ORDERS[0], plimsoll_batch::Offset::ZERO);
    let bytes = &sound.0[&path];
    let length = 12 + u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let mut files = sound.clone();
    // The second batch of the first start; the third one then goes back to it.
    files.flip(&path, (length + 15) * 8 + 1);
    let damages = damage_of(&mut files);
    let [named] = &damages[..] else { panic!("{damages:?}") };
    assert_eq!((named.path.as_str(), named.position_bytes), (path.as_str(), length as u64));
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

/// The log of topics is shortened: the deletion goes with the creation.
#[test]
fn a_topic_that_a_shortened_log_leaves_out_is_deleted_and_may_be_missing() {
    let mut disk = directory();
    let all = [PartitionId::METADATA, ORDERS[0], ORDERS[1], DELETED];
    let mut life = Life::begin(&mut disk, &all);
    for record in [&b"old"[..], b"created \x03\0\0\0\x01\0\0\0", b"created \x01\0\0\0\x02\0\0\0"] {
        life.append(&mut disk, PartitionId::METADATA, record);
    }
    for (start, damages) in [(0, true), (1, false)] {
        life.delete_records(&mut disk, PartitionId::METADATA, start);
        let mut files = Copy::of(&disk);
        let directory = partition_directory(DELETED);
        files.0.retain(|path, _| !path.starts_with(&directory));
        let (summary, findings) = verified(&mut files);
        assert_eq!(summary.damages > 0, damages, "{findings:?}");
    }
    life.stop(&mut disk);
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

/// A power loss takes data that was not durable, and leaves the index of a segment that was sealed
/// with it.
#[test]
fn an_index_of_data_that_a_crash_took_is_noted_and_no_damage() {
    let mut files = Copy::of(&directory());
    let path = files.0.keys().find(|path| path.ends_with(".index")).unwrap().clone();
    let bytes = files.0.get_mut(&path).unwrap();
    let entries = u64::from_le_bytes(bytes[64..72].try_into().unwrap()) as usize;
    let through = u64::from_le_bytes(bytes[48..56].try_into().unwrap());
    bytes[48..56].copy_from_slice(&(through + 4711).to_le_bytes());
    let check = encoding::crc(&bytes[12..72 + 24 * entries]);
    bytes[8..12].copy_from_slice(&check.to_le_bytes());
    let (summary, findings) = verified(&mut files);
    assert_eq!(summary.damages, 0, "{findings:?}");
    assert!(findings.iter().any(|it| it.to_string().contains("a crash took")), "{findings:?}");
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
fn an_older_manifest_is_named_once() {
    let mut files = Copy::of(&directory());
    let block = files.0.get_mut("MANIFEST").unwrap();
    let manifest = Manifest::decode(block).unwrap();
    Manifest { epoch: 1, ..manifest }.encode(block);
    let damages = damage_of(&mut files);
    assert_eq!((damages.len(), damages[0].path.as_str()), (1, "MANIFEST"), "{damages:?}");
    assert!(damages[0].what.starts_with("an older MANIFEST: it knows 1 starts, journal/00000"));
}

#[test]
fn a_journal_of_another_length_is_named_with_both_lengths() {
    let (sound, path) = (Copy::of(&directory()), "journal/00000.journal");
    let whole = JOURNAL_BYTES as usize;
    for length in [whole - BLOCK_BYTES, 3 * BLOCK_BYTES, whole - 1, whole + BLOCK_BYTES] {
        let mut files = sound.clone();
        files.0.get_mut(path).unwrap().resize(length, 0);
        let damages = damage_of(&mut files);
        let said = alloc::format!("the file has {length} bytes, its anchor says {whole}");
        assert!(damages[0].what == said && damages[0].path == path, "{damages:?}");
        assert_eq!(damages[0].position_bytes, length.min(whole) as u64);
        let mut out = String::new();
        inspect(&mut files, path, &mut out).unwrap();
        assert!(
            out.contains(&alloc::format!("found={length} expected={whole} check=bad")),
            "{out}"
        );
    }
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
    let end = verify(&mut files, topic_record, &mut |_| {});
    assert_eq!(end, Err(VerifyError::NotADataDirectory));
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
        let end = verify(&mut files, topic_record, &mut drop);
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
        let end = verify(&mut files, topic_record, &mut drop);
        prop_assert!(end.is_ok());
    }
}
