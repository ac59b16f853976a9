//! The member as its driver sees it: the frames of the group here, all others to the consumer.
//!
//! What a newcomer gets wrong: the order on a new connection. The sign of life goes first, because
//! a server that knows the member again takes its commits.

use super::{Asked, GroupConsumer, LINK, Standing};
use crate::consumer::{Place, Purpose, RETRY_DELAY};
use crate::{
    Chunk, CommitPolicy, ConnectionFault, Incoming, Instant, LinkId, ServerError, Session,
};
use alloc::vec::Vec;
use plimsoll_wire::{CommittedOffset, CorrelationId, ErrorResponse, Opcode, Response};

impl Session for GroupConsumer {
    fn links(&self) -> u16 {
        self.consumer.links()
    }

    fn poll_dial(&mut self, now: Instant) -> Option<LinkId> {
        self.consumer.poll_dial(now)
    }

    fn handle_connected(&mut self, link: LinkId, now: Instant) {
        self.consumer.handle_connected(link, now);
    }

    fn handle_lost(&mut self, link: LinkId, fault: ConnectionFault, now: Instant) {
        self.consumer.handle_lost(link, fault, now);
        if link == LINK {
            self.heartbeat_at = None;
            self.commits.send_again();
            if self.standing == Standing::Left {
                self.standing = Standing::Ended;
            }
        }
    }

    fn handle_frame(
        &mut self,
        link: LinkId,
        frame: Incoming<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let (correlation, response) = match frame {
            Incoming::Response { correlation, response } => (correlation, response),
            delivery @ Incoming::Delivery(_) => {
                return self.consumer.handle_frame(link, delivery, now);
            }
        };
        match response {
            Response::JoinGroup(membership) => {
                self.asked(link, correlation, now)?;
                self.joined(&membership, now);
            }
            Response::Heartbeat(membership) => {
                let asked = self.asked(link, correlation, now)?;
                if asked == Asked::Heartbeat(self.member) && self.standing == Standing::Member {
                    self.follow(&membership, false, now);
                }
            }
            Response::Assignment(assignment) => {
                let membership = &assignment.membership;
                if membership.member == self.member && self.standing == Standing::Member {
                    self.follow(membership, false, now);
                }
            }
            Response::LeaveGroup => {
                self.asked(link, correlation, now)?;
                self.left();
            }
            Response::CommitOffsets(committed) => {
                if let Asked::Commit(_, id) = self.asked(link, correlation, now)? {
                    let retry_at = now + RETRY_DELAY;
                    let answers = self.answers(committed.offsets);
                    let ended = self.commits.answered(id, &answers, retry_at);
                    self.commit_ended(ended);
                }
            }
            Response::Error(error) if is_of_group(error.opcode) => {
                self.handle_error(link, correlation, &error, now)?;
            }
            Response::Hello(_) => {
                let hello = Incoming::Response { correlation, response };
                self.consumer.handle_frame(link, hello, now)?;
                if link == LINK {
                    self.connected(now);
                }
            }
            response => {
                let other = Incoming::Response { correlation, response };
                self.consumer.handle_frame(link, other, now)?;
            }
        }
        self.send_commits(now);
        self.settle(now);
        Ok(())
    }

    fn poll_transmit(&mut self, link: LinkId, now: Instant) -> Option<Chunk> {
        self.consumer.poll_transmit(link, now)
    }

    fn can_transmit(&self, link: LinkId, now: Instant) -> bool {
        self.consumer.can_transmit(link, now)
    }

    fn poll_hang_up(&mut self, link: LinkId) -> Option<ConnectionFault> {
        self.consumer.poll_hang_up(link)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let poll_at = self.is_polled().then_some(self.polled_at + self.options.max_poll_interval);
        [self.heartbeat_at, self.join_at, self.commit_at, self.let_go_at, poll_at]
            .into_iter()
            .flatten()
            .chain(self.commits.poll_timeout())
            .chain(self.consumer.poll_timeout())
            .min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.consumer.handle_timeout(now);
        if self.is_polled() && self.polled_at + self.options.max_poll_interval <= now {
            self.go_away(now);
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.join_at) {
            self.join(now);
        }
        if is_due(self.heartbeat_at) {
            self.heartbeat(now);
        }
        if is_due(self.commit_at) {
            self.commit_at = match self.options.commit {
                CommitPolicy::Auto { interval } if self.standing.is_member() => {
                    Some(now + interval)
                }
                _ => None,
            };
            if self.standing == Standing::Member {
                self.commit_worked(now);
            }
        }
        if is_due(self.let_go_at) {
            self.let_go_at_last(now);
        }
        self.handle_expired_commits(now);
        self.send_commits(now);
        self.settle(now);
    }
}

impl GroupConsumer {
    fn connected(&mut self, now: Instant) {
        match self.standing {
            Standing::Joining => self.join(now),
            Standing::Member | Standing::Leaving => {
                self.heartbeat(now);
                self.send_commits(now);
            }
            Standing::Away | Standing::Left | Standing::Ended => {}
        }
    }

    fn answers(&self, offsets: Vec<CommittedOffset>) -> Vec<(Place, CommittedOffset)> {
        let with_place = |of: CommittedOffset| {
            let id = of.partition.topic.0;
            let topic = self.consumer.topics.iter().position(|topic| topic.id == id)?;
            Some((Place { topic, partition: of.partition.partition.0 }, of))
        };
        offsets.into_iter().filter_map(with_place).collect()
    }

    fn handle_error(
        &mut self,
        link: LinkId,
        correlation: CorrelationId,
        error: &ErrorResponse<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let answer = ServerError::new(error);
        if error.code.closes_connection() {
            return Err(ConnectionFault::Server(answer));
        }
        if error.opcode == Opcode::Assignment {
            return Ok(());
        }
        let asked = self.asked(link, correlation, now)?;
        self.refused(asked, answer, now);
        Ok(())
    }

    fn asked(
        &mut self,
        link: LinkId,
        correlation: CorrelationId,
        now: Instant,
    ) -> Result<Asked, ConnectionFault> {
        match self.consumer.links.answered(link, correlation, now)? {
            Purpose::Group(asked) => Ok(asked),
            _ => Err(ConnectionFault::Unexpected("a response of another kind")),
        }
    }

    /// Whether the application is bound to ask for records in time.
    fn is_polled(&self) -> bool {
        matches!(self.standing, Standing::Joining | Standing::Member)
    }
}

fn is_of_group(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::JoinGroup
            | Opcode::Heartbeat
            | Opcode::Assignment
            | Opcode::LeaveGroup
            | Opcode::CommitOffsets
    )
}
