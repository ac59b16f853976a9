//! Whose batch it is: the mark of its partition in the field that a batch has for an epoch.
//!
//! A batch names no partition, and its check covers neither its offset nor its epoch. Where a write
//! was lost, what stood there before may be a sound batch of another partition, under the very
//! offset that is expected. So the epoch of the start that gave out the offset is written mixed
//! with the partition's identity, and read only by who knows whose it should be. What a newcomer
//! gets wrong: topics' ids are not used again, so that a topic that was made anew is another one.

use alloc::format;
use alloc::string::String;

use plimsoll_batch::BatchHeader;

use crate::identity::PartitionId;

/// What is written into a batch of this partition whose offset a start of this epoch gives out.
pub(crate) fn marked_epoch(id: PartitionId, epoch: u64) -> u32 {
    u32::try_from(epoch).unwrap_or(u32::MAX - 1) ^ mark_of(id)
}

/// The header with the epoch of its start; or what is wrong, if no start up to `epoch_max` has
/// written it into this partition.
pub(crate) fn of_partition(
    header: BatchHeader,
    id: PartitionId,
    epoch_max: u64,
) -> Result<BatchHeader, String> {
    let is_known = |epoch: &u32| u64::from(*epoch) <= epoch_max;
    // Before batches were marked, the epoch stood there alone.
    let epochs = [header.leader_epoch ^ mark_of(id), header.leader_epoch];
    match epochs.into_iter().find(is_known) {
        Some(leader_epoch) => Ok(BatchHeader { leader_epoch, ..header }),
        None => Err(format!(
            "batch is not of this partition, or of no start up to {epoch_max}: epoch field \
             {:#010x}",
            header.leader_epoch
        )),
    }
}

/// Different for different partitions, in all bits: a foreign mark leaves no small epoch.
fn mark_of(id: PartitionId) -> u32 {
    let mut bits = (u64::from(id.topic) << 32 | u64::from(id.partition)) ^ 0x9e37_79b9_7f4a_7c15;
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        bits = (bits ^ (bits >> 33)).wrapping_mul(factor);
    }
    (bits >> 32) as u32
}

#[cfg(test)]
mod tests {
    use plimsoll_batch::{BatchBuilder, Offset, assign};

    use super::*;

    fn header(id: PartitionId, epoch: u64) -> BatchHeader {
        let mut builder = BatchBuilder::new();
        builder.append(0, None, Some(b"value"), &[]).unwrap();
        let mut bytes = alloc::vec::Vec::new();
        builder.finish_into(&mut bytes);
        assign(&mut bytes, Offset::ZERO, marked_epoch(id, epoch));
        BatchHeader::decode(&bytes).unwrap()
    }

    #[test]
    fn a_batch_is_known_by_its_own_partition_and_by_no_other() {
        let ids = || (0..300).map(|n| PartitionId { topic: n / 10, partition: n % 10 });
        let internal = PartitionId { topic: PartitionId::OFFSETS_TOPIC, partition: 3 };
        for id in ids().chain([internal]) {
            let header = header(id, 7);
            assert_eq!(of_partition(header, id, 7).unwrap().leader_epoch, 7);
            assert!(of_partition(header, id, 6).is_err(), "a start that there was not");
            for other in ids().filter(|other| *other != id) {
                assert!(of_partition(header, other, 1_000).is_err(), "{id:?} in {other:?}");
            }
        }
    }

    #[test]
    fn an_epoch_that_stands_alone_is_of_any_partition() {
        let id = PartitionId { topic: 1, partition: 0 };
        let plain = BatchHeader { leader_epoch: 3, ..header(id, 1) };
        assert_eq!(of_partition(plain, id, 3).unwrap().leader_epoch, 3);
        assert!(of_partition(plain, id, 2).is_err());
    }
}
