//! The wounds that are dealt in memory, shared among threads.
//!
//! Each wound is drawn from the seed and its own number, so that the number of threads changes
//! nothing of it. What a newcomer gets wrong: a thread has its own files and disk, which are healed
//! after each wound; the disk's pages are shared until they are written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use plimsoll_sim::Disk;
use plimsoll_storage::PartitionId;
use plimsoll_tests::Random;

use super::files::Files;
use super::judge::{Served, Verified, judge};
use super::replay::{Answer, disk_of, replay};
use super::structures::Structure;
use super::tally::Tally;
use super::wound::{Places, Wound};
use crate::violation::Violation;

/// What is told of broken promises before the rest is only counted.
const TOLD_MAX: u64 = 20;

/// A sound directory, and how often it is damaged.
pub(crate) struct Ward<'a> {
    pub(crate) seed: u64,
    pub(crate) flips: u64,
    /// Flips and blocks together.
    pub(crate) wounds: u64,
    pub(crate) threads: u64,
    pub(crate) files: &'a Files,
    pub(crate) older: &'a [Files],
    pub(crate) places: &'a Places,
    pub(crate) ids: &'a [PartitionId],
    /// What readers should get.
    pub(crate) sound: &'a BTreeMap<PartitionId, Answer>,
}

impl Ward<'_> {
    /// Deals them all: what became of them, and how many broke a promise.
    pub(crate) fn run(&self) -> Result<(Tally, u64), Violation> {
        let (done, broken) = (AtomicU64::new(0), AtomicU64::new(0));
        let tallies = std::thread::scope(|scope| {
            let work = |thread| {
                let (done, broken) = (&done, &broken);
                scope.spawn(move || self.deal_every(thread, done, broken))
            };
            let threads: Vec<_> = (0..self.threads).map(work).collect();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined.map(|tally| tally.map_err(Violation::of)).collect::<Vec<_>>()
        });
        let mut all = Tally::default();
        for tally in tallies {
            all.take(tally?);
        }
        Ok((all, broken.into_inner()))
    }

    /// The wounds of one thread.
    fn deal_every(&self, thread: u64, done: &AtomicU64, broken: &AtomicU64) -> Tally {
        let (mut files, disk) = (self.files.clone(), disk_of(self.files));
        let (mut tally, begun, mut said) = (Tally::default(), Instant::now(), Instant::now());
        for number in (thread..self.wounds).step_by(self.threads as usize) {
            match self.deal(number, &mut files, &disk) {
                Ok((structure, verified, served)) => tally.add(structure, verified, served),
                Err(Violation(words)) => {
                    if broken.fetch_add(1, Ordering::Relaxed) < TOLD_MAX {
                        println!("broken: wound {number}: {words}");
                    }
                }
            }
            let dealt = done.fetch_add(1, Ordering::Relaxed) + 1;
            if thread == 0 && said.elapsed().as_secs() >= 10 {
                said = Instant::now();
                eprintln!("{dealt} wounds, {:.0} s", begun.elapsed().as_secs_f64());
            }
        }
        tally
    }

    fn deal(
        &self,
        number: u64,
        files: &mut Files,
        disk: &Disk,
    ) -> Result<(Structure, Verified, Served), Violation> {
        let mut random = Random::new(Random::new(self.seed ^ number).number());
        let wound = match number < self.flips {
            true => Wound::flip(files, self.places, &mut random),
            false => Wound::block(files, self.older, self.places, &mut random),
        };
        let healing = wound.deal(files);
        let verdict = Violation::watched(|| {
            let mut disk = disk.fork();
            for (path, _) in wound.touches() {
                disk.write_file(path, &files.0[path]);
            }
            let outcome = replay(disk, self.ids, self.sound);
            judge(&wound, files, &outcome, self.sound)
        });
        healing.heal(files);
        verdict.map(|(verified, served)| (wound.structure, verified, served))
    }
}
