//! `verify` and `inspect`: what is in the files, and what is wrong with them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use plimsoll_tests::{Place, Server};

use crate::program::{ask, real_text, run};

fn loaded(place: &Place) -> Server {
    let server = place.server().shards(2).start();
    ask(&server, &["topic", "create", "text", "--partitions", "3"]).ok();
    let (files, _) = real_text();
    let files: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
    ask(&server, &[&["produce", "text", "--batch-bytes", "64KiB"], &files[..]].concat()).ok();
    server
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| match path.is_dir() {
        true => files(&path, extension),
        false => vec![path],
    };
    let all = paths.flat_map(below);
    all.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn a_directory_is_clean_after_a_crash_a_restart_and_a_stop() {
    let place = Place::new();
    let data_dir = place.data_dir();
    let data_dir = data_dir.to_str().unwrap();
    loaded(&place).kill();
    let crashed = run(&["verify", data_dir]);
    assert_eq!(crashed.code, 0, "a crash is no damage: {crashed:?}");
    let server = place.server().shards(2).start();
    let refused = run(&["verify", data_dir]);
    assert!(refused.code == 2 && refused.stderr.contains("its server runs"), "{refused:?}");
    assert!(server.stop().success());
    let clean = run(&["verify", data_dir]).ok();
    assert!(clean.lines().last().unwrap().contains("no damage"), "{clean}");
}

#[test]
fn a_start_says_in_one_line_what_recovery_did() {
    let place = Place::new();
    loaded(&place).kill();
    place.remove_arenas();
    assert!(place.server().shards(2).start().stop().success());
    let log = fs::read_to_string(place.log()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" recovered ")).collect();
    assert_eq!(lines.len(), 2, "one for each start: {log}");
    let field = |name: &str| {
        let found = lines[1].split_whitespace().find_map(|word| word.strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name} in {}", lines[1])).to_owned()
    };
    assert_eq!((field("epoch=").as_str(), field("journals=").as_str()), ("2", "2"));
    assert!(field("frames=").parse::<u64>().unwrap() > 0);
    field("cut_bytes=").parse::<u64>().unwrap();
    assert!(field("leases_used=").parse::<u64>().unwrap() > 0);
    assert!(field("offsets_jumped=").starts_with('['));
    assert_eq!((field("arenas=").as_str(), field("damages=").as_str()), ("0", "0"));
    field("took_ms=").parse::<u64>().unwrap();
}

#[test]
fn a_flipped_bit_is_named_with_file_position_and_partition() {
    let place = Place::new();
    assert!(loaded(&place).stop().success());
    // Lines go to the partitions batch by batch: one may have got little, the largest did not.
    let length_bytes = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let segments = files(&place.data_dir(), "segment");
    let segment = segments.into_iter().max_by_key(length_bytes).unwrap();
    let file = fs::File::options().read(true).write(true).open(&segment).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 5_000).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], 5_000).unwrap();
    let found = run(&["verify", place.data_dir().to_str().unwrap()]);
    assert_eq!(found.code, 1, "{found:?}");
    let name = segment.strip_prefix(place.data_dir()).unwrap().to_str().unwrap().to_owned();
    let damage = found.stdout.lines().find(|line| line.starts_with("damage: ")).unwrap();
    assert!(damage.contains(&name) && damage.contains("byte"), "{damage}");
    assert!(damage.contains("partition"), "{damage}");

    // The damaged place is told to who reads it; it is not skipped, and no damaged byte comes.
    let server = place.server().shards(2).start();
    let partition = name.split('/').nth_back(1).unwrap().to_owned();
    let words = ["consume", "text", "--partition", &partition, "--until", "end"];
    let consumed = ask(&server, &words);
    assert_eq!(consumed.code, 1, "{}", consumed.stderr);
    assert!(consumed.stderr.contains("DATA_DAMAGED"), "{}", consumed.stderr);
}

#[test]
fn inspect_shows_every_kind_of_file() {
    let place = Place::new();
    loaded(&place).kill();
    let is_metadata = |path: &PathBuf| path.starts_with(place.data_dir().join("topics/0"));
    let segments = files(&place.data_dir(), "segment").into_iter();
    let (metadata, others): (Vec<_>, Vec<_>) = segments.partition(is_metadata);
    let (ready, segment) = (metadata[0].clone(), others[0].clone());
    let journal = files(&place.data_dir(), "journal").into_iter().next().unwrap();
    let arena = files(place.arena_dir(), "arena").into_iter().next().unwrap();
    let manifest = place.data_dir().join("MANIFEST");
    let words = [
        (segment, "epoch=1 codec=none"),
        (ready, "no batch"),
        (journal, "frame"),
        (arena, "arena"),
        (manifest, "epoch=1"),
    ];
    for (file, word) in words {
        let shown = run(&["inspect", file.to_str().unwrap()]).ok();
        assert!(shown.contains(word), "{}: {shown}", file.display());
    }
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert_eq!(run(&["inspect", other]).code, 2);
}
