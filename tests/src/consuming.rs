//! A consumer that reads along until the server is gone, and every record that it saw.
//!
//! It checks while it reads: each value against its number, each offset against the watermark of
//! its level, and that offsets follow on one another without a hole. What a newcomer gets wrong:
//! the first offset may lie beyond the one that was asked for, since a start may skip offsets; in
//! the life of a server nothing is skipped.

use std::io::Write;
use std::thread::JoinHandle;

use plimsoll_batch::Batches;
use plimsoll_wire::{
    BindResponse, CorrelationId, Credit, ErrorCode, Handle, Offset, Response, ShardIndex,
    Subscribe, Visible, Watermarks,
};

use crate::reading_back::assert_ordered;
use crate::{Connection, value_id};

const CREDIT_BYTES: u32 = 1 << 20;

/// Whom to read from, and up to which level.
#[derive(Clone, Debug)]
pub struct Consuming {
    /// Of the server.
    pub address: String,
    /// Which topic.
    pub topic: &'static str,
    /// How many partitions it has; all of them are read.
    pub partitions: u32,
    /// The shard to talk to, whoever owns the partitions.
    pub shard: ShardIndex,
    /// The level that a record must have reached.
    pub visible: Visible,
}

/// What a consumer saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Partition, offset, number; in the order of their arrival.
    pub records: Vec<(u32, u64, u64)>,
    /// The last watermarks of each partition.
    pub watermarks: Vec<Watermarks>,
}

impl Consuming {
    /// Subscribes to all partitions from where they end now, and reads until the connection ends.
    ///
    /// # Panics
    ///
    /// If the server does not answer. The thread panics if it sees what must not be.
    #[must_use]
    pub fn begin(self) -> JoinHandle<Seen> {
        let mut connection = Connection::to_shard(&self.address, self.shard);
        let bound: Vec<BindResponse> = (0..self.partitions)
            .map(|partition| connection.bind(partition, self.topic, partition))
            .collect();
        let visible = self.visible;
        for (handle, bound) in (0..).map(Handle).zip(&bound) {
            let offset = bound.watermarks.at(visible.level());
            let subscribe = Subscribe { handle, visible, offset, credit_bytes: CREDIT_BYTES };
            connection.say(|correlation, out| subscribe.encode(correlation, out));
        }
        let watermarks = bound.into_iter().map(|bound| bound.watermarks).collect();
        std::thread::spawn(move || read(&mut connection, visible, watermarks))
    }
}

fn read(connection: &mut Connection, visible: Visible, watermarks: Vec<Watermarks>) -> Seen {
    let mut next: Vec<Option<u64>> = vec![None; watermarks.len()];
    let mut seen = Seen { records: Vec::new(), watermarks };
    while let Some(frame) = connection.read() {
        let delivery = match frame.response() {
            Response::Subscribed(_) => continue,
            Response::Delivery(delivery) => delivery,
            Response::Error(error) if is_the_end(error.code) => continue,
            other => panic!("{other:?} instead of a delivery"),
        };
        let partition = delivery.handle.0;
        assert_ordered(&delivery.watermarks);
        assert_no_step_back(&seen.watermarks[partition as usize], &delivery.watermarks);
        seen.watermarks[partition as usize] = delivery.watermarks;
        let watermark = delivery.watermarks.at(visible.level());
        for (offset, id) in records(delivery.batches) {
            assert!(Offset::new(offset) < watermark, "{offset} is not yet at {visible}");
            let next = &mut next[partition as usize];
            let expected = next.unwrap_or(offset);
            assert_eq!(offset, expected, "partition {partition} at {visible} skips or goes back");
            *next = Some(offset + 1);
            seen.records.push((partition, offset, id));
        }
        let bytes = frame.frame().frame_bytes as u32;
        let mut credit = Vec::new();
        let more = Credit { handle: delivery.handle, bytes };
        more.encode(CorrelationId(u32::MAX), &mut credit);
        if connection.stream.write_all(&credit).is_err() {
            break;
        }
    }
    seen
}

/// The server stops; or its disk has failed, which ends a subscription, and credit for it that was
/// on its way comes too late.
fn is_the_end(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::ShuttingDown | ErrorCode::DiskFailed | ErrorCode::NotSubscribed)
}

fn assert_no_step_back(before: &Watermarks, after: &Watermarks) {
    let steps = [
        (before.memory, after.memory),
        (before.page_cache, after.page_cache),
        (before.disk, after.disk),
    ];
    let forward = steps.iter().all(|(before, after)| before <= after);
    assert!(forward, "a watermark went back: {before:?}, then {after:?}");
}

/// Offset and number of each record, its whole value compared.
///
/// # Panics
///
/// If a record is not as it was sent.
#[must_use]
pub fn records(batches: &[u8]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for batch in Batches::new(batches) {
        for record in batch.expect("a batch checks").records().expect("it is not compressed") {
            let record = record.expect("a record decodes");
            let id = value_id(record.value.unwrap_or_default());
            let id = id.unwrap_or_else(|| panic!("the record at {:?} is changed", record.offset));
            assert_eq!(record.key, Some(&id.to_le_bytes()[..]), "a key is changed");
            found.push((record.offset.value(), id));
        }
    }
    found
}
