//! A disk that is filled while the server runs, and has room again: what its producers hear.
//!
//! An append on a full disk is acked out of the room that there is, or refused with an error that
//! says so; when there is room again, the same process takes appends without being asked. What a
//! newcomer gets wrong: this can be said only where nothing else is wrong with the disk, and a
//! topic of which old data goes may live on its own files for ever.

use super::World;
use crate::ledger::{Fate, Violation};
use crate::process::Process;

/// Appends that a full disk may take: more than arena, journal and prepared segments hold.
const APPENDS_MAX: u32 = 400;
/// Large, so that the room is soon used up; small enough to go through the journal.
const APPEND_BYTES: u32 = 60_000;

impl World<'_> {
    pub(super) fn fill_disk(&mut self, producer: usize) -> Result<(), Violation> {
        self.wait_for("a server whose disk can be filled", |world| {
            let has_begun = world.producers[producer].has_begun();
            world.process.is_none() || (world.is_serving() && has_begun)
        })?;
        self.settle(producer)?;
        // A compacted topic refuses batches that nobody can look into, whatever the disk has.
        if !self.is_sound() || self.producers[producer].plan.compresses {
            return Ok(());
        }
        self.disk.faults.no_space = true;
        let topic = self.producers[producer].plan.topic;
        let partitions = self.scenario.topics[topic].partitions;
        let mut is_told = false;
        for turn in 0..APPENDS_MAX {
            let fate = self.append_alone(producer, turn % partitions, APPEND_BYTES)?;
            if !self.is_sound() {
                self.disk.faults.no_space = false;
                return Ok(());
            }
            is_told = fate == Fate::Refused;
            if is_told {
                break;
            }
            if fate != Fate::Acked {
                return Err(Violation(format!("the disk is full, and an append ends {fate:?}")));
            }
        }
        self.disk.faults.no_space = false;
        let keeps_everything =
            self.ledger.starts.keeps_everything(topic) && !self.scenario.compacts();
        if !is_told && keeps_everything {
            let text = format!("the disk is full, and takes {APPENDS_MAX} appends");
            return Err(Violation(text));
        }
        for partition in 0..partitions {
            let fate = self.append_alone(producer, partition, 100)?;
            if fate != Fate::Acked && self.is_sound() {
                return Err(Violation(format!("there is room again, and an append ends {fate:?}")));
            }
        }
        Ok(())
    }

    /// It serves, and nothing is wrong with its disk.
    fn is_sound(&self) -> bool {
        let failed = self.process.as_ref().is_none_or(|process| !process.failed.is_empty());
        let damaged = self.process.as_ref().is_some_and(|process| process.damaged.is_some());
        self.process.as_ref().is_some_and(Process::is_serving)
            && !failed
            && !damaged
            && !self.has_faults
            && self.disk_rests_until <= self.now()
            && self.held_until.is_none()
    }

    fn append_alone(
        &mut self,
        producer: usize,
        partition: u32,
        bytes: u32,
    ) -> Result<Fate, Violation> {
        let first = self.ledger.entries.len();
        self.append(producer, partition, (1, bytes));
        self.settle(producer)?;
        Ok(self.ledger.entries[first].fate)
    }

    fn settle(&mut self, producer: usize) -> Result<(), Violation> {
        self.wait_for("an append around a full disk", |world| {
            world.process.is_none() || world.producers[producer].is_settled()
        })
    }
}
