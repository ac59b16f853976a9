//! What the campaign did and saw, counted, and the table of it.

use std::fmt::Write as _;
use std::time::Duration;

use plimsoll_tests::{Seen, Told};
use plimsoll_wire::{AckLevel, Visible};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Under load; the next start waits until it is reaped.
    Load,
    /// Under load; the next start begins at once, on top of its last writes.
    LoadThenAtOnce,
    /// While it was stopped by SIGSTOP, or just after it went on.
    Paused,
    /// After its start began and before it was ready.
    Recovery,
    /// While it deleted a topic.
    Deletion,
}

const ENDS: [(End, &str); 5] = [
    (End::Load, "kills under load"),
    (End::LoadThenAtOnce, "kills under load, restarted at once"),
    (End::Paused, "kills at or after a SIGSTOP of 1 to 3 s"),
    (End::Recovery, "kills during start and recovery"),
    (End::Deletion, "kills during a deletion"),
];

#[derive(Debug, Default)]
pub(crate) struct Tally {
    kills: [u64; ENDS.len()],
    pub(crate) power_losses: u64,
    pub(crate) clean_stops: u64,
    pub(crate) core_changes: u64,
    pub(crate) topics: u64,
    pub(crate) directories: u64,
    pub(crate) verifications: u64,
    /// Records by the level of their acks: memory, page_cache, disk.
    acked: [u64; 3],
    seen: [u64; 3],
    unknown_batches: u64,
    pub(crate) compared: u64,
    pub(crate) lost: u64,
    pub(crate) disk_bytes_max: u64,
    recovered_ms: Vec<u64>,
}

impl Tally {
    pub(crate) fn kills(&self) -> u64 {
        self.kills.iter().sum()
    }

    pub(crate) fn killed(&mut self, end: End) {
        for ((entry, _), count) in ENDS.iter().zip(&mut self.kills) {
            *count += u64::from(*entry == end);
        }
    }

    pub(crate) fn started(&mut self, recovered: Duration) {
        self.recovered_ms.push(recovered.as_millis() as u64);
    }

    pub(crate) fn told(&mut self, told: &Told) {
        for ack in &told.acks {
            self.acked[place_of(ack.level)] += u64::from(ack.records);
        }
        self.unknown_batches += told.open as u64;
    }

    pub(crate) fn seen(&mut self, visible: Visible, seen: &Seen) {
        self.seen[place_of(visible.level())] += seen.records.len() as u64;
    }

    /// How long a start takes, about.
    pub(crate) fn usual_start_ms(&self) -> u64 {
        let last = &self.recovered_ms[self.recovered_ms.len().saturating_sub(20)..];
        last.iter().copied().max().unwrap_or(100).clamp(20, 2000)
    }

    pub(crate) fn progress(&self, kills: u64, elapsed: Duration) -> String {
        let records: u64 = self.acked.iter().sum();
        format!(
            "{:>5} of {kills} kills, {records} acks of records, {} compared, {:.0} s",
            self.kills(),
            self.compared,
            elapsed.as_secs_f64()
        )
    }

    pub(crate) fn table(&self, more: &[(&'static str, String)], elapsed: Duration) -> String {
        let mut rows: Vec<(&str, String)> = Vec::new();
        for ((_, name), count) in ENDS.iter().zip(self.kills) {
            rows.push((name, count.to_string()));
        }
        let three = |of: [u64; 3]| format!("{} / {} / {}", of[0], of[1], of[2]);
        let mut starts = self.recovered_ms.clone();
        starts.sort_unstable();
        let middle = starts.get(starts.len() / 2).copied().unwrap_or_default();
        let last = starts.last().copied().unwrap_or_default();
        rows.extend([
            ("of the kills, with loss of the arenas", self.power_losses.to_string()),
            ("clean stops", self.clean_stops.to_string()),
            ("starts on another number of cores", self.core_changes.to_string()),
            ("topics deleted / directories made anew", {
                format!("{} / {}", self.topics, self.directories)
            }),
            ("directories verified, no damage", self.verifications.to_string()),
            ("records acked: memory / page-cache / disk", three(self.acked)),
            ("records consumed: memory / page-cache / disk", three(self.seen)),
            ("batches of unknown fate", self.unknown_batches.to_string()),
            ("records read back and compared", self.compared.to_string()),
            ("records lost that were not promised", self.lost.to_string()),
        ]);
        rows.extend(more.iter().cloned());
        rows.extend([
            ("start to ready, middle / longest", format!("{middle} ms / {last} ms")),
            ("disk used at most", format!("{} MiB", self.disk_bytes_max >> 20)),
            ("time", format!("{:.0} s", elapsed.as_secs_f64())),
        ]);
        let mut table = String::new();
        for (name, value) in rows {
            // Writing into a String does not fail.
            let _ = writeln!(table, "{name:<46} {value}");
        }
        table
    }
}

fn place_of(level: AckLevel) -> usize {
    match level {
        AckLevel::Memory => 0,
        AckLevel::PageCache => 1,
        AckLevel::Disk => 2,
    }
}
