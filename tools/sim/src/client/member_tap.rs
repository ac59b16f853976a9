//! Listens in on what a member of a group asks and is told, frame by frame.
//!
//! What it hears goes into the group's books. What a newcomer gets wrong: the session hides what it
//! does not need, which generation a commit went by, and what was committed when a partition was
//! given. Both are promises, so they are read off the wire.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_client::{Incoming, Instant, LinkId, Offset};
use plimsoll_wire::{
    CommitOffsetsResponse, CommittedOffset, CorrelationId, Decoded, FRAME_BYTES_MAX, MemberId,
    Membership, Request, Response, decode_frame,
};

use super::links::Tap;
use crate::ledger::Ledger;
use crate::met::Met;
use crate::positions::{Knowledge, Known};

/// Where the requests about a group go.
const LINK: LinkId = LinkId(0);

/// What a member has asked and was told.
#[derive(Default)]
pub(crate) struct Hearing {
    asked: BTreeMap<CorrelationId, Asked>,
    /// What was known when the connection was made, or something was asked that was answered since.
    before: Knowledge,
    /// What it was told last that it has, and as whom.
    told: BTreeSet<u32>,
    member: MemberId,
    /// What it knows to be committed of what it asked to commit.
    pub(crate) committed: Known,
}

/// A request, and what was known when it was sent.
struct Asked {
    at: Instant,
    before: Knowledge,
    offsets: Vec<ToCommit>,
}

/// An offset that was sent to be committed.
struct ToCommit {
    partition: u32,
    offset: Offset,
    /// Somebody else had been given the partition by then.
    is_given_on: bool,
}

/// Notes what is said on the connections of one member.
pub(crate) struct MemberTap<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) hearing: &'a mut Hearing,
    pub(crate) group: usize,
    /// None where another one has taken the seat.
    pub(crate) seat: Option<usize>,
}

impl Tap for MemberTap<'_> {
    fn connected(&mut self, link: LinkId) {
        if link == LINK {
            self.hearing.asked.clear();
            self.hearing.before = self.ledger.groups[self.group].known();
        }
    }

    fn sent(&mut self, link: LinkId, frames: &[u8], now: Instant) {
        let mut rest = frames;
        while link == LINK
            && let Ok(Decoded::Frame(frame)) = decode_frame(rest, FRAME_BYTES_MAX)
        {
            rest = &rest[frame.frame_bytes..];
            if let Ok(request) = Request::decode(&frame) {
                self.note_request(frame.correlation, &request, now);
            }
        }
    }

    fn heard(&mut self, link: LinkId, frame: &Incoming<'_>) {
        let Incoming::Response { correlation, response } = frame else { return };
        if link != LINK {
            return;
        }
        match response {
            Response::JoinGroup(membership) | Response::Heartbeat(membership) => {
                let Some(asked) = self.hearing.asked.remove(correlation) else { return };
                if let Some(seat) = self.seat {
                    let life = self.ledger.life;
                    self.ledger.groups[self.group].heard_by_server(seat, asked.at, life);
                }
                self.hearing.before.renew(&asked.before);
                self.note_membership(membership, &asked.before);
            }
            Response::Assignment(assignment) => {
                let before = self.hearing.before.clone();
                self.note_membership(&assignment.membership, &before);
            }
            Response::CommitOffsets(answer) => {
                if let Some(asked) = self.hearing.asked.remove(correlation) {
                    self.note_committed(&asked, answer);
                }
            }
            _ => {}
        }
    }
}

impl MemberTap<'_> {
    fn note_request(&mut self, correlation: CorrelationId, request: &Request<'_>, at: Instant) {
        let mut offsets = Vec::new();
        match request {
            Request::JoinGroup(_) | Request::Heartbeat(_) => {}
            Request::CommitOffsets(commit) => {
                for wanted in &commit.offsets {
                    let Some(offset) = wanted.offset else { continue };
                    let partition = wanted.partition.partition.0;
                    let by = (commit.member, commit.generation);
                    let book = &mut self.ledger.groups[self.group];
                    let is_given_on = book.is_given_on(partition, by);
                    if book.plan.begins_at_end && !self.hearing.committed.contains_key(&partition) {
                        book.begin_at(partition, offset);
                        self.ledger.meet(Met::BegunAtEnd);
                    }
                    let asked = self.ledger.groups[self.group].ask(partition, offset);
                    self.ledger.of_group(self.group, asked);
                    offsets.push(ToCommit { partition, offset, is_given_on });
                }
            }
            _ => return,
        }
        let before = self.ledger.groups[self.group].known();
        self.hearing.asked.insert(correlation, Asked { at, before, offsets });
    }

    fn note_membership(&mut self, membership: &Membership<'_>, before: &Knowledge) {
        let Some(topics) = &membership.topics else { return };
        let (member, generation) = (membership.member, membership.generation);
        if std::mem::replace(&mut self.hearing.member, member) != member {
            self.hearing.told.clear();
        }
        let mut told = BTreeSet::new();
        for assigned in topics.iter().flat_map(|topic| &topic.partitions) {
            let partition = assigned.partition.0;
            self.ledger.fold(u64::from(partition) << 32 | generation.0);
            told.insert(partition);
            let is_new = !self.hearing.told.contains(&partition);
            let book = &mut self.ledger.groups[self.group];
            let outcome = book.told(partition, assigned.committed, before).and_then(|()| {
                if is_new { book.give(partition, member, generation) } else { Ok(()) }
            });
            if is_new {
                // What it knew of the group before may be from before a reset.
                match assigned.committed {
                    Some(committed) => self.hearing.committed.insert(partition, committed),
                    None => self.hearing.committed.remove(&partition),
                };
            }
            self.ledger.of_group(self.group, outcome);
        }
        self.remark(member, || format!("{generation:?}: has {told:?}"));
        self.hearing.told = told;
    }

    fn note_committed(&mut self, asked: &Asked, answer: &CommitOffsetsResponse) {
        for CommittedOffset { partition, error, committed } in &answer.offsets {
            let partition = partition.partition.0;
            let of_it = asked.offsets.iter().find(|it| it.partition == partition);
            let (Some(wanted), None) = (of_it, error) else { continue };
            self.ledger.fold(committed.map_or(0, Offset::value));
            let book = &mut self.ledger.groups[self.group];
            let mut outcome = book.told(partition, *committed, &asked.before);
            if wanted.is_given_on {
                outcome = Err(format!(
                    "partition {partition}: a commit of {} is taken from who had it before",
                    wanted.offset
                ));
            } else if *committed < Some(wanted.offset) {
                outcome = Err(format!(
                    "partition {partition}: a commit of {} is answered with {committed:?}",
                    wanted.offset
                ));
            }
            self.ledger.of_group(self.group, outcome);
            if let Some(committed) = committed {
                self.hearing.committed.insert(partition, *committed);
                // What follows on this connection was said after this.
                if self.ledger.groups[self.group].is_of_now(&self.hearing.before) {
                    let before = &mut self.hearing.before.committed;
                    let before = before.entry(partition).or_insert(*committed);
                    *before = (*committed).max(*before);
                }
            }
            self.ledger.meet(Met::Committed);
            self.remark(MemberId::NONE, || format!("partition {partition}: {committed:?} is safe"));
        }
    }

    fn remark(&mut self, member: MemberId, text: impl FnOnce() -> String) {
        let (group, seat) = (self.group, self.seat);
        self.ledger.remark(|| format!("group {group}, seat {seat:?}, {member:?}: {}", text()));
    }
}
