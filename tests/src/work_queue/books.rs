//! What the members wrote down, against the log and the dead letters.
//!
//! What a newcomer gets wrong: a record may be written out by two members, and its dead letter be
//! there twice. What must not be: a record that is handed out after its verdict was answered.

use std::collections::BTreeMap;
use std::path::Path;

use super::{WorkQueueTally, is_rejected};

/// Where a record is.
pub(super) type RecordPlace = (u32, u64);

/// Everything that members wrote down.
#[derive(Debug, Default)]
pub(super) struct Books {
    events: Vec<Event>,
    cut: u64,
}

#[derive(Debug)]
struct Event {
    at_ns: u64,
    place: RecordPlace,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// Handed out, the time being that of its arrival, and written out with this value.
    Out(String),
    /// Written out by a command, nobody knows when.
    Did(String),
    Accepted,
    Rejected,
}

impl Books {
    /// Reads what one process wrote. A last line without an end was cut by its death.
    pub(super) fn read(&mut self, output: &Path) {
        let text = std::fs::read_to_string(output).expect("an output can be read");
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => self.note(line),
                None => self.cut += 1,
            }
        }
    }

    fn note(&mut self, line: &str) {
        let mut words = line.splitn(6, ' ');
        let what = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (Some(at_ns), Some(partition), Some(offset)) = (number(), number(), number()) else {
            panic!("no time and place: {line}")
        };
        let mut value = || words.nth(1).unwrap_or_default().to_owned();
        let what = match what {
            "out" => What::Out(value()),
            "did" => What::Did(value()),
            "accepted" => What::Accepted,
            "rejected" => What::Rejected,
            _ => panic!("a member does not write {line}"),
        };
        self.events.push(Event { at_ns, place: (partition as u32, offset), what });
    }

    /// Compares with the lines of the log and with the dead letters.
    ///
    /// # Panics
    ///
    /// If a line was worked on by nobody, came again after its verdict was answered, or is not
    /// among the dead letters although it should be, or the other way round.
    pub(super) fn compare(
        mut self,
        lines: &BTreeMap<RecordPlace, &str>,
        letters: &[(RecordPlace, String)],
        tally: &mut WorkQueueTally,
    ) {
        self.events.sort_by_key(|event| event.at_ns);
        let mut outs: BTreeMap<RecordPlace, u64> = BTreeMap::new();
        let mut answered: BTreeMap<RecordPlace, u64> = BTreeMap::new();
        for Event { at_ns, place, what } in &self.events {
            let Some(line) = lines.get(place) else { panic!("{place:?} is not in the log") };
            match what {
                // Who was to give the command its record died over it.
                What::Did(value) if value != line && line.starts_with(value) => self.cut += 1,
                What::Out(value) | What::Did(value) => {
                    assert_eq!(value, line, "{place:?} was changed");
                    *outs.entry(*place).or_default() += 1;
                    tally.by_command += u64::from(matches!(what, What::Did(_)));
                }
                What::Accepted | What::Rejected => {
                    let is_right = is_rejected(place.0, place.1) == (*what == What::Rejected);
                    assert!(is_right, "{place:?} got another verdict than it was to get");
                    answered.insert(*place, *at_ns);
                }
            }
            if let (What::Out(_), Some(before)) = (what, answered.get(place)) {
                let later_ms = (at_ns - before) / 1_000_000;
                panic!("{place:?} was settled, which was answered, and came {later_ms} ms later");
            }
        }
        let nobody = lines.keys().find(|place| !outs.contains_key(place));
        assert_eq!(nobody, None, "a line was worked on by nobody");
        tally.lines = lines.len() as u64;
        tally.written = outs.values().sum();
        tally.written_again = outs.values().filter(|count| **count > 1).count() as u64;
        tally.written_most = outs.values().copied().max().unwrap_or(0);
        tally.answered = answered.len() as u64;
        tally.cut = self.cut;
        compare_letters(lines, letters, tally);
    }
}

/// Each rejected line is a dead letter, and nothing else is.
fn compare_letters(
    lines: &BTreeMap<RecordPlace, &str>,
    letters: &[(RecordPlace, String)],
    tally: &mut WorkQueueTally,
) {
    let mut counts: BTreeMap<RecordPlace, u64> = BTreeMap::new();
    for (place, value) in letters {
        assert_eq!(lines.get(place), Some(&value.as_str()), "the dead letter of {place:?}");
        assert!(is_rejected(place.0, place.1), "{place:?} is a dead letter, and was not rejected");
        *counts.entry(*place).or_default() += 1;
    }
    let rejected = lines.keys().filter(|place| is_rejected(place.0, place.1));
    let missing = rejected.clone().find(|place| !counts.contains_key(place));
    assert_eq!(missing, None, "a rejected line is no dead letter");
    tally.letters = rejected.count() as u64;
    tally.letters_again = letters.len() as u64 - tally.letters;
    assert!(
        tally.letters_again <= tally.toll.kills() * LETTERS_AT_ONCE,
        "{} dead letters are there again, after {} kills",
        tally.letters_again,
        tally.toll.kills()
    );
}

/// Copies that a kill may interrupt at once: what all members together have in hand.
const LETTERS_AT_ONCE: u64 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Toll;

    /// Offset 13 of partition 0 is to be rejected.
    const LINES: [(RecordPlace, &str); 2] = [((0, 0), "a b"), ((0, 13), "c")];
    const RIGHT: [&str; 4] =
        ["out 1 0 0 1 a b", "accepted 2 0 0", "out 3 0 13 1 c", "rejected 4 0 13"];

    fn compare(said: &[&str], letters: &[(RecordPlace, &str)]) -> WorkQueueTally {
        let mut books = Books::default();
        said.iter().for_each(|line| books.note(line));
        let mut tally = WorkQueueTally {
            toll: Toll { members: 1, ..Toll::default() },
            ..WorkQueueTally::default()
        };
        let letters: Vec<_> =
            letters.iter().map(|(place, value)| (*place, (*value).to_owned())).collect();
        books.compare(&LINES.into_iter().collect(), &letters, &mut tally);
        tally
    }

    #[test]
    fn lines_may_be_worked_on_twice_before_they_are_settled() {
        let said = [&["out 0 0 0 1 a b", "did 0 0 0 1 a b"], &RIGHT[..]].concat();
        let tally = compare(&said, &[LINES[1], LINES[1]]);
        assert_eq!((tally.written, tally.written_again, tally.written_most), (4, 1, 3));
        assert_eq!((tally.letters, tally.letters_again, tally.answered), (1, 1, 2));
    }

    #[test]
    #[should_panic(expected = "was settled, which was answered, and came")]
    fn a_record_that_comes_after_its_verdict_was_answered_is_found() {
        compare(&[&RIGHT[..], &["out 5 0 0 1 a b"]].concat(), &[LINES[1]]);
    }

    #[test]
    #[should_panic(expected = "a line was worked on by nobody")]
    fn a_line_that_nobody_worked_on_is_found() {
        compare(&RIGHT[2..], &[LINES[1]]);
    }

    #[test]
    #[should_panic(expected = "was changed")]
    fn a_line_that_was_changed_is_found() {
        compare(&["out 1 0 0 1 a c"], &[]);
    }

    #[test]
    #[should_panic(expected = "a rejected line is no dead letter")]
    fn a_dead_letter_that_is_missing_is_found() {
        compare(&RIGHT, &[]);
    }

    #[test]
    #[should_panic(expected = "is a dead letter, and was not rejected")]
    fn a_dead_letter_that_should_not_be_is_found() {
        compare(&RIGHT, &LINES);
    }
}
