//! `delete_records`: the records of a partition below an offset are gone, durably, when answered.
//!
//! What a newcomer gets wrong: an offset below the present start is no mistake. The answer says
//! where the start is, and that never goes back.

use alloc::vec::Vec;

use plimsoll_batch::Offset;

use crate::body::{Body, begin, finish, put_string, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, PartitionIndex};
use crate::opcode::Opcode;

/// Asks that the records below an offset be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteRecords<'a> {
    /// The topic's name, as sent.
    pub topic: &'a str,
    /// The partition.
    pub partition: PartitionIndex,
    /// The first offset that is to stay.
    pub to: Offset,
}

impl<'a> DeleteRecords<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::DeleteRecords, Flags::REQUEST, correlation, out);
        put_string(self.topic, out);
        put_u32(self.partition.0, out);
        put_u64(self.to.value(), out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<DeleteRecords<'a>, FrameError> {
        Ok(DeleteRecords {
            topic: body.string("topic")?,
            partition: PartitionIndex(body.u32("partition")?),
            to: body.offset("offset")?,
        })
    }
}

/// They are gone, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteRecordsResponse {
    /// The first offset that can be read now.
    pub start: Offset,
}

impl DeleteRecordsResponse {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::DeleteRecords, Flags::RESPONSE, correlation, out);
        put_u64(self.start.value(), out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<DeleteRecordsResponse, FrameError> {
        Ok(DeleteRecordsResponse { start: body.offset("start offset")? })
    }
}
