//! Fetches that wait and subscriptions, on the shard that owns the partition.
//!
//! A reader is in exactly one place at a time; whoever moves it from there decides what is next. It
//! costs nothing while it waits.

use plimsoll_batch::Offset;
use plimsoll_device::Instant;
use plimsoll_storage::{Cursor, Level, Slot};
use plimsoll_wire::{BATCHES_HEAD_BYTES, BatchesKind, CorrelationId, Handle, Opcode};

use crate::mail::Client;
use crate::slab::Key;

/// The most that one delivery carries, a single larger batch excepted.
pub(crate) const DELIVERY_BYTES_MAX: usize = 512 << 10;

/// The most that one fetch response carries, a single larger batch excepted.
pub(crate) const FETCH_BYTES_MAX: usize = 1 << 20;

/// Names a reader of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReaderId(pub(crate) Key);

#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) correlation: CorrelationId,
    pub(crate) slot: Slot,
    pub(crate) visible: Level,
    pub(crate) cursor: Cursor,
    pub(crate) kind: ReaderKind,
    pub(crate) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReaderKind {
    Fetch(FetchWait),
    Subscription(CreditAccount),
}

/// How long a fetch waits, and for how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchWait {
    pub(crate) bytes_max: usize,
    pub(crate) bytes_min: usize,
    pub(crate) deadline: Instant,
}

impl FetchWait {
    pub(crate) fn new(max_bytes: u32, min_bytes: u32, deadline: Instant) -> Self {
        let bytes_max = (max_bytes as usize).clamp(1, FETCH_BYTES_MAX);
        Self { bytes_max, bytes_min: (min_bytes as usize).min(bytes_max), deadline }
    }
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its client's list of readers that may have something.
    Ready,
    /// In its partition's list: it has seen everything.
    Waiting,
    /// A read from the disk is on its way.
    Reading,
    /// In the list of those who wait for read memory.
    Room,
    /// Nowhere: its client has to send credit first.
    Credit,
}

impl Reader {
    /// How much to ask the storage for.
    pub(crate) fn bytes_max(&self) -> usize {
        match self.kind {
            ReaderKind::Fetch(wait) => wait.bytes_max,
            ReaderKind::Subscription(account) => account.delivery_bytes_max(),
        }
    }

    pub(crate) fn wanted(&self) -> Offset {
        self.cursor.offset()
    }

    pub(crate) fn batches_kind(&self) -> BatchesKind {
        let correlation = self.correlation;
        match self.kind {
            ReaderKind::Fetch(_) => BatchesKind::Fetched { correlation },
            ReaderKind::Subscription(_) => BatchesKind::Delivery { correlation },
        }
    }

    pub(crate) fn opcode(&self) -> Opcode {
        match self.kind {
            ReaderKind::Fetch(_) => Opcode::Fetch,
            ReaderKind::Subscription(_) => Opcode::Delivery,
        }
    }
}

/// What a subscription may still deliver, in bytes of whole frames. Ends below zero by less than
/// one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CreditAccount {
    bytes: i64,
}

impl CreditAccount {
    pub(crate) fn new(bytes: u32) -> Self {
        Self { bytes: i64::from(bytes) }
    }

    pub(crate) fn is_open(self) -> bool {
        self.bytes > 0
    }

    pub(crate) fn add(&mut self, bytes: u32) {
        self.bytes = self.bytes.saturating_add(i64::from(bytes));
    }

    pub(crate) fn spend(&mut self, frame_bytes: usize) {
        self.bytes -= i64::try_from(frame_bytes).unwrap_or(i64::MAX);
    }

    fn delivery_bytes_max(self) -> usize {
        let bytes = usize::try_from(self.bytes).unwrap_or(0);
        bytes.saturating_sub(BATCHES_HEAD_BYTES).clamp(1, DELIVERY_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_may_end_below_zero_by_one_frame_and_is_closed_until_it_is_above_again() {
        let mut account = CreditAccount::new(100);
        assert!(account.is_open());
        account.spend(1_000);
        assert!(!account.is_open());
        account.add(900);
        assert!(!account.is_open(), "zero is not above zero");
        account.add(1);
        assert!(account.is_open());
        assert_eq!(account.delivery_bytes_max(), 1);
        account.add(u32::MAX);
        assert_eq!(account.delivery_bytes_max(), DELIVERY_BYTES_MAX);
    }

    #[test]
    fn a_fetch_never_waits_for_more_than_it_may_take() {
        let wait = FetchWait::new(10, 20, Instant::ORIGIN);
        assert_eq!((wait.bytes_max, wait.bytes_min), (10, 10));
        let wait = FetchWait::new(u32::MAX, u32::MAX, Instant::ORIGIN);
        assert_eq!(wait.bytes_min, FETCH_BYTES_MAX);
        assert_eq!(FetchWait::new(0, 0, Instant::ORIGIN).bytes_max, 1);
    }
}
