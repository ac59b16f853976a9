//! What of the directory is left when records have gone: compacted files and the entries by which
//! they count, files of deleted segments, what a group in share mode has settled.
//!
//! It is made in the last life, because a start logs everything anew. At its end nothing more goes,
//! so that what is read does not depend on when.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    CleanupPolicy, Client, NewTopic, ShareOptions, TopicChanges, TopicCleanup, TopicRetention,
};
use plimsoll_tests::{Connection, Server, keyed_batch_of, records_of_batch};
use plimsoll_wire::{AckLevel, Response};

pub(super) const COMPACTED: &str = "compacted";
pub(super) const RETAINED: &str = "retained";
/// Its name is in each record about it.
pub(super) const GROUP: &str = "settlers-in-share-mode";

const SEGMENT_BYTES: u64 = 1 << 20;
/// What is not there by then never is.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Makes the two topics.
pub(super) fn create(client: &Client) -> Result<(), String> {
    let cleanup = TopicCleanup {
        policy: CleanupPolicy::Compact,
        compaction_lag_ms: 0,
        tombstone_retention_ms: HOUR.as_millis() as u64,
    };
    let compacted = NewTopic { name: COMPACTED, cleanup, ..topic() };
    let retention = TopicRetention { age_ms: 0, bytes: SEGMENT_BYTES };
    let retained = NewTopic { name: RETAINED, retention, ..topic() };
    [compacted, retained]
        .iter()
        .try_for_each(|topic| client.create_topic(topic).map(drop))
        .map_err(|error| error.to_string())
}

fn topic() -> NewTopic<'static> {
    NewTopic { partitions: 1, segment_bytes: SEGMENT_BYTES, ..NewTopic::default() }
}

/// Writes to the compacted topic until segments of it have been compacted.
pub(super) fn compact(server: &Server, data_dir: &Path, mut next_id: u64) -> Result<(), String> {
    let mut connection = Connection::open(server.address());
    connection.bind(0, COMPACTED, 0);
    let begun = Instant::now();
    for correlation in 0.. {
        let records = records_of_batch(next_id, 40);
        let batch = keyed_batch_of(next_id, records);
        next_id += u64::from(records);
        produce(&mut connection, correlation, &batch)?;
        // Old generations go when the switch is durable: two files of one segment are too early.
        let names = segments_below(&data_dir.join("topics"));
        let newer = names.iter().filter(|name| name.contains('-')).count();
        let is_twice = |name: &String| {
            let base = name.split(['-', '.']).next().unwrap_or_default();
            names.iter().filter(|other| other.starts_with(base)).count() > 1
        };
        if newer > 1 && !names.iter().any(is_twice) {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err("nothing is compacted".to_owned());
        }
    }
    let changes = TopicChanges { name: COMPACTED, cleanup: Some(CleanupPolicy::Delete), ..none() };
    server.client().alter_topic(&changes).map_err(|error| error.to_string())
}

/// The names of the segments of the compacted topic: no other has a second generation.
fn segments_below(topics: &Path) -> Vec<String> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let partitions = entries(topics).flat_map(|topic| entries(&topic.path()).collect::<Vec<_>>());
    let names = partitions.map(|partition| {
        let names = entries(&partition.path()).map(|it| it.file_name().to_string_lossy().into());
        names.filter(|name: &String| name.ends_with(".segment")).collect::<Vec<String>>()
    });
    let has_newer = |names: &Vec<String>| names.iter().any(|name| name.contains('-'));
    names.filter(has_newer).flatten().collect()
}

/// Writes batches until a file of a deleted segment has become a new one, and others wait.
pub(super) fn recycle(
    server: &Server,
    data_dir: &Path,
    mut batch: impl FnMut() -> Vec<u8>,
) -> Result<(), String> {
    let mut connection = Connection::open(server.address());
    connection.bind(0, RETAINED, 0);
    let begun = Instant::now();
    for correlation in 0.. {
        produce(&mut connection, correlation, &batch())?;
        let waiting = fs::read_dir(data_dir.join("recycled")).into_iter().flatten().count();
        let is_time = correlation % 50 == 0 && waiting > 0;
        if is_time && server.counter("reused_segments") > 1 {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err("no file is used again".to_owned());
        }
    }
    let changes = TopicChanges { name: RETAINED, retention_bytes: Some(0), ..none() };
    server.client().alter_topic(&changes).map_err(|error| error.to_string())
}

fn none() -> TopicChanges<'static> {
    TopicChanges::default()
}

fn produce(connection: &mut Connection, correlation: u32, batch: &[u8]) -> Result<(), String> {
    let sent = connection.produce(0, correlation, AckLevel::Disk, None, batch);
    let answer = sent.ok().and_then(|()| connection.read()).ok_or("the server ended")?;
    match answer.response() {
        Response::Acks(_) => Ok(()),
        other => Err(format!("an append was answered with {other:?}")),
    }
}

/// A group in share mode settles some records of a topic, puts some off, and drops some.
pub(super) fn settle(client: &Client, topic: &str) -> Result<(), String> {
    let member = client.share_consumer(&[topic], GROUP, ShareOptions::default());
    let member = member.map_err(|error| error.to_string())?;
    let (begun, mut settled) = (Instant::now(), 0);
    while settled < 200 {
        for record in member.poll(20, Duration::from_secs(1)).map_err(|error| error.to_string())? {
            match settled % 5 {
                0 => member.release(&record, HOUR),
                1 => member.reject(&record, "nobody wants it"),
                _ => member.accept(&record),
            }
            settled += 1;
        }
        member.flush().map_err(|error| error.to_string())?;
        if begun.elapsed() > PATIENCE {
            return Err("nothing is handed out".to_owned());
        }
    }
    member.close().map_err(|error| error.to_string())
}
