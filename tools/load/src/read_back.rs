//! Reads a whole topic and compares it with what was acked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use plimsoll_batch::Batch;
use plimsoll_client_blocking::RequestError;
use plimsoll_wire::{ShardIndex, Visible};

use crate::LoadError;
use crate::assignment::{Assignment, assign};
use crate::connection::Connection;
use crate::fleet::wait_readable;
use crate::ledger::{Checker, Ledger, Verdict};
use crate::measurement::Progress;
use crate::reader::{From, Reader};
use crate::run::Verify;
use crate::server::Server;

/// When nothing has come for this long, what did not come is not there.
const SILENCE: Duration = Duration::from_secs(5);

/// Reads `topic` from beginning to end, as seen at `visible`, and compares it with `ledger`.
///
/// # Errors
///
/// The server cannot be read.
pub fn read_back(
    server: &str,
    topic: &str,
    visible: Visible,
    verify: &Verify,
    ledger: &Ledger,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Verdict, LoadError> {
    let mut checker = Checker::new(verify.run, &verify.source, ledger);
    let found = match Server::connect(server)?.topic(topic, None) {
        Err(LoadError::Admin(error))
            if matches!(error.error, RequestError::TopicNotFound { .. }) =>
        {
            let mut verdict = checker.finish();
            verdict.examples.insert(0, format!("the topic {topic} itself is not there any more"));
            return Ok(verdict);
        }
        found => found?,
    };
    let mut readers = Vec::new();
    for assignment in assign_by_shard(&found.shards) {
        let connection = Connection::open(server, topic, &assignment)?;
        let partitions = &assignment.partitions;
        readers.push(Reader::new(server, connection, partitions, visible, From::Beginning));
    }
    let (started, mut last) = (Instant::now(), Instant::now());
    let (mut records, mut bytes, mut told) = (0_u64, 0_u64, Instant::now());
    while !readers.iter().all(Reader::is_at_end) && last.elapsed() < SILENCE {
        for reader in &mut readers {
            reader.send()?;
        }
        let ready = wait_readable(&readers, Duration::from_millis(100))?;
        let mut compare = |partition: u32, batch: &Batch<'_>, now: Instant| {
            last = now;
            records += u64::from(batch.header().record_count);
            bytes += batch.bytes().len() as u64;
            compare(&mut checker, partition, batch)
        };
        for (reader, _) in readers.iter_mut().zip(ready).filter(|(_, is_ready)| *is_ready) {
            reader.receive(&mut compare)?;
        }
        if told.elapsed() > Duration::from_millis(100) {
            told = Instant::now();
            let done = records as f64 / ledger.records().max(1) as f64;
            let elapsed = started.elapsed();
            on_progress(Progress { records, bytes, elapsed, done: done.min(1.0) });
        }
    }
    let mut verdict = checker.finish();
    for (partition, next, end) in readers.iter().flat_map(Reader::unread) {
        if !verdict.is_clean() {
            verdict.examples.push(format!(
                "partition {partition}: nothing more came after offset {next}, the end is {end}"
            ));
        }
    }
    Ok(verdict)
}

fn compare(checker: &mut Checker<'_>, partition: u32, batch: &Batch<'_>) -> Result<(), LoadError> {
    let records = batch.records().map_err(|error| LoadError::Record { partition, error })?;
    for record in records {
        let record = record.map_err(|error| LoadError::Record { partition, error })?;
        checker.record(partition, record.offset.value(), record.key, record.value);
    }
    Ok(())
}

/// One connection for each shard is enough to read back.
fn assign_by_shard(shards: &[ShardIndex]) -> Vec<Assignment> {
    let different: BTreeSet<ShardIndex> = shards.iter().copied().collect();
    assign(shards, different.len() as u32, false)
}
