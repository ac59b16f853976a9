//! What the demo prints at the end: one table, one verdict.

use plimsoll_client_blocking::AckLevel;
use plimsoll_load::{Outcome, Verdict};

/// One level's load, kill, restart and count.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) level: AckLevel,
    pub(crate) outcome: Outcome,
    pub(crate) verdict: Verdict,
}

impl Row {
    /// Whether the level's promise was kept.
    pub(crate) fn is_kept(&self) -> bool {
        keeps_promise(self.level, &self.verdict)
    }

    fn cells(&self) -> [String; 9] {
        let (outcome, verdict) = (&self.outcome, &self.verdict);
        let us = |us: Option<f64>| us.map_or("-".to_owned(), milliseconds);
        [
            self.level.name().to_owned(),
            grouped(outcome.records_per_second() as u64),
            format!("{:.1}", outcome.bytes_per_second() / 1e6),
            us(outcome.latency_us.map(|latency| latency.p50)),
            us(outcome.latency_us.map(|latency| latency.p99)),
            us(outcome.latency_us.map(|latency| latency.p999)),
            grouped(verdict.acked),
            grouped(verdict.found),
            grouped(verdict.lost),
        ]
    }
}

/// `memory` does not survive a kill: it may lose, but what is there must be right.
fn keeps_promise(level: AckLevel, verdict: &Verdict) -> bool {
    match level {
        AckLevel::Memory => verdict.is_undamaged(),
        AckLevel::PageCache | AckLevel::Disk => verdict.is_clean() && verdict.acked > 0,
    }
}

const HEAD: [&str; 9] = [
    "level",
    "records/s",
    "MB/s",
    "ack p50 ms",
    "p99 ms",
    "p99.9 ms",
    "acked",
    "found after the kill",
    "lost",
];

/// The table.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = HEAD.map(str::to_owned);
    let lines: Vec<[String; 9]> =
        std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
            if column == 0 {
                text.push_str(&format!("{cell:<width$}"));
            } else {
                text.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push('\n');
    }
    text
}

/// One line.
pub(crate) fn verdict(rows: &[Row]) -> String {
    let kept = rows.iter().filter(|row| row.level != AckLevel::Memory);
    let acked: u64 = kept.map(|row| row.verdict.acked).sum();
    let broken: Vec<String> = rows.iter().filter(|row| !row.is_kept()).map(broken).collect();
    if !broken.is_empty() {
        return format!("FAIL: {}", broken.join("; "));
    }
    let memory = rows.iter().find(|row| row.level == AckLevel::Memory);
    let lost = memory.map_or(0, |row| row.verdict.lost);
    format!(
        "PASS: all {} records acked at page-cache and disk are there after SIGKILL, unchanged and \
         in order; memory, which promises nothing of the kind, lost {}",
        grouped(acked),
        grouped(lost)
    )
}

fn broken(row: &Row) -> String {
    let Verdict { acked, lost, changed, out_of_order, examples, .. } = &row.verdict;
    let example = examples.first().map_or(String::new(), |example| format!(" ({example})"));
    format!(
        "{}: of {} acked {lost} lost, {changed} changed, {out_of_order} out of order{example}",
        row.level,
        grouped(*acked)
    )
}

fn milliseconds(us: f64) -> String {
    format!("{:.2}", us / 1000.0)
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let numbers = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn only_memory_may_lose_and_nothing_may_be_wrong() {
        let lossy = Verdict { acked: 10, found: 9, lost: 1, ..Verdict::default() };
        assert!(keeps_promise(AckLevel::Memory, &lossy));
        assert!(!keeps_promise(AckLevel::PageCache, &lossy));
        assert!(!keeps_promise(AckLevel::Disk, &lossy));
        let wrong = Verdict { acked: 10, found: 9, changed: 1, ..Verdict::default() };
        assert!(!keeps_promise(AckLevel::Memory, &wrong));
    }

    #[test]
    fn a_level_at_which_nothing_was_acked_has_shown_nothing() {
        assert!(!keeps_promise(AckLevel::Disk, &Verdict::default()));
    }
}
