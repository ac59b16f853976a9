//! What an application does as a member of a group in share mode: takes records, works on several
//! at a time, and says what became of each.
//!
//! What a newcomer gets wrong: the session renews the locks of what is worked on by itself. A lock
//! ends because the application keeps a record for too long, or stands still as a whole.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use plimsoll_client::{
    Decision, Instant, Offset, Session, SettleId, ShareConsumer, ShareOptions, SharedRecord, Topic,
};
use plimsoll_sim::{Network, Random};
use plimsoll_wire::{MemberId, TopicId};

use super::ghost::Ghost;
use super::links::{Links, Surroundings};
use super::sharer_tap::{Hearing, SharerTap};
use crate::ledger::{Ledger, Place};
use crate::scenario::SharerPlan;

/// How long a delayed release is put off, at most.
const DELAY_MS_MAX: u64 = 1_500;

/// A running application.
pub(crate) struct SharerApp {
    session: ShareConsumer,
    pub(crate) links: Links,
    share: usize,
    plan: SharerPlan,
    lock: Duration,
    hearing: Hearing,
    work: Vec<Work>,
    /// Verdicts that are not answered.
    decided: BTreeMap<SettleId, (Place, Offset)>,
    /// It does nothing until then.
    sleeps_until: Instant,
    pub(crate) is_calm: bool,
    is_leaving: bool,
    random: Random,
}

/// A record that is worked on.
struct Work {
    record: SharedRecord,
    /// As whom it was handed the record.
    member: Option<MemberId>,
    until: Instant,
    ends: Ends,
}

/// What comes of the work.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Accept,
    Release { delay_ms: u64 },
    Reject,
}

impl SharerApp {
    pub(crate) fn new(
        (share, plan, numbers): (usize, &SharerPlan, BTreeMap<TopicId, usize>),
        (names, dead_letter, options): (Vec<String>, Option<Topic>, ShareOptions),
        (random, now): (Random, Instant),
    ) -> Self {
        let lock = options.lock;
        let name = super::sharer::name_of_share(share);
        Self {
            session: ShareConsumer::new(names, &name, dead_letter, options, now),
            links: Links::default(),
            share,
            plan: plan.clone(),
            lock,
            hearing: Hearing::new(numbers, None),
            work: Vec::new(),
            decided: BTreeMap::new(),
            sleeps_until: Instant::ORIGIN,
            is_calm: false,
            is_leaving: false,
            random,
        }
    }

    pub(crate) fn die(&mut self, ledger: &mut Ledger, network: &mut Network) {
        self.hearing.forget(ledger, self.share);
        self.links.abandon(network);
    }

    /// Says what became of the records that it had, later and over a connection of its own.
    pub(crate) fn ghost(&self, at: Instant, random: &mut Random) -> Option<Ghost> {
        let member = self.hearing.member.filter(|member| *member != MemberId::NONE)?;
        let number = |topic: &str| {
            let mut known = self.hearing.topics.iter();
            known.find(|(_, number)| super::name_of(**number) == topic).map(|(id, _)| *id)
        };
        // What it was handed under another name it may have been handed once more, unheard.
        let its = self.work.iter().filter(|work| work.member == Some(member));
        let records = its.filter_map(|work| {
            let record = &work.record;
            Some((number(record.topic())?, record.partition, record.offset))
        });
        let records: Vec<_> = records.collect();
        let topics = self.hearing.topics.clone();
        (!records.is_empty()).then(|| {
            let is_accept = random.chance(700);
            Ghost::new((self.share, member, topics), (records, is_accept), at)
        })
    }

    pub(crate) fn wake(&mut self) {
        self.sleeps_until = Instant::ORIGIN;
    }

    /// It takes nothing more, and goes when its verdicts are answered.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.work.clear();
        self.session.leave(now);
        self.is_leaving = true;
    }

    pub(crate) fn is_ready(&self, network: &Network, now: Instant, reads: bool) -> bool {
        if self.sleeps_until > now {
            return false;
        }
        let due = self.poll_timeout().is_some_and(|timeout| timeout <= now);
        due || (reads && self.links.have_news(network))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let work = self.work.iter().map(|work| work.until);
        let next = work.chain(self.session.poll_timeout()).min();
        next.map(|at| at.max(self.sleeps_until))
    }

    /// Goes on as far as it can; false when it is no member any more.
    pub(crate) fn turn(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) -> bool {
        if self.sleeps_until > around.now {
            return true;
        }
        loop {
            self.turn_links(ledger, around);
            if self.session.is_ended() {
                return false;
            }
            self.check_settled(ledger);
            if self.is_leaving || !self.go_on(ledger, around.now) {
                break;
            }
        }
        // What it waits for was only now asked: nothing else would send that.
        self.turn_links(ledger, around);
        true
    }

    fn turn_links(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) {
        let (share, hearing) = (self.share, &mut self.hearing);
        let mut tap = SharerTap { ledger, hearing, share };
        self.links.turn_heard(&mut self.session, around, &mut tap);
        while self.session.poll_notice().is_some() {}
    }

    /// Ends what is due and begins something new. Whether it has done anything.
    fn go_on(&mut self, ledger: &mut Ledger, now: Instant) -> bool {
        let mut has_acted = false;
        if self.sleeps_until > now {
            return false;
        }
        let is_due = |work: &Work| work.until <= now || self.is_calm;
        if let Some(number) = self.work.iter().position(is_due) {
            let work = self.work.swap_remove(number);
            self.decide(&work, ledger, now);
            has_acted = true;
        }
        while self.work.len() < self.plan.hands
            && let Some(record) = self.session.poll_record(now)
        {
            self.begin_work(record, ledger, now);
            has_acted = true;
        }
        has_acted
    }

    fn begin_work(&mut self, record: SharedRecord, ledger: &mut Ledger, now: Instant) {
        let share = self.share;
        ledger.remark(|| format!("share group {share}: work on {record:?}"));
        let Some(place) = self.place(&record) else { return };
        let value = record.value().unwrap_or_default();
        ledger.shown_in_share(share, (place, record.offset), value);
        let temper = self.plan.temper;
        let drawn = self.random.below(1_000);
        let within = |from: u64, permille: u64| (from..from + permille).contains(&drawn);
        let mut work_us = self.random.below(u64::from(self.plan.work_us) + 1);
        let mut from = 0;
        let mut ends = Ends::Accept;
        let choices = [temper.releases, temper.delays, temper.rejects, temper.hangs, temper.sleeps];
        for (number, permille) in choices.into_iter().enumerate() {
            if within(from, permille) && !self.is_calm {
                let delay_ms = 1 + self.random.below(DELAY_MS_MAX);
                match number {
                    0 => ends = Ends::Release { delay_ms: 0 },
                    1 => ends = Ends::Release { delay_ms },
                    2 => ends = Ends::Reject,
                    3 => work_us = u64::try_from(self.lock.as_micros()).unwrap_or(0) * 4,
                    _ => {
                        let sleep = self.random.below(3) as u32;
                        self.sleeps_until = now + self.lock / 2 + self.lock * sleep;
                    }
                }
            }
            from += permille;
        }
        let until = now + Duration::from_micros(work_us);
        self.work.push(Work { record, member: self.hearing.member, until, ends });
    }

    fn decide(&mut self, work: &Work, ledger: &mut Ledger, now: Instant) {
        let Work { record, ends, .. } = work;
        let Some(place) = self.place(record) else { return };
        let at = (place, record.offset);
        let ends = if self.is_calm { Ends::Accept } else { *ends };
        let decision = match ends {
            Ends::Accept => Decision::Accept,
            Ends::Release { delay_ms } => {
                Decision::Release { delay: Duration::from_millis(delay_ms) }
            }
            Ends::Reject => {
                let member = self.hearing.member.unwrap_or(MemberId::NONE);
                ledger.shares[self.share].refuse(at, member);
                Decision::Reject { reason: "drawn" }
            }
        };
        let id = self.session.decide(record, decision, now);
        if matches!(ends, Ends::Accept) {
            self.decided.insert(id, at);
        }
    }

    /// What the session says to be accepted was answered so.
    fn check_settled(&mut self, ledger: &mut Ledger) {
        for unsettled in self.session.take_unsettled() {
            let is_it = |(place, offset): &(Place, Offset)| {
                place.partition == unsettled.partition && *offset == unsettled.offset
            };
            self.decided.retain(|_, at| !is_it(at));
        }
        while let Some((id, at)) = self.decided.first_key_value()
            && self.session.has_settled(*id)
        {
            if !ledger.shares[self.share].was_done(*at) {
                let text = format!("{at:?} is said to be accepted, and was not");
                ledger.of_share(self.share, Err(text));
            }
            self.decided.pop_first();
        }
    }

    fn place(&self, record: &SharedRecord) -> Option<Place> {
        let mut numbers = self.hearing.topics.values();
        let topic = *numbers.find(|number| super::name_of(**number) == record.topic())?;
        Some(Place { topic, partition: record.partition })
    }
}

impl fmt::Debug for SharerApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (work, member) = (self.work.len(), self.hearing.member);
        let fault = self.session.last_fault();
        write!(f, "{member:?}, works on {work}, {} undecided, {fault:?}", self.decided.len())
    }
}
