//! Where each key was written last, as far as a pass has room to know.
//!
//! Keys are compared whole: there is no hash of which two keys could have the same, and so nothing
//! that a collision could take. What a newcomer gets wrong: the limit is on bytes, not on keys.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::limits::{COMPACTION_KEY_BYTES_MAX, COMPACTION_KEY_COST_BYTES};

/// The latest offsets of keys.
#[derive(Default)]
pub(super) struct Keys {
    latest: BTreeMap<Vec<u8>, Offset>,
    bytes: usize,
}

impl Keys {
    /// Notes a record; offsets come in order. False if there is no room for the key. One key always
    /// has room, so that every pass comes further than the one before.
    pub(super) fn note(&mut self, key: &[u8], offset: Offset) -> bool {
        if let Some(latest) = self.latest.get_mut(key) {
            *latest = offset;
            return true;
        }
        let bytes = self.bytes + key.len() + COMPACTION_KEY_COST_BYTES;
        if bytes > COMPACTION_KEY_BYTES_MAX && !self.latest.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.latest.insert(key.to_vec(), offset);
        true
    }

    /// Whether the key was written again behind `offset`.
    pub(super) fn has_later(&self, key: &[u8], offset: Offset) -> bool {
        self.latest.get(key).is_some_and(|latest| *latest > offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_until_their_memory_is_used_up_and_known_ones_go_on() {
        let mut keys = Keys::default();
        let large = alloc::vec![1; COMPACTION_KEY_BYTES_MAX];
        assert!(keys.note(&large, Offset::new(1)), "one key always has room");
        assert!(!keys.note(b"k", Offset::new(2)));
        assert!(keys.note(&large, Offset::new(3)));
        assert!(keys.has_later(&large, Offset::new(1)) && !keys.has_later(&large, Offset::new(3)));
        assert!(!keys.has_later(b"k", Offset::new(0)));
    }
}
