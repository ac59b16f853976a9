//! Serving readers: from storage to frames.
//!
//! Large deliveries are sent from storage's memory, uncopied. Small ones are copied, because they
//! then share a send; so are all of them when sends hold too much of that memory already.

use alloc::collections::VecDeque;

use plimsoll_storage::{Lent, ReadError, ReadOutcome};
use plimsoll_wire::{BATCHES_HEAD_BYTES, ErrorCode, encode_batches_head};

use super::Shard;
use super::answers::Problem;
use super::notices::PendingRead;
use crate::level;
use crate::mail::{Client, Ended};
use crate::readers::{Place, ReaderId, ReaderKind};
use crate::report::Report;

/// Batches up to this size are copied.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// Deliveries are added to a connection's outbound side up to this size.
const DELIVERY_BACKLOG_BYTES_MAX: usize = 256 << 10;

impl Shard {
    pub(super) fn serve_active(&mut self) -> bool {
        let mut has_worked = false;
        while let Some(client) = self.work.active.pop() {
            has_worked = true;
            while self.has_room(client)
                && let Some(id) = self.ready_of(client).and_then(VecDeque::pop_front)
            {
                self.serve_reader(id);
            }
            if self.is_local(client) {
                if let Some(connection) = self.connection(client.connection) {
                    connection.is_active = false;
                }
            } else if let Some(peer) = self.peers.get_mut(&client) {
                peer.is_active = false;
            }
        }
        has_worked
    }

    fn has_room(&self, client: Client) -> bool {
        if self.is_local(client) {
            let connection = self.connections.at(client.connection.0);
            connection.is_some_and(|connection| connection.has_room(DELIVERY_BACKLOG_BYTES_MAX))
        } else {
            self.peers.get(&client).is_some_and(crate::peers::Peer::has_room)
        }
    }

    fn ready_of(&mut self, client: Client) -> Option<&mut VecDeque<ReaderId>> {
        if self.is_local(client) {
            self.connection(client.connection).map(|connection| &mut connection.ready)
        } else {
            self.peers.get_mut(&client).map(|peer| &mut peer.ready)
        }
    }

    fn serve_reader(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.at_mut(id.0) else { return };
        if reader.place != Place::Ready {
            return;
        }
        if let ReaderKind::Subscription(account) = reader.kind
            && !account.is_open()
        {
            reader.place = Place::Credit;
            return;
        }
        let bytes_max = reader.bytes_max();
        match self.storage.read(reader.slot, reader.cursor, reader.visible, bytes_max) {
            Ok(ReadOutcome::Ready(lent)) => self.offer(id, lent),
            Ok(ReadOutcome::UpToDate) => self.wait_for_more(id),
            Ok(ReadOutcome::Pending(read)) => {
                reader.place = Place::Reading;
                let client = reader.client;
                self.reads.insert(read, PendingRead::Reader { client, reader: id });
                self.count_delivery(client, 1);
            }
            Err(ReadError::NoRoom) => self.wait_for_room(id),
            Err(error) => self.fail_reader(id, &error),
        }
    }

    /// Storage says when there is room. To ask again at once would go on for ever: room comes with
    /// the completions of a later turn. A fetch whose time is up is refused: an answer without
    /// batches would say that there are no records, and a member of a group in share mode would
    /// settle them as gone.
    fn wait_for_room(&mut self, id: ReaderId) {
        if self.is_due(id) {
            return self.fail_reader(id, &ReadError::NoRoom);
        }
        let Some(reader) = self.readers.at_mut(id.0) else { return };
        reader.place = Place::Room;
        self.wait_for_read_memory(id);
    }

    /// A read from the disk has ended.
    pub(super) fn finish_read(
        &mut self,
        client: Client,
        id: ReaderId,
        result: Result<Lent, ReadError>,
    ) {
        self.count_delivery(client, -1);
        self.activate(client);
        let is_wanted = self.readers.at(id.0).is_some();
        match result {
            Ok(lent) if is_wanted && lent.range.length_bytes == 0 => self.step_over(id, lent),
            Ok(lent) if is_wanted => self.deliver(id, lent),
            Ok(lent) => self.storage.release(lent),
            Err(ReadError::NoRoom) => self.wait_for_room(id),
            Err(error) => self.fail_reader(id, &error),
        }
    }

    /// Offsets up to the next record, or to the end, were never given out. That is nothing to
    /// deliver: the reader goes on behind them.
    fn step_over(&mut self, id: ReaderId, lent: Lent) {
        if let Some(reader) = self.readers.at_mut(id.0) {
            reader.cursor = lent.next;
        }
        self.storage.release(lent);
        self.make_ready(id);
    }

    fn fail_reader(&mut self, id: ReaderId, error: &ReadError) {
        let Some(reader) = self.readers.at(id.0) else { return };
        let problem = Problem::of_read(reader.handle, error);
        if let ReadError::Damaged(damage) = error {
            self.reports.push_back(Report::Damaged(damage.clone()));
        }
        self.end_reader(id, problem);
    }

    /// Deliveries and disk reads that the client's room is taken up by.
    fn count_delivery(&mut self, client: Client, change: i32) {
        let deliveries = if self.is_local(client) {
            self.connection(client.connection).map(|connection| &mut connection.deliveries)
        } else {
            self.peers.get_mut(&client).map(|peer| &mut peer.deliveries)
        };
        if let Some(deliveries) = deliveries {
            *deliveries = deliveries.saturating_add_signed(change);
        }
    }

    fn is_due(&self, id: ReaderId) -> bool {
        self.readers.at(id.0).is_some_and(|reader| match reader.kind {
            ReaderKind::Fetch(wait) => wait.deadline <= self.now.monotonic,
            ReaderKind::Subscription(_) => false,
        })
    }

    fn wait_for_more(&mut self, id: ReaderId) {
        if self.is_due(id) {
            return self.answer_empty_fetch(id);
        }
        let Some(reader) = self.readers.at_mut(id.0) else { return };
        reader.place = Place::Waiting;
        let slot = reader.slot;
        if let Some(partition) = self.partition(slot) {
            partition.waiting.push(id);
        }
    }

    /// Delivers, unless it is too little for a fetch that has time and nothing more is there.
    fn offer(&mut self, id: ReaderId, lent: Lent) {
        let is_due = self.is_due(id);
        let Some(reader) = self.readers.at(id.0) else { return self.storage.release(lent) };
        if let ReaderKind::Fetch(wait) = reader.kind {
            let marks = self.storage.watermarks(reader.slot);
            let is_all = lent.next.offset() >= marks.at(reader.visible);
            if !is_due && is_all && lent.range.length_bytes < wait.bytes_min {
                self.storage.release(lent);
                return self.wait_for_more(id);
            }
        }
        self.deliver(id, lent);
    }

    fn deliver(&mut self, id: ReaderId, lent: Lent) {
        let Some(reader) = self.readers.at_mut(id.0) else { return self.storage.release(lent) };
        let batches_bytes = lent.range.length_bytes;
        reader.cursor = lent.next;
        if let ReaderKind::Subscription(account) = &mut reader.kind {
            account.spend(BATCHES_HEAD_BYTES + batches_bytes);
        }
        let (client, handle, kind) = (reader.client, reader.handle, reader.batches_kind());
        let (slot, reader_kind) = (reader.slot, reader.kind);
        let marks = level::watermarks(self.storage.watermarks(slot));
        let is_lendable = self.is_local(client)
            && batches_bytes > COPIED_BYTES_MAX
            && self.lent_bytes + batches_bytes <= self.config.limits.lent_bytes_max;
        let mut is_whole = true;
        let batches = self.storage.bytes(lent.range);
        let out = if client.shard == self.config.index {
            self.connections.at_mut(client.connection.0).map(|place| &mut place.outbound.open)
        } else {
            self.peers.get_mut(&client).map(|peer| {
                peer.awaits_pickup = true;
                peer.wants_pickup = true;
                &mut peer.out
            })
        };
        if let Some(out) = out {
            is_whole = encode_batches_head(kind, &marks, handle, batches, out).is_ok();
            if is_whole && !is_lendable {
                out.extend_from_slice(batches);
            }
        }
        if is_lendable && is_whole {
            self.lend(client, lent);
        } else {
            self.storage.release(lent);
        }
        if !is_whole {
            let text = "storage gave batches that do not end where their bytes do";
            let problem = Problem::new(ErrorCode::DataDamaged, text);
            return self.end_reader(id, Problem { handle: Some(handle), ..problem });
        }
        self.counters.deliveries += 1;
        self.counters.delivered_bytes += batches_bytes as u64;
        match reader_kind {
            ReaderKind::Subscription(_) => {
                self.answer(client, Ended::NOTHING, |_| {});
                self.make_ready(id);
            }
            ReaderKind::Fetch(_) => {
                self.remove_reader(id);
                self.answer(client, Ended::REQUEST, |_| {});
            }
        }
    }

    /// Sends batches from where they lie, behind the head that was just written.
    fn lend(&mut self, client: Client, lent: Lent) {
        let spare = self.spare_heads.pop().unwrap_or_default();
        let Some(connection) = self.connections.at_mut(client.connection.0) else {
            return self.storage.release(lent);
        };
        self.lent_bytes += lent.range.length_bytes;
        connection.deliveries += 1;
        connection.outbound.seal(lent, spare);
    }

    fn answer_empty_fetch(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.at(id.0) else { return };
        let (client, handle, kind) = (reader.client, reader.handle, reader.batches_kind());
        let marks = level::watermarks(self.storage.watermarks(reader.slot));
        self.remove_reader(id);
        self.counters.deliveries += 1;
        self.answer(client, Ended::REQUEST, |out| {
            // No batches cannot be uneven.
            let _ = encode_batches_head(kind, &marks, handle, &[], out);
        });
    }
}
