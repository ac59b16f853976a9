//! The choices of a consumer.
//!
//! Nothing here is checked before the consumer is made. What a newcomer gets wrong: the default
//! shows only what is on disk, which a producer with weaker durability may have to wait for.

use crate::LinkOptions;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use plimsoll_wire::{Offset, Visible};

/// The choices of a consumer. The default: all partitions from the beginning, only what survives
/// power loss.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerOptions {
    /// Which partitions; `None` takes all.
    pub partitions: Option<Vec<u32>>,
    /// Where to begin.
    pub from: StartAt,
    /// Where single partitions begin instead: what was stored as the position of an earlier
    /// consumer.
    pub positions: BTreeMap<u32, Offset>,
    /// Up to which level to see: never a record that a failure survived by it can take back.
    pub visible: Visible,
    /// How many bytes may wait in this client, over all partitions. Each partition may pass its
    /// share by one frame, and has a share of at least 4 KiB.
    pub credit_bytes: u32,
    /// How connections are treated.
    pub link: LinkOptions,
}

impl Default for ConsumerOptions {
    fn default() -> ConsumerOptions {
        ConsumerOptions {
            partitions: None,
            from: StartAt::Beginning,
            positions: BTreeMap::new(),
            visible: Visible::Disk,
            credit_bytes: 16 << 20,
            link: LinkOptions::default(),
        }
    }
}

/// Where in a partition a consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest record.
    Beginning,
    /// After the last record that is visible now.
    End,
    /// This record.
    Offset(Offset),
    /// The first record with this timestamp or a later one; then all that follow it, whatever their
    /// timestamps.
    Timestamp {
        /// Milliseconds since the Unix epoch.
        unix_ms: i64,
    },
}
