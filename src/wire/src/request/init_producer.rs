//! `init_producer`: gives a producer its identity, with which batches can be sent again.
//!
//! What a newcomer gets wrong: the server remembers nothing of an identity until its first batch,
//! and each partition by itself. To begin anew, ask for another one; they are never used twice.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_u16, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::CorrelationId;
use crate::opcode::Opcode;

/// Asks for an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitProducer;

impl InitProducer {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::InitProducer, Flags::REQUEST, correlation, out);
        finish(start, out);
    }
}

/// An identity that nobody else has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitProducerResponse {
    /// Goes into batches as their producer id; positive as an `i64`.
    pub producer_id: u64,
    /// Goes into batches as their producer epoch.
    pub epoch: u16,
    /// So many of a producer's last batches a partition knows again: more may not be in flight.
    pub batches_max: u16,
}

impl InitProducerResponse {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::InitProducer, Flags::RESPONSE, correlation, out);
        put_u64(self.producer_id, out);
        put_u16(self.epoch, out);
        put_u16(self.batches_max, out);
        put_u32(0, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<InitProducerResponse, FrameError> {
        let producer_id = body.u64("producer id")?;
        let epoch = body.u16("producer epoch")?;
        let batches_max = body.u16("batches_max")?;
        body.reserved::<4>()?;
        Ok(InitProducerResponse { producer_id, epoch, batches_max })
    }
}
