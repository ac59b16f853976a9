//! Connections of other shards, as the owner of a partition sees them.
//!
//! Frames of one turn gather and leave in one mail. A peer gets one delivery at a time: the next
//! one follows when its shard says that the connection had room for it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use plimsoll_wire::AcksEncoder;

use crate::mail::Ended;
use crate::readers::ReaderId;

#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) out: Vec<u8>,
    pub(crate) acks: AcksEncoder,
    pub(crate) ended: Ended,
    /// Readers that may have something to deliver.
    pub(crate) ready: VecDeque<ReaderId>,
    /// Disk reads on their way.
    pub(crate) deliveries: u32,
    /// A delivery has been sent, or is in `out`, and was not picked up yet.
    pub(crate) awaits_pickup: bool,
    /// The delivery is in `out`.
    pub(crate) wants_pickup: bool,
    pub(crate) is_active: bool,
    pub(crate) is_dirty: bool,
}

impl Peer {
    pub(crate) fn has_room(&self) -> bool {
        !self.awaits_pickup && self.deliveries == 0
    }
}
