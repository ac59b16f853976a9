//! A new topic or a new data directory now and then, so that the disk does not fill.
//!
//! Everything of the old one is compared before, and what the old directory holds is verified.

use std::process::Command;
use std::time::Duration;

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{Ledger, Server};

use super::tally::End;
use super::{Campaign, PARTITIONS, TOPIC};
use crate::program;
use crate::violation::Violation;

/// A topic lives for so many rounds at most.
const ROUNDS_MAX: u64 = 20;

/// A directory that has grown this large is emptied.
const DISK_BYTES_MAX: u64 = 600 << 20;

impl Campaign {
    pub(super) fn is_renewal_due(&self) -> bool {
        self.rounds >= ROUNDS_MAX || program::disk_bytes(&self.place.data_dir()) > DISK_BYTES_MAX
    }

    pub(super) fn renew(&mut self, server: Server) -> Result<Server, Violation> {
        self.watchdog.feed("the comparison of a whole topic");
        self.compare_all(&server)?;
        self.watchdog.feed("a new topic or directory");
        self.tally.lost += self.ledger.counts().1 as u64;
        let server = if self.random.once_in(3) {
            self.stop_and_verify(server)?;
            self.place = program::place(&self.scratch);
            self.tally.directories += 1;
            self.vanishing = self.vanishing.anew();
            let server = self.start();
            self.vanishing.ensure(&server);
            server
        } else {
            self.delete_topic(server)?
        };
        self.ledger = Ledger::new(PARTITIONS);
        self.compared.fill(0);
        self.rounds = 0;
        self.create_topic(&server);
        Ok(server)
    }

    /// Deletes the topic, with a kill in the middle now and then.
    fn delete_topic(&mut self, server: Server) -> Result<Server, Violation> {
        self.tally.topics += 1;
        let client = server.client();
        if self.random.once_in(2) {
            let deleted = client.delete_topic(TOPIC);
            return deleted.map(|()| server).map_err(|error| Violation(error.to_string()));
        }
        let deletion = std::thread::spawn(move || client.delete_topic(TOPIC).is_ok());
        std::thread::sleep(Duration::from_micros(self.random.below(0..20_000)));
        self.tally.killed(End::Deletion);
        server.kill();
        let was_told = Violation::joined(deletion)?;
        let server = self.start();
        let topics = server.client().topics().map_err(|error| Violation(error.to_string()))?;
        match topics.iter().any(|topic| topic.name == TOPIC) {
            true if was_told => Err(Violation("a topic came back whose deletion was told".into())),
            true => {
                // It was never answered: nothing of the topic may be missing.
                self.compare_all(&server)?;
                let deleted = server.client().delete_topic(TOPIC);
                deleted.map(|()| server).map_err(|error| Violation(error.to_string()))
            }
            false => Ok(server),
        }
    }

    pub(super) fn create_topic(&mut self, server: &Server) {
        self.since = self.life;
        let segment_bytes = self.random.one_of(&[1 << 20, 8 << 20, 64 << 20]);
        let flush_interval_ms = self.random.one_of(&[10, 100, 1000]);
        let topic = NewTopic {
            name: TOPIC,
            partitions: PARTITIONS,
            segment_bytes,
            flush_interval_ms,
            ..NewTopic::default()
        };
        if let Err(error) = server.client().create_topic(&topic) {
            panic!("the topic was not created: {error}");
        }
    }

    /// A clean stop, or one more kill; then every byte of the directory is checked.
    pub(super) fn stop_and_verify(&mut self, server: Server) -> Result<(), Violation> {
        if self.random.once_in(2) {
            self.tally.clean_stops += 1;
            let status = server.stop();
            if !status.success() {
                return Err(Violation(format!("a clean stop ended with {status}")));
            }
        } else {
            self.tally.killed(End::Load);
            server.kill();
        }
        self.tally.verifications += 1;
        let mut verify = Command::new(&self.program);
        verify.arg("verify").arg(self.place.data_dir());
        let verified = verify.output().map_err(|error| Violation(error.to_string()))?;
        if verified.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&verified.stdout);
        Err(Violation(format!("plimsoll verify ended with {}: {said}", verified.status)))
    }
}
