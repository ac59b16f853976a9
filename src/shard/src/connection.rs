//! One connection: what it has bound, what it waits for, and why it is not being read.
//!
//! Idle, it costs a few hundred bytes and no work: no buffer, no timer, a receive that the machine
//! holds. A connection is held (not decoded, not received from) for one reason at a time; whoever
//! removes the reason resumes it, and the decoder then finds the next one.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use plimsoll_device::{Instant, SocketId};
use plimsoll_wire::{AcksEncoder, ShardIndex};

use crate::handles::Handles;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::readers::ReaderId;
use crate::slab::Key;

/// Names a connection of one shard. Never found again after the connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) Key);

/// Deliveries that a connection has in its outbound side or reads for it at a time.
const DELIVERIES_MAX: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    AwaitingHello,
    Open,
    /// What is left to say is being said; nothing is decoded any more.
    Closing,
    /// The close is with the machine.
    Closed,
}

/// Why a connection is not being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// No append memory for its next batch.
    Room,
    /// It has as much in flight as it may have.
    InFlight,
    /// It does not read its answers.
    Backlog,
    /// No receive memory for its next frame.
    Memory,
    /// Its next frame is for another shard, which has enough to do.
    Outbox,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: SocketId,
    pub(crate) state: State,
    pub(crate) hold: Option<Hold>,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    pub(crate) acks: AcksEncoder,
    pub(crate) handles: Handles,
    /// Readers that may have something to deliver.
    pub(crate) ready: VecDeque<ReaderId>,
    /// Produce frames that are not acked at their last level.
    pub(crate) in_flight: u32,
    /// Other requests that are not answered.
    pub(crate) requests: u32,
    /// Deliveries sealed and not sent, and disk reads on their way.
    pub(crate) deliveries: u32,
    /// The length of the half frame at the front, if it is known.
    pub(crate) frame_bytes: Option<usize>,
    /// When the connection is closed if nothing comes.
    pub(crate) deadline: Option<Instant>,
    /// When the timer that stands for the deadline goes off; it may be early.
    pub(crate) timer: Option<Instant>,
    /// The client sends no more.
    pub(crate) has_ended: bool,
    /// Other shards know of this connection.
    pub(crate) is_forwarding: bool,
    /// Shards that wait to hear that there is room for their next delivery.
    pub(crate) owed: Vec<ShardIndex>,
    pub(crate) is_active: bool,
    pub(crate) is_dirty: bool,
}

impl Connection {
    pub(crate) fn new(socket: SocketId) -> Self {
        Self {
            socket,
            state: State::AwaitingHello,
            hold: None,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            acks: AcksEncoder::new(),
            handles: Handles::default(),
            ready: VecDeque::new(),
            in_flight: 0,
            requests: 0,
            deliveries: 0,
            frame_bytes: None,
            deadline: None,
            timer: None,
            has_ended: false,
            is_forwarding: false,
            owed: Vec::new(),
            is_active: false,
            is_dirty: false,
        }
    }

    /// Whether frames are still wanted.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::AwaitingHello | State::Open)
    }

    pub(crate) fn is_decoding(&self) -> bool {
        self.is_open() && self.hold.is_none()
    }

    /// Whether a reader of this connection may be served now.
    pub(crate) fn has_room(&self, backlog_bytes_max: usize) -> bool {
        self.deliveries < DELIVERIES_MAX && self.outbound.backlog_bytes() < backlog_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_less_than_a_kibibyte() {
        assert!(size_of::<Connection>() < 768, "{}", size_of::<Connection>());
    }
}
