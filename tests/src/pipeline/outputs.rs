//! What the members wrote, against what is in the log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use super::PipelineTally;
use crate::crew::Source;

/// How often each record was written.
pub(super) struct Outputs<'a> {
    sources: &'a [Source],
    /// Of each source the offsets of its lines, ascending.
    offsets: &'a [Vec<u64>],
    counts: Vec<Vec<u32>>,
    cut: u64,
}

impl<'a> Outputs<'a> {
    pub(super) fn new(sources: &'a [Source], offsets: &'a [Vec<u64>]) -> Outputs<'a> {
        let counts = offsets.iter().map(|offsets| vec![0; offsets.len()]).collect();
        Outputs { sources, offsets, counts, cut: 0 }
    }

    /// Reads what one process wrote. A last line without an end was cut by its death.
    pub(super) fn read(&mut self, output: &Path) {
        let mut lines = BufReader::new(File::open(output).expect("an output can be read"));
        let mut line = String::new();
        loop {
            line.clear();
            if lines.read_line(&mut line).expect("outputs are UTF-8") == 0 {
                return;
            }
            match line.strip_suffix('\n') {
                Some(line) => self.note(line),
                None => self.cut += 1,
            }
        }
    }

    fn note(&mut self, line: &str) {
        let record: Value = serde_json::from_str(line).expect("a member writes JSON");
        let (partition, offset) = (record["partition"].as_u64(), record["offset"].as_u64());
        let (Some(partition), Some(offset)) = (partition, offset) else {
            panic!("no place: {line}")
        };
        let source = partition as usize;
        let Ok(at) = self.offsets[source].binary_search(&offset) else {
            panic!("{source}/{offset} was written, and is not in the log")
        };
        let expected = self.sources[source].lines()[at].as_str();
        assert_eq!(record["value"].as_str(), Some(expected), "{source}/{offset} was changed");
        self.counts[source][at] += 1;
    }

    /// Each line was written; counts which more than once.
    pub(super) fn compare(&self, tally: &mut PipelineTally) {
        for (source, counts) in self.counts.iter().enumerate() {
            let missing = counts.iter().filter(|count| **count == 0).count();
            let first = counts.iter().position(|count| *count == 0).unwrap_or(0);
            assert_eq!(missing, 0, "of source {source} lines were written by nobody, from {first}");
        }
        let counts = || self.counts.iter().flatten().map(|count| u64::from(*count));
        tally.written = counts().sum();
        tally.written_again = counts().filter(|count| *count > 1).count() as u64;
        tally.written_most = counts().max().unwrap_or(0);
        tally.cut = self.cut;
    }
}
