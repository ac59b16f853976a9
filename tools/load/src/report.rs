//! What a run measured, as text for people and as one JSON object for scripts.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::ledger::{Ledger, Verdict};
use crate::measurement::Measurement;
use crate::run::{End, Limit, Mode, Workload};
use crate::server::ServerUse;

/// What a run measured.
#[derive(Debug)]
pub struct Outcome {
    /// What was loaded.
    pub mode: Mode,
    /// The level of the acks; in a consuming run the level up to which it saw.
    pub level: &'static str,
    /// Records acked, or consumed.
    pub records: u64,
    /// Bytes of their keys and values; of a consuming run, of the batches.
    pub bytes: u64,
    /// From the start of the measurement to the last ack or delivery.
    pub seconds: f64,
    /// From when a batch was due until its ack, in microseconds.
    pub latency_us: Option<Percentiles>,
    /// From the ack of a batch until its delivery, in microseconds.
    pub delivery_us: Option<Percentiles>,
    /// What the server did meanwhile.
    pub server: ServerUse,
    /// Records that the server refused: surely not written.
    pub refused: u64,
    /// Records whose fate is not known.
    pub unknown: u64,
    /// The first refusal, in the server's words.
    pub first_refusal: Option<String>,
    /// What was acked, if it was to be kept.
    pub ledger: Option<Ledger>,
    /// Whether the server was killed.
    pub is_killed: bool,
    shape: Value,
}

/// The usual four of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Percentiles {
    /// Of nanoseconds, in microseconds; `None` of nothing.
    fn of(histogram: &Histogram<u64>) -> Option<Percentiles> {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        let max = histogram.max() as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Percentiles {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max,
        })
    }

    fn json(&self) -> Value {
        let rounded = |us: f64| (us * 10.0).round() / 10.0;
        json!({
            "p50": rounded(self.p50),
            "p99": rounded(self.p99),
            "p999": rounded(self.p999),
            "max": rounded(self.max),
        })
    }
}

impl Outcome {
    pub(crate) fn new(
        mode: Mode,
        workload: &Workload,
        partitions: u32,
        measurement: Measurement,
        end: &End,
    ) -> Outcome {
        let consumes = mode == Mode::Consume;
        let level = if consumes { workload.visible.name() } else { workload.durability.name() };
        Outcome {
            mode,
            level,
            records: if consumes { measurement.delivered } else { measurement.records },
            bytes: if consumes { measurement.delivered_bytes } else { measurement.bytes },
            seconds: measured(mode, workload, &measurement, end).as_secs_f64(),
            latency_us: Percentiles::of(&measurement.latency),
            delivery_us: Percentiles::of(&measurement.delivery),
            server: end.server,
            refused: measurement.refused,
            unknown: measurement.unknown + end.open_records,
            first_refusal: measurement.first_refusal,
            ledger: measurement.ledger,
            is_killed: end.is_killed,
            shape: json!({
                "topic": workload.topic,
                "partitions": partitions,
                "connections": workload.connections,
                "record_bytes": workload.record_bytes,
                "batch_records": workload.batch_records,
                "in_flight": workload.in_flight,
                "visible": workload.visible.name(),
                "rate": workload.rate,
            }),
        }
    }

    /// Records a second.
    #[must_use]
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.seconds.max(1e-9)
    }

    /// Bytes a second.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-9)
    }

    /// One JSON object.
    #[must_use]
    pub fn json(&self, verdict: Option<&Verdict>) -> Value {
        let verify = verdict.map(|verdict| {
            json!({
                "acked": verdict.acked,
                "found": verdict.found,
                "lost": verdict.lost,
                "changed": verdict.changed,
                "out_of_order": verdict.out_of_order,
                "unacked_found": verdict.unacked,
                "killed": self.is_killed,
            })
        });
        json!({
            "mode": self.mode.name(),
            "level": self.level,
            "records": self.records,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "records_per_second": self.records_per_second(),
            "bytes_per_second": self.bytes_per_second(),
            "latency_us": self.latency_us.as_ref().map(Percentiles::json),
            "delivery_us": self.delivery_us.as_ref().map(Percentiles::json),
            "server": {
                "commits": self.server.commits,
                "commit_bytes_mean": self.server.commit_bytes_mean,
                "cpu_seconds": self.server.cpu_seconds,
                "memory_bytes_max": self.server.memory_bytes_max,
            },
            "refused": self.refused,
            "unknown": self.unknown,
            "workload": self.shape,
            "verify": verify,
        })
    }

    /// Lines for people.
    #[must_use]
    pub fn text(&self, verdict: Option<&Verdict>) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<12}{value}");
        };
        line("level", self.level);
        let (records, bytes, seconds) = (self.records, self.bytes, self.seconds);
        line("records", &format!("{records} in {seconds:.2} s, {bytes} bytes"));
        let rates = (self.records_per_second(), self.bytes_per_second() / 1e6);
        line("throughput", &format!("{:.0} records/s, {:.1} MB/s", rates.0, rates.1));
        for (name, percentiles) in [("ack", self.latency_us), ("delivery", self.delivery_us)] {
            if let Some(Percentiles { p50, p99, p999, max }) = percentiles {
                let values = format!(
                    "p50 {p50:.1} us, p99 {p99:.1} us, p99.9 {p999:.1} us, max {max:.1} us"
                );
                line(name, &values);
            }
        }
        line("server", &server_text(&self.server));
        if self.refused + self.unknown > 0 {
            let reason = self.first_refusal.as_deref().unwrap_or("the connection ended");
            let (refused, unknown) = (self.refused, self.unknown);
            line("not acked", &format!("{refused} refused, {unknown} unknown: {reason}"));
        }
        if let Some(Verdict { acked, found, lost, changed, out_of_order, .. }) = verdict {
            let counts = format!(
                "{acked} acked, {found} found, {lost} lost, {changed} changed, {out_of_order} out \
                 of order"
            );
            line("verified", &counts);
        }
        text
    }
}

/// The time that the records took. An open loop may have had nothing to do at the end of its run,
/// and that counts; a reader that has read everything and waits for more is not slow.
fn measured(
    mode: Mode,
    workload: &Workload,
    measurement: &Measurement,
    end: &End,
) -> std::time::Duration {
    let took = measurement.last - measurement.started;
    match workload.limit {
        Limit::After(length) if mode != Mode::Consume && !end.is_killed => took.max(length),
        Limit::After(_) | Limit::Records(_) => took,
    }
}

fn server_text(server: &ServerUse) -> String {
    let mut parts = Vec::new();
    if let Some(commits) = server.commits {
        parts.push(format!("{commits} commits"));
    }
    if let Some(mean) = server.commit_bytes_mean {
        parts.push(format!("{mean:.0} bytes a commit"));
    }
    if let Some(seconds) = server.cpu_seconds {
        parts.push(format!("{seconds:.2} s of processor time"));
    }
    if let Some(bytes) = server.memory_bytes_max {
        parts.push(format!("at most {} MiB of memory", bytes >> 20));
    }
    if parts.is_empty() { "nothing is known of it".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        histogram.record_n(100_000, 99).unwrap();
        histogram.record(5_000_000).unwrap();
        let percentiles = Percentiles::of(&histogram).unwrap();
        assert!((percentiles.p50 - 100.0).abs() < 0.2, "{percentiles:?}");
        assert!((percentiles.max - 5000.0).abs() < 10.0, "{percentiles:?}");
        assert_eq!(Percentiles::of(&Histogram::<u64>::new(3).unwrap()), None);
    }
}
