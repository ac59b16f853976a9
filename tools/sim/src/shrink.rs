//! Makes a failing scenario smaller: leaves parts out for as long as it still fails.
//!
//! What a newcomer gets wrong: leaving something out changes all that chance does afterwards, so a
//! smaller scenario may fail in another way. It is a failure all the same.

use crate::campaign::attempt;
use crate::ledger::Violation;
use crate::scenario::{DiskFault, Part, Scenario, What};

/// The smallest failing scenario that at most `attempts` runs find, and how it fails.
#[must_use]
pub fn shrink(scenario: &Scenario, violation: Violation, attempts: u32) -> (Scenario, Violation) {
    let mut shrinking = Shrinking { best: scenario.clone(), violation, left: attempts };
    loop {
        let before = shrinking.best.parts();
        shrinking.drop_lives();
        shrinking.drop_acts();
        shrinking.drop_cuts();
        shrinking.drop_the_cast();
        shrinking.tame_faults();
        if shrinking.best.parts() == before || shrinking.left == 0 {
            return (shrinking.best, shrinking.violation);
        }
    }
}

struct Shrinking {
    best: Scenario,
    violation: Violation,
    left: u32,
}

impl Shrinking {
    /// Takes `candidate` if it still fails.
    fn offer(&mut self, candidate: Scenario) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        match attempt(&candidate, None) {
            Ok(_) => false,
            Err(violation) => {
                (self.best, self.violation) = (candidate, violation);
                true
            }
        }
    }

    fn drop_lives(&mut self) {
        for life in (0..self.best.lives.len()).rev() {
            self.offer(self.best.without(Part::Life(life)));
        }
    }

    /// Halves, quarters, and so on, of each life's acts.
    fn drop_acts(&mut self) {
        for life in 0..self.best.lives.len() {
            let mut size = self.best.lives[life].acts.len().div_ceil(2);
            while size > 0 {
                let mut start = 0;
                while start < self.best.lives[life].acts.len() {
                    let mut candidate = self.best.clone();
                    let acts = &mut candidate.lives[life].acts;
                    let end = acts.len().min(start + size);
                    acts.drain(start..end);
                    if !self.offer(candidate) {
                        start += size;
                    }
                }
                size /= 2;
            }
        }
    }

    fn drop_cuts(&mut self) {
        for life in 0..self.best.lives.len() {
            let mut candidate = self.best.clone();
            if candidate.lives[life].cut_after.take().is_some() {
                self.offer(candidate);
            }
            let mut candidate = self.best.clone();
            if candidate.lives[life].cut_at_flush.take().is_some() {
                self.offer(candidate);
            }
            let mut candidate = self.best.clone();
            if candidate.lives[life].cut_at_served_flush.take().is_some() {
                self.offer(candidate);
            }
            let mut candidate = self.best.clone();
            if candidate.lives[life].cut_at_append.take().is_some() {
                self.offer(candidate);
            }
            let mut candidate = self.best.clone();
            if candidate.lives[life].cut_at_removal.take().is_some() {
                self.offer(candidate);
            }
            let mut candidate = self.best.clone();
            if candidate.lives[life].cut_at_compaction.take().is_some() {
                self.offer(candidate);
            }
        }
    }

    /// Topics, groups, clients and partitions, each with what is said of it.
    fn drop_the_cast(&mut self) {
        let is_of_it = |part: &Part| !matches!(part, Part::Life(_) | Part::Act(..));
        let cast = |scenario: &Scenario| -> Vec<Part> {
            scenario.removable().into_iter().filter(is_of_it).collect()
        };
        // From the last one on: those before it keep their numbers.
        let mut left = cast(&self.best);
        while let Some(part) = left.pop() {
            if self.offer(self.best.without(part)) {
                left = cast(&self.best).into_iter().filter(|it| left.contains(it)).collect();
            }
        }
    }

    /// Plainer faults instead of those that do more.
    fn tame_faults(&mut self) {
        for fault in [DiskFault::SyncDrops, DiskFault::ShortWrite] {
            let mut candidate = self.best.clone();
            let acts = candidate.lives.iter_mut().flat_map(|life| &mut life.acts);
            for act in acts {
                if let What::Fault { kind, .. } = &mut act.what
                    && *kind == fault
                {
                    *kind = if fault == DiskFault::SyncDrops {
                        DiskFault::Sync
                    } else {
                        DiskFault::Write
                    };
                }
            }
            self.offer(candidate);
        }
    }
}
