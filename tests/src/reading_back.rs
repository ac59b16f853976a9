//! Reading everything that is there, with `fetch`.

use plimsoll_wire::{Fetch, Handle, Offset, Response, Visible, Watermarks};

use crate::Connection;
use crate::consuming::records;

/// Offsets at the end may never have been given out, and a fetch there waits as long as it is told
/// to: it is told not to. What is there comes at once all the same, unless memory to read into is
/// short; therefore, before it is believed that there is nothing, one more fetch waits a little.
const WAITS_MS: [u32; 2] = [0, 100];

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
    let mut waits = WAITS_MS.into_iter();
    while Offset::new(offset) < ends.disk {
        let Some(max_wait_ms) = waits.next() else { break };
        let wanted = Fetch {
            handle: Handle(partition),
            visible: Visible::Disk,
            offset: Offset::new(offset),
            max_bytes: 4 << 20,
            min_bytes: 1,
            max_wait_ms,
        };
        let answer = connection.ask(|correlation, out| wanted.encode(correlation, out));
        let Response::Fetched(fetched) = answer.response() else {
            panic!("fetch was answered with {:?}", answer.response());
        };
        assert_ordered(&fetched.watermarks);
        let new = records(fetched.batches);
        if let Some((last, _)) = new.last() {
            (offset, waits) = (last + 1, WAITS_MS.into_iter());
        }
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
