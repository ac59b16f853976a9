//! Fetches and subscriptions: their beginning, their waking and their end.
//!
//! A reader becomes ready when its partition moves on, its credit grows or its time is up; it is
//! served when its client has room for a delivery. So a client that does not read costs
//! what it was given, and no more.

use core::time::Duration;

use plimsoll_batch::Offset;
use plimsoll_storage::{Cursor, ReadError, Slot};
use plimsoll_wire::{
    CorrelationId, Credit, ErrorCode, FETCH_WAIT_MS_MAX, Fetch, Handle, Opcode, Subscribe,
    Subscribed, encode_empty_response,
};

use super::Shard;
use super::answers::Problem;
use crate::level::{self, of_ack};
use crate::mail::{Client, Ended};
use crate::readers::{CreditAccount, FetchWait, Place, Reader, ReaderId, ReaderKind};
use crate::slab::Key;
use crate::timers::Timer;

impl Shard {
    pub(super) fn serve_fetch(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        slot: Slot,
        fetch: &Fetch,
    ) {
        let handle = fetch.handle;
        let problem = if fetch.max_wait_ms > FETCH_WAIT_MS_MAX {
            let text = "max_wait_ms is at most 60000";
            Some(Problem { handle: Some(handle), ..Problem::new(ErrorCode::InvalidRequest, text) })
        } else {
            self.out_of_range(slot, handle, fetch.offset)
        };
        if let Some(problem) = problem {
            self.answer_problem(client, Ended::REQUEST, Opcode::Fetch, correlation, problem);
            return;
        }
        let wait = Duration::from_millis(u64::from(fetch.max_wait_ms));
        let deadline = self.now.monotonic + wait;
        let wait = FetchWait::new(fetch.max_bytes, fetch.min_bytes, deadline);
        let id = self.add_reader(Reader {
            client,
            handle,
            correlation,
            slot,
            visible: of_ack(fetch.visible.level()),
            cursor: Cursor::at(fetch.offset),
            kind: ReaderKind::Fetch(wait),
            place: Place::Credit,
        });
        self.timers.arm(deadline, Timer::Reader(id));
        self.make_ready(id);
    }

    pub(super) fn serve_subscribe(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        slot: Slot,
        subscribe: &Subscribe,
    ) {
        let handle = subscribe.handle;
        let problem = if self.subscriptions.contains_key(&(client, handle)) {
            Some(Problem::of_handle(ErrorCode::AlreadySubscribed, handle))
        } else {
            self.out_of_range(slot, handle, subscribe.offset)
        };
        if let Some(problem) = problem {
            self.answer_problem(client, Ended::REQUEST, Opcode::Subscribe, correlation, problem);
            return;
        }
        let id = self.add_reader(Reader {
            client,
            handle,
            correlation,
            slot,
            visible: of_ack(subscribe.visible.level()),
            cursor: Cursor::at(subscribe.offset),
            kind: ReaderKind::Subscription(CreditAccount::new(subscribe.credit_bytes)),
            place: Place::Credit,
        });
        self.subscriptions.insert((client, handle), id);
        let watermarks = level::watermarks(self.storage.watermarks(slot));
        let response = Subscribed { handle, watermarks };
        self.answer(client, Ended::REQUEST, |out| response.encode(correlation, out));
        self.make_ready(id);
    }

    pub(super) fn serve_credit(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        credit: &Credit,
    ) {
        let handle = credit.handle;
        let Some(&id) = self.subscriptions.get(&(client, handle)) else {
            let problem = Problem::of_handle(ErrorCode::NotSubscribed, handle);
            self.answer_problem(client, Ended::NOTHING, Opcode::Credit, correlation, problem);
            return;
        };
        let Some(reader) = self.readers.at_mut(id.0) else { return };
        if let ReaderKind::Subscription(account) = &mut reader.kind {
            account.add(credit.bytes);
        }
        if reader.place == Place::Credit {
            self.make_ready(id);
        }
    }

    pub(super) fn serve_unsubscribe(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        handle: Handle,
        is_answered: bool,
    ) {
        let subscription = self.subscriptions.get(&(client, handle)).copied();
        if let Some(id) = subscription {
            self.remove_reader(id);
        }
        if !is_answered {
            return;
        }
        if subscription.is_some() {
            self.answer(client, Ended::REQUEST, |out| {
                encode_empty_response(Opcode::Unsubscribe, correlation, out);
            });
        } else {
            let problem = Problem::of_handle(ErrorCode::NotSubscribed, handle);
            let opcode = Opcode::Unsubscribe;
            self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
        }
    }

    fn out_of_range(&self, slot: Slot, handle: Handle, offset: Offset) -> Option<Problem> {
        let marks = self.storage.watermarks(slot);
        let is_within = marks.start <= offset && offset <= marks.memory;
        let (asked, start, end) = (offset, marks.start, marks.memory);
        let error = match self.storage.lost_end(slot) {
            Some(damage) if asked > end => ReadError::Damaged(damage.clone()),
            _ => ReadError::OutOfRange { asked, start, end },
        };
        (!is_within).then(|| Problem::of_read(handle, &error))
    }

    fn add_reader(&mut self, reader: Reader) -> ReaderId {
        let client = reader.client;
        let id = ReaderId(self.readers.insert(reader));
        self.readers_of.insert((client, id));
        id
    }

    pub(super) fn remove_reader(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.remove(id.0) else { return };
        self.readers_of.remove(&(reader.client, id));
        match reader.kind {
            ReaderKind::Fetch(wait) => self.timers.disarm(wait.deadline, Timer::Reader(id)),
            ReaderKind::Subscription(_) => {
                self.subscriptions.remove(&(reader.client, reader.handle));
            }
        }
        if reader.place == Place::Waiting {
            self.stop_waiting(reader.slot, id);
        }
    }

    pub(super) fn remove_readers_of(&mut self, client: Client) {
        let first = (client, ReaderId(Key::LOWEST));
        let last = (client, ReaderId(Key::HIGHEST));
        while let Some(&(_, id)) = self.readers_of.range(first..=last).next() {
            self.remove_reader(id);
        }
    }

    /// Ends every reader of a partition that is going away.
    pub(super) fn end_readers_of_partition(&mut self, slot: Slot) {
        let keys = self.readers.keys().map(ReaderId);
        let is_of_slot =
            |id: &ReaderId| self.readers.at(id.0).is_some_and(|reader| reader.slot == slot);
        let ids: alloc::vec::Vec<ReaderId> = keys.filter(is_of_slot).collect();
        for id in ids {
            let Some(reader) = self.readers.at(id.0) else { continue };
            let problem = Problem::of_handle(ErrorCode::TopicNotFound, reader.handle);
            self.end_reader(id, problem);
        }
    }

    /// Ends a reader with an error; a fetch is answered by it.
    pub(super) fn end_reader(&mut self, id: ReaderId, problem: Problem) {
        let Some(reader) = self.readers.at(id.0) else { return };
        let ended = match reader.kind {
            ReaderKind::Fetch(_) => Ended::REQUEST,
            ReaderKind::Subscription(_) => Ended::NOTHING,
        };
        let (client, opcode, correlation) = (reader.client, reader.opcode(), reader.correlation);
        self.remove_reader(id);
        self.answer_problem(client, ended, opcode, correlation, problem);
    }

    fn stop_waiting(&mut self, slot: Slot, id: ReaderId) {
        if let Some(partition) = self.partition(slot)
            && let Some(index) = partition.waiting.iter().position(|waiting| *waiting == id)
        {
            partition.waiting.swap_remove(index);
        }
    }

    /// Puts a reader into its client's list of those that may have something.
    pub(super) fn make_ready(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.at_mut(id.0) else { return };
        reader.place = Place::Ready;
        let client = reader.client;
        if self.is_local(client) {
            let Some(connection) = self.connections.at_mut(client.connection.0) else { return };
            connection.ready.push_back(id);
        } else {
            let Some(peer) = self.peers.get_mut(&client) else { return };
            peer.ready.push_back(id);
        }
        self.activate(client);
    }

    /// Has the client's ready readers served before the turn is over.
    pub(super) fn activate(&mut self, client: Client) {
        let is_active = if self.is_local(client) {
            let Some(connection) = self.connections.at_mut(client.connection.0) else { return };
            if connection.ready.is_empty() {
                return;
            }
            &mut connection.is_active
        } else {
            let Some(peer) = self.peers.get_mut(&client) else { return };
            if peer.ready.is_empty() {
                return;
            }
            &mut peer.is_active
        };
        if !core::mem::replace(is_active, true) {
            self.work.active.push(client);
        }
    }

    /// Makes those ready for whom there is something now.
    pub(super) fn wake_readers(&mut self, slot: Slot) {
        let Some(partition) = self.partition(slot) else { return };
        if partition.waiting.is_empty() {
            return;
        }
        let mut waiting = core::mem::take(&mut partition.waiting);
        let marks = self.storage.watermarks(slot);
        waiting.retain(|id| {
            let Some(reader) = self.readers.at(id.0) else { return false };
            let has_news = reader.wanted() < marks.at(reader.visible);
            if has_news {
                self.make_ready(*id);
            }
            !has_news
        });
        if let Some(partition) = self.partition(slot) {
            partition.waiting = waiting;
        }
    }

    /// The time of a fetch is up: it is answered with what there is.
    pub(super) fn fetch_is_due(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.at(id.0) else { return };
        let (slot, place) = (reader.slot, reader.place);
        if place == Place::Waiting {
            self.stop_waiting(slot, id);
        }
        if matches!(place, Place::Waiting | Place::Room) {
            self.make_ready(id);
        }
    }
}
