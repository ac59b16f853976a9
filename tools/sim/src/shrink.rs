//! Makes a failing scenario smaller: leaves parts out for as long as it still fails.
//!
//! What a newcomer gets wrong: leaving something out changes all that chance does afterwards, so a
//! smaller scenario may fail in another way. It is a failure all the same.

use crate::campaign::attempt;
use crate::ledger::Violation;
use crate::scenario::{DiskFault, Scenario, What};

/// The smallest failing scenario that at most `attempts` runs find, and how it fails.
#[must_use]
pub fn shrink(scenario: &Scenario, violation: Violation, attempts: u32) -> (Scenario, Violation) {
    let mut shrinking = Shrinking { best: scenario.clone(), violation, left: attempts };
    loop {
        let before = shrinking.best.parts();
        shrinking.drop_lives();
        shrinking.drop_acts();
        shrinking.drop_cuts();
        shrinking.drop_clients();
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
            let mut candidate = self.best.clone();
            candidate.lives.remove(life);
            self.offer(candidate);
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
        }
    }

    /// The last of the consumers and producers, if nothing else is said of them.
    fn drop_clients(&mut self) {
        while self.best.consumers.len() > 1 {
            let mut candidate = self.best.clone();
            candidate.consumers.pop();
            if !self.offer(candidate) {
                break;
            }
        }
        while !self.best.groups.is_empty() {
            let mut candidate = self.best.clone();
            candidate.groups.pop();
            if !self.offer(candidate) {
                break;
            }
        }
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
