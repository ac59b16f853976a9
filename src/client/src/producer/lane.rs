//! One partition's way from open batch to ack, and the window that its link allows.
//!
//! A topic may have tens of thousands of lanes, so an idle one owns no buffer. What a newcomer gets
//! wrong: a lane stands in its window's list at most once, or others would starve.

use super::batch::{BatchId, OpenBatch, SealedBatch};
use super::identity::Identity;
use super::in_flight::InFlight;
use crate::{Instant, Refusal};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use plimsoll_wire::Handle;

/// One partition at the producer.
#[derive(Debug)]
pub(super) struct Lane<A> {
    pub(super) open: Option<OpenBatch<A>>,
    /// Sealed and not sent, in the order of their ids.
    pub(super) ready: VecDeque<SealedBatch<A>>,
    pub(super) binding: Binding,
    /// Its number on this connection, once one was chosen.
    pub(super) handle: Option<Handle>,
    pub(super) in_flight: InFlight<A>,
    /// Whether the lane stands in its window's list of lanes that can send.
    pub(super) is_listed: bool,
    /// After a refusal: nothing is sent before this.
    pub(super) paused_until: Option<Instant>,
    pub(super) identity: Identity,
    /// Something is to be sent again: nothing is sent before all that is on its way was answered.
    pub(super) is_draining: bool,
    /// The open batch has lingered and goes as soon as the lane's window has room for it.
    pub(super) overdue: Option<BatchId>,
    /// The identity is one from before, and there is no other for this lane.
    pub(super) is_resumed: bool,
    /// Why the lane takes nothing more.
    pub(super) over: Option<Refusal>,
}

/// Whether the server knows the partition by a handle on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    Unbound,
    Asked,
    Bound,
}

impl<A> Lane<A> {
    pub(super) const fn new() -> Lane<A> {
        Lane {
            open: None,
            ready: VecDeque::new(),
            binding: Binding::Unbound,
            handle: None,
            in_flight: InFlight::new(),
            is_listed: false,
            paused_until: None,
            identity: Identity::Wanted,
            is_draining: false,
            overdue: None,
            is_resumed: false,
            over: None,
        }
    }

    /// Puts a batch back where it stood, before all younger ones.
    pub(super) fn put_back(&mut self, batch: SealedBatch<A>) {
        let place = self.ready.partition_point(|other| other.id < batch.id);
        self.ready.insert(place, batch);
    }
}

/// What one link has in flight, and whose turn it is.
#[derive(Debug)]
pub(super) struct Window {
    /// Partitions with sealed batches, in turn.
    pub(super) sendable: VecDeque<u32>,
    /// Open batches in the order in which they fall due. Sealed ones stay until they are passed.
    pub(super) lingering: VecDeque<(Instant, u32, BatchId)>,
    pub(super) in_flight_batches: u32,
    pub(super) in_flight_bytes: usize,
    /// The partition of each handle on this connection.
    pub(super) handles: Vec<u32>,
}

impl Window {
    pub(super) const fn new() -> Window {
        Window {
            sendable: VecDeque::new(),
            lingering: VecDeque::new(),
            in_flight_batches: 0,
            in_flight_bytes: 0,
            handles: Vec::new(),
        }
    }

    pub(super) fn enter(&mut self, frame_bytes: usize) {
        self.in_flight_batches += 1;
        self.in_flight_bytes += frame_bytes;
    }

    pub(super) fn leave(&mut self, frame_bytes: usize) {
        self.in_flight_batches -= 1;
        self.in_flight_bytes -= frame_bytes;
    }
}
