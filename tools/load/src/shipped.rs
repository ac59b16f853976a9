//! Consumers through the shipped client: plain ones, or members of a group that commit.
//!
//! The other consumers of this tool are raw sockets on its one thread. A group has no such way in,
//! so what a group costs is measured against plain consumers of the same client. Each has a thread
//! of its own; what they are handed is told over a channel, with the moment at which it came.
//!
//! What a newcomer gets wrong: a group goes on where it has committed. To read a topic again from
//! its beginning, name another group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plimsoll_batch::BatchHeader;
use plimsoll_client_blocking::{
    Client, CommitPolicy, ConsumerOptions, DeliveredBatch, GroupError, GroupOptions, StartAt,
    Topic, Visible,
};

use crate::LoadError;
use crate::measurement::Measurement;
use crate::reader::From;

/// Who consumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consumers {
    /// Sockets of this tool's own.
    Raw,
    /// The shipped client, without a group.
    Plain,
    /// Members of a group, through the shipped client.
    Group {
        /// Its name.
        name: String,
        /// When they commit.
        commit: Commit,
    },
}

/// When a member commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Commit {
    /// After every batch, and it waits until that is on disk.
    Manual,
    /// After every batch, without waiting.
    Async,
    /// Every 5 s.
    Auto,
}

/// Nothing waits longer than this for the end of the run.
const WAIT: Duration = Duration::from_millis(100);

/// All such consumers of a run.
#[derive(Debug)]
pub(crate) struct Shipped {
    delivered: Receiver<Delivered>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

/// A batch that was handed out.
#[derive(Debug)]
struct Delivered {
    partition: u32,
    header: BatchHeader,
    at: Instant,
}

/// What a consumer thread needs.
struct Seat {
    client: Client,
    topic: String,
    partitions: Vec<u32>,
    visible: Visible,
    from: StartAt,
    delivered: Sender<Delivered>,
    stop: Arc<AtomicBool>,
}

impl Shipped {
    pub(crate) fn begin(
        server: &str,
        topic: &Topic,
        consumers: &Consumers,
        (count, visible, from): (u32, Visible, From),
    ) -> Result<Shipped, LoadError> {
        let client = Client::connect(server).map_err(LoadError::Connect)?;
        let (tells, delivered) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let seat = |number: u32| Seat {
            client: client.clone(),
            topic: topic.name.clone(),
            partitions: (0..topic.partitions()).filter(|it| it % count == number).collect(),
            visible,
            from: match from {
                From::Beginning => StartAt::Beginning,
                From::End => StartAt::End,
            },
            delivered: tells.clone(),
            stop: Arc::clone(&stop),
        };
        let begin = |number| {
            let (seat, consumers) = (seat(number), consumers.clone());
            std::thread::spawn(move || match consumers {
                Consumers::Group { name, commit } => seat.consume_in(&name, commit),
                Consumers::Raw | Consumers::Plain => seat.consume(),
            })
        };
        let threads = (0..count).map(begin).collect();
        Ok(Shipped { delivered, stop, threads })
    }

    /// Notes what came since the last time; a consumer that failed fails the run.
    pub(crate) fn receive(&mut self, measurement: &mut Measurement) -> Result<(), LoadError> {
        for Delivered { partition, header, at } in self.delivered.try_iter() {
            measurement.delivered(partition, &header, at);
        }
        match self.threads.iter().position(JoinHandle::is_finished) {
            Some(ended) => Err(self.failure(ended)),
            None => Ok(()),
        }
    }

    fn failure(&mut self, ended: usize) -> LoadError {
        let reason = match self.threads.swap_remove(ended).join() {
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(reason)) => reason,
            Err(_) => "it panicked".to_owned(),
        };
        LoadError::Consumer(reason)
    }
}

impl Drop for Shipped {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The run has its figures; how a consumer ended is no part of them.
            let _ = thread.join();
        }
    }
}

impl Seat {
    fn consume(self) -> Result<(), String> {
        if self.partitions.is_empty() {
            return self.wait_for_the_end();
        }
        let mut options = ConsumerOptions::default();
        (options.visible, options.from) = (self.visible, self.from);
        options.partitions = Some(self.partitions.clone());
        let consumer = self.client.consumer(&self.topic, options);
        let mut consumer = consumer.map_err(|error| error.to_string())?;
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(batch) = consumer.next_batch(WAIT).map_err(|error| error.to_string())? {
                self.tell(&batch);
            }
        }
        Ok(())
    }

    fn consume_in(self, group: &str, commit: Commit) -> Result<(), String> {
        let mut options = GroupOptions::default();
        (options.visible, options.from) = (self.visible, self.from);
        if commit == Commit::Auto {
            options.commit = CommitPolicy::AUTO;
        }
        let member = self.client.group_consumer(&self.topic, group, options);
        let mut member = member.map_err(|error| error.to_string())?;
        while !self.stop.load(Ordering::Relaxed) {
            let batch = member.next_batch(WAIT).map_err(|error: GroupError| error.to_string())?;
            let Some(batch) = batch else { continue };
            self.tell(&batch);
            match commit {
                Commit::Manual => {
                    let place = (batch.topic(), batch.partition());
                    let next = batch.header().next_offset();
                    let committed = member.commit_offset(place, next, "");
                    committed.map_err(|error| error.to_string())?;
                }
                Commit::Async => member.commit_async(),
                Commit::Auto => {}
            }
        }
        member.close().map_err(|error| error.to_string())
    }

    fn tell(&self, batch: &DeliveredBatch) {
        let (partition, header, at) = (batch.partition(), *batch.header(), Instant::now());
        // Nobody listens any more once the run is over.
        let _ = self.delivered.send(Delivered { partition, header, at });
    }

    /// There are more consumers than partitions.
    fn wait_for_the_end(&self) -> Result<(), String> {
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(WAIT);
        }
        Ok(())
    }
}
