//! The member as its driver sees it: link 0 is its own, those behind it are the producer's of the
//! dead-letter topic.
//!
//! What a newcomer gets wrong: an answer may belong to a membership that has ended. Its era says
//! so, and then it changes nothing.

use super::{Asked, LINK, ShareConsumer, Standing};
use crate::consumer::RETRY_DELAY;
use crate::link::closing;
use crate::{Chunk, ConnectionFault, Incoming, Instant, LinkId, Producer, ServerError, Session};
use plimsoll_wire::{CorrelationId, ErrorCode, ErrorResponse, Opcode, Response};

impl Session for ShareConsumer {
    fn links(&self) -> u16 {
        1 + self.copies.as_ref().map_or(0, |copies| copies.producer.links())
    }

    fn poll_dial(&mut self, now: Instant) -> Option<LinkId> {
        self.links.poll_dial(now).or_else(|| {
            let of_producer = self.copies.as_mut()?.producer.poll_dial(now)?;
            Some(LinkId(of_producer.0 + 1))
        })
    }

    fn handle_connected(&mut self, link: LinkId, now: Instant) {
        match self.producer(link) {
            Some((producer, link)) => producer.handle_connected(link, now),
            None => self.links.handle_connected(link, now),
        }
    }

    fn handle_lost(&mut self, link: LinkId, fault: ConnectionFault, now: Instant) {
        if let Some((producer, link)) = self.producer(link) {
            producer.handle_lost(link, fault, now);
            return self.work(now);
        }
        self.links.handle_lost(link, fault, now);
        self.heartbeat_at = None;
        self.acquires = 0;
        self.fetching.lost();
        self.send_again();
        if self.standing == Standing::Left {
            self.standing = Standing::Ended;
        }
    }

    fn handle_frame(
        &mut self,
        link: LinkId,
        frame: Incoming<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        if let Some((producer, link)) = self.producer(link) {
            producer.handle_frame(link, frame, now)?;
            self.work(now);
            return Ok(());
        }
        let Incoming::Response { correlation, response } = frame else {
            return Err(ConnectionFault::Unexpected("a delivery"));
        };
        self.handle_response(correlation, response, now)?;
        self.work(now);
        Ok(())
    }

    fn poll_transmit(&mut self, link: LinkId, now: Instant) -> Option<Chunk> {
        match self.producer(link) {
            Some((producer, link)) => producer.poll_transmit(link, now),
            None => self.links.poll_control(link),
        }
    }

    fn can_transmit(&self, link: LinkId, now: Instant) -> bool {
        match (&self.copies, link.0.checked_sub(1)) {
            (Some(copies), Some(link)) => copies.producer.can_transmit(LinkId(link), now),
            _ => self.links.has_control(link),
        }
    }

    fn poll_hang_up(&mut self, link: LinkId) -> Option<ConnectionFault> {
        match self.producer(link) {
            Some((producer, link)) => producer.poll_hang_up(link),
            None => self.links.poll_hang_up(link),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let is_member = self.links.is_ready(LINK) && self.standing.is_member();
        let retries = [self.settle_at, self.fetching.retry_at, self.acquire_at];
        [self.heartbeat_at, self.join_at, self.renew_at]
            .into_iter()
            .chain(retries.into_iter().filter(|_| is_member))
            .flatten()
            .chain(self.links.poll_timeout())
            .chain(self.copies.as_ref().and_then(|copies| copies.producer.poll_timeout()))
            .min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.links.handle_timeout(now);
        if let Some(copies) = &mut self.copies {
            copies.producer.handle_timeout(now);
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.join_at) {
            self.join(now);
        }
        if is_due(self.heartbeat_at) {
            self.heartbeat(now);
        }
        if is_due(self.renew_at) {
            self.renew(now);
        }
        self.work(now);
        for retry_at in [&mut self.settle_at, &mut self.acquire_at] {
            if is_due(*retry_at) {
                *retry_at = None;
            }
        }
        if is_due(self.fetching.retry_at) {
            self.fetching.retry_at = None;
        }
    }
}

impl ShareConsumer {
    /// Whose link it is, if not its own.
    fn producer(&mut self, link: LinkId) -> Option<(&mut Producer<()>, LinkId)> {
        let link = LinkId(link.0.checked_sub(1)?);
        self.copies.as_mut().map(|copies| (&mut copies.producer, link))
    }

    fn handle_response(
        &mut self,
        correlation: CorrelationId,
        response: Response<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        match response {
            Response::Hello(hello) => {
                self.links.handle_hello(LINK, &hello)?;
                return self.connected(now);
            }
            Response::Assignment(assignment) => {
                let membership = &assignment.membership;
                if membership.member == self.member && self.standing.is_member() {
                    self.follow(membership, now);
                }
                return Ok(());
            }
            Response::Error(error) => return self.handle_error(correlation, &error, now),
            _ => {}
        }
        let asked = self.links.answered(LINK, correlation, now)?;
        match (asked, response) {
            (Asked::Join, Response::JoinGroup(membership)) => self.joined(&membership, now),
            (Asked::Heartbeat { era }, Response::Heartbeat(membership)) => {
                if self.is_current(era) {
                    self.follow(&membership, now);
                }
            }
            (Asked::Acquire { era, records_max }, Response::ShareAcquired(answer)) => {
                if self.is_current(era) {
                    self.acquired(records_max, &answer, now)?;
                }
            }
            (Asked::Bind { slot }, Response::Bind(_)) => self.bound(slot),
            (Asked::Unbind, Response::Unbind) => {}
            (Asked::Fetch { slot, from }, Response::Fetched(fetched)) => {
                self.fetched(slot, from, &fetched, now)?;
            }
            (Asked::Settle { era, runs }, Response::ShareSettled(answer)) => {
                if self.is_current(era) {
                    self.settled(&runs, &answer)?;
                }
            }
            (Asked::Renew { era, sent_at, runs }, Response::ShareSettled(answer)) => {
                if self.is_current(era) {
                    self.renewed(&runs, sent_at, &answer, now)?;
                }
            }
            (Asked::Leave, Response::LeaveGroup) => self.left(),
            _ => return Err(ConnectionFault::Unexpected("a response of another kind")),
        }
        Ok(())
    }

    fn is_current(&self, era: u32) -> bool {
        era == self.era && self.standing.is_member()
    }

    fn connected(&mut self, now: Instant) -> Result<(), ConnectionFault> {
        match self.standing {
            Standing::Joining => self.join(now),
            Standing::Member | Standing::Leaving => self.heartbeat(now),
            Standing::Left | Standing::Ended => {}
        }
        Ok(())
    }

    fn handle_error(
        &mut self,
        correlation: CorrelationId,
        error: &ErrorResponse<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let answer = ServerError::new(error);
        if error.code.closes_connection() || error.opcode == Opcode::Hello {
            return Err(closing(&answer));
        }
        if error.opcode == Opcode::Assignment {
            return Ok(());
        }
        let asked = self.links.answered(LINK, correlation, now)?;
        let era = match &asked {
            Asked::Acquire { era, .. } | Asked::Settle { era, .. } | Asked::Renew { era, .. } => {
                Some(*era)
            }
            _ => None,
        };
        if let Some(era) = era {
            if !self.is_current(era) {
                return Ok(());
            }
            if answer.code == ErrorCode::MemberUnknown {
                self.forgotten(now);
                return Ok(());
            }
        }
        match asked {
            Asked::Bind { slot } => self.unfetched(slot, None, answer, now),
            Asked::Fetch { slot, from } => self.unfetched(slot, Some(from), answer, now),
            // That it was not bound is as good.
            Asked::Unbind => {}
            _ if answer.code == ErrorCode::MemberFenced => self.refused(&asked, answer, now),
            Asked::Acquire { .. } => {
                self.acquires = self.acquires.saturating_sub(1);
                self.acquire_at = Some(now + RETRY_DELAY);
            }
            Asked::Settle { runs, .. } => self.unsettled_runs(&runs, &answer, now),
            // The next one is due before the locks end.
            Asked::Renew { .. } => {}
            asked => self.refused(&asked, answer, now),
        }
        Ok(())
    }
}
