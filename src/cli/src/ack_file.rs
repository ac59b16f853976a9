//! What the acks say: offset ranges for the summary, and a line a record for `--acks-out`.
//!
//! Acks arrive on the client's threads, which must not wait for a file: lines go to a buffer, and a
//! thread of its own writes that to the file as soon as there is something in it. So a line is in
//! the file (and survives a kill of this process) a moment after its ack, however many there are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use plimsoll_client_blocking::{AppendError, AppendOutcome, Offset};

/// Takes the outcome of every record. It is made for a `static`: a callback that holds nothing
/// costs no allocation, and there is one for each record.
#[derive(Debug)]
pub(crate) struct AckSink {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug)]
struct Seen {
    ranges: BTreeMap<u32, Range>,
    first_error: Option<String>,
    writes_lines: bool,
    lines: Vec<u8>,
    is_writer_waiting: bool,
    is_finished: bool,
}

/// The acked records of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) records: u64,
}

impl AckSink {
    pub(crate) const fn new() -> AckSink {
        AckSink {
            seen: Mutex::new(Seen {
                ranges: BTreeMap::new(),
                first_error: None,
                writes_lines: false,
                lines: Vec::new(),
                is_writer_waiting: false,
                is_finished: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Notes what became of a record.
    pub(crate) fn note(&self, outcome: AppendOutcome) {
        match outcome.acked() {
            Ok((partition, offset, _level)) => self.note_ack(partition, offset),
            Err(AppendError::NoAckAsked { .. }) => {}
            Err(error) => {
                self.lock().first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// Notes that a record was acked.
    pub(crate) fn note_ack(&self, partition: u32, offset: Offset) {
        let mut seen = self.lock();
        let offset = offset.value();
        let range = seen.ranges.entry(partition);
        let range = range.or_insert(Range { first: offset, last: offset, records: 0 });
        range.first = range.first.min(offset);
        range.last = range.last.max(offset);
        range.records += 1;
        if seen.writes_lines {
            push_number(u64::from(partition), b' ', &mut seen.lines);
            push_number(offset, b'\n', &mut seen.lines);
            if std::mem::take(&mut seen.is_writer_waiting) {
                self.changed.notify_one();
            }
        }
    }

    /// Why the first record that was not acked was not; `None` while all were.
    pub(crate) fn first_error(&self) -> Option<String> {
        self.lock().first_error.clone()
    }

    /// The acked records of each partition.
    pub(crate) fn ranges(&self) -> BTreeMap<u32, Range> {
        self.lock().ranges.clone()
    }

    /// From now on there is a line for each ack, and [`write_to`](AckSink::write_to) writes them.
    pub(crate) fn begin_lines(&self) {
        self.lock().writes_lines = true;
    }

    /// No more acks come: what waits is written, and `write_to` ends.
    pub(crate) fn finish(&self) {
        self.lock().is_finished = true;
        self.changed.notify_all();
    }

    /// Writes lines as they come, until [`finish`](AckSink::finish).
    pub(crate) fn write_to(&self, file: &mut File) -> io::Result<()> {
        let mut lines = Vec::new();
        loop {
            {
                let mut seen = self.lock();
                while seen.lines.is_empty() {
                    if seen.is_finished {
                        return Ok(());
                    }
                    seen.is_writer_waiting = true;
                    seen = self.changed.wait(seen).unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::swap(&mut lines, &mut seen.lines);
            }
            file.write_all(&lines)?;
            lines.clear();
        }
    }

    /// Nothing panics under the lock, so that what is behind it is whole.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends a number and the byte after it, without the cost of formatting.
fn push_number(mut number: u64, end: u8, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
    out.push(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_client_blocking::{AckLevel, Offset};
    use proptest::prelude::*;
    use std::thread;

    fn acked(partition: u32, offset: u64) -> AppendOutcome {
        AppendOutcome::Acked { partition, offset: Offset::new(offset), level: AckLevel::Disk }
    }

    #[test]
    fn each_ack_becomes_a_line_in_the_file_and_finishing_loses_none() {
        static SINK: AckSink = AckSink::new();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acks");
        let mut file = File::create(&path).unwrap();
        SINK.begin_lines();
        let writer = thread::spawn(move || SINK.write_to(&mut file));
        for offset in 0..10_000 {
            SINK.note(acked((offset % 3) as u32, offset));
        }
        SINK.finish();
        writer.join().unwrap().unwrap();
        let expected: String =
            (0..10_000).map(|offset| format!("{} {offset}\n", offset % 3)).collect();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn ranges_count_acked_records_only() {
        let sink = AckSink::new();
        sink.note(acked(1, 7));
        sink.note(acked(1, 9));
        sink.note(AppendOutcome::Sent { partition: 1 });
        assert_eq!(sink.ranges()[&1], Range { first: 7, last: 9, records: 2 });
        assert_eq!(sink.first_error(), None);
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_display_writes_them(number: u64) {
            let mut out = Vec::new();
            push_number(number, b'\n', &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{number}\n"));
        }
    }
}
