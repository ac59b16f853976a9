//! What is known of each job: who was told what, over all lives on a disk.
//!
//! What a newcomer gets wrong: a job may come often before its verdict is answered, and its dead
//! letter be there twice. What must not be: that it comes after the answer, or never.

use std::collections::{BTreeMap, BTreeSet};

use super::member::{Heard, Place, Verdict, is_rejected};
use crate::tally::all_happened;

/// Everything that members said, and the dead letters that were found last.
#[derive(Default)]
pub(super) struct Book {
    jobs: BTreeMap<Place, Job>,
    /// By the number of the job, how often it is there.
    letters: BTreeMap<u64, u64>,
    tally: WorkersTally,
}

struct Job {
    id: u64,
    /// Somebody was about to give a final verdict: it may have been taken.
    is_judged: bool,
    /// A final verdict was answered.
    is_settled: bool,
}

/// What members did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkersTally {
    /// Jobs that were handed out, each as often as it was.
    pub(crate) handed: u64,
    /// Verdicts that were answered.
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) released: u64,
    /// Dead letters that were found at the end, and those of them that are there again.
    pub(crate) letters: u64,
    pub(crate) letters_again: u64,
    /// How often everything that was there was worked off, and nothing was missing.
    pub(crate) worked_off: u64,
}

impl Book {
    /// In the order in which it came to pass.
    pub(super) fn hear(&mut self, heard: Heard) -> Result<(), String> {
        match heard {
            Heard::Handed { place, id } => {
                self.tally.handed += 1;
                let unknown = Job { id, is_judged: false, is_settled: false };
                let job = self.jobs.entry(place).or_insert(unknown);
                if job.id != id {
                    return Err(format!("{place:?} was given to job {:#x} and to {id:#x}", job.id));
                }
                if job.is_settled {
                    return Err(format!("job {id:#x} at {place:?} was settled, and is back"));
                }
            }
            Heard::Given { place, verdict } => {
                let job = self.jobs.get_mut(&place).ok_or("a verdict on what nobody has")?;
                job.is_judged |= verdict != Verdict::Released;
            }
            Heard::Answered { place, verdict } => {
                let job = self.jobs.get_mut(&place).ok_or("an answer on what nobody has")?;
                job.is_settled |= verdict != Verdict::Released;
                match verdict {
                    Verdict::Accepted => self.tally.accepted += 1,
                    Verdict::Rejected => self.tally.rejected += 1,
                    Verdict::Released => self.tally.released += 1,
                }
            }
        }
        Ok(())
    }

    /// All dead letters that are there, by the numbers of their jobs, each of which somebody was
    /// about to reject. That one is missing says nothing yet: a rejection that is answered may wait
    /// to be copied.
    pub(super) fn compare_letters(
        &mut self,
        letters: impl Iterator<Item = u64>,
    ) -> Result<(), String> {
        self.letters.clear();
        for id in letters {
            *self.letters.entry(id).or_default() += 1;
        }
        let is_judged = |job: &&Job| job.is_judged && is_rejected(job.id);
        let judged = self.jobs.values().filter(is_judged).map(|job| job.id);
        let judged: BTreeSet<u64> = judged.collect();
        match self.letters.keys().find(|id| !judged.contains(id)) {
            Some(id) => Err(format!("job {id:#x} is a dead letter, and was not rejected")),
            None => Ok(()),
        }
    }

    /// The group has passed all these jobs (partition, offset, number), and the dead letters were
    /// compared since: each was judged, and each that was to be rejected has a letter.
    pub(super) fn compare_worked_off(&mut self, jobs: &[(u32, u64, u64)]) -> Result<(), String> {
        for (partition, offset, id) in jobs {
            let job = self.jobs.get(&(*partition, *offset));
            if !job.is_some_and(|job| job.id == *id && job.is_judged) {
                let place = (partition, offset);
                return Err(format!("job {id:#x} at {place:?} is gone: nobody has settled it"));
            }
        }
        let letters = jobs.iter().map(|(_, _, id)| id).filter(|id| is_rejected(**id));
        if let Some(id) = { letters }.find(|id| !self.letters.contains_key(id)) {
            return Err(format!("the dead letter of job {id:#x} is gone"));
        }
        self.tally.worked_off += 1;
        Ok(())
    }

    pub(super) fn tally(&self) -> WorkersTally {
        let letters: u64 = self.letters.values().sum();
        let letters_again = letters - self.letters.len() as u64;
        WorkersTally { letters, letters_again, ..self.tally }
    }
}

impl WorkersTally {
    /// Did what it is about happen? Otherwise, in words, what did not.
    pub(crate) fn proved(&self) -> Result<(), String> {
        all_happened(&[
            (self.accepted, "no job was accepted"),
            (self.rejected, "no job was rejected"),
            (self.released, "no job was released"),
            (self.worked_off, "the jobs were never worked off"),
        ])
    }

    /// Both together.
    pub(crate) fn and(self, other: WorkersTally) -> WorkersTally {
        WorkersTally {
            handed: self.handed + other.handed,
            accepted: self.accepted + other.accepted,
            rejected: self.rejected + other.rejected,
            released: self.released + other.released,
            letters: self.letters + other.letters,
            letters_again: self.letters_again + other.letters_again,
            worked_off: self.worked_off + other.worked_off,
        }
    }

    /// Names and values for a table.
    pub(crate) fn rows(&self) -> [(&'static str, String); 3] {
        let WorkersTally { handed, accepted, rejected, released, letters, .. } = *self;
        [
            ("jobs handed out / accepted / rejected / released, answered", {
                format!("{handed} / {accepted} / {rejected} / {released}")
            }),
            ("  all worked off and none forgotten, so often", self.worked_off.to_string()),
            ("dead letters / of them there again", format!("{letters} / {}", self.letters_again)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To be accepted, and to be rejected.
    const PLAIN: (Place, u64) = ((0, 0), 1);
    const FAULTY: (Place, u64) = ((0, 1), 7);

    fn heard(jobs: &[((Place, u64), Verdict)]) -> Book {
        let mut book = Book::default();
        for ((place, id), verdict) in jobs {
            let (place, id, verdict) = (*place, *id, *verdict);
            book.hear(Heard::Handed { place, id }).unwrap();
            book.hear(Heard::Given { place, verdict }).unwrap();
            book.hear(Heard::Answered { place, verdict }).unwrap();
        }
        book
    }

    #[test]
    fn what_was_released_may_come_again_and_what_was_settled_may_not() {
        let mut book = heard(&[(PLAIN, Verdict::Released), (PLAIN, Verdict::Accepted)]);
        let said = book.hear(Heard::Handed { place: PLAIN.0, id: PLAIN.1 });
        assert_eq!(said.unwrap_err(), "job 0x1 at (0, 0) was settled, and is back");
        assert_eq!((book.tally().accepted, book.tally().released), (1, 1));
    }

    #[test]
    fn what_was_given_and_not_answered_may_come_again() {
        let mut book = Book::default();
        let (place, id) = PLAIN;
        let verdict = Verdict::Accepted;
        book.hear(Heard::Handed { place, id }).unwrap();
        book.hear(Heard::Given { place, verdict }).unwrap();
        book.hear(Heard::Handed { place, id }).unwrap();
        book.compare_worked_off(&[(0, 0, 1)]).unwrap();
    }

    #[test]
    fn a_place_that_had_another_job_is_found() {
        let mut book = heard(&[(PLAIN, Verdict::Released)]);
        let said = book.hear(Heard::Handed { place: PLAIN.0, id: 2 });
        assert_eq!(said.unwrap_err(), "(0, 0) was given to job 0x1 and to 0x2");
    }

    #[test]
    fn a_job_that_was_only_released_and_is_passed_is_found() {
        let mut book = heard(&[(PLAIN, Verdict::Released)]);
        let said = book.compare_worked_off(&[(0, 0, 1)]);
        assert_eq!(said.unwrap_err(), "job 0x1 at (0, 0) is gone: nobody has settled it");
    }

    #[test]
    fn a_dead_letter_that_is_missing_is_found() {
        let mut book = heard(&[(FAULTY, Verdict::Rejected)]);
        book.compare_letters([7, 7].into_iter()).unwrap();
        book.compare_worked_off(&[(0, 1, 7)]).unwrap();
        assert_eq!((book.tally().letters, book.tally().letters_again), (2, 1));
        book.compare_letters(std::iter::empty()).unwrap();
        let said = book.compare_worked_off(&[(0, 1, 7)]);
        assert_eq!(said.unwrap_err(), "the dead letter of job 0x7 is gone");
    }

    #[test]
    fn a_dead_letter_of_what_was_not_rejected_is_found() {
        let mut book = heard(&[(PLAIN, Verdict::Accepted), (FAULTY, Verdict::Released)]);
        for id in [PLAIN.1, FAULTY.1] {
            let said = book.compare_letters(std::iter::once(id));
            assert_eq!(
                said.unwrap_err(),
                format!("job {id:#x} is a dead letter, and was not rejected")
            );
        }
    }
}
