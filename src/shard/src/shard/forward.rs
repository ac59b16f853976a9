//! Requests about partitions: to the shard that owns them, and from other shards.
//!
//! Any shard takes any client's request; only the owner touches the partition. What a newcomer gets
//! wrong: the answer comes back as ready frames, and may find its connection gone. What it ends is
//! counted off all the same.

use alloc::vec::Vec;

use plimsoll_storage::PartitionId;
use plimsoll_wire::{CorrelationId, ErrorCode, Handle, Opcode, ShardIndex};

use super::Shard;
use super::answers::Problem;
use super::decoding::Flow;
use super::work::ParkedProduce;
use crate::connection::{ConnectionId, Hold};
use crate::mail::{Client, Ended, Forwarded, Letter};

impl Forwarded {
    fn opcode(&self) -> Opcode {
        match self {
            Self::Produce { .. } => Opcode::Produce,
            Self::Bind { .. } => Opcode::Bind,
            Self::Fetch(_) => Opcode::Fetch,
            Self::Subscribe(_) => Opcode::Subscribe,
            Self::Credit(_) => Opcode::Credit,
            Self::Unsubscribe { .. } => Opcode::Unsubscribe,
            Self::Offsets(_) => Opcode::Offsets,
            Self::DeleteRecords { .. } => Opcode::DeleteRecords,
        }
    }

    fn handle(&self) -> Handle {
        match self {
            Self::Produce { handle, .. }
            | Self::Bind { handle }
            | Self::Unsubscribe { handle, .. } => *handle,
            Self::Fetch(request) => request.handle,
            Self::Subscribe(request) => request.handle,
            Self::Credit(request) => request.handle,
            Self::Offsets(request) => request.handle,
            // It names its partition: no handle.
            Self::DeleteRecords { .. } => Handle(u32::MAX),
        }
    }

    /// What its answer ends; nothing for requests without one.
    fn ended(&self) -> Ended {
        match self {
            Self::Credit(_)
            | Self::Produce { .. }
            | Self::Unsubscribe { is_answered: false, .. } => Ended::NOTHING,
            _ => Ended::REQUEST,
        }
    }
}

impl Shard {
    /// Brings a request to the partition that its handle stands for.
    pub(super) fn ask_partition(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        opcode: Opcode,
        handle: Handle,
        request: Forwarded,
    ) -> Flow {
        let Some(connection) = self.connections.at(id.0) else { return Flow::Gone };
        let Some(&binding) = connection.handles.at(handle) else {
            let problem = Problem::of_handle(ErrorCode::HandleUnknown, handle);
            self.answer_problem(self.client(id), Ended::NOTHING, opcode, correlation, problem);
            return Flow::Next;
        };
        self.ask_owner(id, correlation, (binding.owner, binding.partition), request)
    }

    /// Serves a request here, or sends it to the shard that owns the partition.
    pub(super) fn ask_owner(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        (owner, partition): (ShardIndex, PartitionId),
        request: Forwarded,
    ) -> Flow {
        if owner != self.config.index {
            let ended = request.ended();
            return self.forward(id, correlation, (owner, partition), request, ended);
        }
        if request.ended() == Ended::REQUEST && !self.begin_request(id) {
            return Flow::Hold(Hold::InFlight);
        }
        self.serve(self.client(id), correlation, partition, request);
        Flow::Next
    }

    /// Mails a request; `ended` is what its answer will end.
    pub(super) fn forward(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        (owner, partition): (ShardIndex, PartitionId),
        request: Forwarded,
        ended: Ended,
    ) -> Flow {
        let limits = self.config.limits;
        let batch_bytes = match &request {
            Forwarded::Produce { batch, .. } => batch.len(),
            _ => 0,
        };
        let is_too_much = batch_bytes > 0
            && self.forwarded_bytes > 0
            && self.forwarded_bytes + batch_bytes > limits.forward_bytes_max;
        if is_too_much || self.outbox.len() >= limits.outbox_max {
            return Flow::Hold(Hold::Outbox);
        }
        if ended.requests > 0 && !self.begin_request(id) {
            return Flow::Hold(Hold::InFlight);
        }
        let client = self.client(id);
        let Some(connection) = self.connections.at_mut(id.0) else { return Flow::Gone };
        connection.in_flight += ended.produces;
        connection.is_forwarding = true;
        self.forwarded_bytes += batch_bytes;
        self.counters.forwarded += 1;
        self.post(owner, Letter::Request { client, correlation, partition, request });
        Flow::Next
    }

    pub(super) fn handle_letter(&mut self, from: ShardIndex, letter: Letter) {
        match letter {
            Letter::Connection { socket, correlation, unread } => {
                self.adopt(socket, correlation, unread);
            }
            Letter::Request { client, correlation, partition, request } => {
                self.peers.entry(client).or_default();
                self.serve(client, correlation, partition, request);
            }
            Letter::Frames { connection, frames, ended, wants_pickup } => {
                self.take_frames(from, connection, &frames, ended, wants_pickup);
            }
            Letter::PickedUp { client } => {
                if let Some(peer) = self.peers.get_mut(&client) {
                    peer.awaits_pickup = false;
                    self.activate(client);
                }
            }
            Letter::Closed { client } => {
                self.remove_readers_of(client);
                if self.peers.get(&client).is_some_and(|peer| peer.is_dirty) {
                    self.flush_peer(client);
                }
                self.peers.remove(&client);
            }
            Letter::TopicRequest { client, correlation, request } => {
                self.peers.entry(client).or_default();
                self.topic_request(client, correlation, request);
            }
            Letter::GroupRequest { client, correlation, request } => {
                self.peers.entry(client).or_default();
                self.serve_group(client, correlation, request);
            }
            Letter::EndsWanted { check, partitions } => {
                let ends = self.ends_of(&partitions);
                self.post(from, Letter::EndsAre { check, ends });
            }
            Letter::EndsAre { check, ends } => self.take_ends(check, ends),
            Letter::Marks(letter) => self.handle_marks(from, letter),
            Letter::Topics { topics, incomplete } => self.open_topics(&topics, incomplete),
            Letter::TopicOpened(topic) => {
                let id = topic.id;
                self.open_topic(topic);
                self.post(from, Letter::TopicSettled { topic: id });
            }
            Letter::TopicAltered(topic) => {
                let id = topic.id;
                self.alter_own(topic);
                self.post(from, Letter::TopicSettled { topic: id });
            }
            Letter::TopicRemoved { topic } => {
                self.remove_topic(topic);
                self.post(from, Letter::TopicSettled { topic });
            }
            Letter::TopicSettled { topic } => self.topic_settled(topic),
            Letter::Seeded => self.one_has_seeded(),
            Letter::AllSeeded => self.all_have_seeded(),
            Letter::Gather { from, gather, what } => {
                let share = self.share_of(what);
                self.post(from, Letter::Share { gather, share });
            }
            Letter::Share { gather, share } => self.take_share(gather, share),
        }
    }

    /// Carries out a request about a partition of this shard.
    fn serve(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        partition: PartitionId,
        request: Forwarded,
    ) {
        if let Forwarded::Produce { handle, wanted, batch } = request {
            let produce = ParkedProduce { client, correlation, partition, handle, wanted, batch };
            if self.work.has_parked() {
                self.work.park(produce);
            } else if let Err(produce) = self.take_forwarded(produce) {
                self.work.park(produce);
            }
            return;
        }
        let ended = request.ended();
        let known = self.storage.slot(partition);
        let Some(slot) = known.filter(|slot| self.partition(*slot).is_some()) else {
            // The subscription of an unbound handle went with its topic.
            if !matches!(request, Forwarded::Unsubscribe { is_answered: false, .. }) {
                let problem = Problem::of_handle(ErrorCode::TopicNotFound, request.handle());
                self.answer_problem(client, ended, request.opcode(), correlation, problem);
            }
            return;
        };
        match request {
            Forwarded::Produce { .. } => {}
            Forwarded::Bind { .. } => self.serve_bind(client, correlation, slot),
            Forwarded::Fetch(fetch) => self.serve_fetch(client, correlation, slot, &fetch),
            Forwarded::Subscribe(subscribe) => {
                self.serve_subscribe(client, correlation, slot, &subscribe);
            }
            Forwarded::Credit(credit) => self.serve_credit(client, correlation, &credit),
            Forwarded::Unsubscribe { handle, is_answered } => {
                self.serve_unsubscribe(client, correlation, handle, is_answered);
            }
            Forwarded::Offsets(offsets) => {
                self.serve_offsets(client, correlation, slot, &offsets);
            }
            Forwarded::DeleteRecords { to } => {
                self.serve_delete_records(client, correlation, slot, to);
            }
        }
    }

    /// Passes on frames that another shard wrote for a connection of this one.
    fn take_frames(
        &mut self,
        from: ShardIndex,
        id: ConnectionId,
        frames: &[u8],
        ended: Ended,
        wants_pickup: bool,
    ) {
        if self.connections.at(id.0).is_none() {
            // The connection is gone; what it had forwarded still has to be taken off.
            self.end(id, ended);
            return;
        }
        self.answer(self.client(id), ended, |out| out.extend_from_slice(frames));
        if wants_pickup && let Some(connection) = self.connections.at_mut(id.0) {
            connection.owed.push(from);
            if connection.outbound.backlog_bytes() <= self.config.limits.send_backlog_bytes_max / 2
            {
                self.tell_picked_up(id);
            }
        }
    }

    /// Lets the shards that wait for it send their next delivery.
    pub(super) fn tell_picked_up(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.at_mut(id.0) else { return };
        let owed: Vec<ShardIndex> = core::mem::take(&mut connection.owed);
        let client = self.client(id);
        for shard in owed {
            self.post(shard, Letter::PickedUp { client });
        }
    }
}
