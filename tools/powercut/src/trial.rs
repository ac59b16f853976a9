//! One server on one machine, and a client that asks one thing at a time: for what is not a cut.

use std::collections::BTreeSet;
use std::path::Path;

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{Ack, Connection, Ledger, Place, Server, Starting, batch_of, read_back};
use plimsoll_wire::{AckLevel, ErrorCode, Fate, Fetch, Handle, Offset, Response, Visible};

use crate::campaign::caught;
use crate::disk::Temper;
use crate::image::Image;
use crate::machine::Machine;

pub(crate) const TOPIC: &str = "trial";
/// Of the server's log, after a failure.
const LAST_LINES: usize = 12;

/// Why an append was not acked.
pub(crate) type Refusal = (ErrorCode, Fate);

pub(crate) struct Trial<'a> {
    pub(crate) machine: &'a mut Machine,
    program: &'a Path,
    place: Place,
    ledger: Ledger,
    next_id: u64,
    /// Records that surely were not written, as the server said.
    refused: BTreeSet<u64>,
}

/// A running server, and the connection to it.
pub(crate) struct Running {
    pub(crate) server: Server,
    connection: Connection,
    correlation: u32,
}

impl<'a> Trial<'a> {
    /// Switches on with an empty file system.
    pub(crate) fn new(
        machine: &'a mut Machine,
        program: &'a Path,
        folder: &Path,
        empty: Image,
    ) -> Result<Trial<'a>, String> {
        machine.on(empty, Temper::Honest)?;
        let (place, ledger) = (Place::with_data_below(folder), Ledger::new(1));
        let refused = BTreeSet::new();
        Ok(Trial { machine, program, place, ledger, next_id: 1, refused })
    }

    /// Starts a server with its topic.
    pub(crate) fn start(&self) -> Result<Running, String> {
        let server = self.spawn().ready();
        let topic =
            NewTopic { name: TOPIC, partitions: 1, segment_bytes: 4 << 20, ..NewTopic::default() };
        let client = server.client();
        if client.topic(TOPIC).is_err() {
            client.create_topic(&topic).map_err(|error| error.to_string())?;
        }
        let mut connection = Connection::open(server.address());
        connection.bind(0, TOPIC, 0);
        Ok(Running { server, connection, correlation: 0 })
    }

    /// Starts a server that may not come through.
    pub(crate) fn spawn(&self) -> Starting {
        let data_dir = self.machine.mounted().join("data").display().to_string();
        self.place.server().program(self.program).with(&["--data-dir", &data_dir]).spawn()
    }

    /// What the server wrote to stderr.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.log()).unwrap_or_default()
    }

    /// Does this work; if it fails, with the last that the server wrote.
    pub(crate) fn judge(
        mut self,
        work: impl FnOnce(&mut Trial<'a>) -> Result<String, String>,
    ) -> Result<String, String> {
        caught(|| work(&mut self)).map_err(|why| {
            let log = self.log();
            let lines: Vec<&str> = log.lines().rev().take(LAST_LINES).collect();
            lines.into_iter().rev().fold(why, |said, line| said + "\n      " + line)
        })
    }

    /// Appends a batch of so many records at this level and waits for the answer.
    pub(crate) fn append(
        &mut self,
        running: &mut Running,
        level: AckLevel,
        records: u32,
    ) -> Result<Result<(), Refusal>, String> {
        let first_id = self.next_id;
        self.next_id += u64::from(records);
        let Running { connection, correlation, .. } = running;
        let batch = batch_of(first_id, records);
        let sent = connection.produce(0, *correlation, level, None, &batch);
        sent.map_err(|error| format!("an append cannot be sent: {error}"))?;
        *correlation += 1;
        let frame = connection.read().ok_or("an append is not answered")?;
        match frame.response() {
            Response::Acks(acks) => {
                for entry in acks {
                    let base_offset = entry.base_offset.value();
                    let level = entry.level;
                    self.ledger.acked(&Ack { partition: 0, level, base_offset, first_id, records });
                }
                Ok(Ok(()))
            }
            Response::Error(error) => {
                if error.fate == Fate::Refused {
                    self.refused.extend(first_id..self.next_id);
                }
                Ok(Err((error.code, error.fate)))
            }
            other => Err(format!("an append is answered with {other:?}")),
        }
    }

    /// Reads everything and compares. Panics if anything acked at disk is not there, or anything
    /// refused is.
    pub(crate) fn compare(&mut self, running: &mut Running) {
        let mut connection = Connection::open(running.server.address());
        let (found, _) = read_back(&mut connection, TOPIC, 0, 0);
        self.ledger.check_after_restart(0, 0, AckLevel::Disk, &found);
        let refused = found.iter().find(|(_, id)| self.refused.contains(id));
        assert!(refused.is_none(), "record {refused:?} was refused, and is there");
    }

    /// The power goes and comes back: everything acked at disk is there, and the server goes on.
    pub(crate) fn restart_and_compare(&mut self, image: Image) -> Result<(), String> {
        self.machine.off()?;
        self.machine.on(image, Temper::Honest)?;
        self.place.remove_arenas();
        let mut running = self.start()?;
        self.compare(&mut running);
        let again = self.append(&mut running, AckLevel::Disk, 3)?;
        again.map_err(|(code, _)| format!("after a restart an append is refused with {code}"))?;
        if running.server.stop().success() {
            return self.machine.check();
        }
        Err("a clean stop does not exit with 0".to_owned())
    }
}

impl Running {
    /// A fetch from the beginning: the error, if that is the answer.
    pub(crate) fn fetch_error(&mut self) -> Option<ErrorCode> {
        let wanted = Fetch {
            handle: Handle(0),
            visible: Visible::Disk,
            offset: Offset::ZERO,
            max_bytes: 1 << 20,
            min_bytes: 1,
            max_wait_ms: 1000,
        };
        let answer = self.connection.ask(|correlation, out| wanted.encode(correlation, out));
        match answer.response() {
            Response::Error(error) => Some(error.code),
            _ => None,
        }
    }
}
