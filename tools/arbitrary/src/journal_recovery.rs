//! A journal of arbitrary entries: neither a start, nor `verify`, nor `inspect` panics, what a
//! start reports as sound, `verify` reports as sound, and a journal that is made larger says what
//! it said before.
//!
//! Random bytes hardly ever make a frame that checks. The input is therefore cut into bodies, and
//! each gets a frame that follows on the one before it, laid out by `FORMAT.md` and not by the code
//! under test. A few header fields come from the input too, so that chains break in every way.

#![expect(clippy::expect_used, reason = "a panic is how a broken promise is reported")]

use plimsoll_batch::Offset;
use plimsoll_storage::{PartitionId, Started, inspect, journal_path, segment_path, verify};

use crate::directory::{Directory, File, recover};
use crate::journal_file::{BLOCK_BYTES, FILE_BYTES, JournalFile};

const START: u8 = 0x20;
const COMPACTED: u8 = 0x21;

/// A journal, started from, verified and inspected.
///
/// # Panics
///
/// When what the module promises is broken.
pub fn journal_recovery(bytes: &[u8]) {
    let Some((&[head_block, segment], input)) = bytes.split_first_chunk() else { return };
    let mut files = Directory::with_manifest();
    files.0.insert(journal_path(0), journal(usize::from(head_block) % 40, input));
    if segment > 0 {
        let path = segment_path(PartitionId::METADATA, Offset::ZERO);
        files.0.insert(path, File::of(&[segment; 64 * BLOCK_BYTES]));
    }
    let is_damaged = match recover(&mut files.clone(), FILE_BYTES) {
        Err(_) => true,
        Ok(found) => {
            let is_damaged = !found.damages.is_empty();
            if segment % 2 == 1 && !is_damaged {
                enlarge(files.clone(), &found);
            }
            is_damaged
        }
    };
    let mut damages = 0;
    let end = verify(&mut files, |_| None, &mut |_| damages += 1);
    assert!(end.is_ok() && (damages > 0 || !is_damaged), "verify misses what a start finds");
    inspect(&mut files, &journal_path(0), &mut String::new()).expect("it has an anchor");
}

/// A sound journal is made larger and says what it said before.
fn enlarge(mut directory: Directory, found: &Started) {
    let grown = recover(&mut directory, FILE_BYTES + 3 * BLOCK_BYTES).expect("it was sound");
    let again = recover(&mut directory, FILE_BYTES).expect("it was sound");
    assert_eq!((grown.grown.as_slice(), grown.frames), (&[0][..], found.frames));
    assert!(again.damages.is_empty() && again.frames == found.frames);
    assert_eq!(again.partitions, found.partitions);
}

/// A journal with the frames that the input describes.
fn journal(head_block: usize, mut input: &[u8]) -> File {
    let mut journal = JournalFile::new(head_block);
    while let Some((&[length, lag, tweak, value], rest)) = input.split_first_chunk() {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(length) * 8));
        input = rest;
        let entries: Vec<u8> = body.chunks_exact(12).flat_map(entry).collect();
        let body = if lag < 192 { &entries[..] } else { body };
        journal.push(body, u64::from(lag % 4), (usize::from(tweak), value));
    }
    journal.into_file()
}

/// An entry whose lengths fit, with values in its fields that can come to something.
fn entry(choices: &[u8]) -> Vec<u8> {
    const VALUES: [u64; 12] =
        [0, 1, 2, 100, 200, 4096, 4196, 8192, 1 << 20, 1 << 62, u64::MAX - 8191, u64::MAX];
    let value = |at: usize| VALUES[usize::from(choices[at]) % VALUES.len()];
    // Half of the choices are the three that there were first, as the kept seeds know them.
    let kind = match choices[0] {
        first @ ..128 => first % 4,
        later => [1, 2, 3, START, COMPACTED, COMPACTED][usize::from(later) % 6],
    };
    let mut out = vec![kind, choices[1] & 1, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&u32::from(choices[1] >> 7).to_le_bytes());
    out.extend((2..8).flat_map(|at| value(at).to_le_bytes()));
    let inline = usize::from(choices[8]) % 4 * 100;
    let sealed = u32::from(choices[9] % 3);
    match kind {
        1 => {
            let blocks = u32::from(choices[9] % 8) * BLOCK_BYTES as u32;
            let crc = crc32c::crc32c(&vec![choices[10]; blocks as usize]);
            let at = out.len() - 8;
            out[at..at + 4].copy_from_slice(&blocks.to_le_bytes());
            out[at + 4..].copy_from_slice(&crc.to_le_bytes());
            out.extend_from_slice(&(inline as u64).to_le_bytes());
        }
        2 => {
            out.extend_from_slice(&sealed.to_le_bytes());
            out.extend_from_slice(&(inline as u32).to_le_bytes());
            out.extend((0..2 * sealed as usize).flat_map(|at| value(at % 2 + 10).to_le_bytes()));
        }
        START => out.truncate(32),
        COMPACTED => {
            // Three offsets and lengths, then when it was written, generation, clean since, and how
            // many deletions.
            out.truncate(40);
            let small = [choices[5], choices[6] % 4, choices[7], choices[8]];
            out.extend(small.into_iter().flat_map(|number| u32::from(number).to_le_bytes()));
        }
        _ => out.truncate(24),
    }
    if kind == 1 || kind == 2 {
        out.resize(out.len() + inline.next_multiple_of(8), choices[11]);
    }
    let length = out.len() as u32;
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out
}
