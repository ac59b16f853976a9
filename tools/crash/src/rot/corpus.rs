//! The data directory that rots: made by a real server in several lives, with everything in it.
//!
//! Sealed segments with indexes, large appends beside the journal and small ones in it, snapshots,
//! leases, a gap in the offsets, a deleted topic, an idle one; compacted segments, files that were
//! used again, the state of a group in share mode ([`vanished`]).
//!
//! What a newcomer gets wrong: the last life ends with a kill and the loss of its arena, so that
//! the journal alone says what is there.

use std::path::Path;

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{Connection, Random, Server, batch_of, read_back};
use plimsoll_wire::{AckLevel, Response};

use super::files::Files;
use super::vanished;
use crate::program;

/// What is made.
pub(crate) struct Corpus {
    /// As the last life left it.
    pub(crate) files: Files,
    /// As earlier lives left it, oldest first.
    pub(crate) older: Vec<Files>,
}

/// Topic, partitions, records a batch, batches a life.
const TOPICS: [(&str, u32, u32, u32); 4] =
    [("small", 4, 3, 120), ("sealed", 1, 40, 200), ("large", 2, 900, 2), ("idle", 1, 1, 1)];
const DELETED: (&str, u32, u32, u32) = ("deleted", 2, 30, 20);
const LIVES: u64 = 4;

/// Name and partitions of the topics that are there at the end, but for the compacted one: its
/// records are others.
pub(crate) fn readable() -> Vec<(&'static str, u32)> {
    let all = TOPICS.iter().map(|(name, partitions, ..)| (*name, *partitions));
    all.chain([(vanished::RETAINED, 1)]).collect()
}

/// Makes one, with so many shards.
pub(crate) fn make(
    program: &Path,
    scratch: &Path,
    shards: usize,
    random: &mut Random,
) -> Result<Corpus, String> {
    let place = program::place(scratch);
    let mut older = Vec::new();
    for life in 0..LIVES {
        let server = place.server().program(program).shards(shards).start();
        if life == 0 {
            create(&server, &[TOPICS.as_slice(), &[DELETED]].concat());
            vanished::create(&server.client())?;
        }
        if life > 0 {
            // Readers have the indexes made.
            let mut connection = Connection::open(server.address());
            for (topic, partitions, ..) in TOPICS {
                (0..partitions).for_each(|partition| {
                    assert!(!read_back(&mut connection, topic, partition, 0).0.is_empty());
                    connection = Connection::open(server.address());
                });
            }
        }
        let mut filling = Filling { server: &server, next_id: life << 32, random };
        for topic in TOPICS {
            filling.fill(topic);
        }
        match life {
            0 => filling.fill(DELETED),
            1 => server.client().delete_topic(DELETED.0).map_err(|error| error.to_string())?,
            _ => {}
        }
        if life == LIVES - 1 {
            vanish(&server, &place.data_dir(), life)?;
        }
        // The second life ends cleanly; after the others memory is lost.
        if life == 1 {
            let status = server.stop();
            assert!(status.success(), "a clean stop ended with {status}");
        } else {
            server.kill();
            place.remove_arenas();
        }
        older.push(Files::load(&place.data_dir())?);
    }
    let files = older.pop().unwrap_or_default();
    Ok(Corpus { files, older })
}

/// Everything that only the last life has.
fn vanish(server: &Server, data_dir: &Path, life: u64) -> Result<(), String> {
    vanished::compact(server, data_dir, life << 32 | 1 << 30)?;
    let mut next_id = life << 32 | 1 << 31;
    vanished::recycle(server, data_dir, || {
        next_id += 60;
        batch_of(next_id - 60, 60)
    })?;
    // At the end, so that it is still in the journal as it was appended.
    vanished::settle(&server.client(), TOPICS[0].0)
}

fn create(server: &Server, topics: &[(&str, u32, u32, u32)]) {
    for (name, partitions, ..) in topics {
        let topic = NewTopic {
            name,
            partitions: *partitions,
            segment_bytes: 1 << 20,
            ..NewTopic::default()
        };
        if let Err(error) = server.client().create_topic(&topic) {
            panic!("the topic was not created: {error}");
        }
    }
}

struct Filling<'a> {
    server: &'a Server,
    next_id: u64,
    random: &'a mut Random,
}

impl Filling<'_> {
    /// Sends to every partition; most of it is acked at disk one by one, so that there are many
    /// frames.
    fn fill(&mut self, (topic, partitions, records, batches): (&str, u32, u32, u32)) {
        let mut connection = Connection::open(self.server.address());
        for partition in 0..partitions {
            connection.bind(partition, topic, partition);
        }
        for correlation in 0..batches {
            for partition in 0..partitions {
                let records = 1 + self.random.below(0..u64::from(records)) as u32;
                let batch = batch_of(self.next_id, records);
                self.next_id += u64::from(records);
                let disk = AckLevel::Disk;
                let sent = connection.produce(partition, correlation, disk, None, &batch);
                let answer = sent.ok().and_then(|()| connection.read());
                let answer = answer.unwrap_or_else(|| panic!("the server ended"));
                assert!(matches!(answer.response(), Response::Acks(_)), "{:?}", answer.response());
            }
        }
    }
}
