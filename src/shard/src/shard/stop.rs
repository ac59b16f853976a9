//! A clean stop: no new appends, everything durable, every client told, every connection closed.
//!
//! What a newcomer gets wrong: connections stay until storage has stopped, because the acks of what
//! was in flight are still owed to them. After a failed disk nothing more becomes durable, and they
//! are let go at once.

use core::time::Duration;

use plimsoll_device::Now;
use plimsoll_wire::ErrorCode;

use super::{Phase, Shard};
use crate::connection::ConnectionId;
use crate::report::Report;

/// How long a connection may wait for answers that other shards owe it.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(5);

impl Shard {
    /// Begins a clean stop: appends are refused, what is in flight is made durable and acked,
    /// clients are told and connections closed; then [`Report::Stopped`]. On all shards at once:
    /// each may wait for mail of the others.
    pub fn stop(&mut self, now: Now) {
        self.enter(now);
        if !matches!(self.phase, Phase::Starting | Phase::Serving) {
            return;
        }
        self.phase = Phase::Stopping;
        self.storage.stop(now);
        // Those who wait for append memory learn that they wait in vain.
        self.work.note_room();
        if self.has_failed {
            self.storage_has_stopped();
        }
    }

    pub(super) fn storage_has_stopped(&mut self) {
        if self.phase != Phase::Stopping {
            return;
        }
        self.phase = Phase::Draining;
        let ids: alloc::vec::Vec<ConnectionId> =
            self.connections.keys().map(ConnectionId).collect();
        for id in ids {
            self.set_deadline(id, LEAVING_TIMEOUT);
        }
    }

    /// Closes the connections that wait for nothing more.
    pub(super) fn continue_stop(&mut self) {
        if self.phase != Phase::Draining {
            return;
        }
        let leaves = |shard: &Self, id: &ConnectionId| {
            let connection = shard.connections.at(id.0);
            connection.is_some_and(|connection| connection.in_flight == 0 && connection.is_open())
        };
        let ids = self.connections.keys().map(ConnectionId);
        let ids: alloc::vec::Vec<ConnectionId> = ids.filter(|id| leaves(self, id)).collect();
        for id in ids {
            self.fail_connection(id, ErrorCode::ShuttingDown, "the server is stopping");
        }
        self.flush();
        if self.connections.len() == 0 {
            self.phase = Phase::Stopped;
            self.reports.push_back(Report::Stopped);
        }
    }
}
