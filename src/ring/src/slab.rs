//! What is in flight, by the number that travels through the kernel.
//!
//! A slot's number comes back in a completion; its generation says whether the slot still holds the
//! operation that was meant. A completion of an operation that is gone finds nothing.

/// Names an entry: slot in the low half, generation in the high half. It is the `user_data` of a
/// submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

impl Ticket {
    fn new(slot: usize, generation: u32) -> Self {
        Self(slot as u64 | u64::from(generation) << 32)
    }

    fn slot(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A table of values in flight. Entries may move in memory: what the kernel points at is on the
/// heap.
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { slots: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity) }
    }

    pub(crate) fn insert(&mut self, value: T) -> Ticket {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            self.slots.len() - 1
        });
        let entry = &mut self.slots[slot];
        entry.value = Some(value);
        Ticket::new(slot, entry.generation)
    }

    /// Takes the entry out; its ticket is void from then on.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let entry = self.slots.get_mut(ticket.slot())?;
        if entry.generation != ticket.generation() {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(ticket.slot());
        Some(value)
    }

    pub(crate) fn entry(&mut self, ticket: Ticket) -> Option<&mut T> {
        let entry = self.slots.get_mut(ticket.slot())?;
        if entry.generation == ticket.generation() { entry.value.as_mut() } else { None }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_of_an_earlier_use_of_the_slot_finds_nothing() {
        let mut slab = Slab::with_capacity(1);
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.slot(), second.slot());
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.entry(first), None);
        assert_eq!(slab.entry(second), Some(&mut 'b'));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_ticket_that_was_never_given_out_finds_nothing() {
        let mut slab = Slab::<char>::with_capacity(0);
        assert_eq!(slab.remove(Ticket(77)), None);
    }
}
