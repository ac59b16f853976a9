//! A member of a group in share mode that writes down what it got and what it was answered.
//!
//! A process of its own, so that it can be killed. A line for each record that it was handed,
//! before its verdict, and one for each verdict that was answered. What a newcomer gets wrong: only
//! what `flush` has answered counts as told; the verdict before it may have been taken or not.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use plimsoll_client_blocking::{Client, ShareConsumer, ShareError, ShareOptions, SharedRecord};

use super::{DEAD, GROUP, LOCK, is_rejected};
use crate::Random;
use crate::crew::TOPIC;

/// A member that works until it is killed.
///
/// # Errors
///
/// The server cannot be reached, or the membership has ended.
pub fn work_until_killed(address: &str, output: &Path) -> Result<(), String> {
    let client = Client::connect(address).map_err(|error| error.to_string())?;
    let mut options = ShareOptions::default();
    options.lock = LOCK;
    options.deliveries_max = u32::MAX;
    options.dead_letter = Some(DEAD.to_owned());
    let member = client.share_consumer(&[TOPIC], GROUP, options);
    let member = member.map_err(|error| error.to_string())?;
    let output = File::create(output).map_err(|error| error.to_string())?;
    let mut worker = Worker { member, output, random: Random::of_the_moment() };
    loop {
        worker.work()?;
    }
}

struct Worker {
    member: ShareConsumer,
    output: File,
    random: Random,
}

/// What was said of a record.
type Verdict = (&'static str, u32, u64);

impl Worker {
    fn work(&mut self) -> Result<(), String> {
        let records_max = self.random.below(1..40) as usize;
        let records = match self.member.poll(records_max, Duration::from_millis(50)) {
            Ok(records) => records,
            Err(ShareError::Disconnected { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        self.write_out(&records)?;
        let given: Vec<Verdict> = records.iter().filter_map(|record| self.judge(record)).collect();
        let untaken = self.settle()?;
        let is_taken = |verdict: &&Verdict| !untaken.contains(&(verdict.1, verdict.2));
        let (mut lines, now) = (String::new(), now_ns());
        for (what, partition, offset) in given.iter().filter(is_taken) {
            // Writing into a String does not fail.
            let _ = writeln!(lines, "{what} {now} {partition} {offset}");
        }
        self.write(&lines)?;
        // Those without a verdict: as if this one had died over them.
        for record in records.iter().filter(|record| self.member.is_held(record)) {
            self.member.release(record, Duration::ZERO);
        }
        Ok(())
    }

    /// The work: each record is written out, before anything is said of it.
    fn write_out(&mut self, records: &[SharedRecord]) -> Result<(), String> {
        let (mut lines, now) = (String::new(), now_ns());
        for record in records {
            let SharedRecord { partition, offset, deliveries, .. } = record;
            let value = String::from_utf8_lossy(record.value().unwrap_or_default());
            let _ = writeln!(lines, "out {now} {partition} {offset} {deliveries} {value}");
        }
        self.write(&lines)
    }

    fn judge(&mut self, record: &SharedRecord) -> Option<Verdict> {
        let place = (record.partition, record.offset.value());
        if is_rejected(place.0, place.1) {
            self.member.reject(record, "chosen");
            return Some(("rejected", place.0, place.1));
        }
        match self.random.below(0..20) {
            0 => {
                let delay = Duration::from_millis(self.random.below(0..200));
                self.member.release(record, delay);
                None
            }
            1 => None,
            _ => {
                self.member.accept(record);
                Some(("accepted", place.0, place.1))
            }
        }
    }

    /// Waits until every verdict is answered, however often the server dies meanwhile; those that
    /// were not taken.
    fn settle(&self) -> Result<BTreeSet<(u32, u64)>, String> {
        loop {
            match self.member.flush() {
                Ok(()) => return Ok(BTreeSet::new()),
                Err(ShareError::NotSettled(unsettled)) => {
                    let places = unsettled.iter().map(|of| (of.partition, of.offset.value()));
                    return Ok(places.collect());
                }
                Err(ShareError::Pending { .. } | ShareError::Disconnected { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn write(&mut self, lines: &str) -> Result<(), String> {
        self.output.write_all(lines.as_bytes()).map_err(|error| error.to_string())
    }
}

/// A clock that all processes of the machine share.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a clock");
    Duration::from(now).as_nanos() as u64
}
