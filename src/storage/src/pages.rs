//! Which pages of the arena are free: best fit, merged when given back.
//!
//! Only numbers of pages: what is in them is `span`'s business. Pages that are given back twice
//! would be lent twice, so that is a panic.

use alloc::collections::{BTreeMap, BTreeSet};

/// Free runs of pages. Deterministic: the smallest run that fits, the lowest among equals.
pub(crate) struct FreePages {
    by_start: BTreeMap<u32, u32>,
    by_length: BTreeSet<(u32, u32)>,
    free: u32,
}

impl FreePages {
    pub(crate) fn new(pages: u32) -> Self {
        let mut free = Self { by_start: BTreeMap::new(), by_length: BTreeSet::new(), free: 0 };
        free.give(0, pages);
        free
    }

    /// Number of free pages.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// Takes `pages` pages in a row; gives the first.
    pub(crate) fn take(&mut self, pages: u32) -> Option<u32> {
        assert!(pages > 0, "a run has pages");
        let (length, start) = *self.by_length.range((pages, 0)..).next()?;
        self.forget(start, length);
        if length > pages {
            self.remember(start + pages, length - pages);
        }
        Some(start)
    }

    /// Gives back `pages` pages from `start` on.
    pub(crate) fn give(&mut self, start: u32, pages: u32) {
        let (mut start, mut length) = (start, pages);
        if let Some((&next, &next_length)) = self.by_start.range(start..).next() {
            assert!(start + length <= next, "page {start} was given back twice");
            if start + length == next {
                self.forget(next, next_length);
                length += next_length;
            }
        }
        if let Some((&before, &before_length)) = self.by_start.range(..start).next_back() {
            assert!(before + before_length <= start, "page {start} was given back twice");
            if before + before_length == start {
                self.forget(before, before_length);
                start = before;
                length += before_length;
            }
        }
        self.remember(start, length);
    }

    fn remember(&mut self, start: u32, length: u32) {
        self.by_start.insert(start, length);
        self.by_length.insert((length, start));
        self.free += length;
    }

    fn forget(&mut self, start: u32, length: u32) {
        self.by_start.remove(&start);
        self.by_length.remove(&(length, start));
        self.free -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_merge_when_given_back() {
        let mut pages = FreePages::new(8);
        let runs = [pages.take(3).unwrap(), pages.take(3).unwrap(), pages.take(2).unwrap()];
        assert_eq!(runs, [0, 3, 6]);
        assert_eq!(pages.take(1), None);
        pages.give(0, 3);
        pages.give(6, 2);
        assert_eq!(pages.take(4), None);
        pages.give(3, 3);
        assert_eq!(pages.free(), 8);
        assert_eq!(pages.take(8), Some(0));
    }

    #[test]
    fn the_smallest_run_that_fits_is_taken() {
        let mut pages = FreePages::new(10);
        let first = pages.take(2).unwrap();
        let _wall = pages.take(1).unwrap();
        pages.give(first, 2);
        assert_eq!(pages.take(2), Some(0));
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn giving_back_twice_is_noticed() {
        let mut pages = FreePages::new(4);
        pages.take(2).unwrap();
        pages.give(0, 2);
        pages.give(0, 2);
    }
}
