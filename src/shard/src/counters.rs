//! What a shard counts, and under which names `stats` shows it. This is the only list of the names.
//!
//! No decision may rest on a counter. What a newcomer gets wrong: the shards' lists are added up by
//! place, not by name, so that every shard has to give all names in the same order.

use alloc::vec::Vec;

use plimsoll_storage::StorageCounters;

use crate::groups::ShareTally;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Connections that came in, or were handed over by another shard.
    pub(crate) connections_opened: u64,
    /// Connections turned away because there were too many.
    pub(crate) connections_refused: u64,
    /// Connections closed because of what the client sent.
    pub(crate) protocol_errors: u64,
    /// Frames decoded, of every kind.
    pub(crate) frames: u64,
    /// Bytes received.
    pub(crate) received_bytes: u64,
    /// Bytes sent.
    pub(crate) sent_bytes: u64,
    /// Frames acked at each level; a frame with two levels counts at both.
    pub(crate) acked_memory: u64,
    pub(crate) acked_page_cache: u64,
    pub(crate) acked_disk: u64,
    /// Produce frames answered: surely not written.
    pub(crate) refused: u64,
    /// Produce frames answered: maybe written.
    pub(crate) unknown: u64,
    /// Batches that were sent again and were there.
    pub(crate) duplicates: u64,
    /// Fetch responses and deliveries, and the bytes of batches in them.
    pub(crate) deliveries: u64,
    pub(crate) delivered_bytes: u64,
    /// Requests that went to the shard that owns the partition.
    pub(crate) forwarded: u64,
    /// Offsets that groups have committed.
    pub(crate) offsets_committed: u64,
    /// Offsets that groups in share mode have handed out, and verdicts that counted.
    pub(crate) share_acquired: u64,
    pub(crate) share_settled: u64,
    /// What became of such offsets.
    pub(crate) share: ShareTally,
    /// Times that the log of committed offsets was shortened.
    pub(crate) offset_logs_shortened: u64,
    /// Times that the log of topics was.
    pub(crate) metadata_shortened: u64,
    /// Members of groups that were declared dead.
    pub(crate) members_expired: u64,
    /// Times that a connection was not read for want of memory.
    pub(crate) waits_for_append_memory: u64,
    pub(crate) waits_for_receive_memory: u64,
}

/// How many there are now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standings {
    pub(crate) connections: usize,
    /// Partitions that are being compacted, or wait for it.
    pub(crate) compaction_backlog: usize,
    /// Bytes of the log of topics, since all in it was written again or the server started.
    pub(crate) metadata_fresh_bytes: u64,
    /// Offsets that members of groups in share mode hold.
    pub(crate) share_locks: u64,
}

/// Names and values for `stats`, in an order that is the same on every shard.
pub(crate) fn stats(
    counters: &Counters,
    storage: &StorageCounters,
    standings: &Standings,
) -> Vec<(&'static str, u64)> {
    let share = &counters.share;
    Vec::from([
        ("appended_batches", storage.appended_batches),
        ("appended_records", storage.appended_records),
        ("appended_bytes", storage.appended_bytes),
        ("commits", storage.commits),
        ("commit_bytes", storage.commit_bytes),
        ("extent_bytes", storage.extent_bytes),
        ("spilled_bytes", storage.spilled_bytes),
        ("read_bytes", storage.read_bytes),
        ("tail_reads", storage.tail_reads),
        ("removed_segments", storage.removed_segments),
        ("removed_bytes", storage.removed_bytes),
        ("recycled_segments", storage.recycled_segments),
        ("reused_segments", storage.reused_segments),
        ("compactions", storage.compactions),
        ("compaction_ms", storage.compaction_ms),
        ("compaction_backlog", standings.compaction_backlog as u64),
        ("compacted_bytes", storage.compacted_bytes),
        ("compacted_away_bytes", storage.compacted_away_bytes),
        ("compacted_away_records", storage.compacted_away_records),
        ("checkpoints", storage.checkpoints),
        ("acked_memory", counters.acked_memory),
        ("acked_page_cache", counters.acked_page_cache),
        ("acked_disk", counters.acked_disk),
        ("refused", counters.refused),
        ("unknown", counters.unknown),
        ("duplicates", counters.duplicates),
        ("connections", standings.connections as u64),
        ("connections_opened", counters.connections_opened),
        ("connections_refused", counters.connections_refused),
        ("protocol_errors", counters.protocol_errors),
        ("frames", counters.frames),
        ("received_bytes", counters.received_bytes),
        ("sent_bytes", counters.sent_bytes),
        ("deliveries", counters.deliveries),
        ("delivered_bytes", counters.delivered_bytes),
        ("forwarded", counters.forwarded),
        ("offsets_committed", counters.offsets_committed),
        ("share_acquired", counters.share_acquired),
        ("share_settled", counters.share_settled),
        ("share_locks", standings.share_locks),
        ("share_accepted", share.accepted),
        ("share_released", share.released),
        ("share_rejected", share.rejected),
        ("share_timed_out", share.timed_out),
        ("share_abandoned", share.abandoned),
        ("share_dead_lettered", share.dead_lettered),
        ("share_dropped", share.dropped),
        ("offset_logs_shortened", counters.offset_logs_shortened),
        ("metadata_shortened", counters.metadata_shortened),
        ("metadata_fresh_bytes", standings.metadata_fresh_bytes),
        ("members_expired", counters.members_expired),
        ("waits_for_append_memory", counters.waits_for_append_memory),
        ("waits_for_receive_memory", counters.waits_for_receive_memory),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_for_two_counters() {
        let stats = stats(&Counters::default(), &StorageCounters::default(), &Standings::default());
        let mut names: Vec<&str> = stats.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), stats.len());
    }
}
