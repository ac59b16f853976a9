//! The committed offset of one partition, twice: as it was written, and as it is on disk.
//!
//! Whoever asks hears what is on disk, because anything else could be taken back. What a newcomer
//! gets wrong: whether a commit goes forward is judged by what was written last, which may still be
//! on its way.

use alloc::string::String;

use plimsoll_batch::Offset;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// After the last record that was worked off.
    pub(crate) offset: Offset,
    /// When it was committed.
    pub(crate) unix_ms: i64,
    /// The consumer's note.
    pub(crate) metadata: String,
}

/// What a group has committed of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// What the last record says that was appended; its durability is still awaited if `pending`.
    pub(crate) written: Option<Committed>,
    /// Changes that are appended and not yet on disk.
    pub(crate) pending: u32,
    /// What is on disk.
    pub(crate) durable: Option<Committed>,
}

impl Place {
    /// Whether a commit of `offset` would move the place forward.
    pub(crate) fn is_behind(&self, offset: Offset) -> bool {
        self.written_offset().is_none_or(|written| written < offset)
    }

    /// The offset that was appended last.
    pub(crate) fn written_offset(&self) -> Option<Offset> {
        self.written.as_ref().map(|written| written.offset)
    }

    /// A change was appended.
    pub(crate) fn write(&mut self, committed: Option<Committed>) {
        self.written = committed;
        self.pending += 1;
    }

    /// The oldest of the appended changes is on disk.
    pub(crate) fn settle(&mut self, committed: Option<Committed>) {
        self.pending = self.pending.saturating_sub(1);
        self.durable = committed;
    }

    /// A change is appended and not yet on disk.
    pub(crate) fn is_under_way(&self) -> bool {
        self.pending > 0
    }

    /// The disk has failed: nothing that is on its way arrives.
    pub(crate) fn give_up(&mut self) {
        self.pending = 0;
    }

    /// Nothing is committed, and nothing is on its way.
    pub(crate) fn is_void(&self) -> bool {
        self.pending == 0 && self.durable.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_counts_for_the_next_commit_and_not_for_readers() {
        let mut place = Place::default();
        assert!(place.is_behind(Offset::ZERO));
        let five = Committed { offset: Offset::new(5), unix_ms: 1, metadata: String::new() };
        place.write(Some(five.clone()));
        assert!(!place.is_behind(Offset::new(5)) && place.is_behind(Offset::new(6)));
        assert_eq!(place.durable, None);
        assert!(!place.is_void());
        place.settle(Some(five));
        assert_eq!(place.durable.as_ref().map(|it| it.offset), Some(Offset::new(5)));
        place.write(None);
        place.settle(None);
        assert!(place.is_void());
    }
}
