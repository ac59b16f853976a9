//! A consumer that reads along until the server is gone, and every record that it saw.

use std::thread::JoinHandle;

use plimsoll_batch::Batches;
use plimsoll_tests::{Connection, value_id};
use plimsoll_wire::{
    BindResponse, CorrelationId, Credit, Handle, Offset, Response, ShardIndex, Subscribe, Visible,
};

/// A record that a consumer saw: partition, offset, number.
pub(crate) type Seen = (u32, u64, u64);

const CREDIT_BYTES: u32 = 1 << 20;

/// Subscribes to all partitions from where they end now, and reads until the connection ends.
pub(crate) fn begin(
    address: &str,
    topic: &str,
    partitions: u32,
    visible: Visible,
) -> JoinHandle<Vec<Seen>> {
    let mut connection = Connection::to_shard(address, ShardIndex(0));
    let bound: Vec<BindResponse> =
        (0..partitions).map(|partition| connection.bind(partition, topic, partition)).collect();
    for (handle, bound) in (0..).map(Handle).zip(bound) {
        let offset = bound.watermarks.at(visible.level());
        let subscribe = Subscribe { handle, visible, offset, credit_bytes: CREDIT_BYTES };
        connection.say(|correlation, out| subscribe.encode(correlation, out));
    }
    std::thread::spawn(move || read(&mut connection, visible))
}

fn read(connection: &mut Connection, visible: Visible) -> Vec<Seen> {
    use std::io::Write;
    let mut seen = Vec::new();
    while let Some(frame) = connection.read() {
        let delivery = match frame.response() {
            Response::Subscribed(_) => continue,
            Response::Delivery(delivery) => delivery,
            other => panic!("{other:?} instead of a delivery"),
        };
        let watermark = delivery.watermarks.at(visible.level());
        for (offset, id) in records(delivery.batches) {
            assert!(Offset::new(offset) < watermark, "{offset} is not yet at {visible}");
            seen.push((delivery.handle.0, offset, id));
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

/// Offset and number of each record, its whole value compared.
pub(crate) fn records(batches: &[u8]) -> Vec<(u64, u64)> {
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
