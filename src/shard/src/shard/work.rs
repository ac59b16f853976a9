//! What is to be done before the turn is over, and who waits for what.
//!
//! Nothing here grows without a limit: each entry belongs to a connection, a reader or a batch that
//! is bounded elsewhere. What a newcomer gets wrong: inputs only note what is to be done. It is
//! done when the turn is settled, so that acks of one turn leave together.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use plimsoll_storage::{PartitionId, Slot};
use plimsoll_wire::{CorrelationId, Handle};

use super::Shard;
use crate::connection::{ConnectionId, Hold, State};
use crate::level::Wanted;
use crate::mail::Client;
use crate::readers::{Place, ReaderId};

#[derive(Debug, Default)]
pub(super) struct Work {
    /// There was an input since the last time that everything was settled.
    pub(super) is_due: bool,
    /// Partitions whose acks and readers are to be looked at.
    pub(super) touched: Vec<Slot>,
    /// Clients with readers that may have something.
    pub(super) active: Vec<Client>,
    /// Connections with something to send.
    pub(super) dirty: Vec<ConnectionId>,
    pub(super) dirty_peers: Vec<Client>,
    /// Connections that are no longer held.
    pub(super) resume: VecDeque<ConnectionId>,
    /// Who waits for append memory, in the order of arrival.
    room_connections: VecDeque<ConnectionId>,
    room_produces: VecDeque<ParkedProduce>,
    room_readers: Vec<ReaderId>,
    has_room: bool,
    memory_connections: VecDeque<ConnectionId>,
    has_memory: bool,
    outbox_connections: Vec<ConnectionId>,
    has_outbox: bool,
}

/// A batch from another shard that waits for append memory.
#[derive(Debug)]
pub(super) struct ParkedProduce {
    pub(super) client: Client,
    pub(super) correlation: CorrelationId,
    pub(super) partition: PartitionId,
    pub(super) handle: Handle,
    pub(super) wanted: Wanted,
    pub(super) batch: Vec<u8>,
}

impl Work {
    pub(super) fn note_room(&mut self) {
        self.has_room = true;
    }

    pub(super) fn note_memory_freed(&mut self) {
        self.has_memory = true;
    }

    pub(super) fn note_outbox_drained(&mut self) {
        self.has_outbox = true;
        self.is_due = true;
    }

    pub(super) fn park(&mut self, produce: ParkedProduce) {
        self.room_produces.push_back(produce);
    }

    /// Whether batches of other shards wait: later ones must not overtake them.
    pub(super) fn has_parked(&self) -> bool {
        !self.room_produces.is_empty()
    }
}

impl Shard {
    /// Stops reading from a connection until whoever removes the reason resumes it.
    pub(super) fn hold(&mut self, id: ConnectionId, hold: Hold) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        connection.hold = Some(hold);
        if connection.state == State::Open {
            // What is late now is late because of the server.
            connection.deadline = None;
        }
        match hold {
            Hold::Room => {
                self.counters.waits_for_append_memory += 1;
                self.work.room_connections.push_back(id);
            }
            Hold::Memory => {
                self.counters.waits_for_receive_memory += 1;
                self.work.memory_connections.push_back(id);
            }
            Hold::Outbox => self.work.outbox_connections.push(id),
            Hold::InFlight | Hold::Backlog => {}
        }
    }

    /// Lets a held connection go on when the turn is settled.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.at_mut(id.0) {
            connection.hold = None;
            self.work.resume.push_back(id);
        }
    }

    pub(super) fn resume_connections(&mut self) -> bool {
        let mut has_worked = false;
        while let Some(id) = self.work.resume.pop_front() {
            self.go_on(id);
            has_worked = true;
        }
        has_worked
    }

    pub(super) fn wait_for_read_memory(&mut self, id: ReaderId) {
        // Fetches that timed out meanwhile leave their names behind.
        if self.work.room_readers.len() > 2 * self.readers.len() + 64 {
            let readers = &self.readers;
            self.work.room_readers.retain(|id| readers.at(id.0).is_some());
        }
        self.work.room_readers.push(id);
    }

    /// Lets those try again who waited for something that is there now.
    pub(super) fn retry_waiting(&mut self) -> bool {
        let mut has_worked = false;
        if core::mem::take(&mut self.work.has_room) {
            has_worked = true;
            self.retry_readers();
            if self.retry_produces() {
                self.retry_connections_for_room();
            }
            self.retry_metadata();
            self.retry_offset_logs();
        }
        if core::mem::take(&mut self.work.has_memory) {
            has_worked |= self.retry_connections_for_memory();
        }
        if core::mem::take(&mut self.work.has_outbox) {
            for id in core::mem::take(&mut self.work.outbox_connections) {
                self.resume_if(id, Hold::Outbox);
                has_worked = true;
            }
        }
        has_worked
    }

    fn retry_readers(&mut self) {
        for id in core::mem::take(&mut self.work.room_readers) {
            if self.readers.at(id.0).is_some_and(|reader| reader.place == Place::Room) {
                self.make_ready(id);
            }
        }
    }

    /// Whether no batch of another shard waits any more.
    fn retry_produces(&mut self) -> bool {
        while let Some(produce) = self.work.room_produces.pop_front() {
            if let Err(produce) = self.take_forwarded(produce) {
                self.work.room_produces.push_front(produce);
                return false;
            }
        }
        true
    }

    /// One after the other, so that nobody overtakes, and no further than the room goes: each try
    /// costs the checks of a batch.
    fn retry_connections_for_room(&mut self) {
        while let Some(id) = self.work.room_connections.pop_front() {
            if !self.is_held_by(id, Hold::Room) {
                continue;
            }
            if let Some(connection) = self.connection(id) {
                connection.hold = None;
            }
            self.go_on(id);
            if self.is_held_by(id, Hold::Room) {
                self.work.room_connections.pop_back();
                self.work.room_connections.push_front(id);
                return;
            }
        }
    }

    fn retry_connections_for_memory(&mut self) -> bool {
        let mut has_worked = false;
        while let Some(id) = self.work.memory_connections.pop_front() {
            if !self.is_held_by(id, Hold::Memory) {
                continue;
            }
            if let Some(connection) = self.connection(id) {
                connection.hold = None;
            }
            self.go_on(id);
            if self.is_held_by(id, Hold::Memory) {
                self.work.memory_connections.pop_back();
                self.work.memory_connections.push_front(id);
                return has_worked;
            }
            has_worked = true;
        }
        has_worked
    }

    fn resume_if(&mut self, id: ConnectionId, hold: Hold) {
        if self.is_held_by(id, hold) {
            self.resume(id);
        }
    }

    pub(super) fn is_held_by(&self, id: ConnectionId, hold: Hold) -> bool {
        self.connections.at(id.0).is_some_and(|connection| connection.hold == Some(hold))
    }
}
