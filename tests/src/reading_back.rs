//! Reading everything that is there, with `fetch`.

use plimsoll_wire::{Fetch, Handle, Offset, Response, Visible, Watermarks};

use crate::Connection;
use crate::consuming::records;

/// Offset and number of each record of a partition from `from` on, and where the partition stands.
///
/// # Panics
///
/// If the server refuses, or gives what was never sent.
pub fn read_back(
    connection: &mut Connection,
    topic: &str,
    partition: u32,
    from: u64,
) -> (Vec<(u64, u64)>, Watermarks) {
    let ends = connection.bind(partition, topic, partition).watermarks;
    assert_ordered(&ends);
    let (mut found, mut offset) = (Vec::new(), from);
    while Offset::new(offset) < ends.disk {
        let wanted = Fetch {
            handle: Handle(partition),
            visible: Visible::Disk,
            offset: Offset::new(offset),
            max_bytes: 4 << 20,
            min_bytes: 1,
            max_wait_ms: 1000,
        };
        let answer = connection.ask(|correlation, out| wanted.encode(correlation, out));
        let Response::Fetched(fetched) = answer.response() else {
            panic!("fetch was answered with {:?}", answer.response());
        };
        assert_ordered(&fetched.watermarks);
        let new = records(fetched.batches);
        // Offsets may jump at the end: what is below the watermark need not be there.
        let Some((last, _)) = new.last() else { break };
        offset = last + 1;
        found.extend(new.into_iter().filter(|(offset, _)| *offset >= from));
    }
    (found, ends)
}

/// `memory >= page_cache >= disk >= start`.
///
/// # Panics
///
/// If not.
pub fn assert_ordered(ends: &Watermarks) {
    let Watermarks { start, memory, page_cache, disk } = *ends;
    assert!(memory >= page_cache && page_cache >= disk && disk >= start, "{ends:?}");
}
