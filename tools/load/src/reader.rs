//! One consuming connection: subscriptions, credit, and where each partition stands.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Instant;

use plimsoll_batch::{Batch, Batches};
use plimsoll_wire::{CorrelationId, Credit, Handle, Offset, Response, Subscribe, Visible};

use crate::LoadError;
use crate::connection::{Connection, Incoming, Received, refused};

/// What may be on its way to one connection, over all its partitions.
const CREDIT_BYTES: usize = 16 << 20;

/// A partition's least share of it.
const CREDIT_BYTES_MIN: usize = 64 << 10;

/// Reads the partitions of one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) stream: TcpStream,
    server: String,
    incoming: Incoming,
    outgoing: Vec<u8>,
    subscriptions: Vec<Subscription>,
    credit_bytes: usize,
}

#[derive(Debug)]
struct Subscription {
    partition: u32,
    next_offset: u64,
    /// The offset after the last record that was visible when the reading began.
    end: u64,
    owed_bytes: usize,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Beginning,
    End,
}

impl Reader {
    /// Subscribes all partitions of the connection.
    pub(crate) fn new(
        server: &str,
        connection: Connection,
        partitions: &[u32],
        visible: Visible,
        from: From,
    ) -> Reader {
        let share = CREDIT_BYTES / partitions.len().max(1);
        let credit_bytes = share.max(CREDIT_BYTES_MIN);
        let (mut outgoing, mut subscriptions) = (Vec::new(), Vec::new());
        for ((handle, partition), bound) in (0_u32..).zip(partitions).zip(&connection.bound) {
            let end = bound.watermarks.at(visible.level());
            let offset = match from {
                From::Beginning => bound.watermarks.start,
                From::End => end,
            };
            let handle = Handle(handle);
            Subscribe { handle, visible, offset, credit_bytes: credit_bytes as u32 }
                .encode(CorrelationId(handle.0 + 1), &mut outgoing);
            subscriptions.push(Subscription {
                partition: *partition,
                next_offset: offset.value(),
                end: end.value(),
                owed_bytes: 0,
            });
        }
        let Connection { stream, incoming, .. } = connection;
        let server = server.to_owned();
        Reader { stream, server, incoming, outgoing, subscriptions, credit_bytes }
    }

    /// Writes subscriptions and credit, as far as the socket takes them.
    pub(crate) fn send(&mut self) -> Result<(), LoadError> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(bytes) => drop(self.outgoing.drain(..bytes)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("writing to", error)),
            }
        }
        Ok(())
    }

    /// Reads what has arrived, checks each batch, and hands it on.
    pub(crate) fn receive(
        &mut self,
        consumed: &mut impl FnMut(u32, &Batch<'_>, Instant) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let received = self.incoming.read_from(&mut self.stream);
        if received.map_err(|error| self.failed("reading from", error))? == Received::Closed {
            let reason = "without saying why".to_owned();
            return Err(LoadError::Closed { server: self.server.clone(), reason });
        }
        let now = Instant::now();
        let Reader { incoming, subscriptions, outgoing, credit_bytes, server, .. } = self;
        while let Some(frame) = incoming.next_frame()? {
            let frame_bytes = frame.frame_bytes;
            let delivery = match Response::decode(&frame)? {
                Response::Delivery(delivery) => delivery,
                Response::Subscribed(_) => continue,
                other => return Err(refused(server, &other)),
            };
            let Some(subscription) = subscriptions.get_mut(delivery.handle.0 as usize) else {
                return Err(refused(server, &Response::Delivery(delivery)));
            };
            let partition = subscription.partition;
            for batch in Batches::new(delivery.batches) {
                let batch = batch.map_err(|error| LoadError::Batch { partition, error })?;
                consumed(partition, &batch, now)?;
                subscription.next_offset = batch.header().next_offset().value();
            }
            subscription.owed_bytes += frame_bytes;
            if subscription.owed_bytes >= *credit_bytes / 2 {
                let bytes = std::mem::take(&mut subscription.owed_bytes) as u32;
                Credit { handle: delivery.handle, bytes }.encode(CorrelationId::NONE, outgoing);
            }
        }
        self.send()
    }

    /// Whether the socket is to be watched for room.
    pub(crate) fn wants_to_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether everything was read that was there at the beginning.
    pub(crate) fn is_at_end(&self) -> bool {
        self.subscriptions.iter().all(|sub| sub.next_offset >= sub.end)
    }

    /// Partitions that were not read to their ends, each with its next offset and the end.
    pub(crate) fn unread(&self) -> impl Iterator<Item = (u32, Offset, Offset)> {
        let unread = self.subscriptions.iter().filter(|sub| sub.next_offset < sub.end);
        unread.map(|sub| (sub.partition, Offset::new(sub.next_offset), Offset::new(sub.end)))
    }

    fn failed(&self, what: &'static str, error: io::Error) -> LoadError {
        LoadError::Io { what, server: self.server.clone(), error }
    }
}
