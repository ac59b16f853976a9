//! One producing connection: its window, its schedule, and what it waits to hear.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::time::Instant;

use plimsoll_wire::{
    AckEntry, CorrelationId, Durability, DurabilityWanted, ErrorResponse, Fate, Handle, Opcode,
    PRODUCE_HEAD_BYTES, Response, encode_produce_head,
};

use crate::LoadError;
use crate::connection::{Connection, Incoming, Received, refused};
use crate::ledger::AckedBatch;
use crate::measurement::Measurement;
use crate::outgoing::Outgoing;
use crate::payload::Payloads;
use crate::schedule::Schedule;

/// Bytes that may wait for the socket: the window alone does not bound a load without acks.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Sends the batches of one connection, to its partitions in turn.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) stream: TcpStream,
    server: String,
    connection: u32,
    incoming: Incoming,
    outgoing: Outgoing,
    payloads: Payloads,
    schedule: Schedule,
    durability: Durability,
    lanes: Vec<Lane>,
    next_lane: usize,
    /// Batches sent and not settled.
    in_flight: u32,
    in_flight_max: u32,
    /// Batches that may still be sent; `None`: any number.
    pub(crate) batches_left: Option<u64>,
    head: Vec<u8>,
}

/// One partition of a connection. Its acks come in the order of its frames.
#[derive(Debug)]
struct Lane {
    partition: u32,
    next_correlation: CorrelationId,
    /// The correlation id of the first open batch.
    first_open: CorrelationId,
    open: VecDeque<OpenBatch>,
}

#[derive(Clone, Copy, Debug)]
struct OpenBatch {
    due: Instant,
    records: u32,
    record_bytes: u64,
    first_sequence: u64,
    is_settled: bool,
}

/// What a sender sends, and how.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) connection: u32,
    pub(crate) partitions: Vec<u32>,
    pub(crate) durability: Durability,
    pub(crate) in_flight_max: u32,
    pub(crate) payloads: Payloads,
    pub(crate) schedule: Schedule,
    pub(crate) batches_left: Option<u64>,
}

impl Sender {
    pub(crate) fn new(server: &str, connection: Connection, sending: Sending) -> Sender {
        let lane = |partition: u32| Lane {
            partition,
            next_correlation: CorrelationId(1),
            first_open: CorrelationId(1),
            open: VecDeque::new(),
        };
        Sender {
            stream: connection.stream,
            server: server.to_owned(),
            connection: sending.connection,
            incoming: connection.incoming,
            outgoing: Outgoing::default(),
            payloads: sending.payloads,
            schedule: sending.schedule,
            durability: sending.durability,
            lanes: sending.partitions.into_iter().map(lane).collect(),
            next_lane: sending.connection as usize,
            in_flight: 0,
            in_flight_max: sending.in_flight_max.min(connection.in_flight_max),
            batches_left: sending.batches_left,
            head: Vec::with_capacity(PRODUCE_HEAD_BYTES),
        }
    }

    /// Takes what is due, as far as the window allows, and writes what the socket takes.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        measurement: &mut Measurement,
    ) -> Result<(), LoadError> {
        loop {
            let was_waiting = !self.outgoing.is_empty();
            while self.has_room()
                && let Some(due) = self.schedule.take(now)
            {
                self.queue(due, measurement)?;
            }
            if self.outgoing.is_empty() {
                return Ok(());
            }
            let written = self.outgoing.write_to(&mut self.stream, &mut self.payloads.spent);
            written.map_err(|error| self.failed("writing to", error))?;
            // Without acks nothing else says when there is room again: the socket does.
            if self.durability != Durability::None || !self.outgoing.is_empty() || was_waiting {
                return Ok(());
            }
        }
    }

    fn has_room(&self) -> bool {
        self.batches_left != Some(0)
            && self.in_flight < self.in_flight_max
            && self.outgoing.waiting_bytes() < WAITING_BYTES_MAX
    }

    fn queue(&mut self, due: Instant, measurement: &mut Measurement) -> Result<(), LoadError> {
        let payload = self.payloads.next()?;
        let index = self.next_lane % self.lanes.len();
        self.next_lane = index + 1;
        let lane = &mut self.lanes[index];
        let correlation = lane.next_correlation;
        self.head.clear();
        encode_produce_head(
            Handle(index as u32),
            DurabilityWanted::Level(self.durability),
            None,
            correlation,
            &payload.batch,
            &mut self.head,
        )?;
        let mut head = [0; PRODUCE_HEAD_BYTES];
        head.copy_from_slice(&self.head);
        lane.next_correlation = correlation.advance(1);
        if let Some(left) = &mut self.batches_left {
            *left -= 1;
        }
        if self.durability == Durability::None {
            measurement.sent(payload.records, payload.record_bytes);
        } else {
            self.in_flight += 1;
            lane.open.push_back(OpenBatch {
                due,
                records: payload.records,
                record_bytes: payload.record_bytes,
                first_sequence: payload.first_sequence,
                is_settled: false,
            });
        }
        self.outgoing.push(head, payload.batch);
        Ok(())
    }

    /// Reads what has arrived, and settles what it acks.
    pub(crate) fn receive(&mut self, measurement: &mut Measurement) -> Result<(), LoadError> {
        loop {
            let received = self.incoming.read_from(&mut self.stream);
            let received = received.map_err(|error| self.failed("reading from", error))?;
            if received == Received::Closed {
                let reason = "without saying why".to_owned();
                return Err(LoadError::Closed { server: self.server.clone(), reason });
            }
            self.handle_frames(measurement)?;
            if received != (Received::Some { is_all: false }) {
                return Ok(());
            }
        }
    }

    fn handle_frames(&mut self, measurement: &mut Measurement) -> Result<(), LoadError> {
        let now = Instant::now();
        let Sender { incoming, lanes, in_flight, connection, server, .. } = self;
        while let Some(frame) = incoming.next_frame()? {
            let correlation = frame.correlation;
            match Response::decode(&frame)? {
                Response::Acks(acks) => {
                    for entry in acks {
                        let lane = lanes.get_mut(entry.handle.0 as usize);
                        let lane = lane.ok_or_else(|| unexpected(server))?;
                        lane.acked(&entry, *connection, now, measurement)
                            .ok_or_else(|| unexpected(server))?;
                        *in_flight = in_flight.saturating_sub(entry.frames);
                    }
                }
                Response::Error(error) if is_of_one_batch(&error) => {
                    let handle = error.handle.map_or(0, |handle| handle.0);
                    let lane = lanes.get_mut(handle as usize);
                    let lane = lane.ok_or_else(|| unexpected(server))?;
                    lane.refused(correlation, &error, measurement)
                        .ok_or_else(|| unexpected(server))?;
                    *in_flight = in_flight.saturating_sub(1);
                }
                other => return Err(refused(server, &other)),
            }
        }
        Ok(())
    }

    /// When it wants to send next; `None`: when something arrives.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.has_room() { self.schedule.due() } else { None }
    }

    /// Whether the socket is to be watched for room.
    pub(crate) fn wants_to_write(&self) -> bool {
        !self.outgoing.is_empty()
            || self.durability == Durability::None
                && self.schedule.due().is_none()
                && self.batches_left != Some(0)
    }

    /// Whether everything that was sent is settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight == 0 && self.outgoing.is_empty()
    }

    /// Records that were sent and whose fate is not known.
    pub(crate) fn open_records(&self) -> u64 {
        let open = self.lanes.iter().flat_map(|lane| &lane.open);
        open.filter(|batch| !batch.is_settled).map(|batch| u64::from(batch.records)).sum()
    }

    fn failed(&self, what: &'static str, error: io::Error) -> LoadError {
        LoadError::Io { what, server: self.server.clone(), error }
    }
}

fn is_of_one_batch(error: &ErrorResponse<'_>) -> bool {
    error.opcode == Opcode::Produce && error.fate != Fate::NotAppend
}

fn unexpected(server: &str) -> LoadError {
    let reason = "it acked what was not sent".to_owned();
    LoadError::Closed { server: server.to_owned(), reason }
}

impl Lane {
    /// `None`: what is acked was never sent, or settled before.
    fn acked(
        &mut self,
        entry: &AckEntry,
        connection: u32,
        now: Instant,
        measurement: &mut Measurement,
    ) -> Option<()> {
        let first = entry.first.distance_from(self.first_open) as usize;
        let end = first.checked_add(entry.frames as usize)?;
        if end > self.open.len() {
            return None;
        }
        let mut base_offset = entry.base_offset.value();
        for batch in self.open.range_mut(first..end) {
            if std::mem::replace(&mut batch.is_settled, true) {
                return None;
            }
            let acked = AckedBatch {
                base_offset,
                first_sequence: batch.first_sequence,
                connection,
                records: batch.records,
            };
            let latency = now.saturating_duration_since(batch.due);
            measurement.acked(self.partition, acked, batch.record_bytes, latency, now);
            base_offset += u64::from(batch.records);
        }
        self.forget_settled();
        Some(())
    }

    fn refused(
        &mut self,
        correlation: CorrelationId,
        error: &ErrorResponse<'_>,
        measurement: &mut Measurement,
    ) -> Option<()> {
        let place = correlation.distance_from(self.first_open) as usize;
        let batch = self.open.get_mut(place)?;
        if std::mem::replace(&mut batch.is_settled, true) {
            return None;
        }
        let reason = || format!("{}: {}", error.code, error.message);
        measurement.refused(batch.records, error.fate == Fate::Unknown, reason);
        self.forget_settled();
        Some(())
    }

    fn forget_settled(&mut self) {
        while self.open.front().is_some_and(|batch| batch.is_settled) {
            self.open.pop_front();
            self.first_open = self.first_open.advance(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_wire::{AckLevel, Offset};

    fn lane(batches: u32) -> Lane {
        let now = Instant::now();
        let open = |sequence: u32| OpenBatch {
            due: now,
            records: 10,
            record_bytes: 100,
            first_sequence: u64::from(sequence) * 10,
            is_settled: false,
        };
        Lane {
            partition: 0,
            next_correlation: CorrelationId(batches.wrapping_sub(1)),
            first_open: CorrelationId(u32::MAX),
            open: (0..batches).map(open).collect(),
        }
    }

    fn entry(first: u32, frames: u32, base_offset: u64) -> AckEntry {
        let base_offset = Offset::new(base_offset);
        let (handle, level) = (Handle(0), AckLevel::Disk);
        AckEntry { handle, level, first: CorrelationId(first), frames, base_offset }
    }

    #[test]
    fn an_entry_settles_a_run_of_frames_across_the_wrap_of_the_correlation_id() {
        let (mut lane, mut measurement) = (lane(3), Measurement::new(1, true, None));
        let now = Instant::now();
        assert_eq!(lane.acked(&entry(u32::MAX, 2, 100), 0, now, &mut measurement), Some(()));
        assert_eq!((lane.open.len(), lane.first_open), (1, CorrelationId(1)));
        let ledger = measurement.ledger.unwrap();
        let offsets: Vec<u64> = ledger.batches(0).iter().map(|batch| batch.base_offset).collect();
        assert_eq!(offsets, [100, 110]);
    }

    #[test]
    fn what_was_not_sent_or_was_settled_before_cannot_be_acked() {
        let (mut lane, mut measurement) = (lane(2), Measurement::new(1, false, None));
        let now = Instant::now();
        assert_eq!(lane.acked(&entry(u32::MAX, 3, 0), 0, now, &mut measurement), None);
        assert_eq!(lane.acked(&entry(0, 1, 10), 0, now, &mut measurement), Some(()));
        assert_eq!(lane.acked(&entry(0, 1, 10), 0, now, &mut measurement), None);
    }
}
