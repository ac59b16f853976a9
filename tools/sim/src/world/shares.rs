//! Groups in share mode: who of them goes on, and how they come to their end.
//!
//! In the end members accept whatever they get, until the group says that everything is done. What
//! a newcomer gets wrong: a record whose time has not come is not forgotten, so that the end waits
//! for it.

use core::time::Duration;
use std::collections::BTreeMap;

use plimsoll_client::Topic;
use plimsoll_wire::Offset;

use super::World;
use crate::client::{SharerClient, Task, Whose};
use crate::deliveries::Deliveries;
use crate::ledger::{Place, Violation};
use crate::met::Met;
use crate::scenario::{ResetTo, SharePlan, What};

/// How often it is asked how far a group is.
const ASKS: Duration = Duration::from_millis(100);
/// Nothing of a run holds up so many records.
const WIDE_WINDOW: u64 = 100_000;
/// Some of the last records come so much later.
const LAST_DELAY_MS: u32 = 1_800;

/// Whether it is known where everything of a group lives.
pub(super) fn are_known(plan: &SharePlan, topics: &BTreeMap<usize, Topic>) -> bool {
    plan.topics.iter().chain(&plan.dead_letters).all(|topic| topics.contains_key(topic))
}

impl World<'_> {
    pub(super) fn ready_sharers(&self, ready: &mut Vec<usize>) {
        let now = self.client_now();
        let first = self.clients() - self.sharers.len();
        for (number, sharer) in (first..).zip(&self.sharers) {
            let plan = &self.scenario.shares[sharer.share()];
            let begins = sharer.wants_to_begin(now) && are_known(plan, &self.admins.topics);
            if begins || sharer.is_ready(&self.network, now, self.reads(number)) {
                ready.push(number);
            }
        }
    }

    /// The process is about to end.
    pub(super) fn note_shares_under_way(&mut self) {
        if self.process.is_some() && self.ledger.shares.iter().any(Deliveries::is_at_work) {
            self.ledger.meet(Met::ShareCrashed);
        }
    }

    /// How much later records of a topic come in the end.
    pub(super) fn last_delay_ms(&self, topic: usize) -> u32 {
        let is_consumed = self.scenario.shares.iter().any(|share| share.topics.contains(&topic));
        if is_consumed && !self.scenario.forgets() { LAST_DELAY_MS } else { 0 }
    }

    pub(super) fn perform_on_shares(&mut self, what: What) {
        match what {
            What::DismissShare { share, ms } => self.dismiss_share(share, ms),
            What::ResetShare { share, nth, to, is_dry } => {
                self.reset_share(share, nth, (to, is_dry));
            }
            What::DeleteShare { share } => self.delete_share(share),
            What::DescribeShare { share } => {
                self.admins.tasks.push_back(Task::DescribeShare(share));
            }
            What::DropDeadLetters { share, ms } => self.drop_dead_letters(share, ms),
            _ => {}
        }
    }

    /// The operator deletes a dead-letter topic, and creates it anew.
    fn drop_dead_letters(&mut self, share: usize, ms: u32) {
        if let Some(topic) = self.scenario.shares[share].dead_letters {
            let tasks = [Task::Drop(topic, ms), Task::Create(topic), Task::List];
            self.admins.tasks.extend(tasks);
        }
    }

    /// The members of a group in share mode go, and come back after a while.
    fn dismiss_share(&mut self, share: usize, ms: u32) {
        let now = self.client_now();
        let back_at = now + Duration::from_millis(u64::from(ms));
        for sharer in self.sharers.iter_mut().filter(|sharer| sharer.share() == share) {
            sharer.stay_away(back_at, &mut self.ledger, &mut self.network, now);
        }
    }

    /// The operator looks whether the group is there, and where it would begin; then he sets it.
    fn reset_share(&mut self, share: usize, nth: usize, (to, is_dry): (ResetTo, bool)) {
        let topics = &self.scenario.shares[share].topics;
        let topic = topics[nth % topics.len()];
        let aims = self.aims(topic, to);
        let locate = Task::Locate(Whose::Share(share, topic), aims, Vec::new(), is_dry);
        self.admins.tasks.extend([Task::DescribeShare(share), locate]);
    }

    fn delete_share(&mut self, share: usize) {
        let topic = self.scenario.shares[share].topics[0];
        self.admins.tasks.push_back(Task::DeleteGroup(Whose::Share(share, topic)));
    }

    /// What is to come when the wall clock shows a time that it has shown before comes: it is set
    /// ahead to the latest of these.
    pub(super) fn set_clock_right(&mut self) {
        let behind_ms = self.ledger.walls.behind_ms(self.clock.now.unix_ms);
        if behind_ms > 0 && !self.ledger.shares.is_empty() {
            self.note(|| format!("the clock is set ahead by {behind_ms} ms"));
            self.set_clock(behind_ms);
        }
    }

    /// Every group in share mode comes to its end, and its members go.
    pub(super) fn end_shares(&mut self) -> Result<(), Violation> {
        if self.ledger.shares.is_empty() {
            return Ok(());
        }
        // Where few may be under way, what is delayed holds up what comes after it.
        let is_wide = self.scenario.settings.share_window_max >= WIDE_WINDOW;
        self.ledger.calm_since_ms = is_wide.then_some(self.clock.now.unix_ms);
        let now = self.client_now();
        self.sharers.iter_mut().for_each(|sharer| sharer.calm_down(now));
        self.admins.described.clear();
        self.wait_for("all of it to be on disk", Self::is_all_on_disk)?;
        let ends = self.ends();
        self.wait_for("every group in share mode to come to its end", |world| {
            let is_answered = world.admins.tasks.is_empty();
            if is_answered {
                world.ask_how_far_shares_are();
            }
            is_answered && world.are_shares_done(&ends)
        })?;
        let now = self.client_now();
        self.sharers.iter_mut().for_each(|sharer| sharer.end(now));
        self.wait_for("the operator", |world| world.admins.tasks.is_empty())?;
        self.wait_for("members in share mode to leave", |world| {
            world.sharers.iter().all(SharerClient::has_gone)
        })
    }

    fn ask_how_far_shares_are(&mut self) {
        let now = self.client_now();
        self.admins.rest_until(now + ASKS);
        self.admins.tasks.extend((0..self.scenario.shares.len()).map(Task::DescribeShare));
        if self.scenario.forgets() {
            self.admins.tasks.extend((0..self.scenario.topics.len()).map(Task::Describe));
        }
    }

    /// Everything is done up to the last record of each partition.
    fn are_shares_done(&self, ends: &[(Place, Offset)]) -> bool {
        self.ledger.shares.iter().all(|share| {
            let mut of_it = ends.iter().filter(|(place, _)| share.consumes(*place));
            of_it.all(|(place, last)| {
                share.start(*place).max(self.ledger.starts.known(*place)) > *last
            })
        })
    }
}
