//! One file's content: what the medium is sure to have, the changes since, and what reads see.
//!
//! Changes stand in the order in which they completed, each with the stamp of its completion. A
//! flush marks those that completed before it was submitted; marked changes at the front move into
//! the base. A change that is marked behind one that is not stays in its place, so that what a
//! power loss makes of overlapping writes never contradicts the order in which they were
//! completed.

use super::content::{Content, is_zero};
use super::survival::Fate;

/// The unit that a medium writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    base: Content,
    changes: Vec<Change>,
    visible: Content,
}

#[derive(Clone, Debug)]
struct Change {
    at: u64,
    durable: bool,
    kind: ChangeKind,
}

#[derive(Clone, Debug)]
enum ChangeKind {
    Write {
        position_bytes: u64,
        bytes: Vec<u8>,
    },
    /// A write of nothing but zeros, of which there are many megabytes.
    Zeros {
        position_bytes: u64,
        length: usize,
    },
    /// The length is at least this.
    Grow(u64),
    /// The length is zero.
    Empty,
}

impl ChangeKind {
    fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Zeros { .. })
    }
}

impl Inode {
    /// A file that is wholly durable.
    pub(super) fn durable(bytes: &[u8]) -> Self {
        let content = Content::of(bytes);
        Self { base: content.clone(), changes: Vec::new(), visible: content }
    }

    /// What reads see.
    pub(super) fn visible(&self) -> &Content {
        &self.visible
    }

    /// What a power loss leaves when it takes all it may.
    pub(super) fn durable_content(&self) -> Content {
        self.content_after(|_| Fate::Lost)
    }

    pub(super) fn write(&mut self, at: u64, position_bytes: u64, bytes: &[u8], durable: bool) {
        let end_bytes = position_bytes + bytes.len() as u64;
        if durable {
            // A durable write brings along what is needed to read it again: the file's metadata.
            for change in &mut self.changes {
                change.durable |= !change.kind.is_write();
            }
        }
        if end_bytes > self.visible.length_bytes() {
            self.record(at, durable, ChangeKind::Grow(end_bytes));
        }
        let kind = if is_zero(bytes) {
            ChangeKind::Zeros { position_bytes, length: bytes.len() }
        } else {
            ChangeKind::Write { position_bytes, bytes: bytes.to_vec() }
        };
        self.record(at, durable, kind);
    }

    /// Writes the sectors of `bytes` that `fate` lets through.
    pub(super) fn write_part(&mut self, at: u64, position_bytes: u64, bytes: &[u8], fate: &Fate) {
        for sectors in fate.surviving(bytes.len().div_ceil(SECTOR_BYTES)) {
            let start = sectors.start * SECTOR_BYTES;
            let end = bytes.len().min(sectors.end * SECTOR_BYTES);
            self.write(at, position_bytes + start as u64, &bytes[start..end], false);
        }
    }

    pub(super) fn grow(&mut self, at: u64, length_bytes: u64) {
        self.record(at, false, ChangeKind::Grow(length_bytes));
    }

    pub(super) fn empty(&mut self, at: u64) {
        self.record(at, false, ChangeKind::Empty);
    }

    /// A flush that was submitted when `submitted_at` was the last completion.
    pub(super) fn sync(&mut self, submitted_at: u64) {
        for change in &mut self.changes {
            change.durable |= change.at <= submitted_at;
        }
        self.settle();
    }

    /// A failed flush with which the device threw away the writes that it should have flushed.
    pub(super) fn drop_unflushed(&mut self, submitted_at: u64) {
        self.changes
            .retain(|change| change.durable || change.at > submitted_at || !change.kind.is_write());
        self.visible = self.content_after(|_| Fate::Whole);
    }

    /// Changes one bit for good, beneath every flush.
    pub(super) fn flip_bit(&mut self, position_bytes: u64, bit: u8) {
        let mut byte = [0];
        let count = self.visible.read(position_bytes, &mut byte);
        assert_eq!(count, 1, "byte {position_bytes} is past the end of the file");
        let bytes = vec![byte[0] ^ (1 << bit)];
        self.record(0, true, ChangeKind::Write { position_bytes, bytes });
    }

    /// The stamps of the changes that no flush has covered.
    pub(super) fn unflushed(&self) -> impl Iterator<Item = u64> {
        self.changes.iter().filter(|change| !change.durable).map(|change| change.at)
    }

    /// Power came back: `fate` said of every stamp without a flush what became of it.
    pub(super) fn lose_power(&mut self, fate: impl FnMut(u64) -> Fate) {
        self.base = self.content_after(fate);
        self.changes.clear();
        self.visible = self.base.clone();
    }

    fn record(&mut self, at: u64, durable: bool, kind: ChangeKind) {
        apply(&mut self.visible, &kind, &Fate::Whole);
        self.changes.push(Change { at, durable, kind });
        if durable {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let front = self.changes.iter().take_while(|change| change.durable).count();
        for change in self.changes.drain(..front) {
            apply(&mut self.base, &change.kind, &Fate::Whole);
        }
    }

    fn content_after(&self, mut fate: impl FnMut(u64) -> Fate) -> Content {
        let mut content = self.base.clone();
        for change in &self.changes {
            let fate = if change.durable { Fate::Whole } else { fate(change.at) };
            let lost = matches!(fate, Fate::Lost);
            if lost && matches!(change.kind, ChangeKind::Empty) {
                // Later writes went to the blocks that the emptied file was given, and without the
                // emptying those are not the file's.
                break;
            }
            apply(&mut content, &change.kind, &fate);
        }
        content.trim();
        content
    }
}

fn apply(content: &mut Content, kind: &ChangeKind, fate: &Fate) {
    match kind {
        ChangeKind::Write { position_bytes, bytes } => {
            for sectors in fate.surviving(bytes.len().div_ceil(SECTOR_BYTES)) {
                let start = sectors.start * SECTOR_BYTES;
                let end = bytes.len().min(sectors.end * SECTOR_BYTES);
                content.store(position_bytes + start as u64, &bytes[start..end]);
            }
        }
        ChangeKind::Zeros { position_bytes, length } => {
            for sectors in fate.surviving(length.div_ceil(SECTOR_BYTES)) {
                let start = sectors.start * SECTOR_BYTES;
                let end = (*length).min(sectors.end * SECTOR_BYTES);
                content.store_zeros(position_bytes + start as u64, end - start);
            }
        }
        // Metadata is journaled: whole or not at all.
        ChangeKind::Grow(_) | ChangeKind::Empty if matches!(fate, Fate::Lost) => {}
        ChangeKind::Grow(length_bytes) => content.grow(*length_bytes),
        ChangeKind::Empty => content.clear(),
    }
}
