//! All connections of a run, on one thread: who is ready is served, the rest sleeps.

use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use plimsoll_batch::Batch;

use crate::LoadError;
use crate::measurement::Measurement;
use crate::reader::Reader;
use crate::sender::Sender;
use crate::shipped::Shipped;

/// Senders and readers of one run.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) senders: Vec<Sender>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) shipped: Option<Shipped>,
}

impl Fleet {
    /// Sends what is due, sleeps until something arrives or is due, at most until `until`, and
    /// handles what arrived.
    pub(crate) fn turn(
        &mut self,
        until: Instant,
        measurement: &mut Measurement,
    ) -> Result<(), LoadError> {
        let now = Instant::now();
        for sender in &mut self.senders {
            sender.send(now, measurement)?;
        }
        for reader in &mut self.readers {
            reader.send()?;
        }
        let looks_at = self.shipped.as_ref().map(|_| now + LOOK_INTERVAL);
        let due = self.senders.iter().filter_map(Sender::due).chain(looks_at);
        let due = due.fold(until, Instant::min);
        let (senders, readers) = self.wait(due)?;
        for (sender, _) in self.senders.iter_mut().zip(senders).filter(|(_, ready)| *ready) {
            sender.receive(measurement)?;
        }
        let mut consumed = |partition: u32, batch: &Batch<'_>, now: Instant| {
            measurement.delivered(partition, batch.header(), now);
            Ok(())
        };
        for (reader, _) in self.readers.iter_mut().zip(readers).filter(|(_, ready)| *ready) {
            reader.receive(&mut consumed)?;
        }
        match &mut self.shipped {
            Some(shipped) => shipped.receive(measurement),
            None => Ok(()),
        }
    }

    /// The server was killed: reads what it had said before, until every connection has ended.
    /// Gives the number of records whose fate stays unknown. That connections end is also the proof
    /// that it was the server that was killed: a verdict about one that lives on would be false.
    pub(crate) fn read_to_the_last(
        &mut self,
        measurement: &mut Measurement,
    ) -> Result<u64, LoadError> {
        let until = Instant::now() + LAST_WORDS;
        let mut open_records = 0;
        while !self.senders.is_empty() && Instant::now() < until {
            let (ready, _) = self.wait(until)?;
            let mut alive = Vec::with_capacity(self.senders.len());
            for (mut sender, is_ready) in self.senders.drain(..).zip(ready) {
                let heard = if is_ready { sender.receive(measurement) } else { Ok(()) };
                match heard {
                    Ok(()) => alive.push(sender),
                    Err(error) if error.is_loss() => open_records += sender.open_records(),
                    Err(error) => return Err(error),
                }
            }
            self.senders = alive;
        }
        if self.senders.is_empty() {
            return Ok(open_records);
        }
        Err(LoadError::Restart(
            "the process was killed, and the server goes on: its connections are still open; name \
             the server itself and not what started it, its ready line says pid=N"
                .to_owned(),
        ))
    }

    /// Which senders and readers have something to read.
    fn wait(&self, until: Instant) -> Result<(Vec<bool>, Vec<bool>), LoadError> {
        let of_senders =
            self.senders.iter().map(|sender| watch(&sender.stream, sender.wants_to_write()));
        let of_readers =
            self.readers.iter().map(|reader| watch(&reader.stream, reader.wants_to_write()));
        let mut watched: Vec<PollFd<'_>> = of_senders.chain(of_readers).collect();
        sleep(&mut watched, until.saturating_duration_since(Instant::now()))?;
        let (senders, readers) = watched.split_at(self.senders.len());
        Ok((senders.iter().map(is_ready).collect(), readers.iter().map(is_ready).collect()))
    }
}

/// How often to look what consumers with threads of their own have told.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A killed process's sockets may be open for a moment, while the kernel ends its writes.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Which readers have something to read, at the latest after `timeout`.
pub(crate) fn wait_readable(readers: &[Reader], timeout: Duration) -> Result<Vec<bool>, LoadError> {
    let watched = readers.iter().map(|reader| watch(&reader.stream, reader.wants_to_write()));
    let mut watched: Vec<PollFd<'_>> = watched.collect();
    sleep(&mut watched, timeout)?;
    Ok(watched.iter().map(is_ready).collect())
}

fn watch(stream: &TcpStream, wants_to_write: bool) -> PollFd<'_> {
    let write = if wants_to_write { PollFlags::POLLOUT } else { PollFlags::empty() };
    PollFd::new(stream.as_fd(), PollFlags::POLLIN | write)
}

fn sleep(watched: &mut [PollFd<'_>], timeout: Duration) -> Result<(), LoadError> {
    match ppoll(watched, Some(TimeSpec::from(timeout)), None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => {
            let (what, server) = ("waiting for", "the connections".to_owned());
            Err(LoadError::Io { what, server, error: error.into() })
        }
    }
}

/// An error or a hang-up is something to read as well: reading tells which.
fn is_ready(watched: &PollFd<'_>) -> bool {
    watched.revents().is_some_and(|found| found.intersects(!PollFlags::POLLOUT))
}
