//! Listens in on what a member of a group in share mode asks and is told, frame by frame.
//!
//! What a newcomer gets wrong: the session renews, defers and gives back by itself. What the
//! application decides is only a part of what is said.

use std::collections::BTreeMap;

use plimsoll_client::{ErrorCode, Incoming, Instant, LinkId, Offset};
use plimsoll_wire::{
    CorrelationId, Decoded, FRAME_BYTES_MAX, MemberId, Membership, Request, Response,
    ShareAcquired, ShareSettled, TopicId, Verdict, decode_frame,
};

use super::links::Tap;
use crate::deliveries::{At, Handout, Sent, When};
use crate::ledger::{Ledger, Place};
use crate::met::Met;

/// Where the requests about a group go; those behind it are of copies.
const LINK: LinkId = LinkId(0);

/// What a member has asked.
pub(crate) struct Hearing {
    asked: BTreeMap<CorrelationId, Asked>,
    /// As whom it asks.
    pub(crate) member: Option<MemberId>,
    /// The topics of the group, by the server's numbers.
    pub(crate) topics: BTreeMap<TopicId, usize>,
}

/// A request.
struct Asked {
    sent_ms: i64,
    member: MemberId,
    what: What,
}

enum What {
    Other,
    Acquire,
    Settle(Vec<Sent>),
}

/// Notes what is said on the connections of one member.
pub(crate) struct SharerTap<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) hearing: &'a mut Hearing,
    pub(crate) share: usize,
}

impl Tap for SharerTap<'_> {
    fn connected(&mut self, link: LinkId) {
        if link == LINK {
            self.hearing.forget(self.ledger, self.share);
        }
    }

    fn sent(&mut self, link: LinkId, frames: &[u8], _now: Instant) {
        let mut rest = frames;
        while link == LINK
            && let Ok(Decoded::Frame(frame)) = decode_frame(rest, FRAME_BYTES_MAX)
        {
            rest = &rest[frame.frame_bytes..];
            if let Ok(request) = Request::decode(&frame) {
                self.note_request(frame.correlation, &request);
            }
        }
    }

    fn heard(&mut self, link: LinkId, frame: &Incoming<'_>) {
        let Incoming::Response { correlation, response } = frame else { return };
        if link != LINK {
            return;
        }
        if let Response::Assignment(assignment) = response {
            return self.note_membership(&assignment.membership);
        }
        let Some(asked) = self.hearing.asked.remove(correlation) else { return };
        if matches!(asked.what, What::Acquire) {
            self.ledger.shares[self.share].was_answered(asked.member);
        }
        match (response, &asked.what) {
            (Response::JoinGroup(membership) | Response::Heartbeat(membership), _) => {
                self.hearing.member = Some(membership.member);
                self.heard_by_server(membership.member, asked.sent_ms);
                self.note_membership(membership);
            }
            (Response::ShareAcquired(answer), _) => {
                self.heard_by_server(asked.member, asked.sent_ms);
                self.note_acquired((asked.member, asked.sent_ms), answer);
            }
            (Response::ShareSettled(answer), What::Settle(sent)) => {
                self.heard_by_server(asked.member, asked.sent_ms);
                self.note_settled(sent, asked.sent_ms, answer);
            }
            (Response::Error(error), _) => {
                let code = error.code;
                self.remark(asked.member, || format!("is refused: {code:?}"));
            }
            _ => {}
        }
    }
}

impl Hearing {
    pub(crate) fn new(topics: BTreeMap<TopicId, usize>, member: Option<MemberId>) -> Self {
        Self { asked: BTreeMap::new(), member, topics }
    }

    /// Everything that was asked was answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether a verdict on a record is on its way. It is of a handing out before, and may be taken
    /// for one of the next, if the lock ends meanwhile and the same member gets the record again.
    fn is_spoken_of(&self, (place, offset): At) -> bool {
        let is_it = |sent: &Sent| {
            let is_within = (sent.first..=sent.last).contains(&offset);
            sent.place == place && is_within && sent.verdict != Verdict::Renew
        };
        self.asked.values().any(|asked| match &asked.what {
            What::Settle(sent) => sent.iter().any(is_it),
            _ => false,
        })
    }

    /// Nothing that was asked is answered any more.
    pub(crate) fn forget(&mut self, ledger: &mut Ledger, share: usize) {
        let asked = std::mem::take(&mut self.asked).into_values();
        let acquires = asked.filter(|it| matches!(it.what, What::Acquire));
        acquires.for_each(|it| ledger.shares[share].is_not_answered(it.member));
    }
}

impl SharerTap<'_> {
    fn when(&self) -> When {
        When { now_ms: self.ledger.steady_ms(), life: self.ledger.life }
    }

    fn place(&self, topic: TopicId, partition: u32) -> Option<Place> {
        let topic = *self.hearing.topics.get(&topic)?;
        Some(Place { topic, partition })
    }

    fn heard_by_server(&mut self, member: MemberId, sent_ms: i64) {
        let when = self.when();
        self.ledger.shares[self.share].heard_by_server(member, sent_ms, when);
    }

    fn note_request(&mut self, correlation: CorrelationId, request: &Request<'_>) {
        let life = self.ledger.life;
        let (member, what) = match request {
            Request::JoinGroup(join) => (join.member, What::Other),
            Request::Heartbeat(heartbeat) => (heartbeat.member, What::Other),
            Request::LeaveGroup(leave) => {
                self.ledger.shares[self.share].leaves(leave.member);
                (leave.member, What::Other)
            }
            Request::ShareAcquire(acquire) => {
                self.ledger.shares[self.share].asks(acquire.member);
                (acquire.member, What::Acquire)
            }
            Request::ShareSettle(settle) => {
                let mut sent = Vec::new();
                for range in &settle.ranges {
                    let at = (range.partition.topic, range.partition.partition.0);
                    let Some(place) = self.place(at.0, at.1) else { return };
                    let run = (place, range.first, range.last);
                    self.remark(settle.member, || {
                        let (first, last) = (range.first, range.last);
                        format!("{place:?} {first} to {last}: {:?}", range.verdict)
                    });
                    let book = &mut self.ledger.shares[self.share];
                    sent.push(book.say(settle.member, run, (range.verdict, life)));
                }
                (settle.member, What::Settle(sent))
            }
            _ => return,
        };
        let sent_ms = self.ledger.steady_ms();
        self.hearing.asked.insert(correlation, Asked { sent_ms, member, what });
    }

    fn note_membership(&mut self, membership: &Membership<'_>) {
        for topic in membership.topics.iter().flatten() {
            for assigned in &topic.partitions {
                let place = self.place(topic.id, assigned.partition.0);
                if let (Some(place), Some(start)) = (place, assigned.committed) {
                    let member = Some(membership.member);
                    self.ledger.saw_share_start(self.share, (place, start), member);
                }
            }
        }
    }

    fn note_acquired(&mut self, (member, sent_ms): (MemberId, i64), answer: &ShareAcquired) {
        let When { now_ms, life } = self.when();
        let stamp = self.ledger.walls.when(answer.unix_ms, (sent_ms, now_ms));
        for range in &answer.ranges {
            let (topic, partition) = (range.partition.topic, range.partition.partition.0);
            let Some(place) = self.place(topic, partition) else {
                let text = format!("records of another topic: {range:?}");
                return self.ledger.of_share(self.share, Err(text));
            };
            let (first, last) = (range.first, range.last);
            self.ledger.fold(first.value() << 8 | u64::from(range.deliveries));
            self.remark(member, || {
                let (deliveries, dead) = (range.deliveries, range.dead);
                format!("has {place:?} {first} to {last}, {deliveries} times, {dead:?}")
            });
            let counted = (range.deliveries, range.dead);
            let handout = Handout::new((member, life), counted, (stamp, answer.lock_ms));
            for offset in first.value()..=last.value() {
                let at = (place, Offset::new(offset));
                let handout = match self.hearing.is_spoken_of(at) {
                    true => handout.spoken_of(),
                    false => handout,
                };
                let book = &mut self.ledger.shares[self.share];
                let walls = &self.ledger.walls;
                let outcome = book.hand_out(at, handout, walls);
                if outcome.as_ref().is_ok_and(|shown| shown.lock_ended) {
                    self.ledger.meet(Met::LockEnded);
                }
                self.ledger.of_share(self.share, outcome.map(drop));
            }
        }
    }

    fn note_settled(&mut self, sent: &[Sent], sent_ms: i64, answer: &ShareSettled) {
        let when = self.when();
        for (sent, error) in sent.iter().zip(&answer.errors) {
            let (book, walls) = (&mut self.ledger.shares[self.share], &self.ledger.walls);
            let outcome = match error {
                None => book.taken(sent, (sent_ms, when), walls),
                Some(ErrorCode::AlreadySettled) => book.was_taken_before(sent, when, walls),
                Some(_) => Ok(()),
            };
            match (error, sent.verdict) {
                (None, Verdict::Accept) => self.ledger.meet(Met::Accepted),
                (Some(ErrorCode::LockLost), _) => self.ledger.meet(Met::VerdictRefused),
                _ => {}
            }
            self.ledger.of_share(self.share, outcome);
            let (place, first, last) = (sent.place, sent.first, sent.last);
            self.ledger.fold(first.value() << 16 | last.value());
            self.remark(MemberId::NONE, || {
                format!("{place:?} {first} to {last}: {:?} is answered {error:?}", sent.verdict)
            });
        }
    }

    fn remark(&mut self, member: MemberId, text: impl FnOnce() -> String) {
        let share = self.share;
        self.ledger.remark(|| format!("share group {share}, {member:?}: {}", text()));
    }
}
