//! The fuzz targets without a fuzzer: the kept seeds as they are, and thousands of changes to them.
//!
//! It does not see what it covers, as libFuzzer does, and so finds less; but it needs no nightly
//! toolchain, and takes seconds. Bytes that once broke something belong into `tools/fuzz/seeds`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it must be")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use plimsoll_tests::Random;

const BYTES_MAX: usize = 4096;
/// Numbers at which counts and lengths go wrong.
const EDGES: [u64; 8] =
    [0, 1, 0x7F, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF, u64::MAX];

#[test]
fn changed_frames_are_refused_or_read_and_never_panic() {
    feed("frame_decode", plimsoll_arbitrary::frame_decode, 100_000);
}

#[test]
fn changed_batches_are_refused_or_read_and_never_panic() {
    feed("batch_validate", plimsoll_arbitrary::batch_validate, 100_000);
}

#[test]
fn changed_journals_are_recovered_or_named_as_damaged_and_never_panic() {
    feed("journal_recovery", plimsoll_arbitrary::journal_recovery, 2_000);
}

#[test]
fn changed_segments_are_read_or_named_as_damaged_and_repaired_and_never_panic() {
    feed("segment_read", plimsoll_arbitrary::segment_read, 2_000);
}

#[test]
fn changed_configurations_are_taken_or_refused_and_never_panic() {
    feed("config_read", plimsoll_arbitrary::config_read, 20_000);
}

/// Shows `target` every seed, then `changes` mutants of them.
fn feed(target: &str, body: fn(&[u8]), changes: usize) {
    let seeds = seeds(target);
    for (name, seed) in &seeds {
        show(body, seed, name);
    }
    let random = &mut random(target);
    for change in 1..=changes {
        let (name, seed) = any_of(random, &seeds);
        let mut bytes = seed.clone();
        for _ in 0..random.below(1..6) {
            mutate(random, &mut bytes, &seeds);
        }
        bytes.truncate(BYTES_MAX);
        show(body, &bytes, &format!("change {change}, of {name}"));
    }
}

fn show(body: fn(&[u8]), bytes: &[u8], name: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(bytes))) {
        eprintln!("{name}: {}", bytes.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut seeds: Vec<_> =
        files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    // A directory lists its files in any order; the same seed has to give the same bytes.
    seeds.sort();
    assert!(!seeds.is_empty());
    seeds
}

/// The same choices at each run, unless `PLIMSOLL_SEED` says otherwise: a gate is no lottery.
fn random(target: &str) -> Random {
    let given = std::env::var("PLIMSOLL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or(1);
    println!("{target}: seed {seed}; again: PLIMSOLL_SEED={seed} cargo test -p plimsoll-arbitrary");
    Random::new(seed)
}

/// One change of the kinds that libFuzzer makes.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, seeds: &[(String, Vec<u8>)]) {
    let at = random.below(0..bytes.len() as u64 + 1) as usize;
    let end = at + random.below(0..(bytes.len() - at) as u64 + 1) as usize;
    match random.below(0..9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(0..8),
        1 if at < bytes.len() => bytes[at] = random.number() as u8,
        2 => overwrite(bytes, at, &(random.one_of(&EDGES) as u32).to_be_bytes()),
        3 => overwrite(bytes, at, &random.one_of(&EDGES).to_le_bytes()),
        4 => bytes.truncate(end),
        5 => drop(bytes.drain(at..end)),
        6 => bytes.extend_from_within(at..end),
        7 => {
            let (_, other) = any_of(random, seeds);
            let from = random.below(0..other.len() as u64 + 1) as usize;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => bytes.insert(at, random.number() as u8),
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let room = bytes.len().saturating_sub(at).min(with.len());
    bytes[at..at + room].copy_from_slice(&with[..room]);
}

fn any_of<'a, T>(random: &mut Random, all: &'a [T]) -> &'a T {
    &all[random.below(0..all.len() as u64) as usize]
}
