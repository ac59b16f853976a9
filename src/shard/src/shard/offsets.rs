//! Offsets: where a partition begins or ends, or where a time lies in it.
//!
//! Beginning and end are known at once; only a time may need the disk. What a newcomer gets wrong:
//! the end depends on the level that the client asks for, as what it would be shown does.

use plimsoll_batch::Offset;
use plimsoll_storage::{ReadError, Slot};
use plimsoll_wire::{CorrelationId, Handle, Offsets, OffsetsResponse, OffsetsWhat, Opcode};

use super::Shard;
use super::answers::Problem;
use super::notices::PendingRead;
use crate::level::of_ack;
use crate::mail::{Client, Ended};

impl Shard {
    pub(super) fn serve_offsets(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        slot: Slot,
        request: &Offsets,
    ) {
        let marks = self.storage.watermarks(slot);
        let handle = request.handle;
        match request.what {
            OffsetsWhat::Beginning => {
                self.answer_offset(client, correlation, handle, Ok(marks.start));
            }
            OffsetsWhat::End => {
                let end = marks.at(of_ack(request.visible.level()));
                self.answer_offset(client, correlation, handle, Ok(end));
            }
            OffsetsWhat::Timestamp { unix_ms } => {
                match self.storage.locate_timestamp(slot, unix_ms) {
                    Ok(read) => {
                        let pending = PendingRead::Locate { client, correlation, handle };
                        self.reads.insert(read, pending);
                    }
                    Err(error) => self.answer_offset(client, correlation, handle, Err(error)),
                }
            }
        }
    }

    pub(super) fn answer_offset(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        handle: Handle,
        offset: Result<Offset, ReadError>,
    ) {
        match offset {
            Ok(offset) => self.answer(client, Ended::REQUEST, |out| {
                OffsetsResponse { offset }.encode(correlation, out);
            }),
            Err(error) => {
                let problem = Problem::of_read(handle, &error);
                self.answer_problem(client, Ended::REQUEST, Opcode::Offsets, correlation, problem);
            }
        }
    }
}
