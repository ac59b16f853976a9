//! What is known of each committed offset: what was asked for and answered, over all lives on a
//! disk.
//!
//! What a newcomer gets wrong: between what was answered and what was asked for any offset may be
//! the committed one, until a start says which. From then on it is that one, for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::member::{Heard, Manner};
use super::tally::ReadersTally;

/// Everything that members and operators said, and which records were found.
pub(super) struct Book {
    partitions: Vec<Partition>,
    tally: ReadersTally,
}

#[derive(Clone, Default)]
struct Partition {
    /// Offsets of records that are on disk.
    there: BTreeSet<u64>,
    handed: BTreeSet<u64>,
    /// Committed is at least what was answered and at most what was asked for...
    answered: u64,
    asked: u64,
    /// ... or what an operator has asked for and not been told.
    reset: Option<u64>,
    /// Who was given it, and not yet a record of it.
    newcomer: Option<usize>,
    /// Where somebody began, and what was asked for before.
    begun: Vec<(u64, u64)>,
}

impl Book {
    /// Nobody has read anything.
    pub(super) fn new(partitions: u32) -> Book {
        let partitions = vec![Partition::default(); partitions as usize];
        Book { partitions, tally: ReadersTally::default() }
    }

    /// These records (partition, offset, number) are on disk, and none between them.
    pub(super) fn found(&mut self, records: &[(u32, u64, u64)]) {
        for (partition, offset, _) in records {
            self.partitions[*partition as usize].there.insert(*offset);
        }
    }

    /// In the order in which it came to pass.
    pub(super) fn hear(&mut self, heard: Heard) -> Result<(), String> {
        let Book { partitions, tally } = self;
        match heard {
            Heard::Given { member, partition } => {
                partitions[partition as usize].newcomer = Some(member);
            }
            Heard::Handed { member, partition, offset, .. } => {
                let of = &mut partitions[partition as usize];
                tally.handed += 1;
                tally.again += u64::from(!of.handed.insert(offset));
                if of.newcomer == Some(member) {
                    of.newcomer = None;
                    return of.begin(offset).map_err(|why| format!("{}: {why}", name(partition)));
                }
            }
            Heard::Asked { manner, partition, offset } => {
                let of = &mut partitions[partition as usize];
                let is_unawaited = manner == Manner::Unawaited && offset > of.asked;
                tally.unawaited += u64::from(is_unawaited);
                of.asked = of.asked.max(offset);
            }
            Heard::Answered { manner, partition, asked, committed } => {
                let is_of_record = manner == Manner::ByRecord;
                tally.by_record += u64::from(is_of_record);
                tally.by_batch += u64::from(!is_of_record);
                let answered = partitions[partition as usize].answer(asked, committed);
                return answered.map_err(|why| format!("{}: {why}", name(partition)));
            }
            Heard::ResetAsked { partition, offset } => {
                partitions[partition as usize].reset = Some(offset);
            }
            Heard::ResetAnswered { partition, committed } => {
                let of = &mut partitions[partition as usize];
                if of.reset.is_none() || of.reset != committed {
                    let said = format!("a reset to {:?} is answered with {committed:?}", of.reset);
                    return Err(format!("{}: {said}", name(partition)));
                }
                of.stand_at(committed.unwrap_or_default());
                tally.resets += 1;
            }
        }
        Ok(())
    }

    /// A server has started. A partition of which nothing is committed is at its beginning.
    pub(super) fn compare_after_start(
        &mut self,
        committed: &BTreeMap<u32, u64>,
    ) -> Result<(), String> {
        for (partition, of) in (0..).zip(&self.partitions) {
            of.count_cut(committed_of(committed, partition), &mut self.tally);
        }
        self.compare(committed)
    }

    /// Everything that was found lies before what is committed: each record was handed to somebody.
    pub(super) fn compare_worked_off(
        &mut self,
        committed: &BTreeMap<u32, u64>,
    ) -> Result<(), String> {
        self.compare(committed)?;
        for (partition, of) in (0..).zip(&self.partitions) {
            if let Some(offset) = of.there.difference(&of.handed).next() {
                return Err(format!("{}: {offset} is gone: nobody was handed it", name(partition)));
            }
        }
        self.tally.worked_off += 1;
        Ok(())
    }

    /// What is committed is what may be, and so it was whenever somebody began. Nobody is a member.
    fn compare(&mut self, committed: &BTreeMap<u32, u64>) -> Result<(), String> {
        for (partition, of) in (0..).zip(&mut self.partitions) {
            let at = committed_of(committed, partition);
            let compared = of.compare(at).map_err(|why| format!("{}: {why}", name(partition)));
            self.tally.begun += compared?;
            self.tally.compared += 1;
            of.stand_at(at);
            of.newcomer = None;
        }
        Ok(())
    }

    /// The committed offset of each partition, after a comparison.
    pub(super) fn committed(&self) -> Vec<u64> {
        self.partitions.iter().map(|of| of.answered).collect()
    }

    pub(super) fn tally(&self) -> ReadersTally {
        self.tally
    }
}

fn committed_of(committed: &BTreeMap<u32, u64>, partition: u32) -> u64 {
    committed.get(&partition).copied().unwrap_or(0)
}

fn name(partition: u32) -> String {
    format!("partition {partition} of the readers")
}

impl Partition {
    /// Somebody new is handed this one first.
    fn begin(&mut self, offset: u64) -> Result<(), String> {
        if offset < self.answered {
            return Err(format!("{} is gone: somebody began at {offset}", self.committed_words()));
        }
        self.begun.push((offset, self.asked));
        // That one was told what is committed, which is durable then, and behind all before.
        if let Some(before) = self.handed.range(..offset).next_back() {
            self.answered = self.answered.max(before + 1);
        }
        Ok(())
    }

    fn answer(&mut self, asked: u64, committed: u64) -> Result<(), String> {
        if committed < asked || committed > self.asked {
            let most = self.asked;
            return Err(format!(
                "a commit of {asked} is answered with {committed}, and the most that was asked \
                 for is {most}"
            ));
        }
        self.answered = self.answered.max(committed);
        Ok(())
    }

    /// How many began in it.
    fn compare(&mut self, at: u64) -> Result<u64, String> {
        let is_reset = self.reset == Some(at);
        if at < self.answered && !is_reset {
            return Err(format!("{} is gone: it stands at {at}", self.committed_words()));
        }
        if at > self.asked && !is_reset {
            let asked = self.asked;
            return Err(format!("{at} is committed, and nobody asked for more than {asked}"));
        }
        for &(first, asked) in &self.begun {
            if let Some(missed) = self.there.range(asked..first).next() {
                return Err(format!("{missed} is gone: somebody began at {first} behind {asked}"));
            }
        }
        if let Some(missed) = self.there.range(..at).find(|it| !self.handed.contains(it)) {
            return Err(format!("{missed} is gone: nobody was handed it, and {at} is committed"));
        }
        Ok(self.begun.drain(..).count() as u64)
    }

    /// What became of that which was under way when the power was cut.
    fn count_cut(&self, at: u64, tally: &mut ReadersTally) {
        if let Some(reset) = self.reset {
            tally.resets_taken += u64::from(at == reset);
            tally.resets_not_taken += u64::from(at != reset);
        } else if self.asked > self.answered {
            tally.taken += u64::from(at > self.answered);
            tally.not_taken += u64::from(at == self.answered);
        }
    }

    /// From now on this is committed and nothing else.
    fn stand_at(&mut self, offset: u64) {
        (self.answered, self.asked, self.reset) = (offset, offset, None);
    }

    fn committed_words(&self) -> String {
        let reset = self.reset.map(|to| format!(", or a reset to {to},")).unwrap_or_default();
        format!("the committed offset {}{reset}", self.answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEHIND_4: [Heard; 2] = [asked(4), answered(4)];

    const fn asked(offset: u64) -> Heard {
        Heard::Asked { manner: Manner::ByBatch, partition: 0, offset }
    }

    const fn answered(offset: u64) -> Heard {
        let (manner, partition) = (Manner::ByBatch, 0);
        Heard::Answered { manner, partition, asked: offset, committed: offset }
    }

    const fn handed(offset: u64) -> Heard {
        Heard::Handed { member: 0, partition: 0, offset, id: 7 }
    }

    /// Six records, of which four were handed out.
    fn book(then: &[Heard]) -> Book {
        let mut book = Book::new(1);
        book.found(&[0, 1, 2, 3, 4, 5].map(|offset| (0, offset, 7)));
        for heard in [0, 1, 2, 3].map(handed).iter().chain(then) {
            book.hear(*heard).unwrap();
        }
        book
    }

    fn restarted(book: &mut Book, at: u64) -> Result<(), String> {
        book.compare_after_start(&BTreeMap::from([(0, at)]))
    }

    #[test]
    fn a_commit_that_was_answered_and_is_gone_is_found() {
        let said = restarted(&mut book(&BEHIND_4), 3).unwrap_err();
        let gone = "partition 0 of the readers: the committed offset 4 is gone: it stands at 3";
        assert_eq!(said, gone);
        restarted(&mut book(&BEHIND_4), 4).unwrap();
    }

    #[test]
    fn a_commit_that_was_not_answered_may_have_been_taken_or_not_and_stays_so() {
        for at in [0, 4] {
            let mut book = book(&[asked(4)]);
            restarted(&mut book, at).unwrap();
            assert_eq!((book.tally().taken, book.tally().not_taken), (at / 4, 1 - at / 4));
            assert!(restarted(&mut book, 4 - at).is_err());
            restarted(&mut book, at).unwrap();
        }
    }

    #[test]
    fn an_offset_that_nobody_has_asked_for_is_found() {
        let said = restarted(&mut book(&[asked(2)]), 4).unwrap_err();
        assert!(said.ends_with("4 is committed, and nobody asked for more than 2"), "{said}");
        let mut book = book(&[asked(2)]);
        assert!(book.hear(answered(4)).unwrap_err().contains("is answered with 4"));
    }

    #[test]
    fn a_committed_record_that_nobody_was_handed_is_found() {
        let said = restarted(&mut book(&[asked(5)]), 5).unwrap_err();
        assert!(said.ends_with("4 is gone: nobody was handed it, and 5 is committed"), "{said}");
    }

    #[test]
    fn who_comes_then_begins_where_it_is_committed() {
        let given = Heard::Given { member: 0, partition: 0 };
        let mut before = book(&BEHIND_4);
        before.hear(given).unwrap();
        assert!(before.hear(handed(3)).unwrap_err().ends_with("somebody began at 3"));

        let [asked, answered] = BEHIND_4;
        let mut behind = book(&[asked, answered, given, handed(5)]);
        let said = restarted(&mut behind, 4).unwrap_err();
        assert!(said.ends_with("4 is gone: somebody began at 5 behind 4"), "{said}");

        let mut there = book(&[asked, answered, given, handed(4), handed(5)]);
        restarted(&mut there, 4).unwrap();
        assert_eq!(there.tally().begun, 1);
    }

    #[test]
    fn what_somebody_began_behind_is_committed_whether_it_was_answered_or_not() {
        let given = Heard::Given { member: 0, partition: 0 };
        for (at, is_right) in [(3, false), (4, true)] {
            let mut book = book(&[asked(4), given, handed(4)]);
            assert_eq!(restarted(&mut book, at).is_ok(), is_right, "{at}");
        }
    }

    #[test]
    fn a_reset_that_was_not_answered_stands_or_not_and_one_that_was_stands() {
        let [asked, answered] = BEHIND_4;
        let reset = Heard::ResetAsked { partition: 0, offset: 1 };
        for (at, is_right) in [(1, true), (2, false), (4, true)] {
            let outcome = restarted(&mut book(&[asked, answered, reset]), at);
            assert_eq!(outcome.is_ok(), is_right, "{at}");
        }
        let done = Heard::ResetAnswered { partition: 0, committed: Some(1) };
        for (at, is_right) in [(0, false), (1, true), (4, false)] {
            let outcome = restarted(&mut book(&[asked, answered, reset, done]), at);
            assert_eq!(outcome.is_ok(), is_right, "{at}");
        }
        let other = Heard::ResetAnswered { partition: 0, committed: Some(4) };
        assert!(book(&[reset]).hear(other).is_err());
    }

    #[test]
    fn at_the_end_a_record_that_nobody_was_handed_is_found() {
        let mut book = book(&BEHIND_4);
        let at = BTreeMap::from([(0, 4)]);
        let said = book.compare_worked_off(&at).unwrap_err();
        assert!(said.ends_with("4 is gone: nobody was handed it"), "{said}");
        [4, 5].map(handed).into_iter().for_each(|heard| book.hear(heard).unwrap());
        book.compare_worked_off(&at).unwrap();
    }
}
