//! What the blocks that were read come to: every batch is checked before it is lent.
//!
//! A batch's check does not cover its offset, so that each must also follow on the one before.

use alloc::format;
use alloc::string::String;
use core::ops::Range;

use plimsoll_batch::{Batch, BatchError, BatchHeader, BatchLimits, Offset};

use crate::identity::PartitionId;
use crate::origin::of_partition;
use crate::span::{SpanId, narrow};
use crate::storage::Storage;

/// What the blocks that were read came to.
pub(super) enum Checked {
    /// Batches to lend.
    Lend { from: u32, to: u32, next_offset: Offset },
    /// The batch at `at` is not wholly there; `needed` bytes of it are.
    Further { at: u32, needed: usize },
    /// The first batch is beyond the wanted offset, or before it where a batch ended. Either
    /// offsets were left out there, or its offset is damaged: the batch before it tells.
    Doubtful,
    /// What may be shown ends before the wanted offset.
    Nothing,
    /// A batch that does not check.
    Damaged { at: u32, what: String },
}

impl Storage {
    /// Checks batch after batch from `first` to `length` of the run.
    pub(super) fn check_batches(
        &self,
        run: SpanId,
        (first, length): (u32, u32),
        (wanted, limit, (id, bounds)): (Offset, Offset, (PartitionId, &Range<Offset>)),
        (bytes_max, doubts, is_hinted): (u32, bool, bool),
    ) -> Checked {
        let mut lend: Option<(u32, u32, Offset)> = None;
        let (mut at, mut before) = (first, None);
        let mut unconfirmed: Option<Unconfirmed> = None;
        loop {
            let checked =
                match (Batch::validate_first(self.memory.bytes(run, at, length), &ANY), lend) {
                    (Ok(batch), _) => of_partition(*batch.header(), id, self.epoch)
                        .and_then(|header| lies_within(header, bounds)),
                    (Err(BatchError::TooShort { needed, .. }), None) => {
                        return Checked::Further { at, needed };
                    }
                    (Err(error), _) => Err(format!("{error}")),
                };
            let checked = checked.and_then(|header| match follows(before.as_ref(), &header) {
                true => Ok(header),
                false => {
                    // Either of the two offsets may be the damaged one, if only this batch could
                    // have confirmed the one before.
                    if let Some(first) = unconfirmed.take() {
                        (at, lend) = (first.at, first.lend);
                    }
                    Err(format!("offset {} does not follow", header.base_offset))
                }
            });
            let header = match checked {
                Ok(header) => header,
                Err(what) => {
                    // The batches before it are sound; the next read sees what this is.
                    return match lend {
                        Some((from, to, next_offset)) => Checked::Lend { from, to, next_offset },
                        None => Checked::Damaged { at, what },
                    };
                }
            };
            let next_at = at + narrow(header.length_bytes as u64);
            let enough = lend.is_some_and(|(from, ..)| next_at - from > bytes_max);
            if header.next_offset() > limit || enough {
                return match lend {
                    Some((from, to, next_offset)) => Checked::Lend { from, to, next_offset },
                    None => Checked::Nothing,
                };
            }
            // At the reader's hint a batch has ended, and the next one begins with what is wanted.
            let is_odd = header.base_offset > wanted || is_hinted && header.base_offset < wanted;
            if doubts && before.is_none() && is_odd {
                return Checked::Doubtful;
            }
            let begins_epoch = before.as_ref().map_or(header.base_offset > wanted, |before| {
                header.leader_epoch > before.leader_epoch
            });
            unconfirmed = begins_epoch.then_some(Unconfirmed { at, lend });
            if header.next_offset() > wanted {
                let from = lend.map_or(at, |(from, ..)| from);
                lend = Some((from, next_at, header.next_offset()));
            }
            before = Some(header);
            at = next_at;
        }
    }
}

/// The first batch of a start of the server, before which offsets may have been left out: nothing
/// but the batch behind it tells whether its offset is the one that it was given.
struct Unconfirmed {
    at: u32,
    /// What was to be lent before it.
    lend: Option<(u32, u32, Offset)>,
}

/// A batch's check does not cover its offset; its segment says where it may be.
fn lies_within(header: BatchHeader, bounds: &Range<Offset>) -> Result<BatchHeader, String> {
    match bounds.start <= header.base_offset && header.next_offset() <= bounds.end {
        true => Ok(header),
        false => Err(format!(
            "offset {} is not within {} to {}",
            header.base_offset, bounds.start, bounds.end
        )),
    }
}

/// Whether a batch may come right behind another. A batch's check does not cover its offset; but
/// offsets are left out only between two starts of the server, and each start has its epoch.
pub(crate) fn follows(before: Option<&BatchHeader>, header: &BatchHeader) -> bool {
    before.is_none_or(|before| match header.leader_epoch == before.leader_epoch {
        true => header.base_offset == before.next_offset(),
        false => {
            header.leader_epoch > before.leader_epoch && header.base_offset >= before.next_offset()
        }
    })
}

/// Whatever was appended under its partition's limit can be read under any.
const ANY: BatchLimits = BatchLimits { batch_bytes_max: plimsoll_batch::BATCH_BYTES_MAX };
