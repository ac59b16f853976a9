//! The life of a connection: dial, hello, ready, lost, dial again.
//!
//! Producer and consumer share this. It knows when to dial, numbers the requests, remembers what
//! each pending request was for, and gives up on a server that does not answer. It knows nothing
//! of batches and subscriptions.
//!
//! What a newcomer gets wrong: a lost link forgets its pending requests. Whoever made them makes
//! them again when the link is ready, or decides that their fate is unknown.

use crate::{Chunk, ConnectionFault, Instant, LinkId, ServerError};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use plimsoll_wire::{CorrelationId, Hello, HelloResponse, ShardIndex};

/// How a session treats its connections.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkOptions {
    /// What the server shows for this client.
    pub client_name: Arc<str>,
    /// A request that is not answered within this ends the connection.
    pub request_timeout: Duration,
    /// The wait before the second attempt to connect; it doubles with each attempt.
    pub reconnect_delay: Duration,
    /// The longest wait between two attempts.
    pub reconnect_delay_max: Duration,
}

impl Default for LinkOptions {
    fn default() -> LinkOptions {
        LinkOptions {
            client_name: Arc::from("plimsoll-client"),
            request_timeout: Duration::from_secs(30),
            reconnect_delay: Duration::from_millis(50),
            reconnect_delay_max: Duration::from_secs(2),
        }
    }
}

/// The links of one session. `P` says what a pending request was for.
#[derive(Debug)]
pub(crate) struct Links<P> {
    options: LinkOptions,
    links: Vec<Link<P>>,
}

impl<P> Links<P> {
    pub(crate) fn new(count: u16, options: LinkOptions) -> Links<P> {
        Links { options, links: (0..count).map(|_| Link::new()).collect() }
    }

    pub(crate) fn count(&self) -> u16 {
        self.links.len() as u16
    }

    /// Makes sure that the link is connected, sooner or later.
    pub(crate) fn want(&mut self, link: LinkId, now: Instant) {
        let link = self.link(link);
        if let State::Idle = link.state {
            link.state = State::Wanted { at: now };
        }
    }

    pub(crate) fn is_ready(&self, link: LinkId) -> bool {
        matches!(self.links[usize::from(link.0)].state, State::Ready)
    }

    /// What the server said in its hello; the smallest sensible values before that.
    pub(crate) fn limits(&self, link: LinkId) -> LinkLimits {
        self.links[usize::from(link.0)].limits
    }

    /// Why the link was lost last, if it is not connected now.
    pub(crate) fn last_fault(&self, link: LinkId) -> Option<&ConnectionFault> {
        self.links[usize::from(link.0)].last_fault.as_ref()
    }

    pub(crate) fn poll_dial(&mut self, now: Instant) -> Option<LinkId> {
        let due = |link: &Link<P>| matches!(link.state, State::Wanted { at } if at <= now);
        let index = self.links.iter().position(due)?;
        self.links[index].state = State::Dialling;
        Some(LinkId(index as u16))
    }

    pub(crate) fn handle_connected(&mut self, link: LinkId, now: Instant) {
        let client_name = Arc::clone(&self.options.client_name);
        let state = self.link(link);
        state.state = State::Greeting;
        state.waiting_since = Some(now);
        let correlation = state.next_correlation();
        Hello::new(ShardIndex(link.0), &client_name).encode(correlation, &mut state.control);
    }

    pub(crate) fn handle_hello(
        &mut self,
        link: LinkId,
        hello: &HelloResponse<'_>,
    ) -> Result<(), ConnectionFault> {
        let link = self.link(link);
        if !matches!(link.state, State::Greeting) {
            return Err(ConnectionFault::Unexpected("a second hello"));
        }
        link.state = State::Ready;
        link.limits = LinkLimits { in_flight_max: hello.in_flight_max };
        link.attempts = 0;
        link.last_fault = None;
        link.waiting_since = None;
        Ok(())
    }

    /// Forgets everything about the connection and plans the next attempt.
    pub(crate) fn handle_lost(&mut self, link: LinkId, fault: ConnectionFault, now: Instant) {
        let LinkOptions { reconnect_delay, reconnect_delay_max, .. } = self.options;
        let link = self.link(link);
        let delay =
            reconnect_delay.saturating_mul(1 << link.attempts.min(16)).min(reconnect_delay_max);
        *link = Link {
            state: State::Wanted { at: now + delay },
            attempts: link.attempts.saturating_add(1),
            last_fault: Some(fault),
            ..Link::new()
        };
    }

    /// Queues a request and remembers what it is for.
    pub(crate) fn request(
        &mut self,
        link: LinkId,
        purpose: P,
        now: Instant,
        encode: impl FnOnce(CorrelationId, &mut Vec<u8>),
    ) {
        let link = self.link(link);
        let correlation = link.next_correlation();
        encode(correlation, &mut link.control);
        link.pending.insert(correlation, purpose);
        link.waiting_since.get_or_insert(now);
    }

    /// Queues a frame that has no answer.
    pub(crate) fn notify(
        &mut self,
        link: LinkId,
        encode: impl FnOnce(CorrelationId, &mut Vec<u8>),
    ) {
        let link = self.link(link);
        let correlation = link.next_correlation();
        encode(correlation, &mut link.control);
    }

    /// What the request with this correlation was for.
    pub(crate) fn answered(
        &mut self,
        link: LinkId,
        correlation: CorrelationId,
        now: Instant,
    ) -> Result<P, ConnectionFault> {
        let link = self.link(link);
        let purpose = link.pending.remove(&correlation);
        link.waiting_since = if link.pending.is_empty() { None } else { Some(now) };
        purpose.ok_or(ConnectionFault::Unexpected("a response"))
    }

    /// The control frames that wait, all of them.
    pub(crate) fn poll_control(&mut self, link: LinkId) -> Option<Chunk> {
        let link = self.link(link);
        if link.control.is_empty() {
            return None;
        }
        Some(Chunk::new(mem::take(&mut link.control)))
    }

    pub(crate) fn has_control(&self, link: LinkId) -> bool {
        !self.links[usize::from(link.0)].control.is_empty()
    }

    pub(crate) fn hang_up(&mut self, link: LinkId, fault: ConnectionFault) {
        let link = self.link(link);
        if matches!(link.state, State::Greeting | State::Ready) {
            link.hang_up.get_or_insert(fault);
        }
    }

    pub(crate) fn poll_hang_up(&mut self, link: LinkId) -> Option<ConnectionFault> {
        self.link(link).hang_up.take()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let timeout = self.options.request_timeout;
        let of_link = |link: &Link<P>| match link.state {
            State::Wanted { at } => Some(at),
            _ if link.hang_up.is_some() => None,
            _ => link.waiting_since.map(|since| since + timeout),
        };
        self.links.iter().filter_map(of_link).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let timeout = self.options.request_timeout;
        for link in &mut self.links {
            if link.waiting_since.is_some_and(|since| since + timeout <= now) {
                link.waiting_since = None;
                link.hang_up.get_or_insert(ConnectionFault::Silent(timeout));
            }
        }
    }

    fn link(&mut self, link: LinkId) -> &mut Link<P> {
        &mut self.links[usize::from(link.0)]
    }
}

/// What the server said that it takes on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkLimits {
    pub(crate) in_flight_max: u32,
}

/// The fault that a connection-level error of the server is.
pub(crate) fn closing(error: &ServerError) -> ConnectionFault {
    ConnectionFault::Server(error.clone())
}

#[derive(Debug)]
struct Link<P> {
    state: State,
    /// Failed attempts since the last success.
    attempts: u32,
    control: Vec<u8>,
    last_correlation: CorrelationId,
    pending: BTreeMap<CorrelationId, P>,
    /// Since when an answer is awaited without any having come.
    waiting_since: Option<Instant>,
    limits: LinkLimits,
    hang_up: Option<ConnectionFault>,
    last_fault: Option<ConnectionFault>,
}

#[derive(Debug)]
enum State {
    Idle,
    Wanted { at: Instant },
    Dialling,
    Greeting,
    Ready,
}

impl<P> Link<P> {
    fn new() -> Link<P> {
        Link {
            state: State::Idle,
            attempts: 0,
            control: Vec::new(),
            last_correlation: CorrelationId::NONE,
            pending: BTreeMap::new(),
            waiting_since: None,
            limits: LinkLimits { in_flight_max: 1 },
            hang_up: None,
            last_fault: None,
        }
    }

    /// 0 is what frames carry that answer no request, so it is left out.
    fn next_correlation(&mut self) -> CorrelationId {
        self.last_correlation = self.last_correlation.advance(1);
        if self.last_correlation == CorrelationId::NONE {
            self.last_correlation = CorrelationId(1);
        }
        self.last_correlation
    }
}
