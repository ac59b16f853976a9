//! A producer that keeps a window full until the server is gone, and every ack that it got.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use plimsoll_wire::{AckEntry, AckLevel, ErrorCode, Fate, Handle, Response, ShardIndex};

use crate::vanishing::{keyed_batch_of, records_of_batch};
use crate::{Ack, Connection, Random, batch_of, produce_frame};

/// Batches sent and not yet acked at all their levels.
const WINDOW: usize = 48;

/// Whom to send to, and what.
#[derive(Clone, Debug)]
pub struct Producing {
    /// Of the server.
    pub address: String,
    /// To which topic.
    pub topic: &'static str,
    /// How many partitions it has; all of them get records.
    pub partitions: u32,
    /// The shard to talk to, whoever owns the partitions.
    pub shard: ShardIndex,
    /// No other producer, of this life or another, has these numbers.
    pub first_id: u64,
    /// What is asked for, each as often as the others.
    pub levels: &'static [AckLevel],
    /// What is in the records.
    pub contents: Contents,
    /// So many batches, and nothing after them. The connection stays.
    pub batches_max: u64,
    /// The longest pause between two batches; zero for none.
    pub pause_us_max: u64,
    /// What decides over the batches.
    pub random: Random,
}

/// What the records of a producer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Each has a key of its own, as in [`batch_of`].
    Numbered,
    /// Few keys, again and again, which some of the records delete.
    Keyed,
}

/// What a producer was told.
#[derive(Debug, Default)]
pub struct Told {
    /// In the order of their arrival; a batch with two levels is there twice.
    pub acks: Vec<Ack>,
    /// Batches that were sent and never acked at all their levels: of unknown fate.
    pub open: usize,
    /// The same: partition, number of the first record, records.
    pub unknown: Vec<(u32, u64, u32)>,
    /// Batches that the server gave back, with its reason.
    pub refused: Vec<ErrorCode>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    handle: u32,
    correlation: u32,
    first_id: u64,
    records: u32,
    /// The deeper of its levels.
    last_level: AckLevel,
}

impl Producing {
    /// Begins, and goes on until the connection ends.
    ///
    /// # Panics
    ///
    /// If the server does not answer. The thread panics if it hears what it did not ask for.
    #[must_use]
    pub fn begin(self) -> JoinHandle<Told> {
        let mut connection = Connection::to_shard(&self.address, self.shard);
        for partition in 0..self.partitions {
            connection.bind(partition, self.topic, partition);
        }
        let (sent, sees) = channel();
        let (gives, tokens) = channel();
        for _ in 0..WINDOW {
            gives.send(()).unwrap();
        }
        let stream = connection.stream.try_clone().unwrap();
        std::thread::spawn(move || self.write(stream, &sent, &tokens));
        std::thread::spawn(move || {
            let told = listen(&mut connection, &sees, &gives);
            // Whoever still writes is to stop.
            let _ = connection.stream.shutdown(Shutdown::Both);
            told
        })
    }

    fn write(mut self, stream: std::net::TcpStream, sent: &Sender<Sent>, tokens: &Receiver<()>) {
        use std::io::Write;
        let mut stream = stream;
        let mut correlations = vec![0_u32; self.partitions as usize];
        for _ in 0..self.batches_max {
            if tokens.recv().is_err() {
                return;
            }
            if self.pause_us_max > 0 {
                let pause_us = self.random.below(0..self.pause_us_max);
                std::thread::sleep(Duration::from_micros(pause_us));
            }
            let batch = self.next_batch(&mut correlations);
            let (one, also) = self.levels(batch.last_level);
            let bytes = match self.contents {
                Contents::Numbered => batch_of(batch.first_id, batch.records),
                Contents::Keyed => keyed_batch_of(batch.first_id, batch.records),
            };
            let frame = frame(&batch, one, also, &bytes);
            if sent.send(batch).is_err() || stream.write_all(&frame).is_err() {
                return;
            }
        }
    }

    fn next_batch(&mut self, correlations: &mut [u32]) -> Sent {
        let random = &mut self.random;
        let handle = random.below(0..u64::from(self.partitions)) as u32;
        let correlation = correlations[handle as usize];
        correlations[handle as usize] += 1;
        let records = match random.below(0..40) {
            0 => random.below(500..1500),
            1..=8 => random.below(20..100),
            _ => random.below(1..8),
        };
        let first_id = self.first_id;
        let records = match self.contents {
            Contents::Numbered => records as u32,
            Contents::Keyed => records_of_batch(first_id, records as u32),
        };
        self.first_id += u64::from(records);
        let last_level = random.one_of(self.levels);
        Sent { handle, correlation, first_id, records, last_level }
    }

    /// The deeper level alone, or with a weaker one beside it, in either place.
    fn levels(&mut self, deeper: AckLevel) -> (AckLevel, Option<AckLevel>) {
        let weaker: Vec<AckLevel> =
            AckLevel::ALL.into_iter().filter(|level| *level < deeper).collect();
        if weaker.is_empty() || self.random.once_in(2) {
            return (deeper, None);
        }
        let weaker = self.random.one_of(&weaker);
        if self.random.once_in(2) { (deeper, Some(weaker)) } else { (weaker, Some(deeper)) }
    }
}

fn frame(batch: &Sent, level: AckLevel, also: Option<AckLevel>, bytes: &[u8]) -> Vec<u8> {
    produce_frame(batch.handle, batch.correlation, level, also, bytes)
}

fn listen(connection: &mut Connection, sees: &Receiver<Sent>, gives: &Sender<()>) -> Told {
    let mut told = Told::default();
    let mut open: BTreeMap<(u32, u32), Sent> = BTreeMap::new();
    while let Some(frame) = connection.read() {
        let note = |sent: Sent| ((sent.handle, sent.correlation), sent);
        open.extend(sees.try_iter().map(note));
        match frame.response() {
            Response::Acks(acks) => {
                for entry in acks {
                    for ended in take(&entry, &mut open, &mut told.acks) {
                        open.remove(&ended);
                        // The writer may have seen the end already.
                        let _ = gives.send(());
                    }
                }
            }
            Response::Error(error) if error.fate != Fate::NotAppend => {
                let Some(Handle(handle)) = error.handle else { panic!("{error:?}") };
                assert!(open.remove(&(handle, frame.frame().correlation.0)).is_some());
                told.refused.push(error.code);
                let _ = gives.send(());
            }
            Response::Error(error) if error.code == ErrorCode::ShuttingDown => {}
            other => panic!("{other:?} instead of acks"),
        }
    }
    open.extend(sees.try_iter().map(|sent| ((sent.handle, sent.correlation), sent)));
    told.open = open.len();
    told.unknown = open.into_values().map(|it| (it.handle, it.first_id, it.records)).collect();
    told
}

/// Notes the acks of an entry; the batches that have now reached all their levels.
fn take(
    entry: &AckEntry,
    open: &mut BTreeMap<(u32, u32), Sent>,
    acks: &mut Vec<Ack>,
) -> Vec<(u32, u32)> {
    let (mut base_offset, mut ended) = (entry.base_offset.value(), Vec::new());
    for step in 0..entry.frames {
        let key = (entry.handle.0, entry.first.advance(step).0);
        let batch = open.get(&key).unwrap_or_else(|| panic!("{entry:?} acks what was not sent"));
        assert!(entry.level <= batch.last_level, "{entry:?} was not asked for");
        let Sent { handle: partition, first_id, records, last_level, .. } = *batch;
        acks.push(Ack { partition, level: entry.level, base_offset, first_id, records });
        base_offset += u64::from(records);
        if entry.level == last_level {
            ended.push(key);
        }
    }
    ended
}
