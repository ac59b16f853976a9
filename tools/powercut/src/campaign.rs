//! Voyages until there were cuts enough, and the controls that must not arrive.

use std::any::Any;
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll_ring::Signals;

use crate::disk::Temper;
use crate::image::Image;
use crate::machine::Machine;
use crate::tally::Tally;
use crate::voyage::{Ship, Voyage};

/// Then a new file system is made.
const CUTS_PER_VOYAGE: u32 = 20;
/// Room for what a voyage writes, and more than XFS needs at least.
const DISK_BYTES: u64 = 2 << 30;
/// A control that was not caught in so many cuts proves that the campaign proves nothing.
const CONTROL_CUTS_MAX: u32 = 60;

/// A promise that was broken.
pub(crate) struct Failure {
    pub(crate) seed: u64,
    /// Counted from 1 in its voyage, which begins with the seed.
    pub(crate) cut: u32,
    pub(crate) reason: String,
    /// What the disk held when it was last switched on, and when the failure was seen.
    before: Image,
    after: Option<Image>,
    log: String,
}

impl Failure {
    /// Was something lost? Anything else that goes wrong is no sign of a missing flush.
    pub(crate) fn is_loss(&self) -> bool {
        let signs = [
            "gone",
            "is back",
            "a hole",
            "watermark was",
            "was given to",
            "plimsoll verify",
            "Damaged",
        ];
        signs.iter().any(|sign| self.reason.contains(sign))
    }

    /// What was lost, without the rest.
    pub(crate) fn first_line(&self) -> &str {
        let mut lines = self.reason.lines();
        let damage = lines.clone().find(|line| line.starts_with("damage"));
        damage.or_else(|| lines.next()).unwrap_or_default()
    }

    /// Writes the images and the servers' log; the folder.
    pub(crate) fn keep(&self, below: &Path) -> Result<PathBuf, String> {
        let folder = below.join(format!("failure-{}-{}", self.seed, self.cut));
        let keep = || {
            fs::create_dir_all(&folder)?;
            self.before.save(&folder.join("before.img"))?;
            if let Some(after) = &self.after {
                after.save(&folder.join("after.img"))?;
            }
            fs::write(folder.join("server.log"), &self.log)
        };
        keep().map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }
}

/// SIGTERM or SIGINT, which end a campaign between two cuts. A process that is gone at once leaves
/// a thread that waits for ever: the kernel unmounts its file system then, whose disk was in it.
pub(crate) struct Interruption {
    signals: Signals,
    has_come: Cell<bool>,
}

impl Interruption {
    /// From now on signals wait until somebody looks; before other threads are begun.
    pub(crate) fn block() -> Result<Interruption, String> {
        let signals = Signals::block().map_err(|error| format!("blocking signals: {error}"))?;
        Ok(Interruption { signals, has_come: Cell::new(false) })
    }

    /// Has one come?
    pub(crate) fn has_come(&self) -> bool {
        if let Ok(Some(_)) = self.signals.wait_timeout(Duration::ZERO) {
            self.has_come.set(true);
        }
        self.has_come.get()
    }
}

/// What a campaign has to do with.
pub(crate) struct Campaign<'a> {
    pub(crate) machine: Machine,
    /// Made once; every voyage begins with it.
    pub(crate) empty: Image,
    pub(crate) folder: &'a Path,
    pub(crate) interruption: Interruption,
}

impl<'a> Campaign<'a> {
    /// Makes the file system that each voyage begins with.
    pub(crate) fn new(
        mut machine: Machine,
        folder: &'a Path,
        interruption: Interruption,
    ) -> Result<Campaign<'a>, String> {
        let empty = machine.make(DISK_BYTES)?;
        Ok(Campaign { machine, empty, folder, interruption })
    }

    /// So many cuts of this program on an honest disk, or fewer if it is interrupted.
    pub(crate) fn run(
        &mut self,
        program: &Path,
        cuts: u32,
        seed: u64,
        mut progress: impl FnMut(&Tally),
    ) -> Result<Tally, Box<Failure>> {
        let begun = Instant::now();
        let mut tally = Tally::default();
        for voyage in 0.. {
            let left = cuts - tally.cuts();
            if left == 0 {
                break;
            }
            let cuts = left.min(CUTS_PER_VOYAGE);
            let outcome = self.voyage(program, Temper::Honest, seed + voyage, cuts, &mut tally);
            tally.took = begun.elapsed();
            // What ends this program by a signal may have ended a server too.
            if self.interruption.has_come() {
                break;
            }
            outcome?;
            progress(&tally);
        }
        Ok(tally)
    }

    /// Something that must be caught: how it was, and after how many cuts. Otherwise `None`.
    pub(crate) fn control(
        &mut self,
        program: &Path,
        temper: Temper,
        seed: u64,
    ) -> Option<Box<Failure>> {
        let mut tally = Tally::default();
        for voyage in 0..u64::from(CONTROL_CUTS_MAX / CUTS_PER_VOYAGE) {
            let seed = seed + voyage;
            let caught = self.voyage(program, temper, seed, CUTS_PER_VOYAGE, &mut tally);
            if let Err(failure) = caught {
                return Some(failure);
            }
        }
        None
    }

    fn voyage(
        &mut self,
        program: &Path,
        temper: Temper,
        seed: u64,
        cuts: u32,
        tally: &mut Tally,
    ) -> Result<(), Box<Failure>> {
        let Campaign { machine, empty, folder, interruption } = self;
        let mut ship = Ship { machine, program, temper };
        let mut voyage = Voyage::new(&mut ship, tally, folder, empty.clone(), seed);
        let (mut cut, mut arrives, mut broken) = (0, false, None);
        while !arrives && broken.is_none() && !interruption.has_come() {
            arrives = cut == cuts || voyage.is_laden();
            cut += 1;
            let work =
                AssertUnwindSafe(|| if arrives { voyage.arrive() } else { voyage.cut_once() });
            broken = catch_unwind(work).unwrap_or_else(|panic| Err(told(&*panic))).err();
        }
        let Some(reason) = broken else {
            drop(voyage);
            // It is on still if it was interrupted.
            let _ = machine.off();
            return Ok(());
        };
        let (before, log) = (voyage.image().clone(), voyage.log());
        drop(voyage);
        let after = machine.disk().ok().map(|disk| disk.image());
        // The failure counts, not whether the machine can be switched off after it.
        let _ = machine.off();
        Err(Box::new(Failure { seed, cut, reason, before, after, log }))
    }
}

/// The harness panics at the first broken promise: here that is an error like any other.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(told(&*panic)))
}

/// What a panic said.
fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
