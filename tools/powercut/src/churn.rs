//! Topics that come and go under load, so that names, files and blocks are made, removed and used
//! again while the power is cut.
//!
//! A creation or deletion that was answered stays; one that was not may have gone either way, and
//! the next start decides.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use plimsoll_client_blocking::{Client, NewTopic};
use plimsoll_tests::{Ack, Connection, Ledger, Server, batch_of, read_back};
use plimsoll_wire::{AckLevel, Response};

/// How many are left alone before the oldest is deleted.
const TOPICS_MAX: usize = 3;
const RECORDS: u32 = 120;

/// Every topic that came, and what is known of it.
#[derive(Default)]
pub(crate) struct Churn {
    topics: BTreeMap<String, Topic>,
}

struct Topic {
    state: State,
    ledger: Ledger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    There,
    Gone,
    /// Asked for, and not answered.
    Unsure,
}

/// What a life did, in order.
enum Done {
    Turned(String, State),
    Acked(String, Ack),
}

/// A life's coming and going, until the server is gone.
pub(crate) struct Churning(JoinHandle<Vec<Done>>);

impl Churn {
    /// Begins.
    pub(crate) fn begin(&self, address: &str, life: u64) -> Churning {
        let there = self.topics.iter().filter(|(_, topic)| topic.state == State::There);
        let there: Vec<String> = there.map(|(name, _)| name.clone()).collect();
        let (address, connection) = (address.to_owned(), Connection::open(address));
        Churning(std::thread::spawn(move || {
            let mut done = Vec::new();
            // It ends with the server, however that answers or does not.
            let _ = churn(&address, connection, life, there, &mut done);
            done
        }))
    }

    /// The server is gone: how many topics were made and deleted with an answer.
    pub(crate) fn note(&mut self, churning: Churning) -> Result<(u64, u64), String> {
        let (mut made, mut deleted) = (0, 0);
        for done in churning.0.join().map_err(|_| "what comes and goes saw what must not be")? {
            match done {
                Done::Turned(name, state) => {
                    made += u64::from(state == State::There);
                    deleted += u64::from(state == State::Gone);
                    let ledger = Ledger::new(1);
                    self.topics.entry(name).or_insert(Topic { state, ledger }).state = state;
                }
                Done::Acked(name, ack) => {
                    let topic = self.topics.get_mut(&name).ok_or("an ack of no topic")?;
                    topic.ledger.acked(&ack);
                }
            }
        }
        Ok((made, deleted))
    }

    /// A server has started: what is to be there is, with its records, and nothing else.
    pub(crate) fn compare(&mut self, server: &Server) -> Result<(), String> {
        let listed = server.client().topics().map_err(|error| error.to_string())?;
        for (name, topic) in &mut self.topics {
            let is_there = listed.iter().any(|listed| listed.name == *name);
            match (topic.state, is_there) {
                (State::There, false) => return Err(format!("{name} was created, and is gone")),
                (State::Gone, true) => return Err(format!("{name} was deleted, and is back")),
                (_, false) => topic.state = State::Gone,
                (_, true) => {
                    topic.state = State::There;
                    let mut connection = Connection::open(server.address());
                    let (found, _) = read_back(&mut connection, name, 0, 0);
                    topic.ledger.check_after_restart(0, 0, AckLevel::Disk, &found);
                }
            }
        }
        self.topics.retain(|_, topic| topic.state == State::There);
        Ok(())
    }
}

fn churn(
    address: &str,
    mut connection: Connection,
    life: u64,
    mut there: Vec<String>,
    done: &mut Vec<Done>,
) -> Result<(), String> {
    let client = Client::connect(address).map_err(|error| error.to_string())?;
    for number in 0_u64.. {
        let name = format!("churn-{life}-{number}");
        done.push(Done::Turned(name.clone(), State::Unsure));
        let topic =
            NewTopic { name: &name, partitions: 1, segment_bytes: 1 << 20, ..NewTopic::default() };
        client.create_topic(&topic).map_err(|error| error.to_string())?;
        done.push(Done::Turned(name.clone(), State::There));

        let handle = number as u32;
        if !connection.try_bind(handle, &name, 0) {
            return Err("not bound".to_owned());
        }
        let first_id = life << 44 | 1 << 43 | number << 10;
        let batch = batch_of(first_id, RECORDS);
        let produced = connection.produce(handle, 0, AckLevel::Disk, None, &batch);
        produced.map_err(|error| error.to_string())?;
        let frame = connection.read().ok_or("the connection has ended")?;
        let Response::Acks(acks) = frame.response() else { return Err("not acked".to_owned()) };
        for entry in acks {
            let (level, base_offset) = (entry.level, entry.base_offset.value());
            let ack = Ack { partition: 0, level, base_offset, first_id, records: RECORDS };
            done.push(Done::Acked(name.clone(), ack));
        }
        there.push(name);

        if there.len() > TOPICS_MAX {
            let oldest = there.remove(0);
            done.push(Done::Turned(oldest.clone(), State::Unsure));
            client.delete_topic(&oldest).map_err(|error| error.to_string())?;
            done.push(Done::Turned(oldest, State::Gone));
        }
    }
    Ok(())
}
