//! Produce: from a frame to an offset.
//!
//! The hot path. A batch is checked and copied once, into storage; nothing is allocated but what
//! the ack lists have grown to. Its acks leave when the turn is settled.

use plimsoll_batch::Batch;
use plimsoll_storage::{AppendError, Level, Slot};
use plimsoll_wire::{CorrelationId, ErrorCode, ErrorResponse, Fate, Handle, Opcode, Produce};

use super::Shard;
use super::answers::Problem;
use super::decoding::Flow;
use super::work::ParkedProduce;
use crate::ack_fifo::PendingAck;
use crate::connection::{ConnectionId, Hold};
use crate::handles::Binding;
use crate::level::Wanted;
use crate::mail::{Client, Ended, Forwarded};

/// There is no append memory; nothing was done.
#[derive(Debug)]
struct NoRoom;

/// Whose append it is.
#[derive(Clone, Copy, Debug)]
struct Append {
    client: Client,
    handle: Handle,
    correlation: CorrelationId,
    wanted: Wanted,
}

impl Append {
    /// What its last ack, or its error, ends.
    fn ended(self) -> Ended {
        match self.wanted {
            Wanted::Nothing => Ended::NOTHING,
            _ => Ended::PRODUCE,
        }
    }
}

impl Shard {
    pub(super) fn produce(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        produce: &Produce<'_>,
    ) -> Flow {
        let handle = produce.handle;
        let in_flight_max = self.config.limits.in_flight_frames_max;
        let Some(connection) = self.connections.at_mut(id.0) else { return Flow::Gone };
        if connection.in_flight >= in_flight_max {
            return Flow::Hold(Hold::InFlight);
        }
        let Some(&binding) = connection.handles.at(handle) else {
            let wanted = Wanted::of(produce, plimsoll_wire::AckLevel::Disk);
            let append = Append { client: self.client(id), handle, correlation, wanted };
            let problem = Problem::of_handle(ErrorCode::HandleUnknown, handle);
            self.refuse(append, Ended::NOTHING, problem);
            return Flow::Next;
        };
        if let Some(expected) = binding.expected
            && expected != correlation
        {
            self.fail_sequence(id, handle, expected, correlation);
            return Flow::Gone;
        }
        let wanted = Wanted::of(produce, binding.default_durability);
        let append = Append { client: self.client(id), handle, correlation, wanted };
        let flow = if binding.owner == self.config.index {
            self.produce_here(id, append, &binding, produce.batch)
        } else {
            let batch = produce.batch.to_vec();
            let request = Forwarded::Produce { handle, wanted, batch };
            let (owner, partition) = (binding.owner, binding.partition);
            self.forward(id, correlation, (owner, partition), request, append.ended())
        };
        if flow == Flow::Next
            && let Some(connection) = self.connections.at_mut(id.0)
            && let Some(binding) = connection.handles.at_mut(handle)
        {
            binding.expected = Some(correlation.advance(1));
        }
        flow
    }

    fn produce_here(
        &mut self,
        id: ConnectionId,
        append: Append,
        binding: &Binding,
        batch: &[u8],
    ) -> Flow {
        let slot = binding.slot.filter(|slot| {
            self.partition(*slot).is_some_and(|partition| partition.id == binding.partition)
        });
        let ended = append.ended();
        if let Some(connection) = self.connections.at_mut(id.0) {
            connection.in_flight += ended.produces;
        }
        let Some(slot) = slot else {
            let problem = Problem::of_handle(ErrorCode::TopicNotFound, append.handle);
            self.refuse(append, ended, problem);
            return Flow::Next;
        };
        match self.append(append, slot, batch, Ended::NOTHING) {
            Ok(()) => Flow::Next,
            Err(NoRoom) => {
                if let Some(connection) = self.connections.at_mut(id.0) {
                    connection.in_flight -= ended.produces;
                }
                Flow::Hold(Hold::Room)
            }
        }
    }

    /// Appends a batch of another shard's client, or gives it back when there is no room.
    pub(super) fn take_forwarded(&mut self, produce: ParkedProduce) -> Result<(), ParkedProduce> {
        let ParkedProduce { client, correlation, partition, handle, wanted, .. } = produce;
        let append = Append { client, handle, correlation, wanted };
        let taken = Ended { taken_bytes: produce.batch.len(), ..Ended::NOTHING };
        let Some(slot) = self.storage.slot(partition) else {
            let ended = Ended { produces: append.ended().produces, ..taken };
            self.refuse(append, ended, Problem::of_handle(ErrorCode::TopicNotFound, handle));
            return Ok(());
        };
        self.append(append, slot, &produce.batch, taken).map_err(|NoRoom| produce)
    }

    /// `taken` has ended whatever becomes of the batch, unless there is no room.
    fn append(
        &mut self,
        append: Append,
        slot: Slot,
        bytes: &[u8],
        taken: Ended,
    ) -> Result<(), NoRoom> {
        let refused = Ended { produces: append.ended().produces, ..taken };
        let Some(Some(partition)) = self.partitions.get_mut(slot.0 as usize) else {
            let problem = Problem::of_handle(ErrorCode::TopicNotFound, append.handle);
            self.refuse(append, refused, problem);
            return Ok(());
        };
        let batch = match Batch::validate(bytes, &partition.limits) {
            Ok(batch) => batch,
            Err(error) => {
                self.refuse(append, refused, Problem::of_batch(append.handle, &error));
                return Ok(());
            }
        };
        let level = append.wanted.deepest().unwrap_or(Level::Memory);
        let appended = match self.storage.append(slot, &batch, level, self.now) {
            Ok(appended) => appended,
            Err(AppendError::NoRoom) => return Err(NoRoom),
            Err(error) => {
                self.note_disk_full(&error);
                self.refuse(append, refused, Problem::of_append(append.handle, &error));
                return Ok(());
            }
        };
        let Append { client, handle, correlation, wanted } = append;
        let (base, next) = (appended.base, appended.next);
        let ack = PendingAck { client, handle, correlation, base, next, is_last: true };
        match wanted {
            Wanted::Nothing => {}
            Wanted::One(level) => partition.acks.push(level, ack),
            Wanted::Two(first, last) => {
                partition.acks.push(first, PendingAck { is_last: false, ..ack });
                partition.acks.push(last, ack);
            }
        }
        self.touch(slot);
        if appended.is_duplicate {
            self.counters.duplicates += 1;
            self.settle_duplicate(slot);
        }
        if taken != Ended::NOTHING {
            self.answer(client, taken, |_| {});
        }
        Ok(())
    }

    /// Says that a batch surely was not written, if anybody asked.
    fn refuse(&mut self, append: Append, ended: Ended, problem: Problem) {
        let Append { client, handle, correlation, wanted } = append;
        if wanted == Wanted::Nothing {
            self.counters.refused += 1;
            self.answer(client, ended, |_| {});
        } else {
            let problem = Problem { fate: Fate::Refused, handle: Some(handle), ..problem };
            self.answer_problem(client, ended, Opcode::Produce, correlation, problem);
        }
    }

    fn fail_sequence(
        &mut self,
        id: ConnectionId,
        handle: Handle,
        expected: CorrelationId,
        correlation: CorrelationId,
    ) {
        self.fail(
            id,
            correlation,
            &ErrorResponse {
                opcode: Opcode::Produce,
                code: ErrorCode::Sequence,
                fate: Fate::Refused,
                handle: Some(handle),
                detail_a: u64::from(expected.0),
                detail_b: u64::from(correlation.0),
                message: "the correlation id is not one more than the last on its handle",
            },
        );
    }
}
