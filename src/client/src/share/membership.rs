//! Joining, signs of life, and what becomes of everything held when the membership ends.
//!
//! What a newcomer gets wrong: an assignment takes nothing away. Every member has every partition;
//! what it says is the names of topics by their numbers.

use super::{Asked, LINK, ShareConsumer, Standing};
use crate::consumer::RETRY_DELAY;
use crate::{Instant, ServerError};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use plimsoll_wire::{
    Assignor, ErrorCode, Generation, Heartbeat, JoinGroup, LeaveGroup, MemberId, Membership,
};

impl ShareConsumer {
    /// Asks to be a member, as soon as there is a connection.
    pub(super) fn join(&mut self, now: Instant) {
        self.join_at = None;
        if !self.links.is_ready(LINK) {
            return;
        }
        let session_timeout = self.options.session_timeout.as_millis();
        let join = JoinGroup {
            group: &self.group,
            member: self.member,
            instance: "",
            client: &self.options.link.client_name,
            session_timeout_ms: u32::try_from(session_timeout).unwrap_or(u32::MAX),
            rebalance_timeout_ms: 0,
            assignor: Assignor::Sticky,
            topics: self.topics.iter().map(|topic| &**topic).collect(),
            owned: Vec::new(),
            share: Some(self.options.settings()),
        };
        self.links.request(LINK, Asked::Join, now, |id, out| join.encode(id, out));
    }

    /// A sign of life. It is the first thing on a new connection.
    pub(super) fn heartbeat(&mut self, now: Instant) {
        self.heartbeat_at = None;
        if !self.links.is_ready(LINK) {
            return;
        }
        self.heartbeat_at = Some(now + self.heartbeat_interval);
        let (member, generation) = (self.member, self.generation);
        let heartbeat = Heartbeat { group: &self.group, member, generation };
        let asked = Asked::Heartbeat { era: self.era };
        self.links.request(LINK, asked, now, |id, out| heartbeat.encode(id, out));
    }

    /// The server has accepted the member.
    pub(super) fn joined(&mut self, membership: &Membership<'_>, now: Instant) {
        self.member = membership.member;
        match self.standing {
            Standing::Joining => self.standing = Standing::Member,
            // It left while the server was answering.
            Standing::Ended => return self.say_good_bye(now),
            Standing::Member | Standing::Leaving | Standing::Left => return,
        }
        self.generation = Generation(0);
        self.follow(membership, now);
        if self.heartbeat_at.is_none() {
            self.heartbeat_at = Some(now + self.heartbeat_interval);
        }
    }

    /// Takes down the names of topics. A new generation is answered with a sign of life.
    pub(super) fn follow(&mut self, membership: &Membership<'_>, now: Instant) {
        let interval = u64::from(membership.heartbeat_interval_ms.max(1));
        self.heartbeat_interval = Duration::from_millis(interval);
        let Some(topics) = &membership.topics else { return };
        if membership.generation < self.generation {
            return;
        }
        for topic in topics {
            self.names.entry(topic.id).or_insert_with(|| Arc::from(topic.topic));
        }
        if self.generation != membership.generation {
            self.generation = membership.generation;
            self.heartbeat(now);
        }
    }

    /// The server does not know the member any more: what it held is handed out anew.
    pub(super) fn forgotten(&mut self, now: Instant) {
        if !self.standing.is_member() {
            return;
        }
        let was_leaving = self.standing == Standing::Leaving;
        self.standing = if was_leaving { Standing::Ended } else { Standing::Joining };
        self.lose_all();
        if !was_leaving {
            self.join(now);
        }
    }

    fn lose_all(&mut self) {
        self.era = self.era.wrapping_add(1);
        (self.heartbeat_at, self.renew_at, self.settle_at) = (None, None, None);
        (self.acquires, self.is_settling, self.is_wanted) = (0, false, true);
        let mut lost = 0;
        while let Some((key, _)) = self.held.first_key_value() {
            lost += u32::from(self.lose(*key));
        }
        self.ready.clear();
        self.ready_bytes = 0;
        self.to_settle.clear();
        self.leaps.clear();
        self.fetching.wanted.clear();
        self.tell_lost(lost);
    }

    /// The membership ends for good.
    fn fail(&mut self, error: ServerError) {
        self.standing = Standing::Ended;
        self.lose_all();
        self.error = Some(error);
    }

    /// The server refused a request about the membership.
    pub(super) fn refused(&mut self, asked: &Asked, error: ServerError, now: Instant) {
        match (asked, error.code) {
            (Asked::Leave, _) => self.left(),
            (_, ErrorCode::MemberFenced) => self.fail(error),
            (Asked::Join, ErrorCode::MemberUnknown) => {
                self.member = MemberId::NONE;
                self.join_at = Some(now + RETRY_DELAY);
            }
            (Asked::Join, _) if self.standing != Standing::Joining => {}
            (Asked::Join, _) if error.is_retriable() => self.join_at = Some(now + RETRY_DELAY),
            (Asked::Join, _) => self.fail(error),
            (Asked::Heartbeat { era }, ErrorCode::MemberUnknown) if *era == self.era => {
                self.forgotten(now);
            }
            // The next one is due anyway.
            _ => {}
        }
    }

    pub(super) fn left(&mut self) {
        if self.standing == Standing::Left {
            self.standing = Standing::Ended;
        }
    }

    pub(super) fn say_good_bye(&mut self, now: Instant) {
        if self.links.is_ready(LINK) {
            let leave = LeaveGroup { group: &self.group, member: self.member };
            self.links.request(LINK, Asked::Leave, now, |id, out| leave.encode(id, out));
        }
    }
}
