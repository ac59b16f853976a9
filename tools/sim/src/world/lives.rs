//! Life after life: a start, what is done, an end.

use core::time::Duration;

use plimsoll_device::Instant;
use plimsoll_storage::DataDirId;

use super::World;
use super::compaction::CompactionWatch;
use crate::client::SharerClient;
use crate::ledger::Violation;
use crate::process::{News, Process};
use crate::scenario::{Act, End, Life, What};

/// Things that may happen in one life before it counts as going round in circles.
const STEPS_MAX: u64 = 2_000_000;
/// How long a clean stop may take.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How often a process that ends by itself is started again in one life.
const STARTS_MAX: u32 = 8;

/// How a life went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lived {
    /// All was done.
    Whole,
    /// It is to be cut off here.
    Cut,
}

impl World<'_> {
    pub(super) fn live_all(&mut self) -> Result<(), Violation> {
        for (number, life) in self.scenario.lives.iter().enumerate() {
            self.note(|| format!("life {number}: {} shards, ends in {:?}", life.shards, life.end));
            self.start(life.shards);
            let lived = self.live(life)?;
            let stops = matches!(life.end, End::Stop | End::StopThenPower);
            let is_clean = stops && lived == Lived::Whole && self.stop()?;
            self.crash(life.end, is_clean);
        }
        self.live_last()
    }

    pub(super) fn start(&mut self, shards: u16) {
        self.has_faults = false;
        self.disk.faults.stale_room = self.scenario.settings.stale_room;
        let new_data_dir = DataDirId((1 + u128::from(self.steps)).to_le_bytes());
        self.process = Some(Process::start(&self.scenario.settings, shards, new_data_dir));
        self.ledger.starts.clock.begin(self.clock.now);
        self.with_process(Process::poll_host);
    }

    fn live(&mut self, life: &Life) -> Result<Lived, Violation> {
        let (begun, flushes) = (self.steps, self.disk.counts().syncs);
        let removed_before = self.disk.counts().removed;
        let mut flushes_served = None;
        let mut watch = CompactionWatch::default();
        let (mut starts, mut appends) = (1, 0);
        let mut acts = life.acts.iter().peekable();
        let wait = |act: Option<&&Act>, now: Instant| {
            act.map(|act| now + Duration::from_micros(act.wait_us))
        };
        let mut due = wait(acts.peek(), self.now());
        while let Some(at) = due {
            if life.cut_after.is_some_and(|after| self.steps - begun >= after) {
                return Ok(Lived::Cut);
            }
            if life.cut_at_flush.is_some_and(|at| self.disk.counts().syncs - flushes >= at) {
                return Ok(Lived::Cut);
            }
            if life
                .cut_at_removal
                .is_some_and(|at| self.disk.counts().removed - removed_before >= at)
            {
                return Ok(Lived::Cut);
            }
            if flushes_served.is_none() && self.is_serving() {
                flushes_served = Some(self.disk.counts().syncs);
            }
            if let (Some(at), Some(before)) = (life.cut_at_served_flush, flushes_served)
                && self.disk.counts().syncs - before >= at
            {
                return Ok(Lived::Cut);
            }
            if life.cut_at_compaction.is_some_and(|cut| watch.is_time(cut, &self.disk)) {
                return Ok(Lived::Cut);
            }
            if life.cut_at_append.is_some_and(|at| appends >= at)
                && self.process.as_ref().is_some_and(Process::is_within_stores)
            {
                return Ok(Lived::Cut);
            }
            if self.steps - begun > STEPS_MAX {
                return Err(Violation(format!("{STEPS_MAX} steps in one life")));
            }
            if at <= self.now() {
                if let Some(act) = acts.next() {
                    appends += u64::from(matches!(act.what, What::Append { .. }));
                    self.perform(act.what)?;
                }
                due = wait(acts.peek(), self.now());
                continue;
            }
            self.step(Some(at))?;
            if self.process.is_none() {
                starts += 1;
                if starts > STARTS_MAX {
                    return Ok(Lived::Cut);
                }
                self.start(life.shards);
            }
        }
        Ok(Lived::Whole)
    }

    /// A clean stop; gives whether everything is on disk.
    fn stop(&mut self) -> Result<bool, Violation> {
        if !self.process.as_ref().is_some_and(Process::is_serving) {
            // Signals are looked at when the server serves.
            return Ok(false);
        }
        self.note(|| "SIGTERM".to_string());
        let deadline = self.now() + STOP_MAX;
        self.with_process(|process, machine| {
            process.stop(machine.now);
            News::Nothing
        });
        let begun = self.steps;
        while !self.process.as_ref().is_some_and(Process::has_stopped) {
            if self.process.is_none() {
                return Ok(false);
            }
            self.step(Some(deadline))?;
            if self.now() >= deadline || self.steps - begun > STEPS_MAX {
                return Err(Violation("a clean stop does not end".to_string()));
            }
        }
        match self.process.take() {
            Some(process) => Ok(process.finish(&mut self.memory)),
            None => Ok(false),
        }
    }

    pub(super) fn crash(&mut self, end: End, is_clean: bool) {
        self.look_at_clock();
        self.note_cut_in_compaction();
        self.note_shares_under_way();
        let steps = self.steps;
        self.note(|| format!("{end:?} after {steps} steps, clean {is_clean}"));
        if let Some(mut process) = self.process.take() {
            process.die_within_stores(&mut self.stores);
            process.leave_arenas(&mut self.memory);
        }
        match end {
            End::Power(survival) => self.disk.power_loss_leaving(survival),
            End::StopThenPower => self.disk.power_loss(),
            End::Stop | End::Kill | End::KillLosingArenas => self.disk.kill(),
        }
        if matches!(end, End::Power(_) | End::StopThenPower) {
            self.memory.boot = self.memory.boot.wrapping_add(1);
        }
        if end.loses_memory() {
            self.memory.arenas.clear();
        }
        self.network.kill();
        self.hear_the_last();
        if !self.operator_insists {
            self.admins.give_up_deletions();
        }
        self.passer.take().into_iter().for_each(|mut passer| passer.die(&mut self.network));
        self.disk.faults = plimsoll_sim::Faults::default();
        (self.disk_rests_until, self.held_until) = (self.now(), None);
        self.ledger.end_life(end.loses_memory(), is_clean);
    }

    /// What had left the server is heard now, so that it is known before which loss it was said.
    fn hear_the_last(&mut self) {
        self.slow_until.fill(Instant::ORIGIN);
        self.sharers.iter_mut().for_each(SharerClient::wake);
        for client in 0..=self.clients() {
            self.turn_client(client);
        }
    }
}
