//! Who wrote a batch: an idempotent producer's id, epoch and sequence, as the header has them.
//!
//! The sequence counts records of one producer in one partition, so that a server can tell a batch
//! that is sent again from the next one. What a newcomer gets wrong: these fields lie under the
//! batch's CRC, so [`stamp`] sums the whole batch again; mark it before it is finished if you can.

use crate::header::BatchHeader;
use crate::{HEADER_BYTES, PREFIX_BYTES};

/// Where a batch stands among those of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Identity of the producer, or -1.
    pub id: i64,
    /// Epoch of that identity, or -1.
    pub epoch: i16,
    /// Sequence of the batch's first record, or -1.
    pub base_sequence: i32,
}

impl ProducerStamp {
    /// What a batch has that no idempotent producer wrote.
    pub const NONE: ProducerStamp = ProducerStamp { id: -1, epoch: -1, base_sequence: -1 };

    /// The same producer's stamp on the batch after this one, which has `record_count` records.
    /// Sequences go on at 0 behind the greatest `i32`, as in Kafka's clients.
    #[must_use]
    pub const fn after(self, record_count: u32) -> ProducerStamp {
        let next = (self.base_sequence as u32).wrapping_add(record_count) & SEQUENCE_MASK;
        ProducerStamp { base_sequence: next as i32, ..self }
    }
}

/// Sequences are 31 bits wide.
const SEQUENCE_MASK: u32 = i32::MAX as u32;

impl BatchHeader {
    /// The producer's stamp; `None` if no idempotent producer wrote the batch. With an id, epoch
    /// and sequence are what the batch says, and may be negative.
    #[must_use]
    pub fn producer(&self) -> Option<ProducerStamp> {
        let &BatchHeader { producer_id: id, producer_epoch: epoch, base_sequence, .. } = self;
        (id >= 0).then_some(ProducerStamp { id, epoch, base_sequence })
    }
}

/// Writes another stamp into a finished batch, and the CRC that it has then.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn stamp(batch: &mut [u8], stamp: ProducerStamp) {
    assert!(batch.len() >= HEADER_BYTES, "a finished batch has a header");
    batch[43..51].copy_from_slice(&stamp.id.to_be_bytes());
    batch[51..53].copy_from_slice(&stamp.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&stamp.base_sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[PREFIX_BYTES..]);
    batch[17..PREFIX_BYTES].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, BatchBuilder, BatchLimits};
    use alloc::vec::Vec;

    const STAMP: ProducerStamp = ProducerStamp { id: 7, epoch: 2, base_sequence: i32::MAX - 1 };

    #[test]
    fn a_sequence_goes_on_at_zero_behind_the_greatest() {
        assert_eq!(STAMP.after(1).base_sequence, i32::MAX);
        assert_eq!(STAMP.after(2).base_sequence, 0);
        assert_eq!(STAMP.after(5).base_sequence, 3);
    }

    #[test]
    fn a_batch_that_was_stamped_is_the_one_that_was_built_with_the_stamp() {
        let mut builder = BatchBuilder::new();
        let (mut built, mut stamped) = (Vec::new(), Vec::new());
        builder.append(1, None, Some(b"value"), &[]).unwrap();
        builder.set_producer(STAMP);
        builder.finish_into(&mut built);
        builder.append(1, None, Some(b"value"), &[]).unwrap();
        builder.finish_into(&mut stamped);
        let batch = Batch::validate(&stamped, &BatchLimits::default()).unwrap();
        assert_eq!(batch.header().producer(), None);
        stamp(&mut stamped, STAMP);
        assert_eq!(stamped, built);
        let batch = Batch::validate(&stamped, &BatchLimits::default()).unwrap();
        assert_eq!(batch.header().producer(), Some(STAMP));
    }
}
