//! The end of a life: a stop or a crash, and what the next life must have.

use super::{Crash, Cut, World};

impl World {
    /// A clean stop.
    pub(crate) fn stop(&mut self) -> Result<(), Cut> {
        let now = self.clock.now;
        for storage in &mut self.life().shards {
            storage.stop(now);
        }
        let mut bound = 0;
        loop {
            self.pump();
            let life = self.life();
            if life.stopped == life.shards.len() {
                break;
            }
            assert!(self.step()?, "a stop does not end");
            bound += 1;
            assert!(bound < 100_000, "a stop does not end");
        }
        let failed = !self.life().failed.is_empty();
        for partition in self.model.values_mut() {
            partition.must = if failed { partition.disk } else { partition.end() };
            partition.may_jump |= failed;
            partition.checked = false;
            if !failed {
                let seen = partition.seen.expect("seen");
                assert!(seen.disk >= partition.end(), "a stop leaves {seen:?}");
            }
        }
        while self.machine.disk.pending() > 0 {
            self.step()?;
        }
        self.life = None;
        self.machine.disk.kill();
        Ok(())
    }

    /// The life ends at once.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.die();
        let served = core::mem::take(&mut self.served);
        match crash {
            Crash::Kill => self.machine.disk.kill(),
            Crash::KillLosingArenas => {
                self.machine.disk.kill();
                self.images.clear();
            }
            Crash::Power(survival) => {
                self.machine.disk.power_loss_leaving(survival);
                self.images.clear();
                self.boot += 1;
            }
        }
        let keeps_memory = crash == Crash::Kill;
        for partition in self.model.values_mut() {
            partition.may_jump |= !keeps_memory;
            let served = served && partition.checked;
            partition.checked = false;
            partition.must = match (served, keeps_memory) {
                // A start that was cut off before it had served has shown nothing new.
                (false, true) => partition.must,
                (false, false) => partition.must.min(partition.disk),
                (true, true) => partition.shown,
                (true, false) => partition.disk,
            };
            partition.seen = None;
        }
    }
}
