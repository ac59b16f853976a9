//! What storage has to say.
//!
//! It passes each notice on to whom it concerns, and decides nothing. What a newcomer gets wrong:
//! whoever waited may be gone by then. What a read has lent is still given back, or arena memory
//! stays pinned.

use alloc::format;

use plimsoll_storage::{AppendError, Notice, ReadError, Slot};

use super::Shard;
use super::offsets::Seek;
use crate::mail::{Client, Letter};
use crate::readers::ReaderId;
use crate::report::Report;

/// Who waits for a read.
#[derive(Clone, Debug)]
pub(super) enum PendingRead {
    Reader {
        client: Client,
        reader: ReaderId,
    },
    Locate(Seek),
    Seek(Seek),
    Metadata,
    /// Of this partition of the offsets topic.
    Offsets(u32),
}

impl Shard {
    pub(super) fn take_notices(&mut self) -> bool {
        let mut has_worked = false;
        while let Some(notice) = self.storage.poll_notice() {
            has_worked = true;
            self.take_notice(notice);
        }
        has_worked
    }

    fn compaction_stopped(&mut self, slot: Slot, error: &ReadError) {
        let text = match self.partitions.get(slot.0 as usize) {
            Some(Some(partition)) => format!("partition {}: {error}", partition.id),
            _ => format!("{error}"),
        };
        self.reports.push_back(Report::CompactionStopped(text));
    }

    fn take_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Advanced(slot) => {
                self.touch(slot);
                self.metadata_advanced(slot);
                self.offsets_advanced(slot);
                self.marks_advanced(slot);
            }
            Notice::Read(read, result) => match self.reads.remove(&read) {
                Some(PendingRead::Reader { client, reader }) => {
                    self.finish_read(client, reader, result);
                }
                Some(PendingRead::Metadata) => self.take_metadata(result),
                Some(PendingRead::Offsets(partition)) => self.take_offsets(partition, result),
                Some(PendingRead::Seek(seek)) => self.seek_on(&seek, result),
                Some(PendingRead::Locate(_)) | None => {
                    if let Ok(lent) = result {
                        self.storage.release(lent);
                    }
                }
            },
            Notice::Located(read, result) => self.located(read, result),
            Notice::StartMoved(slot) => self.start_moved(slot),
            Notice::ClockLeapt { by_ms } => self.reports.push_back(Report::ClockLeapt { by_ms }),
            Notice::ClockBelieved { by_ms } => {
                self.reports.push_back(Report::ClockBelieved { by_ms });
            }
            Notice::CompactionStopped(slot, error) => self.compaction_stopped(slot, &error),
            Notice::Room => self.work.note_room(),
            Notice::DiskHasRoom => {
                if core::mem::take(&mut self.full_disk_is_told) {
                    self.reports.push_back(Report::DiskHasRoom);
                }
            }
            Notice::Failed(failure) => {
                self.fail_appends(&failure);
                self.reports.push_back(Report::Failed(failure));
            }
            Notice::Seeded => {
                self.reports.push_back(Report::Seeded);
                if self.config.index.0 == 0 {
                    self.one_has_seeded();
                } else {
                    self.post(plimsoll_wire::ShardIndex(0), Letter::Seeded);
                }
            }
            Notice::Removed(_) => {}
            Notice::Stopped => self.storage_has_stopped(),
        }
    }

    /// Reports a full disk once, until there is room, not once an append: a log of it would take
    /// what room there is left.
    pub(super) fn note_disk_full(&mut self, error: &AppendError) {
        if matches!(error, AppendError::DiskFull) && !self.full_disk_is_told {
            self.full_disk_is_told = true;
            self.reports.push_back(Report::DiskFull);
        }
    }
}
