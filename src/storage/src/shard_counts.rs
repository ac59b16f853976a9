//! How many shards each start had: with that, which journal may have the newest of a partition.
//!
//! Partitions move when the number of shards changes, and what an older owner's journal has left of
//! one must not be believed while the journal of a newer owner is damaged. The manifest keeps the
//! list, because it is durable before a start logs anything. What a newcomer gets wrong: a start
//! that was cut off counts with the number before it; it logged nothing.

use crate::encoding::{Reader, Writer, crc};
use crate::identity::PartitionId;

/// Changes of the number of shards that are remembered. Of starts before the oldest nothing is
/// known.
const CHANGES_MAX: usize = 32;

const ENTRY_BYTES: usize = 10;

/// Length in the manifest, in bytes.
pub(crate) const SHARD_COUNTS_BYTES: usize = 8 + CHANGES_MAX * ENTRY_BYTES;

/// The numbers of shards of all starts that are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// From which start on, and how many; in order.
    changes: [(u64, u16); CHANGES_MAX],
    count: usize,
}

impl ShardCounts {
    /// Each number of shards with the first start that had it, oldest first.
    pub fn changes(&self) -> &[(u64, u16)] {
        &self.changes[..self.count]
    }

    /// Starts from `epoch` on have so many.
    pub(crate) fn change(&mut self, epoch: u64, shards: u16) {
        if self.changes().last().is_some_and(|last| last.1 == shards) {
            return;
        }
        if self.count == CHANGES_MAX {
            self.changes.rotate_left(1);
            self.count -= 1;
        }
        self.changes[self.count] = (epoch, shards);
        self.count += 1;
    }

    /// Whether a start between `after` and `before`, both excluded, may have had the partition in
    /// this journal.
    pub(crate) fn may_have_owned(
        &self,
        journal: u16,
        id: PartitionId,
        (after, before): (u64, u64),
    ) -> bool {
        let known_from = self.changes().first().map_or(u64::MAX, |first| first.0);
        if after.saturating_add(1) < known_from.min(before) {
            // With some number of shards it was so: all that is needed is enough of them.
            let place = u64::from(id.topic) + u64::from(id.partition);
            if place >= u64::from(journal) {
                return true;
            }
        }
        let ends = self.changes().iter().skip(1).map(|next| next.0).chain([before]);
        self.changes().iter().zip(ends).any(|((from, shards), end)| {
            let first = after.saturating_add(1).max(*from);
            first < end.min(before) && id.owner(*shards) == journal
        })
    }

    pub(crate) fn encode(&self, out: &mut [u8]) {
        out[..SHARD_COUNTS_BYTES].fill(0);
        if self.count == 0 {
            return;
        }
        let mut writer = Writer::new(&mut out[4..SHARD_COUNTS_BYTES]);
        writer.u16(u16::try_from(self.count).unwrap_or(0)).u16(0);
        for (epoch, shards) in self.changes() {
            writer.u64(*epoch).u16(*shards);
        }
        let check = crc(&out[4..SHARD_COUNTS_BYTES]);
        Writer::new(&mut out[..4]).u32(check);
    }

    /// Nothing is known where there are zeros, as versions wrote them that kept no list; `None` is
    /// damage.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SHARD_COUNTS_BYTES)?;
        let mut reader = Reader::new(bytes);
        let (check, count, _) = (reader.u32()?, reader.u16()?, reader.u16()?);
        let mut counts = Self::default();
        if bytes.iter().all(|byte| *byte == 0) {
            return Some(counts);
        }
        if check != crc(&bytes[4..]) || usize::from(count) > CHANGES_MAX {
            return None;
        }
        for change in &mut counts.changes[..usize::from(count)] {
            *change = (reader.u64()?, reader.u16()?);
            if change.1 == 0 {
                return None;
            }
        }
        counts.count = usize::from(count);
        Some(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: PartitionId = PartitionId { topic: 1, partition: 0 };

    fn one_two_one() -> ShardCounts {
        let mut counts = ShardCounts::default();
        for (epoch, shards) in [(3, 1), (4, 1), (7, 2), (9, 1)] {
            counts.change(epoch, shards);
        }
        counts
    }

    #[test]
    fn only_changes_are_kept_and_they_read_back() {
        let counts = one_two_one();
        assert_eq!(counts.changes(), [(3, 1), (7, 2), (9, 1)]);
        let mut bytes = [0xff; SHARD_COUNTS_BYTES];
        counts.encode(&mut bytes);
        assert_eq!(ShardCounts::decode(&bytes), Some(counts));
        bytes[9] ^= 1;
        assert_eq!(ShardCounts::decode(&bytes), None);
        let unknown = Some(ShardCounts::default());
        assert_eq!(ShardCounts::decode(&[0; SHARD_COUNTS_BYTES]), unknown);
    }

    #[test]
    fn an_owner_between_two_starts_is_known() {
        let counts = one_two_one();
        assert!(counts.may_have_owned(1, ID, (6, 9)), "starts 7 and 8");
        assert!(counts.may_have_owned(1, ID, (7, 12)), "start 8");
        assert!(!counts.may_have_owned(1, ID, (8, 12)), "it was taken back after that");
        assert!(!counts.may_have_owned(1, ID, (4, 7)));
        let other = PartitionId { topic: 1, partition: 1 };
        assert!(!counts.may_have_owned(1, other, (3, 12)), "it never was");
    }

    #[test]
    fn of_starts_that_nobody_remembers_any_number_is_possible() {
        let counts = one_two_one();
        assert!(counts.may_have_owned(1, ID, (1, 12)), "start 2");
        assert!(!counts.may_have_owned(2, ID, (1, 12)), "never, with any number");
        assert!(ShardCounts::default().may_have_owned(1, ID, (1, 3)));
        assert!(!ShardCounts::default().may_have_owned(1, ID, (2, 3)), "no start between");
        let mut many = ShardCounts::default();
        (0..100_u64).for_each(|epoch| many.change(epoch, 1 + (epoch % 2) as u16));
        assert_eq!(many.changes().len(), CHANGES_MAX);
        assert!(many.may_have_owned(1, ID, (3, 5)));
        let mut bytes = [0; SHARD_COUNTS_BYTES];
        many.encode(&mut bytes);
        assert_eq!(ShardCounts::decode(&bytes), Some(many));
    }
}
