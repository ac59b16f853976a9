//! A member of a group in share mode, as a session: records out, verdicts in.
//!
//! It acquires records (at most `records_max`), fetches them, lends them to the application one by
//! one, renews their locks, and tells the server what became of each. All of it goes over one
//! connection; copies for the dead-letter topic go over those of a [`Producer`] inside.
//!
//! What a newcomer gets wrong: nothing here decides that a record is done. That is what the
//! server's answer to the verdict says, and before it the record may come again.

mod acquiring;
mod dead_letter;
mod fault;
mod fetching;
mod held;
mod membership;
mod options;
mod outcomes;
mod record;
mod report;
mod session;
mod settling;

pub use dead_letter::DeadLetterHeader;
pub use fault::ShareError;
pub use held::SettleId;
pub use options::ShareOptions;
pub use record::SharedRecord;
pub use report::{Decision, SettleFault, ShareNotice, Unsettled};

use self::dead_letter::Copies;
use self::fetching::Fetching;
use self::held::{Given, Held, Key, LockId, Run, Stage};
use crate::link::Links;
use crate::{ConnectionFault, Instant, LinkId, ServerError, Topic};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use plimsoll_wire::{ErrorCode, Generation, MemberId, Offset, TopicId, Verdict};

/// The session of one member of a group in share mode, of one topic or several.
#[derive(Debug)]
pub struct ShareConsumer {
    group: String,
    topics: Vec<String>,
    options: ShareOptions,
    links: Links<Asked>,
    standing: Standing,
    member: MemberId,
    generation: Generation,
    /// One more with each membership that ends: answers to an older one are not looked at.
    era: u32,
    heartbeat_interval: Duration,
    heartbeat_at: Option<Instant>,
    join_at: Option<Instant>,
    names: BTreeMap<TopicId, Arc<str>>,
    held: BTreeMap<Key, Held>,
    last_lock: LockId,
    /// The server's clock, and when it was heard.
    server_time: Option<(i64, Instant)>,
    /// Requests for records that are not answered.
    acquires: u32,
    acquire_at: Option<Instant>,
    /// The application has asked for records since the last one came for it.
    is_wanted: bool,
    is_dead_letter_missing: bool,
    fetching: Fetching,
    ready: VecDeque<SharedRecord>,
    ready_bytes: usize,
    to_settle: BTreeSet<Key>,
    /// Up to where there is nothing behind an offset that is gone.
    leaps: BTreeMap<Key, Offset>,
    is_settling: bool,
    settle_at: Option<Instant>,
    renew_at: Option<Instant>,
    /// For how long the group locks a record.
    lock: Duration,
    last_settle: SettleId,
    /// Verdicts of the application that are not answered.
    unsettled: BTreeSet<SettleId>,
    faults: VecDeque<Unsettled>,
    copies: Option<Copies>,
    notices: VecDeque<ShareNotice>,
    error: Option<ServerError>,
}

/// What a request was for.
#[derive(Debug)]
enum Asked {
    Join,
    Heartbeat { era: u32 },
    Acquire { era: u32, records_max: u32 },
    Bind { slot: usize },
    Unbind,
    Fetch { slot: usize, from: Offset },
    Settle { era: u32, runs: Vec<Run> },
    Renew { era: u32, sent_at: Instant, runs: Vec<Run> },
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Not a member yet, or not any more.
    Joining,
    Member,
    /// Goes when all verdicts are answered.
    Leaving,
    /// The server was told; its answer is awaited.
    Left,
    /// For good.
    Ended,
}

impl ShareConsumer {
    /// A member-to-be of `group` that wants these topics, which joins from `now` on. `dead_letter`
    /// is the topic that the options name.
    #[must_use]
    pub fn new(
        topics: Vec<String>,
        group: &str,
        dead_letter: Option<Topic>,
        mut options: ShareOptions,
        now: Instant,
    ) -> ShareConsumer {
        options.records_max = options.records_max.clamp(1, plimsoll_wire::SHARE_RECORDS_MAX);
        options.dead_letter = dead_letter.as_ref().map(|topic| topic.name.clone());
        let mut link = options.link.clone();
        // Whoever is not answered for so long is a member no more: better to connect anew.
        link.request_timeout = link.request_timeout.min(options.session_timeout);
        let mut links = Links::new(1, link.clone());
        links.want(LINK, now);
        options.link = link;
        ShareConsumer {
            group: String::from(group),
            topics,
            links,
            standing: Standing::Joining,
            member: MemberId::NONE,
            generation: Generation(0),
            era: 0,
            heartbeat_interval: options.session_timeout / 3,
            heartbeat_at: None,
            join_at: None,
            names: BTreeMap::new(),
            held: BTreeMap::new(),
            last_lock: LockId(0),
            server_time: None,
            acquires: 0,
            acquire_at: None,
            is_wanted: false,
            is_dead_letter_missing: false,
            fetching: Fetching::default(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            to_settle: BTreeSet::new(),
            leaps: BTreeMap::new(),
            is_settling: false,
            settle_at: None,
            renew_at: None,
            lock: options.lock,
            last_settle: SettleId(0),
            unsettled: BTreeSet::new(),
            faults: VecDeque::new(),
            copies: dead_letter.map(|topic| Copies::new(topic, &options)),
            notices: VecDeque::new(),
            error: None,
            options,
        }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// How long to wait for verdicts to be taken.
    #[must_use]
    pub fn settle_timeout(&self) -> Duration {
        self.options.settle_timeout
    }

    /// The next record, from now on at work. In no order: what was released comes between.
    pub fn poll_record(&mut self, now: Instant) -> Option<SharedRecord> {
        if self.standing != Standing::Member && self.standing != Standing::Joining {
            return None;
        }
        self.is_wanted = true;
        while let Some(record) = self.ready.pop_front() {
            self.ready_bytes -= record.held_bytes();
            let key = (record.place, record.offset);
            // What is on its way back is others' by the time that the application would look at it.
            let is_it =
                |held: &&mut Held| held.lock == record.lock && matches!(held.stage, Stage::Ready);
            let Some(held) = self.held.get_mut(&key).filter(is_it) else { continue };
            if held.lock_until <= now {
                // It was asleep for longer than the lock: somebody else may have it by now.
                self.held.remove(&key);
                continue;
            }
            held.stage = Stage::Out;
            self.work(now);
            return Some(record);
        }
        self.work(now);
        None
    }

    /// Whether the record is still this member's, as far as it knows. Work that is not to be done
    /// twice may ask before it does it.
    #[must_use]
    pub fn is_held(&self, record: &SharedRecord, now: Instant) -> bool {
        let held = self.held.get(&(record.place, record.offset));
        held.is_some_and(|held| {
            held.lock == record.lock
                && held.lock_until > now
                && matches!(held.stage, Stage::Out | Stage::Copying(_) | Stage::Settling(_))
        })
    }

    /// What became of a record. It counts when it was answered: see
    /// [`has_settled`](ShareConsumer::has_settled). The first verdict on a record counts.
    pub fn decide(
        &mut self,
        record: &SharedRecord,
        decision: Decision<'_>,
        now: Instant,
    ) -> SettleId {
        self.last_settle.0 += 1;
        let id = self.last_settle;
        let key = (record.place, record.offset);
        let held = self.held.get(&key).filter(|held| held.lock == record.lock);
        if !held.is_some_and(|held| matches!(held.stage, Stage::Out)) {
            self.tell_fault(key, SettleFault::LockLost);
            return id;
        }
        self.unsettled.insert(id);
        match decision {
            Decision::Accept => self.settle_as(key, Verdict::Accept, Some(id)),
            Decision::Release { delay } => {
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                self.settle_as(key, Verdict::Release { delay_ms }, Some(id));
            }
            Decision::Reject { reason } => self.reject(record, reason, id, now),
        }
        self.work(now);
        id
    }

    /// The verdict that was given last.
    #[must_use]
    pub fn last_settle(&self) -> SettleId {
        self.last_settle
    }

    /// Whether all verdicts up to this one were answered: they are durable, but for those that
    /// [`take_unsettled`](ShareConsumer::take_unsettled) names.
    #[must_use]
    pub fn has_settled(&self, up_to: SettleId) -> bool {
        self.unsettled.first().is_none_or(|first| *first > up_to)
    }

    /// How many verdicts are not answered.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.unsettled.len()
    }

    /// The verdicts since the last call that were not taken; the oldest are forgotten if nobody
    /// asks.
    pub fn take_unsettled(&mut self) -> Vec<Unsettled> {
        mem::take(&mut self.faults).into()
    }

    /// What the member hears; the oldest is forgotten if nobody asks.
    pub fn poll_notice(&mut self) -> Option<ShareNotice> {
        self.notices.pop_front()
    }

    /// Leaves: what was not settled is released, what nobody has seen is given back uncounted, and
    /// when all of it is answered, the server hears a good-bye.
    pub fn leave(&mut self, now: Instant) {
        match self.standing {
            Standing::Member => self.standing = Standing::Leaving,
            Standing::Joining => self.standing = Standing::Ended,
            Standing::Leaving | Standing::Left | Standing::Ended => return,
        }
        self.ready.clear();
        self.ready_bytes = 0;
        self.fetching.wanted.clear();
        let undecided = |(key, held): (&Key, &Held)| match held.stage {
            Stage::Wanted | Stage::Ready => Some((*key, UNSEEN)),
            Stage::Out => Some((*key, Verdict::Release { delay_ms: 0 })),
            Stage::Copying(_) | Stage::Settling(_) => None,
        };
        let undecided: Vec<(Key, Verdict)> = self.held.iter().filter_map(undecided).collect();
        for (key, verdict) in undecided {
            self.settle_as(key, verdict, None);
        }
        self.cancel_acquire(now);
        self.work(now);
    }

    /// Whether it is out of the group for good.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.standing == Standing::Ended
    }

    /// Why the membership has ended, if the server ended it.
    #[must_use]
    pub fn end(&self) -> Option<ShareError> {
        let error = self.error.clone()?;
        Some(match (error.code, &self.options.dead_letter) {
            (ErrorCode::DeadLetterTopicNotFound, Some(topic)) => {
                ShareError::DeadLetterTopicNotFound { topic: topic.clone() }
            }
            _ => ShareError::Ended { group: self.group.clone(), error },
        })
    }

    /// Why the connection was lost last, if there is none now.
    #[must_use]
    pub fn last_fault(&self) -> Option<&ConnectionFault> {
        self.links.last_fault(LINK)
    }

    /// Does everything that is due and can be done.
    fn work(&mut self, now: Instant) {
        self.work_copies(now);
        if !self.links.is_ready(LINK) || !self.standing.is_member() {
            return;
        }
        self.settle(now);
        self.fetch(now);
        self.acquire(now);
        self.finish_leaving(now);
    }

    /// The server is to be told what becomes of a record.
    fn settle_as(&mut self, key: Key, verdict: Verdict, id: Option<SettleId>) {
        match self.held.get_mut(&key) {
            Some(held) => {
                held.stage = Stage::Settling(Given::new(verdict, id));
                self.to_settle.insert(key);
            }
            None => self.end_settle(key, id, Some(SettleFault::LockLost)),
        }
    }

    /// Nothing more comes of a verdict.
    fn end_settle(&mut self, key: Key, id: Option<SettleId>, fault: Option<SettleFault>) {
        let Some(id) = id else { return };
        self.unsettled.remove(&id);
        if let Some(fault) = fault {
            self.tell_fault(key, fault);
        }
    }

    fn tell_fault(&mut self, (place, offset): Key, fault: SettleFault) {
        if self.faults.len() == REPORTS_MAX {
            self.faults.pop_front();
        }
        let (topic, partition) = (self.name(place.topic), place.partition.0);
        self.faults.push_back(Unsettled { topic, partition, offset, fault });
    }

    fn notice(&mut self, notice: ShareNotice) {
        if self.notices.len() == REPORTS_MAX {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    fn name(&self, topic: TopicId) -> Arc<str> {
        self.names.get(&topic).cloned().unwrap_or_else(|| Arc::from(""))
    }

    /// The record is not this member's any more. Whether the application was at work on it.
    fn lose(&mut self, key: Key) -> bool {
        self.fetching.wanted.remove(&key);
        self.to_settle.remove(&key);
        self.leaps.remove(&key);
        match self.held.remove(&key).map(|held| held.stage) {
            // What is ready is found to be gone when it is taken.
            None | Some(Stage::Wanted | Stage::Ready) => false,
            Some(Stage::Out) => true,
            Some(Stage::Copying(id)) => {
                self.end_settle(key, id, Some(SettleFault::LockLost));
                false
            }
            Some(Stage::Settling(given)) => {
                let fault = match (given.may_be_done || given.is_sent, given.verdict) {
                    // It is free, as was asked for: perhaps handed out before that was answered.
                    (true, Verdict::Release { .. } | Verdict::Defer { .. }) => None,
                    (true, _) => Some(SettleFault::Unknown),
                    (false, _) => Some(SettleFault::LockLost),
                };
                self.end_settle(key, given.id, fault);
                false
            }
        }
    }
}

impl Standing {
    fn is_member(self) -> bool {
        matches!(self, Standing::Member | Standing::Leaving)
    }
}

/// The only link of its own; those of the producer inside come after it.
const LINK: LinkId = LinkId(0);

/// Back at once, and not counted as a delivery: nobody has seen it.
const UNSEEN: Verdict = Verdict::Defer { until_unix_ms: 0 };

/// Reports of each kind that wait for an application which does not ask.
const REPORTS_MAX: usize = 10_000;
