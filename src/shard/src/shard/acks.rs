//! From watermarks to acks, and what is answered when a watermark will never come.
//!
//! The only place where an ack is made, and only from a watermark that storage gives. What a
//! newcomer gets wrong: when a watermark will not come the answer is *unknown*, not *refused*; the
//! bytes may be found after a restart.

use plimsoll_storage::{Failure, Level, Slot};
use plimsoll_wire::{AckEntry, ErrorCode, Fate, Opcode};

use super::Shard;
use super::answers::Problem;
use crate::ack_fifo::PendingAck;
use crate::level::to_ack;
use crate::mail::Ended;
use crate::partition::Partition;

impl Shard {
    pub(super) fn partition(&mut self, slot: Slot) -> Option<&mut Partition> {
        self.partitions.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Has the partition looked at before the turn is over: its watermarks may have moved.
    pub(super) fn touch(&mut self, slot: Slot) {
        if let Some(partition) = self.partition(slot)
            && !core::mem::replace(&mut partition.is_touched, true)
        {
            self.work.touched.push(slot);
        }
    }

    pub(super) fn look_at_touched(&mut self) -> bool {
        let mut has_worked = false;
        while let Some(slot) = self.work.touched.pop() {
            has_worked = true;
            if let Some(partition) = self.partition(slot) {
                partition.is_touched = false;
            }
            self.send_acks(slot);
            self.wake_readers(slot);
        }
        has_worked
    }

    fn send_acks(&mut self, slot: Slot) {
        if self.partition(slot).is_none() {
            return;
        }
        let marks = self.storage.watermarks(slot);
        while let Some((level, ack)) =
            self.partition(slot).and_then(|partition| partition.acks.reached(&marks))
        {
            self.ack(level, &ack);
        }
    }

    fn ack(&mut self, level: Level, ack: &PendingAck) {
        match level {
            Level::Memory => self.counters.acked_memory += 1,
            Level::PageCache => self.counters.acked_page_cache += 1,
            Level::Disk => self.counters.acked_disk += 1,
        }
        let entry = AckEntry {
            handle: ack.handle,
            level: to_ack(level),
            first: ack.correlation,
            frames: 1,
            base_offset: ack.base,
        };
        let ended = if ack.is_last { Ended::PRODUCE } else { Ended::NOTHING };
        if self.is_local(ack.client) {
            let id = ack.client.connection;
            let Some(connection) = self.connections.at_mut(id.0) else { return };
            connection.acks.push(entry, ack.next);
            self.end(id, ended);
            self.mark_dirty(id);
        } else if let Some(peer) = self.peers.get_mut(&ack.client) {
            peer.acks.push(entry, ack.next);
            peer.ended.add(ended);
            self.mark_peer_dirty(ack.client);
        }
    }

    /// Answers everything that waits for a watermark of this partition: it may be there after a
    /// restart, or not.
    pub(super) fn abandon_acks(&mut self, slot: Slot, code: ErrorCode, text: &str) {
        while let Some(ack) = self.partition(slot).and_then(|partition| partition.acks.abandon()) {
            if ack.is_last {
                let problem = Problem {
                    fate: Fate::Unknown,
                    handle: Some(ack.handle),
                    ..Problem::new(code, alloc::borrow::ToOwned::to_owned(text))
                };
                let (client, correlation) = (ack.client, ack.correlation);
                self.answer_problem(client, Ended::PRODUCE, Opcode::Produce, correlation, problem);
            }
        }
    }

    /// A batch that was sent again waits for its original, which neither a failed disk nor a
    /// damaged journal brings on. A partition that is fenced in a sound journal is logged all the
    /// same: whoever gave up its first batches would ack them behind those that follow.
    pub(super) fn settle_duplicate(&mut self, slot: Slot) {
        let (code, text) = if self.storage.failure().is_some() {
            (ErrorCode::DiskFailed, "the shard's disk failed")
        } else if self.storage.journal_damage().is_some() {
            (ErrorCode::DataDamaged, "the shard's journal is damaged")
        } else {
            return;
        };
        self.send_acks(slot);
        self.abandon_acks(slot, code, text);
    }

    /// Nothing more reaches the disk. What has reached its level is acked, the rest is unknown.
    pub(super) fn fail_appends(&mut self, failure: &Failure) {
        self.has_failed = true;
        let text = alloc::format!("the shard's disk failed ({failure}); the append may survive");
        for index in 0..self.partitions.len() {
            let slot = Slot(u32::try_from(index).unwrap_or(u32::MAX));
            if self.partition(slot).is_some() {
                self.send_acks(slot);
                self.abandon_acks(slot, ErrorCode::DiskFailed, &text);
            }
        }
        self.fail_topic_requests(&text);
        self.fail_commits(&text);
        let text = alloc::format!("the shard's disk failed ({failure}); the records may be gone");
        self.abandon_deletions(None, ErrorCode::DiskFailed, &text);
        // Those who wait for append memory learn that they wait in vain.
        self.work.note_room();
        // Nothing more becomes durable: a stop that waits for it would wait for ever.
        self.storage_has_stopped();
    }
}
