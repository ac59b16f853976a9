//! What a connection's handles stand for.
//!
//! Low handles, which every sane client uses, are a vector; high ones a tree, so that one `bind` of
//! the highest handle does not cost the memory of all below it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use plimsoll_storage::{PartitionId, Slot};
use plimsoll_wire::{AckLevel, CorrelationId, Handle, ShardIndex};

const DENSE_MAX: u32 = 1024;

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) partition: PartitionId,
    pub(crate) owner: ShardIndex,
    /// Where the partition was when it was bound, if it is of this shard. Check before use: the
    /// topic may have been deleted since, and the slot given to another partition.
    pub(crate) slot: Option<Slot>,
    pub(crate) default_durability: AckLevel,
    /// The correlation id that the next produce frame must have.
    pub(crate) expected: Option<CorrelationId>,
}

#[derive(Debug, Default)]
pub(crate) struct Handles {
    dense: Vec<Option<Binding>>,
    sparse: BTreeMap<u32, Binding>,
}

impl Handles {
    pub(crate) fn at(&self, handle: Handle) -> Option<&Binding> {
        match self.dense.get(handle.0 as usize) {
            Some(place) => place.as_ref(),
            None if self.sparse.is_empty() => None,
            None => self.sparse.get(&handle.0),
        }
    }

    pub(crate) fn at_mut(&mut self, handle: Handle) -> Option<&mut Binding> {
        match self.dense.get_mut(handle.0 as usize) {
            Some(place) => place.as_mut(),
            None => self.sparse.get_mut(&handle.0),
        }
    }

    /// Binds a handle that is not in use.
    pub(crate) fn bind(&mut self, handle: Handle, binding: Binding) {
        if handle.0 >= DENSE_MAX {
            self.sparse.insert(handle.0, binding);
            return;
        }
        let index = handle.0 as usize;
        if self.dense.len() <= index {
            self.dense.resize(index + 1, None);
        }
        self.dense[index] = Some(binding);
    }

    pub(crate) fn unbind(&mut self, handle: Handle) -> Option<Binding> {
        match self.dense.get_mut(handle.0 as usize) {
            Some(place) => place.take(),
            None => self.sparse.remove(&handle.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(partition: u32) -> Binding {
        Binding {
            partition: PartitionId { topic: 1, partition },
            owner: ShardIndex(0),
            slot: None,
            default_durability: AckLevel::Disk,
            expected: None,
        }
    }

    #[test]
    fn low_and_high_handles_are_found_and_unbound_alike() {
        let mut handles = Handles::default();
        for handle in [0, 3, 1023, 1024, 65_535] {
            assert_eq!(handles.at(Handle(handle)), None);
            handles.bind(Handle(handle), binding(handle));
            assert_eq!(handles.at(Handle(handle)), Some(&binding(handle)));
        }
        assert_eq!(handles.at(Handle(2)), None);
        for handle in [0, 3, 1023, 1024, 65_535] {
            assert_eq!(handles.unbind(Handle(handle)), Some(binding(handle)));
            assert_eq!(handles.unbind(Handle(handle)), None);
        }
    }
}
