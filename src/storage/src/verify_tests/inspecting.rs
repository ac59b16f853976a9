//! What `inspect` says of each kind of file, sound and damaged.
//!
//! It goes by the content alone, so that files are also given to it under strange names.

use alloc::string::{String, ToString};

use plimsoll_device::Arena;
use plimsoll_sim::{Disk, Random};

use super::directory::{Copy, Life, ORDERS, directory};
use crate::*;

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
        ("MANIFEST", FileKind::Manifest, "manifest format=3 data_dir=0707"),
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
