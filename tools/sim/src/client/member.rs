//! A member of a consumer group, and all that take its seat after it.
//!
//! It goes by turns: it dies, or leaves in order, or is replaced while it lives on and does not
//! know. What a newcomer gets wrong: one that was replaced still works and commits. Nothing of that
//! may count any more.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeSet;

use plimsoll_client::{CommitPolicy, GroupOptions, Instant, StartAt, Topic};
use plimsoll_sim::{ClientId, Network, Random};

use super::links::Surroundings;
use super::member_app::{MemberApp, Standing};
use crate::ledger::Ledger;
use crate::scenario::{Commits, GroupPlan, MemberPlan};

/// How long after an error an application is started again.
const RESTART: Duration = Duration::from_millis(100);
/// How long one that was replaced, or wants to leave, is looked after.
const FORMER_MAX: Duration = Duration::from_secs(3);
/// How long what it has sent may be on its way.
const CONTESTED: Duration = Duration::from_secs(2);
/// An application that works for so long has left the group.
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The seat of a member in a group.
pub(crate) struct MemberClient {
    group: usize,
    seat: usize,
    plan: MemberPlan,
    current: Option<MemberApp>,
    /// Those that leave or were replaced, and until when.
    former: Vec<(MemberApp, Instant)>,
    begin_at: Instant,
    /// One that lives on may take the seat back, if its join comes after that of its successor.
    contested_until: Instant,
    random: Random,
}

/// How a member makes room for the next one.
#[derive(Clone, Copy, Debug)]
enum Goes {
    Dies,
    Leaves,
    LivesOn,
}

/// The name of a group of the scenario.
pub(crate) fn name_of_group(group: usize) -> String {
    format!("group-{group}")
}

impl MemberClient {
    pub(crate) fn new(group: usize, seat: usize, plan: MemberPlan, random: &Random) -> Self {
        let random = random.stream(&format!("member {group} {seat}"));
        let (current, former, begin_at) = (None, Vec::new(), Instant::ORIGIN);
        let contested_until = Instant::ORIGIN;
        Self { group, seat, plan, current, former, begin_at, contested_until, random }
    }

    pub(crate) fn group(&self) -> usize {
        self.group
    }

    /// Whether it is to be begun.
    pub(crate) fn wants_to_begin(&self, now: Instant) -> bool {
        self.current.is_none() && self.begin_at <= now
    }

    pub(crate) fn begin(&mut self, topic: &Topic, group: &GroupPlan, now: Instant) {
        let mut options = GroupOptions::default();
        options.commit = match group.commits {
            Commits::Manual { .. } => CommitPolicy::Manual,
            Commits::Auto { interval_ms } => {
                CommitPolicy::Auto { interval: Duration::from_millis(u64::from(interval_ms)) }
            }
            Commits::Before => CommitPolicy::Before,
        };
        if self.plan.is_static {
            options.instance = format!("seat-{}", self.seat);
        }
        options.assignor = group.assignor;
        options.on_removed = group.on_removed;
        if group.begins_at_end {
            options.from = StartAt::End;
        }
        options.session_timeout = Duration::from_millis(u64::from(group.session_timeout_ms));
        options.max_poll_interval = POLL_INTERVAL_MAX;
        options.let_go_timeout = Duration::from_millis(1_500);
        options.commit_timeout = Duration::from_secs(3);
        options.visible = self.plan.visible;
        options.credit_bytes = self.plan.credit_bytes;
        options.link = super::link_options();
        let random = self.random.stream(&format!("from {}", now.since(Instant::ORIGIN).as_nanos()));
        let place = (self.group, group);
        self.current = Some(MemberApp::new(topic, place, &self.plan, options, (random, now)));
    }

    /// Makes room for another one in its seat.
    pub(crate) fn make_room(&mut self, ledger: &mut Ledger, network: &mut Network, now: Instant) {
        let Some(app) = self.current.take() else { return };
        ledger.groups[self.group].let_go(self.seat);
        let goes = match self.random.below(4) {
            0 => Goes::Leaves,
            // Without a name nobody could tell that it was replaced.
            1 | 2 if self.plan.is_static => Goes::LivesOn,
            _ => Goes::Dies,
        };
        let waits = [0, 0, 20, 800][self.random.below(4) as usize];
        self.begin_at = now + Duration::from_millis(waits);
        let (group, seat) = (self.group, self.seat);
        ledger.remark(|| format!("group {group}, seat {seat}: {goes:?}, and after {waits} ms"));
        self.retire(app, goes, network, now);
    }

    /// Goes, by itself or by death, and nobody takes its seat before `back_at`.
    pub(crate) fn stay_away(
        &mut self,
        back_at: Instant,
        ledger: &mut Ledger,
        network: &mut Network,
        now: Instant,
    ) {
        self.begin_at = back_at;
        let Some(app) = self.current.take() else { return };
        ledger.groups[self.group].let_go(self.seat);
        let goes = if self.random.chance(700) { Goes::Leaves } else { Goes::Dies };
        self.retire(app, goes, network, now);
    }

    fn retire(&mut self, mut app: MemberApp, goes: Goes, network: &mut Network, now: Instant) {
        match goes {
            Goes::Dies => return app.die(network),
            Goes::Leaves => app.leave(now),
            Goes::LivesOn => {}
        }
        self.former.push((app, now + FORMER_MAX));
    }

    /// Its process dies, and so do those that it had before.
    pub(crate) fn die(&mut self, network: &mut Network) {
        let former = self.former.drain(..).map(|(app, _)| app);
        self.current.take().into_iter().chain(former).for_each(|mut app| app.die(network));
    }

    /// The clients' ends of all connections.
    pub(crate) fn ends(&self) -> Vec<ClientId> {
        self.apps().flat_map(|app| app.links.ends()).collect()
    }

    /// The client's end is closed; the session learns of it in its next turn.
    pub(crate) fn close(&mut self, end: ClientId) {
        let former = self.former.iter_mut().map(|(app, _)| app);
        let of_it = |app: &&mut MemberApp| app.links.ends().any(|of_app| of_app == end);
        if let Some(app) = self.current.iter_mut().chain(former).find(of_it) {
            app.links.close(end);
        }
    }

    fn apps(&self) -> impl Iterator<Item = &MemberApp> {
        self.current.iter().chain(self.former.iter().map(|(app, _)| app))
    }

    pub(crate) fn is_ready(&self, network: &Network, now: Instant, reads: bool) -> bool {
        let is_over = self.former.iter().any(|(_, until)| *until <= now);
        is_over || self.apps().any(|app| app.is_ready(network, now, reads))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let begins = self.current.is_none().then_some(self.begin_at);
        let ends = self.former.iter().map(|(_, until)| *until);
        self.apps().filter_map(MemberApp::poll_timeout).chain(begins).chain(ends).min()
    }

    pub(crate) fn turn(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) {
        let now = around.now;
        for (mut app, until) in std::mem::take(&mut self.former) {
            let standing = app.turn(None, ledger, around);
            if standing == Standing::Works && until > now {
                self.former.push((app, until));
            } else {
                app.die(around.network);
            }
        }
        if !self.former.is_empty() {
            self.contested_until = now + CONTESTED;
        }
        let Some(app) = &mut self.current else { return };
        let standing = app.turn(Some(self.seat), ledger, around);
        if self.contested_until > now {
            ledger.groups[self.group].let_go(self.seat);
        } else {
            let view: BTreeSet<u32> = app.assigned();
            let held = ledger.groups[self.group].hold(self.seat, &view, (now, ledger.life));
            ledger.of_group(self.group, held);
        }
        if standing == Standing::Works {
            return;
        }
        if let Some(app) = self.current.take() {
            ledger.groups[self.group].let_go(self.seat);
            self.begin_at = now + RESTART;
            let goes = if standing == Standing::Fails { Goes::Leaves } else { Goes::Dies };
            self.retire(app, goes, around.network, now);
        }
    }
}

impl fmt::Display for MemberClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, seat, current, former, .. } = self;
        let former = former.len();
        write!(f, "seat {seat} of group {group}: {current:?}, {former} that were before")
    }
}
