//! Deleting records from the front of a partition: asked on any shard, carried out by the owner.
//!
//! It is answered when storage says that the start has moved durably, and never before. What a
//! newcomer gets wrong: the files go after the answer, in storage's own time.

use plimsoll_storage::{Slot, TrimError};
use plimsoll_wire::{
    CorrelationId, DeleteRecords, DeleteRecordsResponse, ErrorCode, Offset, Opcode, ShardIndex,
};

use super::Shard;
use super::answers::Problem;
use super::decoding::Flow;
use crate::connection::ConnectionId;
use crate::mail::{Client, Ended, Forwarded};

/// Who waits for a partition's start to move.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingDeletion {
    client: Client,
    correlation: CorrelationId,
    slot: Slot,
    to: Offset,
}

impl Shard {
    pub(super) fn delete_records(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        request: &DeleteRecords<'_>,
    ) -> Flow {
        let topic = self.catalog.named(request.topic);
        let partition = topic.map(|topic| (topic.partition(request.partition.0), topic.partitions));
        let problem = match partition {
            Some((Some(partition), _)) => {
                let owner = ShardIndex(partition.owner(self.config.shards));
                let forwarded = Forwarded::DeleteRecords { to: request.to };
                return self.ask_owner(id, correlation, (owner, partition), forwarded);
            }
            Some((None, partitions)) => Problem {
                detail_a: u64::from(request.partition.0),
                detail_b: u64::from(partitions),
                ..Problem::new(ErrorCode::PartitionNotFound, "the topic has fewer partitions")
            },
            None => self.no_topic(),
        };
        let (client, opcode) = (self.client(id), Opcode::DeleteRecords);
        self.answer_problem(client, Ended::NOTHING, opcode, correlation, problem);
        Flow::Next
    }

    pub(super) fn serve_delete_records(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        slot: Slot,
        to: Offset,
    ) {
        match self.storage.delete_records(slot, to) {
            Ok(()) => {
                self.deletions.push(PendingDeletion { client, correlation, slot, to });
                self.start_moved(slot);
            }
            Err(error) => {
                let opcode = Opcode::DeleteRecords;
                let problem = problem_of(&error);
                self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
            }
        }
    }

    /// Answers those whose records are gone.
    pub(super) fn start_moved(&mut self, slot: Slot) {
        let start = self.storage.watermarks(slot).start;
        while let Some(at) =
            self.deletions.iter().position(|pending| pending.slot == slot && pending.to <= start)
        {
            let PendingDeletion { client, correlation, .. } = self.deletions.remove(at);
            self.answer(client, Ended::REQUEST, |out| {
                DeleteRecordsResponse { start }.encode(correlation, out);
            });
        }
    }

    /// The start of this partition, or of any, will not move any more.
    pub(super) fn abandon_deletions(&mut self, of: Option<Slot>, code: ErrorCode, text: &str) {
        let is_of = |pending: &PendingDeletion| of.is_none_or(|slot| pending.slot == slot);
        while let Some(at) = self.deletions.iter().position(is_of) {
            let PendingDeletion { client, correlation, .. } = self.deletions.remove(at);
            let problem = Problem::new(code, alloc::borrow::ToOwned::to_owned(text));
            let opcode = Opcode::DeleteRecords;
            self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
        }
    }
}

fn problem_of(error: &TrimError) -> Problem {
    let (code, detail_a, detail_b) = match error {
        TrimError::OutOfRange { start, end, .. } => {
            (ErrorCode::OffsetOutOfRange, start.value(), end.value())
        }
        TrimError::Failed(_) => (ErrorCode::DiskFailed, 0, 0),
        TrimError::Damaged(damage) => (ErrorCode::DataDamaged, damage.position_bytes, 0),
        _ => (ErrorCode::ShuttingDown, 0, 0),
    };
    Problem { detail_a, detail_b, ..Problem::new(code, alloc::format!("{error}")) }
}
