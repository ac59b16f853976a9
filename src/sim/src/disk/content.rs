//! The bytes of one file, sparse: what was never written takes no memory and reads as zeros.
//!
//! It knows nothing of durability: a file keeps one of these for what readers see, and another for
//! what lasts. What a newcomer gets wrong: storing past the length does not lengthen; that is a
//! change of its own, which can be lost alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::trace::Trace;

const PAGE_BYTES: usize = 4096;

/// A run of bytes with a length. Bytes may be stored past the length; they are not part of the
/// content until it grows, and `trim` forgets them.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    length_bytes: u64,
    /// Shared by the copies of a content until one of them changes it.
    pages: BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        for (page, bytes) in bytes.chunks(PAGE_BYTES).enumerate() {
            // A page that is not there reads as zeros, and most of a new journal is zeros.
            if bytes.iter().any(|byte| *byte != 0) {
                content.store((page * PAGE_BYTES) as u64, bytes);
            }
        }
        content.grow(bytes.len() as u64);
        content
    }

    pub(super) fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length_bytes as usize];
        self.read(0, &mut bytes);
        bytes
    }

    /// Fills `target` from `position_bytes` on; gives how many bytes there were.
    pub(super) fn read(&self, position_bytes: u64, target: &mut [u8]) -> usize {
        let there = self.length_bytes.saturating_sub(position_bytes);
        let count = target.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        for (page, within, part) in parts(position_bytes, count) {
            match self.pages.get(&page) {
                Some(bytes) => target[part.clone()].copy_from_slice(&bytes[within..][..part.len()]),
                None => target[part].fill(0),
            }
        }
        count
    }

    /// Adds length and bytes to the trace.
    pub(super) fn note(&self, trace: &mut Trace) {
        trace.note_number(self.length_bytes);
        for (page, bytes) in &self.pages {
            trace.note_number(*page);
            trace.note(&bytes[..]);
        }
    }

    /// Stores `bytes` without a change of length.
    pub(super) fn store(&mut self, position_bytes: u64, bytes: &[u8]) {
        for (page, within, part) in parts(position_bytes, bytes.len()) {
            if is_zero(&bytes[part.clone()]) && !self.pages.contains_key(&page) {
                continue;
            }
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[within..][..part.len()].copy_from_slice(&bytes[part]);
        }
    }

    /// Stores so many zeros without a change of length.
    pub(super) fn store_zeros(&mut self, position_bytes: u64, length: usize) {
        if self.pages.is_empty() {
            return;
        }
        for (page, within, part) in parts(position_bytes, length) {
            if let Some(page) = self.pages.get_mut(&page) {
                Arc::make_mut(page)[within..][..part.len()].fill(0);
            }
        }
    }

    pub(super) fn grow(&mut self, length_bytes: u64) {
        self.length_bytes = self.length_bytes.max(length_bytes);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what is stored past the length.
    pub(super) fn trim(&mut self) {
        let boundary = self.length_bytes / PAGE_BYTES as u64;
        let within = (self.length_bytes % PAGE_BYTES as u64) as usize;
        drop(self.pages.split_off(&(boundary + 1)));
        match self.pages.get_mut(&boundary) {
            Some(page) if within > 0 => Arc::make_mut(page)[within..].fill(0),
            _ => drop(self.pages.remove(&boundary)),
        }
    }
}

/// Whether there is nothing but zeros, which a page that was never written reads as anyway.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In pieces that the compiler makes vectors of: most of a journal is zeros.
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The pages that `length` bytes from `position_bytes` on touch: page, position in the page, and
/// which of the bytes.
fn parts(
    position_bytes: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, core::ops::Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let position = position_bytes + done as u64;
        let within = (position % PAGE_BYTES as u64) as usize;
        let start = done;
        done = length.min(start + PAGE_BYTES - within);
        Some((position / PAGE_BYTES as u64, within, start..done))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had_when_the_other_changes() {
        let mut content = Content::of(&[5; 9_000]);
        let copy = content.clone();
        content.store(10, &[6; 5_000]);
        content.store_zeros(8_000, 10);
        content.length_bytes = 8_900;
        content.trim();
        assert_eq!(copy.to_vec(), [5; 9_000]);
    }

    #[test]
    fn what_was_never_written_reads_as_zeros() {
        let mut content = Content::default();
        content.grow(10_000);
        content.store(4_095, &[1, 2]);
        let mut bytes = [7; 4];
        assert_eq!(content.read(4_094, &mut bytes), 4);
        assert_eq!(bytes, [0, 1, 2, 0]);
        assert_eq!(content.read(9_998, &mut bytes), 2);
        assert_eq!(content.read(10_000, &mut bytes), 0);
    }

    #[test]
    fn trimmed_bytes_are_zeros_when_the_length_comes_back() {
        let mut content = Content::default();
        content.store(0, &[5; 9_000]);
        content.grow(4_100);
        content.trim();
        content.grow(9_000);
        let bytes = content.to_vec();
        assert!(bytes[..4_100].iter().all(|byte| *byte == 5));
        assert!(bytes[4_100..].iter().all(|byte| *byte == 0));
    }
}
