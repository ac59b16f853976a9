//! `delete_topic`: a topic is durably gone when the (empty) answer is sent.
//!
//! What a newcomer gets wrong: handles bound to the topic stay bound, and answer that it is not
//! found.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_string};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::CorrelationId;
use crate::opcode::Opcode;

/// Asks that a topic be deleted with all its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteTopic<'a> {
    /// Its name, as sent.
    pub name: &'a str,
}

impl<'a> DeleteTopic<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::DeleteTopic, Flags::REQUEST, correlation, out);
        put_string(self.name, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<DeleteTopic<'a>, FrameError> {
        Ok(DeleteTopic { name: body.string("topic")? })
    }
}
