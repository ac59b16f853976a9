//! A member of a group in share mode, and all that take its seat after it.
//!
//! It dies, or leaves in order, and somebody comes after it. What a newcomer gets wrong: what one
//! that has died had sent may arrive much later. Then it counts for nothing.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use plimsoll_client::{Instant, ShareOptions, Topic};
use plimsoll_sim::{ClientId, Network, Random};
use plimsoll_wire::TopicId;

use super::ghost::Ghost;
use super::links::Surroundings;
use super::sharer_app::SharerApp;
use crate::ledger::Ledger;
use crate::scenario::{SharePlan, SharerPlan};

/// How long one that wants to leave is looked after.
const FORMER_MAX: Duration = Duration::from_secs(3);

/// The seat of a member in a group in share mode.
pub(crate) struct SharerClient {
    share: usize,
    plan: SharerPlan,
    current: Option<SharerApp>,
    /// Those that leave, and until when.
    former: Vec<(SharerApp, Instant)>,
    ghost: Option<Ghost>,
    begin_at: Instant,
    /// It accepts whatever it gets, at once.
    is_calm: bool,
    /// It does not come back.
    is_over: bool,
    random: Random,
}

/// The name of a group in share mode of the scenario.
pub(crate) fn name_of_share(share: usize) -> String {
    format!("share-{share}")
}

impl SharerClient {
    pub(crate) fn new(share: usize, seat: usize, plan: SharerPlan, random: &Random) -> Self {
        let random = random.stream(&format!("sharer {share} {seat}"));
        let (current, former, ghost) = (None, Vec::new(), None);
        let (begin_at, is_calm, is_over) = (Instant::ORIGIN, false, false);
        Self { share, plan, current, former, ghost, begin_at, is_calm, is_over, random }
    }

    pub(crate) fn share(&self) -> usize {
        self.share
    }

    /// Whether it is to be begun.
    pub(crate) fn wants_to_begin(&self, now: Instant) -> bool {
        self.current.is_none() && self.begin_at <= now && !self.is_over
    }

    /// Begins, if the topics are known.
    pub(crate) fn begin(
        &mut self,
        share: &SharePlan,
        topics: &BTreeMap<usize, Topic>,
        now: Instant,
    ) {
        let wanted = share.topics.iter().filter_map(|number| {
            let topic = topics.get(number)?;
            Some((TopicId(topic.id), *number))
        });
        let numbers: BTreeMap<TopicId, usize> = wanted.collect();
        let names = share.topics.iter().map(|number| super::name_of(*number)).collect();
        let dead_letter = share.dead_letters.and_then(|number| topics.get(&number)).cloned();
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        let mut options = ShareOptions::default();
        options.lock = millis(share.lock_ms);
        options.hold_max = millis(share.lock_ms) * 2;
        options.deliveries_max = share.deliveries_max;
        options.records_max = self.plan.records_max;
        options.settle_timeout = Duration::from_secs(3);
        options.session_timeout = millis(share.session_timeout_ms);
        options.link = super::link_options();
        let random = self.random.stream(&format!("from {}", now.since(Instant::ORIGIN).as_nanos()));
        let app = SharerApp::new(
            (self.share, &self.plan, numbers),
            (names, dead_letter, options),
            (random, now),
        );
        self.current = Some(app);
    }

    /// From now on it is to come to an end.
    pub(crate) fn calm_down(&mut self, now: Instant) {
        self.is_calm = true;
        self.begin_at = self.begin_at.min(now);
    }

    /// It leaves, and nobody comes after it.
    pub(crate) fn end(&mut self, now: Instant) {
        self.is_over = true;
        if let Some(mut app) = self.current.take() {
            app.leave(now);
            self.former.push((app, now + FORMER_MAX));
        }
    }

    /// It has left, and all those before it.
    pub(crate) fn has_gone(&self) -> bool {
        self.is_over && self.current.is_none() && self.former.is_empty() && self.ghost.is_none()
    }

    /// It leaves or dies, and nobody comes in its place before that.
    pub(crate) fn stay_away(
        &mut self,
        back_at: Instant,
        ledger: &mut Ledger,
        network: &mut Network,
        now: Instant,
    ) {
        self.begin_at = back_at;
        let Some(mut app) = self.current.take() else { return };
        if self.random.chance(700) {
            app.leave(now);
            self.former.push((app, now + FORMER_MAX));
            return;
        }
        self.haunt(&app, now);
        app.die(ledger, network);
    }

    /// What one that dies has to say arrives all the same, maybe.
    fn haunt(&mut self, app: &SharerApp, now: Instant) {
        if self.plan.haunts && self.ghost.is_none() {
            let wait = [20, 300, 2_500][self.random.below(3) as usize];
            let at = now + Duration::from_millis(1 + self.random.below(wait));
            self.ghost = app.ghost(at, &mut self.random);
        }
    }

    /// Makes room for another one in its seat.
    pub(crate) fn make_room(&mut self, ledger: &mut Ledger, network: &mut Network, now: Instant) {
        let Some(mut app) = self.current.take() else { return };
        let leaves = self.random.chance(300);
        let waits = [0, 0, 20, 800][self.random.below(4) as usize];
        self.begin_at = now + Duration::from_millis(waits);
        ledger.remark(|| format!("a sharer leaves ({leaves}) or dies, and after {waits} ms"));
        if leaves {
            app.leave(now);
            self.former.push((app, now + FORMER_MAX));
            return;
        }
        self.haunt(&app, now);
        app.die(ledger, network);
    }

    /// Its process dies, and so do those that it had before.
    pub(crate) fn die(&mut self, ledger: &mut Ledger, network: &mut Network) {
        let former = self.former.drain(..).map(|(app, _)| app);
        self.current.take().into_iter().chain(former).for_each(|mut app| app.die(ledger, network));
        self.ghost.take().into_iter().for_each(|mut ghost| ghost.vanish(network));
    }

    /// It takes what has arrived, also if it sleeps.
    pub(crate) fn wake(&mut self) {
        let former = self.former.iter_mut().map(|(app, _)| app);
        self.current.iter_mut().chain(former).for_each(SharerApp::wake);
    }

    /// The clients' ends of all connections.
    pub(crate) fn ends(&self) -> Vec<ClientId> {
        self.apps().flat_map(|app| app.links.ends()).collect()
    }

    /// The client's end is closed; the session learns of it in its next turn.
    pub(crate) fn close(&mut self, end: ClientId) {
        let former = self.former.iter_mut().map(|(app, _)| app);
        let of_it = |app: &&mut SharerApp| app.links.ends().any(|of_app| of_app == end);
        if let Some(app) = self.current.iter_mut().chain(former).find(of_it) {
            app.links.close(end);
        }
    }

    fn apps(&self) -> impl Iterator<Item = &SharerApp> {
        self.current.iter().chain(self.former.iter().map(|(app, _)| app))
    }

    pub(crate) fn is_ready(&self, network: &Network, now: Instant, reads: bool) -> bool {
        let is_over = self.former.iter().any(|(_, until)| *until <= now);
        let haunts = self.ghost.as_ref().is_some_and(|ghost| ghost.is_ready(network, now));
        is_over || haunts || self.apps().any(|app| app.is_ready(network, now, reads))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let begins = self.current.is_none().then_some(self.begin_at).filter(|_| !self.is_over);
        let ends = self.former.iter().map(|(_, until)| *until);
        let haunts = self.ghost.as_ref().and_then(Ghost::poll_timeout);
        let apps = self.apps().filter_map(SharerApp::poll_timeout);
        apps.chain(begins).chain(ends).chain(haunts).min()
    }

    pub(crate) fn turn(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) {
        let now = around.now;
        if let Some(ghost) = &mut self.ghost
            && ghost.turn(ledger, around)
        {
            self.ghost = None;
        }
        for (mut app, until) in std::mem::take(&mut self.former) {
            if app.turn(ledger, around) && until > now {
                self.former.push((app, until));
            } else {
                app.die(ledger, around.network);
            }
        }
        let Some(app) = &mut self.current else { return };
        app.is_calm = self.is_calm;
        if !app.turn(ledger, around)
            && let Some(mut app) = self.current.take()
        {
            app.die(ledger, around.network);
            self.begin_at = now + Duration::from_millis(50);
        }
    }
}

impl fmt::Display for SharerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sharer of {}: {:?}, {} leave", self.share, self.current, self.former.len())
    }
}
