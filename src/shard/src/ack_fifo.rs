//! Who waits for which watermark of one partition.
//!
//! Appends get rising offsets, so the entries of one level leave in the order in which they came,
//! and a watermark needs to look at the front only. A batch with two levels has two entries.
//! One that was sent again stands behind the appends that came before it, at the offsets that it
//! has: it may leave a little late, and never early.

use alloc::collections::VecDeque;

use plimsoll_batch::Offset;
use plimsoll_storage::{Level, Watermarks};
use plimsoll_wire::{CorrelationId, Handle};

use crate::mail::Client;

/// An append that someone wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PendingAck {
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) correlation: CorrelationId,
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    /// The deepest level that was asked for: with it the frame is done.
    pub(crate) is_last: bool,
}

const LEVELS: [Level; 3] = [Level::Memory, Level::PageCache, Level::Disk];

#[derive(Debug, Default)]
pub(crate) struct AckFifo {
    pending: [VecDeque<PendingAck>; 3],
}

impl AckFifo {
    pub(crate) fn push(&mut self, level: Level, ack: PendingAck) {
        self.of(level).push_back(ack);
    }

    /// The next entry whose level the partition has reached; the shallowest level first.
    pub(crate) fn reached(&mut self, marks: &Watermarks) -> Option<(Level, PendingAck)> {
        LEVELS.into_iter().find_map(|level| {
            let pending = self.of(level);
            pending.pop_front_if(|ack| ack.next <= marks.at(level)).map(|ack| (level, ack))
        })
    }

    /// Takes an entry that will never be reached.
    pub(crate) fn abandon(&mut self) -> Option<PendingAck> {
        self.pending.iter_mut().find_map(VecDeque::pop_front)
    }

    fn of(&mut self, level: Level) -> &mut VecDeque<PendingAck> {
        let [memory, page_cache, disk] = &mut self.pending;
        match level {
            Level::Memory => memory,
            Level::PageCache => page_cache,
            Level::Disk => disk,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn ack(correlation: u32, base: u64, next: u64) -> PendingAck {
        PendingAck {
            client: Client::NOBODY,
            handle: Handle(1),
            correlation: CorrelationId(correlation),
            base: Offset::new(base),
            next: Offset::new(next),
            is_last: true,
        }
    }

    fn marks(memory: u64, page_cache: u64, disk: u64) -> Watermarks {
        let at = Offset::new;
        Watermarks { start: at(0), memory: at(memory), page_cache: at(page_cache), disk: at(disk) }
    }

    #[test]
    fn an_ack_leaves_only_when_its_own_level_has_passed_its_last_record() {
        let mut fifo = AckFifo::default();
        fifo.push(Level::Memory, ack(1, 0, 10));
        fifo.push(Level::Disk, ack(1, 0, 10));
        assert_eq!(fifo.reached(&marks(9, 9, 0)), None);
        assert_eq!(fifo.reached(&marks(10, 10, 9)), Some((Level::Memory, ack(1, 0, 10))));
        assert_eq!(fifo.reached(&marks(10, 10, 9)), None);
        assert_eq!(fifo.reached(&marks(10, 10, 10)), Some((Level::Disk, ack(1, 0, 10))));
    }

    proptest! {
        #[test]
        fn acks_of_a_level_come_in_order_and_never_early(
            sizes in proptest::collection::vec((1u64..9, 0usize..3), 1..60),
            steps in proptest::collection::vec((0u64..60, 0u64..60, 0u64..60), 1..60),
        ) {
            let mut fifo = AckFifo::default();
            let mut next = 0;
            for (correlation, (records, level)) in (0..).zip(sizes) {
                fifo.push(LEVELS[level], ack(correlation, next, next + records));
                next += records;
            }
            let mut last: [Vec<u32>; 3] = Default::default();
            let mut reached = marks(0, 0, 0);
            for (memory, page_cache, disk) in steps {
                reached = marks(
                    reached.memory.value() + memory,
                    reached.page_cache.value() + page_cache,
                    reached.disk.value() + disk,
                );
                while let Some((level, ack)) = fifo.reached(&reached) {
                    prop_assert!(ack.next <= reached.at(level));
                    last[level as usize].push(ack.correlation.0);
                }
            }
            for acked in last {
                prop_assert!(acked.is_sorted());
            }
        }
    }
}
