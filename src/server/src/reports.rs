//! Reports of shards, as lines of the log. Each thing is said once where it is handled.
//!
//! Nothing is decided here. What a newcomer gets wrong: the words of a protocol error follow what a
//! stranger sent, so that how many of them are logged is bounded, and how many there were is a
//! counter.

use plimsoll_shard::Report;

/// Protocol errors that are logged one by one in each second; the rest is only counted.
const PROTOCOL_ERRORS_LOGGED_MAX: u32 = 5;

/// Writes reports to the log, without letting clients flood it.
pub(crate) struct ReportLog {
    shard: u16,
    second: i64,
    in_second: u32,
}

impl ReportLog {
    pub(crate) fn new(shard: u16) -> Self {
        Self { shard, second: 0, in_second: 0 }
    }

    pub(crate) fn write(&mut self, report: &Report, unix_ms: i64) {
        let shard = self.shard;
        match report {
            Report::Failed(failure) => tracing::error!(
                shard,
                "{failure}; nothing more is acked at disk on this shard: check the disk, then \
                 restart (what was acked is recovered)"
            ),
            Report::Damaged(damage) => tracing::error!(
                shard,
                "damaged: {damage}; it is not delivered: stop the server and run `plimsoll verify`"
            ),
            Report::DiskFull => {
                tracing::error!(shard, "the disk is full: appends are refused until there is room");
            }
            Report::CompactionStopped(text) => tracing::error!(
                shard,
                "a partition is not compacted until its settings change or the server starts \
                 again: {text}"
            ),
            Report::ClockLeapt { by_ms } => tracing::warn!(
                shard,
                by_s = by_ms / 1000,
                "the wall clock leapt, or its time is not near that of the newest data: data ages \
                 by it only when it has stayed there for an hour; if it is wrong, set it now"
            ),
            Report::ClockBelieved { by_ms } => tracing::warn!(
                shard,
                by_s = by_ms / 1000,
                "the wall clock has stayed where it leapt to: data ages by it from now on"
            ),
            Report::DiskHasRoom => tracing::info!(shard, "the disk has room again"),
            Report::MetadataUnreadable(text) => {
                tracing::error!(shard, "the metadata topic cannot be read: {text}");
            }
            Report::ConnectionRefused { reason } if self.may_log(unix_ms) => {
                tracing::warn!(shard, "a connection was refused: {reason}");
            }
            Report::ProtocolError { socket, code, text } if self.may_log(unix_ms) => {
                tracing::warn!(shard, socket = socket.0, ?code, "connection closed: {text}");
            }
            _ => {}
        }
    }

    fn may_log(&mut self, unix_ms: i64) -> bool {
        let second = unix_ms / 1000;
        if second != self.second {
            self.second = second;
            self.in_second = 0;
        }
        self.in_second += 1;
        self.in_second <= PROTOCOL_ERRORS_LOGGED_MAX
    }
}
