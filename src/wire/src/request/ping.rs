//! `ping`: is the server there? Its answer has no body either.
//!
//! What a newcomer gets wrong: it says nothing about the frames before it, whose answers may come
//! later.

use alloc::vec::Vec;

use crate::body::{begin, finish};
use crate::frame::Flags;
use crate::identity::CorrelationId;
use crate::opcode::Opcode;

/// Asks for an empty answer, in the order of the other requests of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping;

impl Ping {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Ping, Flags::REQUEST, correlation, out);
        finish(start, out);
    }
}
