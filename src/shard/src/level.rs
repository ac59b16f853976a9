//! Between the levels of the protocol and the levels of storage: the same three depths, once as
//! numbers of the wire and once as what storage orders by.

use plimsoll_storage::{Level, PartitionState, Watermarks};
use plimsoll_wire::{AckLevel, Durability, Produce};

pub(crate) fn of_ack(level: AckLevel) -> Level {
    match level {
        AckLevel::Memory => Level::Memory,
        AckLevel::PageCache => Level::PageCache,
        AckLevel::Disk => Level::Disk,
    }
}

pub(crate) fn to_ack(level: Level) -> AckLevel {
    match level {
        Level::Memory => AckLevel::Memory,
        Level::PageCache => AckLevel::PageCache,
        Level::Disk => AckLevel::Disk,
    }
}

pub(crate) fn watermarks(marks: Watermarks) -> plimsoll_wire::Watermarks {
    let Watermarks { start, memory, page_cache, disk } = marks;
    plimsoll_wire::Watermarks { start, memory, page_cache, disk }
}

pub(crate) fn state(state: &PartitionState) -> plimsoll_wire::PartitionState {
    match state {
        PartitionState::Healthy => plimsoll_wire::PartitionState::Healthy,
        PartitionState::Damaged(_) => plimsoll_wire::PartitionState::Damaged,
        PartitionState::Failed => plimsoll_wire::PartitionState::Failed,
    }
}

/// The acks that a produce frame asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    One(Level),
    /// Two different levels, the deeper one last.
    Two(Level, Level),
}

impl Wanted {
    pub(crate) fn of(produce: &Produce<'_>, topic_default: AckLevel) -> Self {
        let level = match produce.durability.resolve(topic_default) {
            Durability::None => None,
            Durability::Memory => Some(Level::Memory),
            Durability::PageCache => Some(Level::PageCache),
            Durability::Disk => Some(Level::Disk),
        };
        match (level, produce.also.map(of_ack)) {
            (None, None) => Self::Nothing,
            (Some(level), None) | (None, Some(level)) => Self::One(level),
            (Some(one), Some(two)) if one == two => Self::One(one),
            (Some(one), Some(two)) => Self::Two(one.min(two), one.max(two)),
        }
    }

    /// The deepest level that anybody waits for.
    pub(crate) fn deepest(self) -> Option<Level> {
        match self {
            Self::Nothing => None,
            Self::One(level) | Self::Two(_, level) => Some(level),
        }
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::{DurabilityWanted, Handle};

    use super::*;

    #[test]
    fn two_levels_are_ordered_and_the_same_level_twice_is_one() {
        let wanted = |durability: DurabilityWanted, also| {
            let produce = Produce { handle: Handle(0), durability, also, batch: &[] };
            Wanted::of(&produce, AckLevel::PageCache)
        };
        let level = DurabilityWanted::Level;
        assert_eq!(
            wanted(level(Durability::Disk), Some(AckLevel::Memory)),
            Wanted::Two(Level::Memory, Level::Disk)
        );
        assert_eq!(wanted(level(Durability::Disk), Some(AckLevel::Disk)), Wanted::One(Level::Disk));
        assert_eq!(wanted(level(Durability::None), None), Wanted::Nothing);
        assert_eq!(wanted(DurabilityWanted::TopicDefault, None), Wanted::One(Level::PageCache));
    }
}
