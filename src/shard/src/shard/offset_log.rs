//! The log of committed offsets: this shard's partitions of the internal topic `__offsets`.
//!
//! It is read once, when every shard has seeded, and appended to from then on. What a newcomer gets
//! wrong: until it has been read, nobody knows what a group has committed. Its requests are turned
//! away for that while, and are made again by the client.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::{Batches, Offset};
use plimsoll_storage::{
    Cursor, Lent, Level, OFFSETS_PARTITIONS, PartitionConfig, PartitionId, ReadError, ReadOutcome,
    Retention, Slot,
};
use plimsoll_wire::{CommittedOffset, CorrelationId, ErrorCode, MemberId, TopicPartition};

use super::Shard;
use super::answers::Problem;
use super::notices::PendingRead;
use crate::groups::{Committed, GroupName, RecordOfLog, partition_of};
use crate::mail::Client;
use crate::report::Report;

const READ_BYTES_MAX: usize = 1 << 20;
pub(super) const BATCH_BYTES_MAX: usize = 256 << 10;
const SEGMENT_BYTES: u64 = 16 << 20;
/// How long after a start members of the time before may claim what they hold, ahead of others.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(2);

/// One partition of the offsets topic.
#[derive(Debug)]
pub(super) struct OffsetLog {
    pub(super) slot: Slot,
    cursor: Cursor,
    state: LogState,
    /// A read found no memory and is to be tried again.
    wants_room: bool,
    /// What was appended and is not on disk yet, in order.
    pub(super) pending: VecDeque<PendingOffsets>,
    /// Bytes since everything was written again.
    pub(super) fresh_bytes: u64,
    /// How many of those are borne until everything is written again.
    fresh_bytes_max: u64,
    /// Everything was written again: what is before the first offset can go when the log is on disk
    /// up to the second.
    shortening: Option<(Offset, Offset)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LogState {
    Reading,
    Read,
    Unreadable(String),
}

/// Changes on their way to the disk, and who waits for them.
#[derive(Debug)]
pub(super) struct PendingOffsets {
    pub(super) next: Offset,
    pub(super) changes: Vec<(GroupName, TopicPartition, Option<Committed>)>,
    pub(super) answer: Option<OffsetAnswer>,
    /// A group in share mode whose log this is.
    pub(super) share: Option<GroupName>,
}

impl PendingOffsets {
    /// Nothing yet, on disk when the log is up to there.
    pub(super) fn at(next: Offset) -> Self {
        Self { next, changes: Vec::new(), answer: None, share: None }
    }
}

/// Who waits for changes to be on disk.
#[derive(Debug)]
pub(super) struct OffsetAnswer {
    pub(super) client: Client,
    pub(super) correlation: CorrelationId,
    pub(super) group: GroupName,
    pub(super) what: OffsetAnswerKind,
}

#[derive(Debug)]
pub(super) enum OffsetAnswerKind {
    /// What became of each offset; those that were taken are looked up when they are on disk.
    Committed(Vec<CommittedOffset>),
    Deleted,
    /// Whether each verdict counts.
    Settled(Vec<Option<ErrorCode>>),
}

pub(super) type OffsetLogs = BTreeMap<u32, OffsetLog>;

impl Shard {
    /// Opens the partitions of the topic that this shard owns.
    pub(super) fn open_offset_logs(&mut self) {
        let config = PartitionConfig {
            segment_bytes: SEGMENT_BYTES,
            batch_bytes_max: BATCH_BYTES_MAX + (64 << 10),
            flush_interval: Duration::from_millis(100),
            retention: Retention::UNLIMITED,
            compaction: None,
        };
        for partition in 0..OFFSETS_PARTITIONS {
            let id = PartitionId { topic: PartitionId::OFFSETS_TOPIC, partition };
            if id.owner(self.config.shards) != self.config.index.0 {
                continue;
            }
            let slot = self.storage.open_partition(id, config);
            let log = OffsetLog {
                slot,
                cursor: Cursor::at(self.storage.watermarks(slot).start),
                state: LogState::Reading,
                wants_room: false,
                pending: VecDeque::new(),
                fresh_bytes: 0,
                fresh_bytes_max: self.config.limits.offset_log_fresh_bytes_min,
                shortening: None,
            };
            self.offset_logs.insert(partition, log);
        }
    }

    /// Reads what groups have committed.
    pub(super) fn read_offset_logs(&mut self) {
        for partition in self.offset_logs.keys().copied().collect::<Vec<u32>>() {
            self.read_offset_log(partition);
        }
    }

    fn read_offset_log(&mut self, partition: u32) {
        while let Some(log) = self.offset_logs.get_mut(&partition)
            && log.state == LogState::Reading
        {
            log.wants_room = false;
            let (slot, cursor) = (log.slot, log.cursor);
            match self.storage.read(slot, cursor, Level::Memory, READ_BYTES_MAX) {
                Ok(ReadOutcome::Ready(lent)) => self.apply_offsets(partition, lent),
                Ok(ReadOutcome::Pending(read)) => {
                    self.reads.insert(read, PendingRead::Offsets(partition));
                    return;
                }
                Ok(ReadOutcome::UpToDate) => return self.offset_log_is_read(partition),
                Err(error) => return self.offset_read_failed(partition, &error),
            }
        }
    }

    /// Goes on with what came from the disk.
    pub(super) fn take_offsets(&mut self, partition: u32, result: Result<Lent, ReadError>) {
        match result {
            Ok(lent) => {
                self.apply_offsets(partition, lent);
                self.read_offset_log(partition);
            }
            Err(error) => self.offset_read_failed(partition, &error),
        }
    }

    pub(super) fn retry_offset_logs(&mut self) {
        let waiting = self.offset_logs.iter().filter(|(_, log)| log.wants_room);
        for partition in waiting.map(|(partition, _)| *partition).collect::<Vec<u32>>() {
            self.read_offset_log(partition);
        }
    }

    fn offset_read_failed(&mut self, partition: u32, error: &ReadError) {
        let Some(log) = self.offset_logs.get_mut(&partition) else { return };
        if matches!(error, ReadError::NoRoom) {
            log.wants_room = true;
            return;
        }
        log.state = LogState::Unreadable(error.to_string());
        if let ReadError::Damaged(damage) = error {
            self.reports.push_back(Report::Damaged(damage.clone()));
        }
    }

    fn apply_offsets(&mut self, partition: u32, lent: Lent) {
        let Some(log) = self.offset_logs.get_mut(&partition) else {
            return self.storage.release(lent);
        };
        log.cursor = lent.next;
        log.fresh_bytes += lent.range.length_bytes as u64;
        let mut applied = Ok(());
        for batch in Batches::new(self.storage.bytes(lent.range)) {
            let records = batch.map_err(|error| error.to_string());
            let records = records.and_then(|it| it.records().map_err(|error| error.to_string()));
            let records = match records {
                Ok(records) => records,
                Err(text) => {
                    applied = Err(text);
                    break;
                }
            };
            for record in records {
                let read = record.map_err(|error| error.to_string()).and_then(|record| {
                    let key = record.key.unwrap_or_default();
                    RecordOfLog::decode(key, record.value)
                        .map_err(|error| alloc::format!("record {}: {error}", record.offset))
                });
                match read {
                    Ok(RecordOfLog::Committed(change)) => self.groups.restore_place(change),
                    Ok(RecordOfLog::Share(fact)) => self.groups.restore_share(&fact),
                    Err(text) => applied = Err(text),
                }
            }
        }
        self.storage.release(lent);
        if let Err(text) = applied
            && let Some(log) = self.offset_logs.get_mut(&partition)
        {
            log.state = LogState::Unreadable(text);
        }
    }

    fn offset_log_is_read(&mut self, partition: u32) {
        let Some(log) = self.offset_logs.get_mut(&partition) else { return };
        log.state = LogState::Read;
        let until = self.now.monotonic + CLAIM_TIMEOUT;
        let names: Vec<GroupName> = self.groups.names().cloned().collect();
        for name in names.iter().filter(|name| partition_of(name).partition == partition) {
            if let Some(group) = self.groups.group_mut(name) {
                let catalog = &self.catalog;
                group.places.retain(|partition, place| {
                    place.durable.is_some() && catalog.with_id(partition.topic.0).is_some()
                });
                if let Some(share) = &mut group.share {
                    share.finish_restoring(|partition| {
                        let topic = catalog.with_id(partition.topic.0);
                        topic.is_some_and(|topic| partition.partition.0 < topic.partitions)
                    });
                }
                // It was deleted, and made again in the other mode.
                group.share.take_if(|share| share.is_void());
                group.claims_until = Some(until);
            }
            self.groups.watch(name, MemberId::NONE, until);
            self.groups.drop_if_void(name);
        }
        self.groups.count_under_way();
    }

    /// Writes everything that counts again when the log has become long, so that what is before it
    /// can go. A crash in between leaves both, which say the same.
    pub(super) fn shorten_offset_log(&mut self, partition: u32) {
        let Some(log) = self.offset_logs.get(&partition) else { return };
        let is_long = log.fresh_bytes > log.fresh_bytes_max;
        // Offsets in topics of which nobody can tell are in the log alone.
        if self.catalog.why_incomplete().is_some() {
            return;
        }
        if !is_long || log.shortening.is_some() || log.state != LogState::Read {
            return;
        }
        let first = log.pending.back().map(|last| last.next);
        let first = first.unwrap_or(self.storage.watermarks(log.slot).memory);
        let before_bytes = log.fresh_bytes;
        let names: Vec<GroupName> = self.groups.names().cloned().collect();
        let mut is_whole = true;
        for name in names.iter().filter(|name| partition_of(name).partition == partition) {
            let Some(group) = self.groups.group(name) else { continue };
            let written = group.places.iter().filter(|(_, place)| place.written.is_some());
            let changes = written.map(|(at, place)| (*at, place.written.clone())).collect();
            is_whole &= self.append_changes((name, partition), changes).is_ok();
            is_whole &= self.rewrite_share(name);
        }
        let Some(log) = self.offset_logs.get_mut(&partition) else { return };
        let kept_bytes = log.fresh_bytes - before_bytes;
        log.fresh_bytes = kept_bytes;
        // Nor before it has grown by four times what it has to keep.
        let least = self.config.limits.offset_log_fresh_bytes_min;
        log.fresh_bytes_max = least.max(kept_bytes.saturating_mul(4));
        if is_whole {
            log.shortening = Some((first, log.pending.back().map_or(first, |last| last.next)));
        }
    }

    /// Lets go of what was written again, once that is on disk.
    pub(super) fn drop_old_offsets(&mut self, partition: u32, disk: Offset) {
        let Some(log) = self.offset_logs.get_mut(&partition) else { return };
        if let Some((first, end)) = log.shortening
            && end <= disk
        {
            log.shortening = None;
            let slot = log.slot;
            // Where it is refused the log stays long, and is shortened another time.
            if self.storage.delete_records(slot, first).is_ok() {
                self.counters.offset_logs_shortened += 1;
            }
        }
    }

    /// Whether the offsets of a group are known.
    pub(super) fn check_offset_log(&self, group: &str) -> Result<(), Problem> {
        let log = self.offset_logs.get(&partition_of(group).partition);
        match log.map(|log| &log.state) {
            Some(LogState::Read) => Ok(()),
            Some(LogState::Unreadable(text)) => {
                let text = alloc::format!("the group's committed offsets cannot be read: {text}");
                Err(Problem::new(ErrorCode::DataDamaged, text))
            }
            Some(LogState::Reading) | None => {
                let text = "the committed offsets are being read after a start; try again";
                Err(Problem::new(ErrorCode::Overloaded, text))
            }
        }
    }
}
